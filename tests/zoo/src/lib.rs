//! The bug zoo: mistakes that the production code can be told to make, so that the tests can be tested.
//!
//! ```text
//!   arm(Some(bug)) ──> the site: `if zoo!(MaxOverGap) { … }` in crdt, wire, engine, segment ──> somebody must notice
//!                                                                    │
//!           the simulator, within 100 seeds of its plain swarm ──────┤   lattice-sim --features zoo -- zoo
//!           or the bug's own checker (Checker::Loom, ::Test) ────────┘   loom models, tests of one crate
//! ```
//!
//! Each [`Bug`] is one that people have made in systems of this kind, or that the first readers of the protocol proposed as
//! an improvement. A bug that nobody finds means that the tests are blind there: mend the tests, not the zoo.
//!
//! The crates name a bug through a macro of their own, which is the constant `false` unless their feature `zoo` is on. Only
//! the simulator's feature of that name turns it on; a plain build of the workspace has nothing of it.
//!
//! What is armed belongs to the thread, so that tests beside each other do not see each other's bugs. loom runs the threads
//! of a model on the thread that called it, so this holds there too.
//!
//! Not here yet: reuse of a nonce. Frames are not sealed before there are keys, so there is none to use twice.

#![forbid(unsafe_code)]

mod bugs;

pub use bugs::Bug;

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

/// Who has to find a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checker {
    /// The simulator's plain swarm, within 100 seeds.
    Simulator,
    /// The loom model of this name in `datapath/segment/tests/loom.rs`: what one thread of execution can't show.
    Loom(&'static str),
    /// A test of this crate (its package), run with its feature `zoo`, of this name.
    Test(&'static str, &'static str),
}

thread_local! {
    static ARMED: Cell<Option<Bug>> = const { Cell::new(None) };
    static REACHED: Cell<u64> = const { Cell::new(0) };
}

/// Makes this thread's code make one mistake from now on, or none.
pub fn arm(bug: Option<Bug>) {
    ARMED.set(bug);
    REACHED.set(0);
}

/// Whether the code is to make this mistake, here and now.
#[inline]
pub fn planted(bug: Bug) -> bool {
    let planted = ARMED.get() == Some(bug);
    if planted {
        REACHED.set(REACHED.get() + 1);
    }
    planted
}

/// How often the code came by the armed mistake. A bug that survives and was never reached is one whose place the tests do
/// not come to; one that was reached is one whose effect they do not see.
pub fn reached() -> u64 {
    REACHED.get()
}

/// No bug has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBug(pub String);

impl fmt::Display for UnknownBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the zoo has no `{}`; it has", self.0)?;
        Bug::ALL.iter().try_for_each(|bug| write!(f, " {bug}"))
    }
}

impl std::error::Error for UnknownBug {}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Bug {
    type Err = UnknownBug;

    fn from_str(name: &str) -> Result<Self, UnknownBug> {
        let found = Self::ALL.iter().find(|bug| bug.name() == name);
        found.copied().ok_or_else(|| UnknownBug(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn names_are_the_variants_in_kebab_case_and_lead_back() {
        for &bug in Bug::ALL {
            let mut kebab = String::new();
            for letter in format!("{bug:?}").chars() {
                if letter.is_uppercase() && !kebab.is_empty() {
                    kebab.push('-');
                }
                kebab.extend(letter.to_lowercase());
            }
            assert_eq!((bug.name(), bug.name().parse()), (kebab.as_str(), Ok(bug)));
            assert!(bug.about().len() > 60, "{bug} says too little");
            if let Checker::Test(package, _) = bug.checker() {
                assert!(["lattice-wire", "lattice-engine"].contains(&package), "{package} looks for no bugs");
            }
        }
        let names: BTreeSet<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        assert!("no-such-bug".parse::<Bug>().unwrap_err().to_string().contains("max-over-gap"));
    }

    /// The sources of the crates that have bugs, as one text.
    fn sources() -> String {
        let mut text = String::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut directories = ["crdt", "datapath/wire", "datapath/engine", "datapath/segment"]
            .map(|room| root.join(room).join("src"))
            .to_vec();
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).expect("a room's sources") {
                let path = entry.expect("a readable directory").path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    text += &std::fs::read_to_string(&path).expect("a readable source");
                }
            }
        }
        text
    }

    #[test]
    fn each_bug_has_its_place_in_the_code() {
        let sources = sources();
        for bug in Bug::ALL {
            assert!(sources.contains(&format!("zoo!({bug:?})")), "{bug} is planted nowhere");
        }
    }

    #[test]
    fn a_thread_makes_the_one_mistake_that_it_was_told_to() {
        arm(Some(Bug::MaxOverGap));
        assert!(planted(Bug::MaxOverGap) && !planted(Bug::TagNotChecked));
        assert_eq!(reached(), 1);
        let elsewhere = std::thread::spawn(|| planted(Bug::MaxOverGap)).join();
        assert!(!elsewhere.expect("no panic"));
        arm(None);
        assert!(!planted(Bug::MaxOverGap));
        assert_eq!(reached(), 0);
    }
}
