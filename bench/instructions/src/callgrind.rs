//! Running this program under callgrind, and reading what it counted.

use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// libc chooses its copies by what the processor can do. Without these features it is the same one everywhere.
const PLAIN_LIBC: &str = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM,-AVX_Fast_Unaligned_Load";

/// Why callgrind can't be run here, if so.
pub fn obstacle() -> Option<String> {
    let version =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match version {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("valgrind --version: {status}")),
        Err(error) => Some(format!("valgrind: {error}")),
    }
}

/// Instructions that `run NAME` executes while the function `gate` is on the stack.
///
/// # Errors
/// If callgrind or the program under it fails, or nothing was collected: then no function matches `gate`.
pub fn collect(name: &str, gate: &str) -> anyhow::Result<u64> {
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--cache-sim=no", "--branch-sim=no"])
        .arg(format!("--toggle-collect={gate}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["run", name])
        .env("GLIBC_TUNABLES", PLAIN_LIBC)
        .output()
        .context("valgrind can't be run")?;
    if !output.status.success() {
        bail!("`{name}` under callgrind: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let profile = std::fs::read_to_string(&out).with_context(|| format!("{}", out.display()))?;
    let total = total(&profile).with_context(|| format!("`{name}`: callgrind wrote no total"))?;
    ensure!(total > 0, "`{name}`: nothing was counted: no function is called {gate}");
    Ok(total)
}

/// The line `totals: N` of a profile (callgrind's manual, "Callgrind Format Specification").
fn total(profile: &str) -> Option<u64> {
    profile.lines().find_map(|line| line.strip_prefix("totals:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_among_the_rest() {
        assert_eq!(
            total("version: 1\nevents: Ir\nsummary: 12\n\nfn=(1) a\n0 12\n\ntotals: 12345\n"),
            Some(12345)
        );
        assert_eq!(total("version: 1\nevents: Ir\n"), None);
    }
}
