//! Where the programs are that the harness runs: the daemon, `latticectl` and the example applications.
//!
//! They are looked for beside the running program (`target/<profile>/`), and built first by the same cargo with the same
//! profile, so that `cargo test -p lattice-cluster` alone never tests yesterday's daemon. Where `LATTICE_BIN_DIR` names a
//! directory, what lies there is taken as it is: `make test` and `make demo` have built everything already.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};

use crate::command::run;

/// The directory of the programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Finds the programs, after building them where that is needed.
    pub fn find() -> Result<Binaries> {
        static FOUND: OnceLock<Result<Binaries, String>> = OnceLock::new();
        let found = FOUND.get_or_init(|| locate().map_err(|error| format!("{error:#}")));
        found.clone().map_err(|error| anyhow!(error))
    }

    /// The programs that lie in `directory`.
    pub fn at(directory: &Path) -> Binaries {
        Binaries { directory: directory.to_owned() }
    }

    /// Where they lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The daemon.
    pub fn latticed(&self) -> Result<PathBuf> {
        existing(self.directory.join("latticed"))
    }

    /// The administrator's command.
    pub fn latticectl(&self) -> Result<PathBuf> {
        existing(self.directory.join("latticectl"))
    }

    /// An example application of the client library.
    pub fn example(&self, name: &str) -> Result<PathBuf> {
        existing(self.directory.join("examples").join(name))
    }
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("{} is missing: `make build` builds it", path.display());
    }
    Ok(path)
}

fn locate() -> Result<Binaries> {
    if let Some(directory) = std::env::var_os("LATTICE_BIN_DIR") {
        return Ok(Binaries { directory: directory.into() });
    }
    let directory = beside_this_program()?;
    let profile = if directory.ends_with("release") { "release" } else { "dev" };
    eprintln!("building latticed and the examples ({profile})");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = directory.parent().context("the build directory has no parent")?;
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--profile", profile, "--bins", "--examples"]);
    command.args(["-p", "lattice-control", "-p", "lattice-client", "--target-dir"]).arg(target);
    run(command.current_dir(env!("CARGO_MANIFEST_DIR")))?;
    Ok(Binaries { directory })
}

/// `target/<profile>`, from `target/<profile>/program` or `target/<profile>/deps/test`.
fn beside_this_program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("can't find this program's file")?;
    let directory = program.parent().context("this program has no directory")?;
    let directory = if directory.ends_with("deps") { directory.parent() } else { Some(directory) };
    directory.map(Path::to_owned).context("this program lies outside of a build directory")
}
