//! Watermarks of the client rings: who sees one sees what it stands for, and nobody sleeps through one.

use super::{explore, ring, ring_words};
use lattice_segment::ring::layout::TOLD;
use lattice_segment::ring::levels::{self, Levels, Watermark};
use lattice_segment::sync::{AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;

/// Ordering `watermark`: who sees it sees what was done before.
#[test]
fn a_watermark_means_what_it_stands_for() {
    explore(4, || {
        let (words, merged) = (ring_words(), Arc::new(AtomicU64::new(0)));
        let daemon = {
            let (words, merged) = (Arc::clone(&words), Arc::clone(&merged));
            thread::spawn(move || {
                let mut told = Levels::default();
                for all in 1..=2 {
                    merged.store(all, Ordering::Relaxed);
                    levels::tell(ring(&words), &mut told, &Levels { all, ..Levels::default() });
                }
            })
        };
        let all = levels::watermark(ring(&words), Watermark::All);
        assert!(merged.load(Ordering::Relaxed) >= all);
        daemon.join().unwrap();
    });
}

/// Orderings `told`, `sleep`: a client that goes to sleep and a daemon that tells it something: the client finds it, or the
/// kernel finds that `told` has changed, or the daemon wakes it.
#[test]
fn nobody_sleeps_through_what_he_is_told() {
    explore(4, || {
        let words = ring_words();
        let daemon = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                levels::tell(ring(&words), &mut Levels::default(), &Levels { all: 1, ..Levels::default() })
            })
        };
        levels::set_awaiting(ring(&words), true);
        let seen = ring(&words).line(TOLD).load(Ordering::Acquire);
        let found = levels::watermark(ring(&words), Watermark::All) == 1;
        assert!(found || seen == 0, "told, and nothing there");
        let is_woken = daemon.join().unwrap();
        let has_changed = ring(&words).line(TOLD).load(Ordering::Relaxed) != seen;
        assert!(found || is_woken, "asleep with the watermark there");
        assert!(found || has_changed, "the kernel would let it sleep");
    });
}
