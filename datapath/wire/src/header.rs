//! The frame header. Its first 16 bytes are all that the XDP program looks at; the C header that it is compiled with is
//! generated from [`offsets`].
//!
//! ```text
//!        0        1        2        3        4        5        6        7
//!    0  'L'      'T'      version  type     cluster_tag
//!    8  node              dest_node         shard             payload_len
//!   16  actor (the sender's)
//!   24  src_session                         dst_session (0: not known yet)
//!   32  lo
//!   40  count (Data: hi = lo + count)       seal key (0: not sealed)
//!   48  log_first: the first seq that is still in the sender's log
//!   56  seal counter (0: not sealed)
//!   64  payload ... then the tag, 16 bytes
//! ```
//!
//! A frame is sealed, or it is not: the key's number says which, in the same version of the format, so that a cluster can go
//! over host by host. In a sealed one the payload is encrypted and the header is not; the tag covers both (crate
//! `lattice-seal`).
//!
//! What can go wrong: two daemons of different versions, or of two clusters on one network. Version and cluster tag
//! tell them apart before anything else is looked at.

use lattice_crdt::ActorId;

use crate::WireError;

/// What every frame starts with.
pub const MAGIC: [u8; 2] = *b"LT";
/// The version of the format.
pub const VERSION: u8 = 2;
/// Length of the header.
pub const HEADER_BYTES: usize = 64;
/// Length of the tag after the payload.
pub const TAG_BYTES: usize = 16;
/// Longest frame: the Ethernet MTU of 1500 less an IPv6 header (40) and a UDP header (8), so no frame is ever
/// fragmented on either IP version.
pub const MAX_FRAME_BYTES: usize = 1500 - 40 - 8;
/// Longest payload.
pub const MAX_PAYLOAD_BYTES: usize = MAX_FRAME_BYTES - HEADER_BYTES - TAG_BYTES;
/// The `dest_node` of a frame for whoever gets it.
pub const ANY_NODE: u16 = 0xFFFF;

/// Where each field of the header is, in bytes from its start.
pub mod offsets {
    /// Two bytes, [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// u8, [`super::VERSION`].
    pub const VERSION: usize = 2;
    /// u8, [`super::FrameType`].
    pub const FRAME_TYPE: usize = 3;
    /// u32.
    pub const CLUSTER_TAG: usize = 4;
    /// u16, the sender.
    pub const NODE: usize = 8;
    /// u16, the receiver or [`super::ANY_NODE`].
    pub const DEST_NODE: usize = 10;
    /// u16.
    pub const SHARD: usize = 12;
    /// u16, bytes between header and tag.
    pub const PAYLOAD_LEN: usize = 14;
    /// u64, the sender's actor.
    pub const ACTOR: usize = 16;
    /// u32.
    pub const SRC_SESSION: usize = 24;
    /// u32.
    pub const DST_SESSION: usize = 28;
    /// u64.
    pub const LO: usize = 32;
    /// u32.
    pub const COUNT: usize = 40;
    /// u32, the number of the key that the frame is sealed with; zero: it is not sealed.
    pub const SEAL_KEY: usize = 44;
    /// u64.
    pub const LOG_FIRST: usize = 48;
    /// u64, counts the frames of a lane under one key from 1 on; zero: it is not sealed.
    pub const SEAL_COUNTER: usize = 56;
    /// The first byte after the header.
    pub const PAYLOAD: usize = 64;
}

// The fields follow each other without a hole, and a frame's length fits its field.
const _: () = {
    assert!(offsets::VERSION == offsets::MAGIC + 2 && offsets::FRAME_TYPE == offsets::VERSION + 1);
    assert!(offsets::CLUSTER_TAG == offsets::FRAME_TYPE + 1 && offsets::NODE == offsets::CLUSTER_TAG + 4);
    assert!(offsets::DEST_NODE == offsets::NODE + 2 && offsets::SHARD == offsets::DEST_NODE + 2);
    assert!(offsets::PAYLOAD_LEN == offsets::SHARD + 2 && offsets::ACTOR == offsets::PAYLOAD_LEN + 2);
    assert!(offsets::SRC_SESSION == offsets::ACTOR + 8 && offsets::DST_SESSION == offsets::SRC_SESSION + 4);
    assert!(offsets::LO == offsets::DST_SESSION + 4 && offsets::COUNT == offsets::LO + 8);
    assert!(offsets::SEAL_KEY == offsets::COUNT + 4 && offsets::LOG_FIRST == offsets::SEAL_KEY + 4);
    assert!(offsets::SEAL_COUNTER == offsets::LOG_FIRST + 8 && offsets::PAYLOAD == offsets::SEAL_COUNTER + 8);
    assert!(offsets::PAYLOAD == HEADER_BYTES && HEADER_BYTES.is_multiple_of(8));
    assert!(MAX_PAYLOAD_BYTES <= u16::MAX as usize && MAX_FRAME_BYTES == 1452);
};

/// What a frame carries.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
#[repr(u8)]
pub enum FrameType {
    /// Delta records of the sender's own operations, in the interval (lo, lo + count].
    Data = 1,
    /// What has been received of one actor.
    Ack = 2,
    /// Opens a session and says, in parts, what the sender has.
    Hello = 3,
    /// Digests, clock and last seq of a shard.
    Heartbeat = 4,
    /// Anti-entropy: what the sender has, in parts.
    Vector = 5,
    /// Asks for a state sync of what the sender does not have.
    SyncRequest = 6,
    /// A piece of a state sync.
    SyncData = 7,
    /// Acknowledges pieces of a state sync.
    SyncAck = 8,
    /// What the sender would still have after the worst restart, in parts: contiguous seqs only.
    Stable = 9,
    /// Which nodes are no members any more, and a question or an answer about what is known of them.
    Forget = 10,
    /// The live epoch of a node asks about its dead ones, that they may be folded; an agreement; the decision.
    Fold = 11,
}

impl FrameType {
    /// All types, in the order of their numbers.
    pub const ALL: [FrameType; 11] = [
        FrameType::Data,
        FrameType::Ack,
        FrameType::Hello,
        FrameType::Heartbeat,
        FrameType::Vector,
        FrameType::SyncRequest,
        FrameType::SyncData,
        FrameType::SyncAck,
        FrameType::Stable,
        FrameType::Forget,
        FrameType::Fold,
    ];
}

impl TryFrom<u8> for FrameType {
    type Error = WireError;

    fn try_from(number: u8) -> Result<Self, WireError> {
        let at = usize::from(number).wrapping_sub(1);
        Self::ALL.get(at).copied().ok_or(WireError::BadType(number))
    }
}

/// What a header says of the frame's seal.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct SealMark {
    /// The number of the key, not zero.
    pub key: u32,
    /// Counts the frames of a lane under this key.
    pub counter: u64,
}

impl SealMark {
    /// Writes it into the header of a frame.
    pub fn write(self, header: &mut [u8; HEADER_BYTES]) {
        put(header, offsets::SEAL_KEY, self.key.to_le_bytes());
        put(header, offsets::SEAL_COUNTER, self.counter.to_le_bytes());
    }
}

/// The header of a frame, without what the encoder fills in by itself.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Header {
    /// What the payload is.
    pub frame_type: FrameType,
    /// Which cluster the frame belongs to.
    pub cluster_tag: u32,
    /// The sender.
    pub node: u16,
    /// The receiver, or [`ANY_NODE`].
    pub dest_node: u16,
    /// The shard that it is about.
    pub shard: u16,
    /// The sender's actor: whose operations a Data frame carries.
    pub actor: ActorId,
    /// The sender's session.
    pub src_session: u32,
    /// The receiver's session as far as the sender knows; 0 if it does not.
    pub dst_session: u32,
    /// Data: the interval starts after this seq. SyncData: the index of this frame in its stream. Hello: the generation that
    /// the receiver's epoch must have, or it is no member any more. Heartbeat, SyncRequest: the digest of the epochs that the
    /// sender has folded; 0 if none.
    pub lo: u64,
    /// Data: how many records. SyncData: how many items. Hello: 1 if the session that it echoes is adopted, 2 if
    /// the receiver's epoch is over, else 0.
    pub count: u32,
    /// The first seq that is still in the sender's log.
    pub log_first: u64,
}

impl Header {
    /// The last seq of a Data frame's interval (lo, hi].
    pub const fn hi(&self) -> u64 {
        self.lo.saturating_add(self.count as u64)
    }

    pub(crate) fn encode(&self, payload_len: u16) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        put(&mut out, offsets::MAGIC, MAGIC);
        put(&mut out, offsets::VERSION, [VERSION]);
        put(&mut out, offsets::FRAME_TYPE, [self.frame_type as u8]);
        put(&mut out, offsets::CLUSTER_TAG, self.cluster_tag.to_le_bytes());
        put(&mut out, offsets::NODE, self.node.to_le_bytes());
        put(&mut out, offsets::DEST_NODE, self.dest_node.to_le_bytes());
        put(&mut out, offsets::SHARD, self.shard.to_le_bytes());
        put(&mut out, offsets::PAYLOAD_LEN, payload_len.to_le_bytes());
        put(&mut out, offsets::ACTOR, self.actor.as_u64().to_le_bytes());
        put(&mut out, offsets::SRC_SESSION, self.src_session.to_le_bytes());
        put(&mut out, offsets::DST_SESSION, self.dst_session.to_le_bytes());
        put(&mut out, offsets::LO, self.lo.to_le_bytes());
        put(&mut out, offsets::COUNT, self.count.to_le_bytes());
        put(&mut out, offsets::LOG_FIRST, self.log_first.to_le_bytes());
        out
    }

    /// The header, what it says of the seal, and the payload length that it claims. Everything is checked but that length and
    /// the tag.
    pub(crate) fn decode(
        bytes: &[u8; HEADER_BYTES],
        cluster_tag: u32,
    ) -> Result<(Self, Option<SealMark>, usize), WireError> {
        if get(bytes, offsets::MAGIC) != MAGIC {
            return Err(WireError::BadMagic);
        }
        if bytes[offsets::VERSION] != VERSION {
            return Err(WireError::BadVersion(bytes[offsets::VERSION]));
        }
        let claimed_tag = u32::from_le_bytes(get(bytes, offsets::CLUSTER_TAG));
        if claimed_tag != cluster_tag && !zoo!(OtherClusterAccepted) {
            return Err(WireError::WrongCluster);
        }
        let header = Header {
            frame_type: FrameType::try_from(bytes[offsets::FRAME_TYPE])?,
            cluster_tag: claimed_tag,
            node: u16::from_le_bytes(get(bytes, offsets::NODE)),
            dest_node: u16::from_le_bytes(get(bytes, offsets::DEST_NODE)),
            shard: u16::from_le_bytes(get(bytes, offsets::SHARD)),
            actor: ActorId::from_u64(u64::from_le_bytes(get(bytes, offsets::ACTOR))),
            src_session: u32::from_le_bytes(get(bytes, offsets::SRC_SESSION)),
            dst_session: u32::from_le_bytes(get(bytes, offsets::DST_SESSION)),
            lo: u64::from_le_bytes(get(bytes, offsets::LO)),
            count: u32::from_le_bytes(get(bytes, offsets::COUNT)),
            log_first: u64::from_le_bytes(get(bytes, offsets::LOG_FIRST)),
        };
        let key = u32::from_le_bytes(get(bytes, offsets::SEAL_KEY));
        let counter = u64::from_le_bytes(get(bytes, offsets::SEAL_COUNTER));
        let mark = match (key, counter) {
            (0, 0) => None,
            (0, _) => return Err(WireError::BadReserved),
            _ => Some(SealMark { key, counter }),
        };
        if header.frame_type == FrameType::Data && header.lo.checked_add(u64::from(header.count)).is_none() {
            return Err(WireError::BadInterval);
        }
        Ok((header, mark, usize::from(u16::from_le_bytes(get(bytes, offsets::PAYLOAD_LEN)))))
    }
}

// Both index a fixed array by the constants of `offsets`, which the assertions above keep inside it.
fn put<const N: usize>(out: &mut [u8; HEADER_BYTES], at: usize, field: [u8; N]) {
    out[at..at + N].copy_from_slice(&field);
}

fn get<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}
