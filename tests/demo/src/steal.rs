//! How much of the processors the hypervisor gave to others meanwhile: without it, a latency on a virtual machine says little.

use anyhow::{Context, Result};

/// Counting since some moment.
pub struct Steal {
    since: Jiffies,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jiffies {
    stolen: u64,
    total: u64,
}

impl Steal {
    /// Starts counting.
    pub fn start() -> Result<Steal> {
        Ok(Steal { since: now()? })
    }

    /// Percent of all processor time since the start that was stolen.
    pub fn percent(&self) -> Result<f64> {
        let now = now()?;
        let total = now.total.saturating_sub(self.since.total).max(1);
        Ok(100.0 * now.stolen.saturating_sub(self.since.stolen) as f64 / total as f64)
    }
}

fn now() -> Result<Jiffies> {
    let text = std::fs::read_to_string("/proc/stat").context("can't read /proc/stat")?;
    parse(&text).context("/proc/stat has no line of all processors")
}

/// The first line, proc_stat(5): `cpu user nice system idle iowait irq softirq steal guest guest_nice`. Guest time is in
/// user time already.
fn parse(text: &str) -> Option<Jiffies> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> =
        fields.split_ascii_whitespace().map_while(|field| field.parse().ok()).take(8).collect();
    Some(Jiffies { stolen: *fields.get(7)?, total: fields.iter().sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_number_and_guests_are_not_counted_twice() {
        let found = parse("cpu  1 2 3 4 5 6 7 8 100 200\ncpu0 9 9 9 9 9 9 9 9 9 9\n");
        assert_eq!(found, Some(Jiffies { stolen: 8, total: 36 }));
        assert_eq!(parse("intr 1 2 3"), None);
        assert_eq!(parse("cpu  1 2 3"), None);
    }
}
