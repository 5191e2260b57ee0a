//! Waiting for a condition with a deadline. Nothing here sleeps and hopes: the condition decides, the pause only paces.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to leave the processors to others between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks at `condition` until it yields a value, and returns that.
///
/// Fails when `timeout` has passed first, saying `what` was waited for and the last reason that `condition` gave; an
/// `Err` of the condition means "not yet", for a daemon that is just starting refuses connections.
pub fn until<T>(what: &str, timeout: Duration, mut condition: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(reason) if start.elapsed() >= timeout => {
                bail!("waited {:.1} s for {what}: {reason:#}", timeout.as_secs_f64())
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_is_in_the_error() {
        let mut looks = 0;
        let result: Result<()> = until("the moon", Duration::from_millis(10), || {
            looks += 1;
            bail!("look {looks}")
        });
        let error = result.unwrap_err().to_string();
        assert!(error.contains("the moon") && error.contains(&format!("look {looks}")), "{error}");
    }
}
