//! Where the corpora begin: valid inputs, so that the fuzzer need not guess a format before it can break it.
//!
//! Each target has a few files `seed-<name>`, made here from the wire's golden files, from frames that engines really
//! sent, from a real segment and from the reference configuration. They are committed; `seeds` writes them again after a
//! change of a format.

mod backups;
mod configs;
mod engines;
mod frames;
mod rings;
mod segments;

/// An input of a target to begin from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The target.
    pub target: &'static str,
    /// What is special about it, as a part of a file name.
    pub name: String,
    /// The input.
    pub data: Vec<u8>,
    /// It follows from the formats alone; else also from what engines happen to do, which may change with them.
    pub exact: bool,
}

impl Seed {
    fn new(target: &'static str, name: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self { target, name: name.into(), data: data.into(), exact: true }
    }

    /// Its file in the directory of the corpora.
    pub fn path(&self, corpora: &std::path::Path) -> std::path::PathBuf {
        corpora.join(self.target).join(format!("seed-{}", self.name))
    }
}

/// All seeds of all targets.
///
/// # Panics
/// If a golden file is not what it should be.
pub fn all() -> Vec<Seed> {
    let mut seeds = frames::seeds();
    seeds.extend(backups::seeds());
    seeds.extend(configs::seeds());
    seeds.extend(engines::seeds());
    seeds.extend(rings::seeds());
    seeds.extend(segments::seeds());
    seeds
}
