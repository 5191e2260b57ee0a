//! Where etcd's data lies: a real disk, because what it promises is that a write is on one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::fs::statfs;
use tempfile::TempDir;

use crate::series::{Series, Unit};

/// Where things go that outlast a restart (FHS), so seldom a tmpfs; and if it is one, beside the build.
const CANDIDATES: [&str; 2] = ["/var/tmp", "target"];
const PREFIX: &str = "lattice-etcd-";
/// As much as one small entry of a write-ahead log takes.
const ENTRY_BYTES: usize = 256;

/// A directory for one run, gone when dropped.
pub struct Disk {
    directory: TempDir,
    filesystem: String,
}

impl Disk {
    /// Makes the directory, after removing those of runs that were killed.
    ///
    /// # Errors
    /// If no candidate can be written.
    pub fn open() -> Result<Disk> {
        let mut candidates: Vec<(PathBuf, String)> = Vec::new();
        for path in CANDIDATES.map(PathBuf::from) {
            if let Ok(filesystem) = filesystem(&path) {
                candidates.push((path, filesystem));
            }
        }
        // The sort is stable: the first that is on a disk, else the first.
        candidates.sort_by_key(|(_, filesystem)| filesystem == "tmpfs");
        let (parent, filesystem) = candidates.into_iter().next().context("no directory for etcd's data")?;
        remove_stale(&parent);
        let directory = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir_in(&parent)
            .with_context(|| format!("can't make a directory in {}", parent.display()))?;
        Ok(Disk { directory, filesystem })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// As in `ext4 (/var/tmp)`.
    #[must_use]
    pub fn describe(&self) -> String {
        let parent = self.path().parent().unwrap_or(self.path());
        format!("{} ({})", self.filesystem, parent.display())
    }

    /// How long appending an entry takes until it is on the disk: what no durable write can be faster than.
    ///
    /// # Errors
    /// If the disk can't be written.
    pub fn measure_sync(&self, entries: usize) -> Result<Series> {
        let mut file = File::create(self.path().join("sync"))?;
        let mut series = Series::new("append 256 B, fdatasync", Unit::Ns);
        for _ in 0..entries {
            let started = Instant::now();
            file.write_all(&[7; ENTRY_BYTES])?;
            file.sync_data()?;
            series.record_duration(started.elapsed());
        }
        Ok(series)
    }
}

/// The type of the file system of a path, by its magic number (statfs(2)).
fn filesystem(path: &Path) -> Result<String> {
    let magic = statfs(path)?.f_type as u64 & 0xffff_ffff;
    Ok(match magic {
        0xef53 => "ext4".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683e => "btrfs".into(),
        0x2fc1_2fc1 => "zfs".into(),
        0x0102_1994 => "tmpfs".into(),
        0x794c_7630 => "overlayfs".into(),
        0xf2f5_2010 => "f2fs".into(),
        other => format!("file system {other:#x}"),
    })
}

/// Removes the directories of runs whose process is gone.
fn remove_stale(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let stale = owner_pid(&entry.file_name().to_string_lossy())
            .is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        if stale && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            eprintln!("{} stays: {error}", entry.path().display());
        }
    }
}

fn owner_pid(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_directories_are_taken_for_stale() {
        assert_eq!(owner_pid("lattice-etcd-4711-Xy1"), Some(4711));
        assert_eq!(owner_pid("lattice-4711-Xy1"), None);
        assert_eq!(owner_pid("etcd-4711"), None);
    }

    #[test]
    fn a_run_has_a_directory_on_a_named_file_system_and_leaves_nothing() {
        let disk = Disk::open().unwrap();
        assert!(disk.describe().contains('('), "{}", disk.describe());
        assert_eq!(disk.measure_sync(3).unwrap().count(), 3);
        let path = disk.path().to_owned();
        drop(disk);
        assert!(!path.exists());
    }
}
