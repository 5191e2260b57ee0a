//! Backups: the snapshots of all shards in one file, and the way back from it to a node.
//!
//! ```text
//!   header 512      who: cluster, node, shards, when                                  sealed
//!   for each shard, in their order:
//!     section 64    mark, shard | bytes of the snapshot | records, their bytes and sum  sealed
//!     snapshot      the snapshot file as it is, with its own header, sums and trailer
//!     records       actor 8 | seq 8 | length 8 | the record                           ... own operations since then
//!   end 64          mark | sections | bytes | hash of all sections' seals               sealed; and nothing after it
//!
//!   daemon: snapshots on command ─> ShardImage::copy ─> descriptors ─> latticectl: BackupWriter ─> FILE
//!   FILE ─> BackupReader ─┬─> Directory::restore ─> a data directory for a new node
//!                         └─> BackupShard::recover ─> an engine in memory, to look at
//! ```
//!
//! What a backup of a shard holds: everything that was merged before its snapshot was begun, own operations up to a point
//! after its end without a gap, and of other nodes' operations that came in between those that the walk happened to see. What
//! it shows beyond its vector it does not cover: peers bring it again, and nothing counts twice. Shards are apart, as they are
//! everywhere: there is no one moment for all of them.
//!
//! A restored node is a new one. It begins in an epoch of its own, so a dot of the old epochs is never used twice, whether the
//! old node still runs, is dead, or has gone on since the backup. What was removed since then does not come back: peers cover
//! those operations, and this node asks them for what it does not cover. Another node's number is fine for the same reason, and
//! so is another cluster, when it is asked for: actors of two clusters differ by 40 random bits at least, and no frame of one
//! is taken by the other; the state is copied, and both go on alone.
//!
//! What can go wrong: a damaged file is refused before anything is written, with the byte. A restore that fails takes away what
//! it had made; one that is killed leaves a directory without an identity, which no daemon takes.

mod read;
mod restore;
mod write;

pub use read::{BackupReader, BackupShard};
pub use restore::{Restored, restore};
pub use write::{BackupFile, BackupWriter, ShardCopy};

use crate::fields::{Get, Put};
use lattice_wire::MAX_RECORD_BYTES;

const MAGIC: u64 = u64::from_le_bytes(*b"LATBACK1");
const HEADER_BYTES: usize = 512;
const SECTION_BYTES: usize = 64;
const SECTION_MARK: u64 = 0x5EC7_1011;
const END_MARK: u64 = 0xE4D0_F177;
/// Bytes before a record.
const RECORD_HEAD_BYTES: usize = 24;
/// The longest name of a cluster that fits.
const MAX_NAME_BYTES: usize = 255;
const _: () = assert!(MAX_RECORD_BYTES < 1 << 16);

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupAbout {
    /// Name of the cluster; at most 255 bytes.
    pub cluster: String,
    /// What its frames carry.
    pub cluster_tag: u32,
    /// The node whose state it is.
    pub node: u16,
    /// Shards of the cluster.
    pub shards: u16,
    /// When it was taken, milliseconds of Unix time.
    pub taken_unix_ms: u64,
}

impl BackupAbout {
    fn write(&self, block: &mut [u8; HEADER_BYTES]) {
        let name = &self.cluster.as_bytes()[..self.cluster.len().min(MAX_NAME_BYTES)];
        let mut put = Put::new(block);
        put.u64(MAGIC).u64(u64::from(self.node) << 16 | u64::from(self.shards));
        put.u64(u64::from(self.cluster_tag)).u64(self.taken_unix_ms).u64(name.len() as u64);
        put.bytes(name).seal();
    }

    fn read(block: &[u8]) -> Result<Self, &'static str> {
        let mut get = Get::sealed(block).ok_or("the header is damaged, or this is no backup")?;
        if get.u64() != MAGIC {
            return Err("not a backup of this version");
        }
        let (both, tag, taken_unix_ms, len) = (get.u64(), get.u64(), get.u64(), get.u64());
        let name =
            usize::try_from(len).ok().filter(|len| *len <= MAX_NAME_BYTES).and_then(|len| get.bytes(len));
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        Ok(Self {
            cluster: name.ok_or("the header names no cluster")?.to_owned(),
            cluster_tag: tag as u32,
            node: (both >> 16) as u16,
            shards: both as u16,
            taken_unix_ms,
        })
    }
}

/// What stands before a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Section {
    shard: u16,
    snapshot_bytes: u64,
    records: u64,
    records_bytes: u64,
    records_sum: u64,
}

impl Section {
    fn write(&self, block: &mut [u8; SECTION_BYTES]) {
        let mut put = Put::new(block);
        put.u64(SECTION_MARK << 16 | u64::from(self.shard)).u64(self.snapshot_bytes);
        put.u64(self.records).u64(self.records_bytes).u64(self.records_sum).seal();
    }

    fn read(block: &[u8]) -> Result<Self, &'static str> {
        let mut get = Get::sealed(block).ok_or("the section of a shard is damaged")?;
        let mark = get.u64();
        if mark >> 16 != SECTION_MARK {
            return Err("no section of a shard begins here");
        }
        Ok(Self {
            shard: mark as u16,
            snapshot_bytes: get.u64(),
            records: get.u64(),
            records_bytes: get.u64(),
            records_sum: get.u64(),
        })
    }
}

/// What stands after the last shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    sections: u64,
    bytes: u64,
    /// Of the seals of all sections, in their order.
    hash: u64,
}

impl End {
    fn write(&self, block: &mut [u8; SECTION_BYTES]) {
        Put::new(block).u64(END_MARK).u64(self.sections).u64(self.bytes).u64(self.hash).seal();
    }

    /// Takes one more section in.
    fn add(&mut self, section: &[u8; SECTION_BYTES]) {
        self.sections += 1;
        self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(section, self.hash);
    }
}
