//! Sets that are restructured under their readers, by a writer that may stop for ever at any step.
//!
//! Where there is space enough that nothing is reused, a reader has no excuse: it may never be `Busy`.

use super::{Arc, HASHER, explore, part, set_writer, spawn_with};
use lattice_segment::ReadError;
use lattice_segment::extent::ExtentAllocator;
use lattice_segment::layout::KIND_SET;
use lattice_segment::set::{self, Probe};

/// The first elements whose hashes begin with these bits.
fn elements_with<const N: usize>(prefixes: [(u32, u64); N]) -> [[u8; 2]; N] {
    let mut taken = Vec::new();
    prefixes.map(|(bits, prefix)| {
        let mut candidates = (0..=u16::MAX).map(u16::to_le_bytes);
        let fits =
            |element: &[u8; 2]| HASHER.hash(element) >> (64 - bits) == prefix && !taken.contains(element);
        let found = candidates.find(fits).unwrap();
        taken.push(found);
        found
    })
}

/// The fourth element overfills the bucket (they are small under loom): the directory doubles, the bucket splits. While
/// that is done, and wherever it stops, each lasting element is found, and visited once.
/// (Failed when `flip` went from the first slot to the last and `visit_from` forgot what is behind the cursor, together:
/// each covers for the other. And with either end of `extent-len` or `set-bucket` relaxed.)
#[test]
fn a_split_hides_nothing() {
    let [a, b, c, passing] = elements_with([(1, 0), (1, 1), (2, 1), (2, 2)]);
    explore(3, move || {
        let part = Arc::new(part(0, 1, 64).made(KIND_SET));
        let mut allocator = ExtentAllocator::new(part.extents.len());
        for element in [a, b, c] {
            set_writer(&part, &mut allocator).insert(&element).unwrap();
        }
        let reader = spawn_with(&part, move |part| {
            let mut visited = Vec::new();
            let mut visit = |element: &[u8]| visited.push(element.to_vec());
            set::members(part.cell(), &part.extents, HASHER, &mut visit).unwrap();
            for element in [a, b, c] {
                assert_eq!(visited.iter().filter(|other| **other == element).count(), 1, "{visited:?}");
            }
            assert!(
                visited.len() == 3 || visited.len() == 4 && visited.contains(&passing.to_vec()),
                "{visited:?}"
            );
            for element in [a, b, c] {
                let probe = Probe::new(&element, HASHER.hash(&element)).unwrap();
                assert_eq!(set::contains(part.cell(), &part.extents, &probe), Ok(true));
            }
        });
        assert_eq!(set_writer(&part, &mut allocator).insert(&passing), Ok(true));
        reader.join().unwrap();
    });
}

/// A writer that dies while it makes a set's first element, or takes its last one away.
#[test]
fn a_dead_writer_leaves_a_set_readable() {
    explore(4, || {
        let part = Arc::new(part(0, 1, 32).made(KIND_SET));
        let mut allocator = ExtentAllocator::new(part.extents.len());
        let reader = spawn_with(&part, |part| {
            let mut visited = 0;
            let mut visit = |element: &[u8]| visited += usize::from(element == b"first");
            set::members(part.cell(), &part.extents, HASHER, &mut visit).unwrap();
            let probe = Probe::new(b"first", HASHER.hash(b"first")).unwrap();
            set::contains(part.cell(), &part.extents, &probe).unwrap();
            assert!(visited <= 1);
        });
        let mut set = set_writer(&part, &mut allocator);
        assert_eq!(set.insert(b"first"), Ok(true));
        assert!(set.remove(b"first"));
        reader.join().unwrap();
    });
}

/// Ordering `extent-reuse`, in a space so small that the next bucket lies where the last directory was, and the other way
/// round: what is read from a former tenant is not believed.
/// (Failed when `with_bucket` did not ask whether the bucket, or the directory, is still valid.)
#[test]
fn reused_space_is_noticed() {
    explore(2, || {
        let part = Arc::new(part(0, 1, 12).made(KIND_SET));
        let mut allocator = ExtentAllocator::new(part.extents.len());
        set_writer(&part, &mut allocator).insert(b"first").unwrap();
        let reader = spawn_with(&part, |part| {
            let mut visited = Vec::new();
            let mut visit = |element: &[u8]| visited.push(element.to_vec());
            match set::members(part.cell(), &part.extents, HASHER, &mut visit) {
                Ok(()) => assert!(
                    visited.is_empty() || [&b"first"[..], b"next", b"last one"].contains(&&*visited[0]),
                    "{visited:?}"
                ),
                Err(error) => assert_eq!(error, ReadError::Busy),
            }
            assert!(visited.len() <= 1, "{visited:?}");
        });
        let mut set = set_writer(&part, &mut allocator);
        for (gone, new) in [(&b"first"[..], &b"next"[..]), (b"next", b"last one")] {
            assert!(set.remove(gone));
            assert_eq!(set.insert(new), Ok(true));
        }
        reader.join().unwrap();
    });
}
