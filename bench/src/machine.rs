//! The machine under a measurement: what it is, and how much of it was taken away meanwhile.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// CPU time of the whole machine so far, in scheduler ticks: `/proc/stat`, line `cpu` (proc_stat(5)).
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTicks {
    all: u64,
    steal: u64,
}

impl CpuTicks {
    /// Now; zeros where `/proc/stat` can't be read.
    #[must_use]
    pub fn now() -> CpuTicks {
        CpuTicks::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(stat: &str) -> CpuTicks {
        let line = stat.lines().next().unwrap_or_default();
        let fields: Vec<u64> =
            line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest times are part of user already.
        CpuTicks { all: fields.iter().take(8).sum(), steal: fields.get(7).copied().unwrap_or(0) }
    }

    /// The share of CPU time that the hypervisor took since `self`, in percent.
    #[must_use]
    pub fn steal_percent_until(self, later: CpuTicks) -> f64 {
        let all = later.all.saturating_sub(self.all);
        if all == 0 { 0.0 } else { later.steal.saturating_sub(self.steal) as f64 * 100.0 / all as f64 }
    }
}

/// What a reader of the report needs to know about the machine and the program.
#[must_use]
pub fn describe() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu_field = |name: &str| {
        let line =
            cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|field| field.trim() == name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let is_virtual =
        cpu_field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    json!({
        "cpu": cpu_field("model name").unwrap_or_else(|| "unknown".into()),
        "cores": available_parallelism().map_or(1, usize::from),
        "memory_gib": (memory_kib as f64 / 1024.0 / 1024.0).round(),
        "virtual": is_virtual,
        "kernel": kernel.trim(),
        "measured_at": utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        "rustc": env!("LATTICE_RUSTC"),
        "commit": git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into()),
        // Without git nobody knows: then neither true nor false.
        "tree_dirty": git(&["status", "--porcelain"]).map(|changes| !changes.is_empty()),
    })
}

/// Seconds since the Unix epoch as a date and a time.
fn utc(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": days since 0000-03-01, in eras of 400 years.
    let day = days + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400 + u64::from(month >= 10);
    let month = if month < 10 { month + 3 } else { month - 9 };
    let (hour, minute) = (second / 3600, second % 3600 / 60);
    format!("{year}-{month:02}-{day_of_month:02} {hour:02}:{minute:02} UTC")
}

/// What git says about the sources of this program, where both are still there.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_827_696), "2000-02-29 12:34 UTC");
        assert_eq!(utc(1_798_761_599), "2026-12-31 23:59 UTC");
    }

    #[test]
    fn steal_is_the_eighth_field_as_a_share_of_all() {
        let before = CpuTicks::parse("cpu  100 0 100 700 0 0 0 100 50 0\ncpu0 1 1 1\n");
        let after = CpuTicks::parse("cpu  150 0 150 750 0 0 0 150 50 0\n");
        assert_eq!((before.all, before.steal), (1000, 100));
        assert!((before.steal_percent_until(after) - 25.0).abs() < 1e-9);
        assert!(after.steal_percent_until(after).abs() < 1e-9);
    }
}
