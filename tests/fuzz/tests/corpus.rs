//! Replays every file of every corpus: what the fuzzer once found stays found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lattice_fuzz::{TARGETS, run};

/// Files of one corpus, at most: it is run by everybody, each time.
const MAX_FILES: usize = 240;
/// Bytes of one corpus, at most.
const MAX_BYTES: u64 = 300 << 10;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The names in a directory, without what follows a dot.
fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let name = |entry: fs::DirEntry| entry.path().file_stem().expect("a name").to_string_lossy().into_owned();
    entries.map(|entry| name(entry.expect("an entry"))).collect()
}

/// The files of a target's corpus, in the order of their names.
fn files(target: &str) -> Vec<PathBuf> {
    let directory = corpora().join(target);
    let entries = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("the corpus {} is missing: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus {} is empty", directory.display());
    files
}

/// Says which file it was when a target panics.
struct Replaying<'a>(&'a Path);

impl Drop for Replaying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while replaying {}", self.0.display());
        }
    }
}

fn replay(target: &str) {
    for file in files(target) {
        let data = fs::read(&file).expect("a readable file");
        let _told = Replaying(&file);
        run(target, &data);
    }
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpora()), targets, "one directory for each target");
    assert_eq!(names(&corpora().with_file_name("fuzz").join("fuzz_targets")), targets, "and one program");
}

#[test]
fn corpora_are_small() {
    for (target, _) in TARGETS {
        let files = files(target);
        let bytes: u64 = files.iter().map(|file| fs::metadata(file).expect("a file").len()).sum();
        assert!(files.len() <= MAX_FILES, "{target}: {} files", files.len());
        assert!(bytes <= MAX_BYTES, "{target}: {bytes} bytes");
    }
}

#[test]
fn seeds_are_as_the_formats_make_them() {
    for seed in lattice_fuzz::seeds::all() {
        let path = seed.path(&corpora());
        let held = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `seeds`", path.display()));
        assert!(held == seed.data || !seed.exact, "{} is of another format: run `seeds`", path.display());
    }
}

/// One test for each target, so that they run side by side and a failure names its target.
macro_rules! replays {
    ($($target:ident),+ $(,)?) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })+

        #[test]
        fn every_corpus_is_replayed() {
            let replayed = [$(stringify!($target)),+];
            assert!(TARGETS.iter().map(|(name, _)| *name).eq(replayed), "add the target to `replays`");
        }
    };
}

replays!(
    frame,
    record,
    ack,
    vector,
    heartbeat,
    sync_request,
    sync_data,
    sync_ack,
    forget,
    fold,
    engine,
    snapshot,
    backup,
    ring,
    segment,
    segment_mutated,
    clients,
    config
);
