//! What happens to a frame on its way between two hosts: seeded decisions, and the switches to change them while running.
//!
//! ```text
//!   frame ──> cut? ──> lost? ──> copied? ──> each copy: delayed? ──> out, at once or after its delay
//! ```
//! A delayed frame is overtaken by those behind it: that is the reordering. The decisions come from one seeded
//! generator, so that a seed names a fault pattern; when which frame arrives is still the kernel's business.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How unkind the network is. All probabilities are between 0 and 1, for each frame on its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that a frame arrives twice.
    pub duplication: f64,
    /// Probability that a copy is held back, for a random time up to `max_delay`, and so overtaken.
    pub reordering: f64,
    /// The longest time that a copy is held back.
    pub max_delay: Duration,
}

impl Faults {
    /// A network that delivers everything once and in order.
    pub const NONE: Faults =
        Faults { loss: 0.0, duplication: 0.0, reordering: 0.0, max_delay: Duration::ZERO };

    /// The network of the acceptance test: 30 % lost, 20 % doubled, 30 % held back for up to 5 ms.
    pub const HARSH: Faults =
        Faults { loss: 0.3, duplication: 0.2, reordering: 0.3, max_delay: Duration::from_millis(5) };
}

/// The fate of one frame: up to two copies, each with the time for which it is held back.
pub type Copies = [Option<Duration>; 2];

/// The seeded generator of fates: SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators",
/// OOPSLA 2014), which is small and needs no crate.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// A generator whose sequence is given by `seed`.
    pub fn new(seed: u64) -> Dice {
        Dice { state: seed }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in 0..`bound` (0 when `bound` is 0); its bias of at most `bound` / 2^64 does not matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits: every value is exact in an f64.
        ((self.bits() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// What happens to the next frame under `faults`.
    pub fn fate(&mut self, faults: &Faults) -> Copies {
        if self.chance(faults.loss) {
            return [None, None];
        }
        let second = self.chance(faults.duplication);
        [Some(self.delay(faults)), second.then(|| self.delay(faults))]
    }

    fn delay(&mut self, faults: &Faults) -> Duration {
        if !self.chance(faults.reordering) {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.below(faults.max_delay.as_nanos() as u64))
    }
}

/// Frames that are kept while somebody looks, at most.
const MAX_CAPTURED: usize = 1 << 16;

/// What the forwarder did so far: every frame that came in is in exactly one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardCounts {
    /// Copies handed to the receiving side.
    pub delivered: u64,
    /// Frames lost on purpose.
    pub lost: u64,
    /// Second copies made on purpose.
    pub duplicated: u64,
    /// Copies held back on purpose.
    pub delayed: u64,
    /// Frames from or to a host that was cut off.
    pub cut: u64,
    /// Copies that the kernel or the bounded delay queue refused.
    pub refused: u64,
}

/// The handle by which a test changes the faults of a running forwarder, shared with its thread.
#[derive(Debug)]
pub struct Controls {
    faults: Mutex<Faults>,
    cut: Vec<AtomicBool>,
    /// What was seen since somebody began to look; `None`: nobody does.
    captured: Mutex<Option<Vec<Box<[u8]>>>>,
    /// Hosts whose daemons' frames are cut, and nothing else: sessions of members go on.
    mute: Vec<AtomicBool>,
    pub(crate) counters: Counters,
}

/// The counters behind [`ForwardCounts`]. All accesses are relaxed: they are statistics, nothing is ordered by them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub delivered: AtomicU64,
    pub lost: AtomicU64,
    pub duplicated: AtomicU64,
    pub delayed: AtomicU64,
    pub cut: AtomicU64,
    pub refused: AtomicU64,
}

impl Controls {
    /// Controls for `hosts` hosts, none of them cut off.
    pub fn new(hosts: usize, faults: Faults) -> Controls {
        let all = || (0..hosts).map(|_| AtomicBool::new(false)).collect();
        Controls {
            faults: Mutex::new(faults),
            cut: all(),
            mute: all(),
            captured: Mutex::new(None),
            counters: Counters::default(),
        }
    }

    /// The faults in force.
    pub fn faults(&self) -> Faults {
        *self.faults.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Puts other faults in force, from the next frame on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = faults;
    }

    /// Cuts a host off from all others, or joins it again. Frames that were held back for it are cut too.
    pub fn set_cut(&self, host: usize, cut: bool) {
        // Relaxed: a frame that is on its way at this moment may go either way, as on a real link.
        self.cut[host].store(cut, Ordering::Relaxed);
    }

    /// Whether a host is cut off.
    pub fn is_cut(&self, host: usize) -> bool {
        self.cut[host].load(Ordering::Relaxed)
    }

    /// Cuts the frames of a host's daemon to and from all others, or lets them pass again.
    pub fn set_mute(&self, host: usize, mute: bool) {
        // Relaxed: as in `set_cut`.
        self.mute[host].store(mute, Ordering::Relaxed);
    }

    /// Whether they are cut.
    pub fn is_mute(&self, host: usize) -> bool {
        self.mute[host].load(Ordering::Relaxed)
    }

    /// Begins to keep a copy of each frame that comes in, and forgets those from before.
    pub fn capture(&self) {
        *self.lock_captured() = Some(Vec::new());
    }

    /// Ends that; returns the copies, in the order of their coming, as they came: Ethernet header and all.
    pub fn captured(&self) -> Vec<Box<[u8]>> {
        self.lock_captured().take().unwrap_or_default()
    }

    /// A frame has come in.
    pub(crate) fn see(&self, frame: &[u8]) {
        if let Some(captured) = self.lock_captured().as_mut().filter(|kept| kept.len() < MAX_CAPTURED) {
            captured.push(frame.into());
        }
    }

    fn lock_captured(&self) -> std::sync::MutexGuard<'_, Option<Vec<Box<[u8]>>>> {
        self.captured.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What the forwarder did so far.
    pub fn counts(&self) -> ForwardCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        ForwardCounts {
            delivered: get(&counters.delivered),
            lost: get(&counters.lost),
            duplicated: get(&counters.duplicated),
            delayed: get(&counters.delayed),
            cut: get(&counters.cut),
            refused: get(&counters.refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_fates() {
        let (mut first, mut second, mut other) = (Dice::new(7), Dice::new(7), Dice::new(8));
        let fates = |dice: &mut Dice| (0..200).map(|_| dice.fate(&Faults::HARSH)).collect::<Vec<_>>();
        let expected = fates(&mut first);
        assert_eq!(fates(&mut second), expected);
        assert_ne!(fates(&mut other), expected);
    }

    #[test]
    fn frequencies_are_what_was_asked_for() {
        let mut dice = Dice::new(1);
        let (mut lost, mut doubled, mut delayed) = (0, 0, 0);
        for _ in 0..100_000 {
            match dice.fate(&Faults::HARSH) {
                [None, _] => lost += 1,
                [Some(delay), second] => {
                    doubled += u32::from(second.is_some());
                    delayed += u32::from(!delay.is_zero());
                    assert!(delay < Faults::HARSH.max_delay);
                }
            }
        }
        // Ten standard deviations of the binomial distributions: n p +- 10 sqrt(n p (1 - p)).
        assert!((28_550..31_450).contains(&lost), "{lost} lost");
        assert!((12_900..15_100).contains(&doubled), "{doubled} doubled");
        assert!((19_700..22_300).contains(&delayed), "{delayed} delayed");
    }

    #[test]
    fn no_faults_deliver_once_and_at_once() {
        let mut dice = Dice::new(3);
        for _ in 0..1_000 {
            assert_eq!(dice.fate(&Faults::NONE), [Some(Duration::ZERO), None]);
        }
    }
}
