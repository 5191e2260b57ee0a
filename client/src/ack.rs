//! How far a write has got, and how far somebody wants it to get.
//!
//! ```text
//!   level         the write is                                     survives
//!   Local         applied, and visible to every reader here        this client
//!   Logged        in the log's memory-mapped file                  this daemon (kill -9)
//!   Durable       synced to this host's disk                       this host's crash
//!   Peers(k)      merged, and visible, on at least k other hosts   the loss of any k hosts
//!   Majority      on more than half of the members                 the loss of any minority
//!   All           on every member                                  the loss of all but one
//! ```
//!
//! The members are those of the daemon's configuration, this host one of them, whether they are up or not. Levels are not
//! steps of one ladder: a write can be merged by all peers before the disk here has it. Every level includes `Local`.
//! Waiting for one changes nothing in how a write is replicated: it goes to all members in any case.

use std::fmt;
use std::str::FromStr;

use lattice_segment::ring::layout::MAX_COUNTED_PEERS;
use lattice_segment::{AckTerms, Levels, Watermark};

/// How far a write is to get before a call returns: see the calls that end in `_with`, such as
/// [`Counter::add_with`](crate::Counter::add_with).
///
/// ```
/// use lattice_client::Ack;
///
/// assert_eq!("majority".parse(), Ok(Ack::Majority));
/// assert_eq!("peers=2".parse(), Ok(Ack::Peers(2)));
/// assert_eq!(Ack::Peers(2).to_string(), "peers=2");
/// assert!("most".parse::<Ack>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ack {
    /// Applied, and visible to every reader of this host.
    Local,
    /// In the memory-mapped log: survives the daemon.
    Logged,
    /// Synced to this host's disk.
    Durable,
    /// Merged by at least so many other hosts, and visible there.
    Peers(u16),
    /// On more than half of the members, this host being one.
    Majority,
    /// On every member.
    All,
}

impl Ack {
    /// What watermark tells it; `None`: that the write is applied tells it.
    pub(crate) fn watermark(self) -> Option<Watermark> {
        match self {
            Ack::Local | Ack::Logged | Ack::Peers(0) => None,
            Ack::Durable => Some(Watermark::Durable),
            Ack::Peers(peers) => Some(Watermark::Merged(peers)),
            Ack::Majority => Some(Watermark::Majority),
            Ack::All => Some(Watermark::All),
        }
    }

    pub(crate) fn needs_disk(self) -> bool {
        self == Ack::Durable
    }

    pub(crate) fn needs_peers(self) -> bool {
        self.watermark().is_some() && !self.needs_disk()
    }

    /// Why it can never be reached under these terms.
    pub(crate) fn impossible(self, terms: AckTerms) -> Option<AckImpossible> {
        let peers = terms.members.saturating_sub(1);
        match self {
            Ack::Logged | Ack::Durable if !terms.log_is_file => Some(AckImpossible::NothingKept),
            Ack::Durable if terms.never_synced => Some(AckImpossible::NeverSynced),
            Ack::Peers(asked) if asked > peers => Some(AckImpossible::TooFewPeers { peers }),
            Ack::Peers(asked) if usize::from(asked) > MAX_COUNTED_PEERS => {
                Some(AckImpossible::NotCounted { most: MAX_COUNTED_PEERS as u16 })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ack::Local => f.write_str("local"),
            Ack::Logged => f.write_str("logged"),
            Ack::Durable => f.write_str("durable"),
            Ack::Peers(peers) => write!(f, "peers={peers}"),
            Ack::Majority => f.write_str("majority"),
            Ack::All => f.write_str("all"),
        }
    }
}

/// A text that names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no level: local, logged, durable, peers=K, majority or all")]
pub struct UnknownAck(String);

impl FromStr for Ack {
    type Err = UnknownAck;

    fn from_str(text: &str) -> Result<Ack, UnknownAck> {
        let unknown = || UnknownAck(text.to_owned());
        Ok(match text {
            "local" => Ack::Local,
            "logged" => Ack::Logged,
            "durable" => Ack::Durable,
            "majority" => Ack::Majority,
            "all" => Ack::All,
            _ => {
                let peers = text.strip_prefix("peers=").ok_or_else(unknown)?;
                Ack::Peers(peers.parse().map_err(|_| unknown())?)
            }
        })
    }
}

/// Why a level can never be reached at this daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AckImpossible {
    /// The daemon keeps its state in memory only.
    #[error("the daemon keeps nothing on disk (storage.mode is \"memory\")")]
    NothingKept,
    /// The daemon leaves it to the system when its log reaches the disk: what is written is known to be there only with the
    /// next snapshot, which may be minutes away. [`Reached::durable`] says so then.
    #[error(
        "the daemon does not sync its log (storage.sync is \"never\"): a write is on the disk with the next snapshot, and nobody waits for that"
    )]
    NeverSynced,
    /// More peers than there are.
    #[error("the cluster has {peers} peers")]
    TooFewPeers {
        /// How many there are.
        peers: u16,
    },
    /// More peers than are counted one by one.
    #[error("at most {most} peers are counted; ask for majority or all")]
    NotCounted {
        /// How many are counted.
        most: u16,
    },
}

/// How far writes have got, as far as their daemon has told: of several, how far the one that is least far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reached {
    /// Applied, and visible to every reader of this host.
    pub local: bool,
    /// In the memory-mapped log.
    pub logged: bool,
    /// Synced to this host's disk.
    pub durable: bool,
    /// On more than half of the members.
    pub majority: bool,
    /// On every member.
    pub all: bool,
    /// How many peers have merged it; more than 32 are counted as 32.
    pub peers: u16,
    /// How many peers are known to have it on their disks. They say so about every second.
    pub durable_on: u16,
    /// Members of the cluster, this host one of them; 0 if the daemon has not said.
    pub members: u16,
}

impl Reached {
    /// Nothing is known.
    pub(crate) const NOTHING: Reached = Reached {
        local: false,
        logged: false,
        durable: false,
        majority: false,
        all: false,
        peers: 0,
        durable_on: 0,
        members: 0,
    };

    /// Of submission `seq`, of those of which `applied` are applied.
    pub(crate) fn of(seq: u64, applied: u64, levels: &Levels, terms: AckTerms) -> Reached {
        let peers = terms.members.saturating_sub(1);
        let count = |words: &[u64]| {
            let of_peers = words.iter().take(usize::from(peers));
            of_peers.take_while(|ticket| **ticket >= seq).count() as u16
        };
        let local = seq <= applied;
        Reached {
            local,
            logged: local && terms.log_is_file,
            durable: local && terms.log_is_file && levels.durable >= seq,
            majority: local && levels.majority >= seq,
            all: local && levels.all >= seq,
            peers: count(&levels.merged),
            durable_on: count(&levels.durable_on),
            members: terms.members,
        }
    }

    /// Whether a level is reached.
    #[must_use]
    pub fn has(&self, level: Ack) -> bool {
        self.local
            && match level {
                Ack::Local => true,
                Ack::Logged => self.logged,
                Ack::Durable => self.durable,
                Ack::Peers(peers) => self.peers >= peers,
                Ack::Majority => self.majority,
                Ack::All => self.all,
            }
    }

    /// What holds for both.
    pub(crate) fn and(self, other: Reached) -> Reached {
        Reached {
            local: self.local && other.local,
            logged: self.logged && other.logged,
            durable: self.durable && other.durable,
            majority: self.majority && other.majority,
            all: self.all && other.all,
            peers: self.peers.min(other.peers),
            durable_on: self.durable_on.min(other.durable_on),
            members: self.members.max(other.members),
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.local {
            return f.write_str("not known to be applied");
        }
        let here = match (self.logged, self.durable) {
            (_, true) => "durable here",
            (true, false) => "applied and logged here, not durable",
            (false, false) => "applied here",
        };
        let of = self.members.saturating_sub(1);
        write!(
            f,
            "{here}; merged by {} of {of} peers, known to be durable on {}",
            self.peers, self.durable_on
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: AckTerms = AckTerms { members: 3, log_is_file: true, never_synced: false };

    fn levels(durable: u64, one: u64, two: u64) -> Levels {
        let mut levels = Levels { durable, majority: one, all: two, ..Levels::default() };
        (levels.merged[0], levels.merged[1], levels.durable_on[0]) = (one, two, two);
        levels
    }

    #[test]
    fn each_level_is_known_by_its_own_watermark() {
        let reached = |seq| Reached::of(seq, 9, &levels(3, 7, 5), THREE);
        let has = |seq| {
            [Ack::Local, Ack::Logged, Ack::Durable, Ack::Peers(1), Ack::Peers(2), Ack::Majority, Ack::All]
                .map(|level| reached(seq).has(level))
        };
        assert_eq!(has(3), [true; 7]);
        assert_eq!(has(5), [true, true, false, true, true, true, true]);
        assert_eq!(has(7), [true, true, false, true, false, true, false]);
        assert_eq!(has(9), [true, true, false, false, false, false, false]);
        assert_eq!(has(10), [false; 7]);
        assert_eq!((reached(5).peers, reached(5).durable_on, reached(6).durable_on), (2, 1, 0));
        let both = reached(3).and(reached(7));
        assert_eq!((both.durable, both.peers, both.local), (false, 1, true));
    }

    #[test]
    fn what_can_never_be_reached_is_known_beforehand() {
        let memory = AckTerms { members: 3, log_is_file: false, never_synced: false };
        for level in [Ack::Logged, Ack::Durable] {
            assert_eq!(level.impossible(memory), Some(AckImpossible::NothingKept));
            assert_eq!(level.impossible(THREE), None);
        }
        let unsynced = AckTerms { never_synced: true, ..THREE };
        assert_eq!(Ack::Durable.impossible(unsynced), Some(AckImpossible::NeverSynced));
        assert_eq!((Ack::Logged.impossible(unsynced), Ack::All.impossible(unsynced)), (None, None));
        assert_eq!(Ack::Peers(2).impossible(memory), None);
        assert_eq!(Ack::Peers(3).impossible(memory), Some(AckImpossible::TooFewPeers { peers: 2 }));
        let many = AckTerms { members: 100, log_is_file: false, never_synced: false };
        assert_eq!(Ack::Peers(33).impossible(many), Some(AckImpossible::NotCounted { most: 32 }));
        assert_eq!((Ack::All.impossible(many), Ack::Majority.impossible(many)), (None, None));
    }

    #[test]
    fn it_is_said_in_words() {
        let words = |seq| Reached::of(seq, 9, &levels(3, 7, 5), THREE).to_string();
        assert_eq!(words(3), "durable here; merged by 2 of 2 peers, known to be durable on 1");
        assert_eq!(
            words(6),
            "applied and logged here, not durable; merged by 1 of 2 peers, known to be durable on 0"
        );
        assert_eq!(words(10), "not known to be applied");
    }
}
