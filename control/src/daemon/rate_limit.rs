//! A bound on log lines that others can provoke.

use std::time::{Duration, Instant};

/// Lets `burst` through in each window, and counts the rest.
#[derive(Debug)]
pub struct RateLimit {
    burst: u32,
    window: Duration,
    began: Option<Instant>,
    passed: u32,
    suppressed: u64,
}

impl RateLimit {
    /// At most `burst` in each `window`.
    #[must_use]
    pub const fn new(burst: u32, window: Duration) -> Self {
        Self { burst, window, began: None, passed: 0, suppressed: 0 }
    }

    /// Whether one more may pass at `now`; if so, how many were held back since the last that did.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= self.window) {
            self.began = Some(now);
            self.passed = 0;
        }
        if self.passed < self.burst {
            self.passed += 1;
            return Some(std::mem::take(&mut self.suppressed));
        }
        self.suppressed += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_is_counted() {
        let mut limit = RateLimit::new(2, Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(
            [limit.pass(start), limit.pass(start), limit.pass(start), limit.pass(start)],
            [Some(0), Some(0), None, None]
        );
        assert_eq!(limit.pass(start + Duration::from_secs(9)), None);
        assert_eq!(limit.pass(start + Duration::from_secs(10)), Some(3));
        assert_eq!(limit.pass(start + Duration::from_secs(10)), Some(0));
    }
}
