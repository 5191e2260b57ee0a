//! Ctrl-C in the midst of a bench: what it started and made goes with it.
//!
//! A bench that ends by itself takes its daemons, namespaces and files down by dropping them, which a signal does not. So a
//! thread waits for one and removes what carries this process's id: namespaces with the processes in them, then directories.
//! What even that misses (SIGKILL) the next run removes.

use std::path::Path;
use std::process::exit;

use anyhow::Result;
use lattice_cluster::namespace;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The exit status of a program that SIGINT ended, as shells report it.
const INTERRUPTED: i32 = 130;
/// Where benches keep what carries their process id: segments and logs, the data of etcd.
const PLACES: [&str; 3] = ["/dev/shm", "/var/tmp", "target"];
/// What such names begin with, before the process id.
const PREFIXES: [&str; 2] = ["lattice-", "lattice-etcd-"];

/// From now on SIGINT and SIGTERM clean up and end the process.
///
/// # Errors
/// If the signals can't be caught.
pub fn clean_up_on_interrupt() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            namespace::remove_own();
            for place in PLACES {
                remove_own_files(Path::new(place));
            }
            exit(INTERRUPTED);
        }
    });
    Ok(())
}

fn remove_own_files(place: &Path) {
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        if is_own(&entry.file_name().to_string_lossy(), std::process::id()) {
            // Its owner may be removing it this very moment; the next run removes what stays.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// True if a name was given by the process of that id.
fn is_own(name: &str, pid: u32) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(&format!("{prefix}{pid}-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_this_process_id_are_own() {
        assert!(is_own("lattice-17-a1b2", 17) && is_own("lattice-etcd-17-a1b2", 17));
        assert!(
            !is_own("lattice-171-a1b2", 17) && !is_own("lattice-etcd-1-7", 17) && !is_own("other-17-", 17)
        );
    }
}
