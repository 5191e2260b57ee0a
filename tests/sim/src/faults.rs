//! The classes of faults, and how often each struck.
//!
//! A class *strikes* when it changed what happened: a partition when it swallowed a frame, a full ring when it refused
//! one, a short log when a peer was told of records that are gone. That it was switched on counts for nothing, so a run
//! whose faults never met anything says so.

/// Something that goes wrong in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Fault {
    /// A frame is lost.
    Loss,
    /// A frame arrives twice.
    Duplication,
    /// A frame overtakes another one of its lane.
    Reordering,
    /// A frame takes much longer than the others.
    HeavyDelay,
    /// Bits of a frame change under way.
    BitFlip,
    /// A frame is cut short.
    Truncation,
    /// A whole frame of another cluster arrives.
    OtherCluster,
    /// A whole frame of another version of the format arrives.
    OtherVersion,
    /// A frame of the past arrives again, of whatever session.
    Replay,
    /// A frame is lost because one direction between two hosts is dead.
    AsymmetricPartition,
    /// A frame is lost because two hosts that both reach a third can't reach each other.
    PartialPartition,
    /// A frame is lost because a host is cut off from all others.
    Isolation,
    /// A host looks at so few frames a turn that others wait.
    SlowPeer,
    /// A frame finds a host's receive ring full.
    FullRing,
    /// A publication finds no room in the segment.
    FullSegment,
    /// A process stands still for longer than its peers wait for it.
    Pause,
    /// A process is killed; its log is whole, and the machine goes on: the same epoch.
    CrashLogWhole,
    /// A machine is reset; what was not fsynced is gone: a new epoch.
    CrashTailLost,
    /// A host loses all that it had: a new epoch from nothing.
    CrashAllLost,
    /// A host comes back from an older copy of its storage, and knows.
    OldCopy,
    /// A machine's image is restored; storage looks whole, and peers know more.
    RestoredImage,
    /// A wall clock jumps ahead.
    ClockForward,
    /// A wall clock jumps back.
    ClockBack,
    /// Wall clocks differ from the start.
    ClockSkew,
    /// A host comes when the others have been at it for a while.
    LateJoiner,
    /// A host is forgotten by the others: gone for good, or away for a while, or cut off and unaware of it.
    Forgotten,
    /// A host that was forgotten is told so, with state of before, and begins anew from nothing.
    ForgottenReturns,
    /// A gap in what is known of a forgotten host is closed.
    GapClosed,
    /// A peer needs records that have left the log.
    ShortLog,
    /// A state sync breaks off half-way.
    SyncInterrupted,
}

impl Fault {
    /// Every class, in the order of their numbers.
    pub const ALL: [Fault; 30] = [
        Fault::Loss,
        Fault::Duplication,
        Fault::Reordering,
        Fault::HeavyDelay,
        Fault::BitFlip,
        Fault::Truncation,
        Fault::OtherCluster,
        Fault::OtherVersion,
        Fault::Replay,
        Fault::AsymmetricPartition,
        Fault::PartialPartition,
        Fault::Isolation,
        Fault::SlowPeer,
        Fault::FullRing,
        Fault::FullSegment,
        Fault::Pause,
        Fault::CrashLogWhole,
        Fault::CrashTailLost,
        Fault::CrashAllLost,
        Fault::OldCopy,
        Fault::RestoredImage,
        Fault::ClockForward,
        Fault::ClockBack,
        Fault::ClockSkew,
        Fault::LateJoiner,
        Fault::Forgotten,
        Fault::ForgottenReturns,
        Fault::GapClosed,
        Fault::ShortLog,
        Fault::SyncInterrupted,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Loss => "loss",
            Fault::Duplication => "duplication",
            Fault::Reordering => "reordering",
            Fault::HeavyDelay => "heavy-tailed delay",
            Fault::BitFlip => "bit flip",
            Fault::Truncation => "truncation",
            Fault::OtherCluster => "frame of another cluster",
            Fault::OtherVersion => "frame of another version",
            Fault::Replay => "replay of an old frame",
            Fault::AsymmetricPartition => "asymmetric partition",
            Fault::PartialPartition => "partial partition",
            Fault::Isolation => "isolation",
            Fault::SlowPeer => "slow peer",
            Fault::FullRing => "full ring",
            Fault::FullSegment => "full segment",
            Fault::Pause => "pause beyond the timeouts",
            Fault::CrashLogWhole => "crash, log whole",
            Fault::CrashTailLost => "crash, tail lost",
            Fault::CrashAllLost => "crash, all lost",
            Fault::OldCopy => "restored from an old copy",
            Fault::RestoredImage => "restored image, log looks whole",
            Fault::ClockForward => "clock steps forward",
            Fault::ClockBack => "clock steps back",
            Fault::ClockSkew => "skewed clocks",
            Fault::LateJoiner => "late joiner",
            Fault::Forgotten => "replica forgotten",
            Fault::ForgottenReturns => "forgotten replica comes back",
            Fault::GapClosed => "gap of a forgotten replica closed",
            Fault::ShortLog => "log too short for a peer",
            Fault::SyncInterrupted => "sync interrupted half-way",
        }
    }
}

/// How often each class struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Struck([u64; Fault::ALL.len()]);

impl Struck {
    /// Counts one strike.
    pub fn strike(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// How often a class struck.
    pub fn times(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Adds another world's strikes.
    pub fn add(&mut self, other: &Struck) {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own += other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_in_the_list() {
        assert!(Fault::ALL.iter().enumerate().all(|(place, fault)| *fault as usize == place));
    }
}
