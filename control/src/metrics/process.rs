//! What the kernel says of this process, in the names that Prometheus's own clients use.

use std::fs;

/// Resources of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Processor time, user and system.
    pub cpu_seconds: f64,
    /// Memory that is in RAM, the segment's touched pages included.
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
}

impl Process {
    /// Of this process; `None` where `/proc` does not say.
    #[must_use]
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let page_bytes = u64::try_from(rustix::param::page_size()).ok()?;
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        Self::parse(&stat, rustix::param::clock_ticks_per_second(), page_bytes, open_fds)
    }

    /// Fields as proc_pid_stat(5) numbers them, from 1.
    fn parse(stat: &str, ticks_per_second: u64, page_bytes: u64, open_fds: u64) -> Option<Self> {
        // The second field is the program's name in parentheses, with any characters in it.
        let after_name = stat.get(stat.rfind(')')? + 1..)?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) as f64 / ticks_per_second as f64,
            resident_bytes: field(24)? * page_bytes,
            virtual_bytes: field(23)?,
            threads: field(20)?,
            open_fds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_behind_the_name() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 6 18 19 4096 3 22";
        let expected = Process {
            cpu_seconds: 2.0,
            resident_bytes: 12_288,
            virtual_bytes: 4096,
            threads: 6,
            open_fds: 9,
        };
        assert_eq!(Process::parse(stat, 100, 4096, 9), Some(expected));
        assert_eq!(Process::parse("12 (x", 100, 4096, 9), None);
        assert_eq!(Process::parse("12 (x) S 1", 100, 4096, 9), None);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let process = Process::read().expect("/proc is there");
        assert!(
            process.resident_bytes > 1 << 16 && process.open_fds > 2 && process.threads > 0,
            "{process:?}"
        );
        assert!(process.virtual_bytes >= process.resident_bytes);
    }
}
