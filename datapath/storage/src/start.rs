//! How a shard begins: what is left of the last run, and whether its epoch goes on.
//!
//! ```text
//!   snapshots ─ check ─> the newest whole one ─┐
//!   ring in memory ─ scan ─────────────────────┼─> the facts ─> continues_epoch? ─ yes ─> the ring as it is
//!   image on disk ─ read, scan, compare ───────┘                                 └ no ──> a new ring: all records that
//!                                                                                         are left, the new epoch's after
//!   ShardStart ─> the engine recovers ─> commit: the image (synced), the ring's name; only then is there room
//! ```
//!
//! Until [`ShardStart::commit`] nothing of the last run has been touched: whatever fails or is killed before it, the next
//! start finds the same. A new epoch is durable, in the image's header, before its log says that there is room.
//!
//! The ring in memory is the mark of what was given out in this boot. It names the directory by number and by inode, so a
//! copy in another place finds no mark, and a copy that was brought back is not what the ring says was written.

use crate::directory::{Directory, put_file};
use crate::disk::Disk;
use crate::error::{Finding, FindingKind, StorageError};
use crate::image::{Base, Image, ImageHeader, RING_AT, ReadError, ReadImage};
use crate::keeper::ShardKeeper;
use crate::log::{FileLog, LogHandle, Shared};
use crate::record::{self, Found, MAX_STRIDE, RECORD_HEADER_BYTES, Scan, stride};
use crate::ring::{About, Ring, RingError, Word};
use crate::snapshot::SnapshotReader;
use lattice_crdt::{ActorId, Dot};
use lattice_engine::{LastRun, ThisStart, continues_epoch};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

/// A record of an epoch that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldRecord {
    /// Whose operation it is.
    pub dot: Dot,
    /// The record as it was logged.
    pub bytes: Vec<u8>,
}

/// What a start is to try: less of it after an attempt that failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt {
    /// Take a new epoch in any case.
    pub new_epoch: bool,
    /// Leave out so many of the newest snapshots.
    pub skip_snapshots: usize,
}

/// What a shard begins with. Dropped without [`ShardStart::commit`], nothing has happened.
pub struct ShardStart {
    /// Whose operations the log takes from now on.
    pub actor: ActorId,
    /// It is the actor of the last run.
    pub continued: bool,
    /// The newest snapshot that is whole.
    pub snapshot: Option<SnapshotReader>,
    /// Records of epochs that are over, ascending within each; a snapshot may cover some.
    pub old: Vec<OldRecord>,
    /// What was not as it should be.
    pub findings: Vec<Finding>,
    shared: Arc<Shared>,
    log: Option<FileLog>,
    keep: Keep,
}

/// What is to be done when the engine has recovered.
struct Keep {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    ring: PathBuf,
    /// The image goes on, with this header; else a new one is made.
    resume: Option<ImageHeader>,
    base: Base,
    /// The present image is damaged, and a copy of it is put aside.
    put_aside: bool,
    next_slot: usize,
    next_generation: u64,
}

impl ShardStart {
    /// The log, once.
    pub fn take_log(&mut self) -> Option<FileLog> {
        self.log.take()
    }

    /// For whoever asks the log from another thread.
    pub fn handle(&self) -> LogHandle {
        LogHandle(self.shared.clone())
    }

    /// Makes it so: the image and with it the epoch become durable. From now on the log has room.
    ///
    /// # Errors
    /// [`StorageError`]; the next start finds what this one found.
    pub fn commit(self) -> Result<ShardKeeper, StorageError> {
        let Keep { disk, directory, ring, resume, base, put_aside, next_slot, next_generation } = self.keep;
        let path = directory.join("log");
        let image = match resume {
            Some(header) => Image::resume(&*disk, &path, self.shared, header)?,
            None => {
                let above = directory.parent().unwrap_or(Path::new("."));
                disk.create_directory(&directory)
                    .and_then(|()| disk.sync_directory(above))
                    .map_err(StorageError::io(&directory, "making the directory"))?;
                if put_aside {
                    // For people to look at. That it can't be read whole may be what is wrong with it.
                    let _ = copy_aside(&*disk, &path, &directory.join("log.damaged"));
                }
                let image = Image::create(&*disk, &path, self.shared, base)?;
                std::fs::rename(ring.with_extension("ring.new"), &ring)
                    .map_err(StorageError::io(&ring, "putting the log in memory in place"))?;
                let begun = directory.join("begun");
                if disk.open(&begun).is_err() {
                    put_file(&*disk, &begun, b"")?;
                    disk.sync_directory(&directory)
                        .map_err(StorageError::io(&directory, "syncing the directory"))?;
                }
                image
            }
        };
        Ok(ShardKeeper::new(disk, directory, image, next_slot, next_generation))
    }
}

fn copy_aside(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StorageError> {
    let file = disk.open(from).map_err(StorageError::io(from, "opening"))?;
    let mut bytes = vec![0; file.len_bytes().map_err(StorageError::io(from, "opening"))? as usize];
    file.read_at(&mut bytes, 0).map_err(StorageError::io(from, "reading"))?;
    put_file(disk, to, &bytes)
}

/// The ring in memory, as the last run left it.
struct LeftRing {
    ring: Ring,
    bytes: Vec<u8>,
    scan: Scan,
    tail: u64,
    durable: u64,
    generation: u64,
    given_out: Dot,
}

/// What was found of one shard.
struct Found1 {
    snapshot: Option<SnapshotReader>,
    next_slot: usize,
    newest_generation: u64,
    image: Option<ReadImage>,
    left: Option<LeftRing>,
}

impl Directory {
    /// Looks at what is left of a shard and makes ready to begin: with the epoch of the last run, or with `fresh`, which
    /// was never used before.
    ///
    /// # Errors
    /// [`StorageError`] if it can't begin at all; what merely is lost or damaged is in [`ShardStart::findings`].
    pub fn open_shard(
        &self,
        shard: u16,
        fresh: ActorId,
        attempt: Attempt,
    ) -> Result<ShardStart, StorageError> {
        if shard >= self.options.shards {
            let what = format!("shard {shard} of {}", self.options.shards);
            return Err(StorageError::Setting { what });
        }
        let mut findings = Vec::new();
        let found = self.look(shard, attempt, &mut findings)?;
        let used = found.snapshot.as_ref().map_or(0, SnapshotReader::generation);
        if let Some(image) = &found.image
            && used < image.header.base.generation
        {
            let expected = image.header.base.generation;
            let path = self.shard_directory(shard);
            findings.push(Finding::new(&path, None, FindingKind::SnapshotOld { expected, used }));
        }
        let goes_on = !attempt.new_epoch && self.goes_on(shard, &found, &mut findings);
        let begun = match goes_on {
            true => self.go_on(shard, found),
            false => self.begin_anew(shard, fresh, found, &mut findings),
        };
        let mut start = begun?;
        start.findings = findings;
        Ok(start)
    }

    fn look(
        &self,
        shard: u16,
        attempt: Attempt,
        findings: &mut Vec<Finding>,
    ) -> Result<Found1, StorageError> {
        let (directory, owner) = (self.shard_directory(shard), self.owner(shard));
        let mut snapshots = Vec::new();
        for slot in 0..2 {
            let path = directory.join(format!("snapshot.{slot}"));
            let opened = SnapshotReader::open(&*self.disk, &path, owner);
            match opened.and_then(|reader| reader.map(|mut r| r.check().map(|()| r)).transpose()) {
                Ok(reader) => snapshots.extend(reader.map(|reader| (slot, reader))),
                Err(error) => findings.push(of_error(&path, &error)),
            }
        }
        snapshots.sort_by_key(|(_, reader)| std::cmp::Reverse(reader.generation()));
        let newest = snapshots.first().map_or(0, |(_, reader)| reader.generation());
        let used = snapshots.into_iter().nth(attempt.skip_snapshots);
        let path = directory.join("log");
        let image = match ReadImage::read(&*self.disk, &path, owner) {
            Ok(image) => Some(image),
            Err(ReadError::Missing) => {
                if used.is_some() || self.disk.open(&directory.join("begun")).is_ok() {
                    findings.push(Finding::new(&path, None, FindingKind::LogMissing));
                }
                None
            }
            Err(ReadError::Headers(what)) => {
                findings.push(Finding::new(&path, Some(0), FindingKind::LogUnreadable(what)));
                None
            }
            Err(ReadError::Io(error)) => return Err(error),
        };
        if let Some((at, what)) = image.as_ref().and_then(|image| image.torn_header) {
            findings.push(Finding::new(&path, Some(at), FindingKind::LogHeaderTorn(what)));
        }
        let based_on = image.as_ref().map_or(0, |image| image.header.base.generation);
        Ok(Found1 {
            next_slot: used.as_ref().map_or(0, |(slot, _)| 1 - slot),
            snapshot: used.map(|(_, reader)| reader),
            newest_generation: newest.max(based_on),
            image,
            left: self.look_at_ring(shard, findings)?,
        })
    }

    /// `None`: there is no ring, or none that counts.
    fn look_at_ring(
        &self,
        shard: u16,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<LeftRing>, StorageError> {
        let path = self.ring_path(shard);
        if !path.exists() {
            return Ok(None);
        }
        let mut unusable = |what: String| {
            findings.push(Finding::new(&path, None, FindingKind::RingUnusable(what)));
            Ok(None)
        };
        let ring = match Ring::open(&path) {
            Ok(ring) => ring,
            Err(RingError::InUse) => return Err(StorageError::Locked { path, pid: None }),
            Err(RingError::Unusable(what)) => return unusable(what),
        };
        let about = ring.about();
        if about.boot_id != self.options.boot_id {
            return Ok(None);
        }
        if about.owner != self.owner(shard) || about.place != self.place {
            return unusable("the log in memory belongs to another directory".into());
        }
        let (tail, head) = (ring.load(Word::Tail, Acquire), ring.load(Word::Head, Acquire));
        let durable = ring.load(Word::Durable, Acquire);
        let capacity = ring.capacity_bytes();
        if tail > head || head - tail > capacity || durable > head || (tail | head | durable) % 8 != 0 {
            return unusable("the header of the log in memory makes no sense".into());
        }
        let mut bytes = vec![0; capacity as usize];
        for (place, chunk) in bytes.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&ring.word_at(place as u64 * 8).to_le_bytes());
        }
        let scan = record::scan(&bytes, about.salt, tail, head, Some(head));
        for &(from, to) in &scan.holes {
            let offset = Some(4096 + from % capacity);
            findings.push(Finding::new(&path, offset, FindingKind::LogDamaged { bytes: to - from }));
        }
        let actor = ActorId::from_u64(ring.load(Word::Actor, Acquire));
        let given_out = Dot::new(actor, ring.load(Word::LastSeq, Acquire));
        let generation = ring.load(Word::Generation, Acquire);
        Ok(Some(LeftRing { bytes, scan, tail, durable, generation, given_out, ring }))
    }

    /// Collects the facts and asks the engine's rule.
    fn goes_on(&self, shard: u16, found: &Found1, findings: &mut Vec<Finding>) -> bool {
        let (Some(image), Some(left)) = (&found.image, &found.left) else { return false };
        let header = &image.header;
        let about = left.ring.about();
        let is_its_ring = about.salt == header.salt && about.capacity_bytes == header.capacity_bytes;
        let as_written = is_its_ring && header.generation >= left.generation && same_bytes(image, left);
        if !as_written {
            let path = self.shard_directory(shard).join("log");
            findings.push(Finding::new(&path, None, FindingKind::NotAsWritten));
        }
        let reaches_back = needed_from(header, found.snapshot.as_ref()).is_some_and(|from| left.tail <= from);
        let epoch = header.actor.epoch();
        let last = LastRun {
            actor: header.actor,
            boot_id: header.boot_id,
            log_is_whole: as_written && reaches_back && left.scan.holes.is_empty(),
            log_last_seq: left.scan.records.iter().rev().find(|r| r.epoch == epoch).map_or(0, |r| r.seq),
        };
        let this = ThisStart { boot_id: self.options.boot_id, last_given_out: Some(left.given_out) };
        header.actor.epoch() != 0
            && header.capacity_bytes == self.options.log_bytes
            && continues_epoch(&last, &this)
    }

    fn go_on(&self, shard: u16, found: Found1) -> Result<ShardStart, StorageError> {
        let (Some(image), Some(left)) = (found.image, found.left) else {
            let what = "an epoch goes on without a log".to_owned();
            return Err(StorageError::Setting { what });
        };
        let header = image.header;
        let actor = header.actor;
        let old = left.scan.records.iter().filter(|record| record.epoch != actor.epoch());
        let old = old.map(|record| old_record(actor.node(), &left.bytes, record)).collect();
        let base = header.base;
        let shared = Arc::new(Shared::new(left.ring, base.mark));
        let log = FileLog::new(shared.clone(), actor);
        Ok(ShardStart {
            actor,
            continued: true,
            snapshot: found.snapshot,
            old,
            findings: Vec::new(),
            shared,
            log: Some(log),
            keep: Keep {
                disk: self.disk.clone(),
                directory: self.shard_directory(shard),
                ring: self.ring_path(shard),
                resume: Some(header),
                base,
                put_aside: false,
                next_slot: found.next_slot,
                next_generation: found.newest_generation + 1,
            },
        })
    }

    /// A new ring with everything that is left, for the epoch of `fresh`.
    fn begin_anew(
        &self,
        shard: u16,
        fresh: ActorId,
        found: Found1,
        findings: &mut Vec<Finding>,
    ) -> Result<ShardStart, StorageError> {
        let path = self.shard_directory(shard).join("log");
        let old = left_records(&path, fresh.node(), &found, findings);
        if old.iter().any(|record| record.dot.actor == fresh) {
            return Err(StorageError::Setting {
                what: format!("epoch {:#x} was used before", fresh.epoch()),
            });
        }
        let needed_bytes: u64 = old.iter().map(|record| stride(record.bytes.len())).sum();
        let capacity_bytes = self.options.log_bytes.max((needed_bytes + MAX_STRIDE).next_power_of_two());
        if capacity_bytes > self.options.log_bytes {
            findings.push(Finding::new(&path, None, FindingKind::LogEnlarged { bytes: capacity_bytes }));
        }
        let put_aside = findings.iter().any(|finding| finding.path == path && finding.is_loss());
        let about = About {
            owner: self.owner(shard),
            capacity_bytes,
            salt: self.draw(),
            boot_id: self.options.boot_id,
            place: self.place,
        };
        let ring_path = self.ring_path(shard);
        let ring = Ring::create(&ring_path.with_extension("ring.new"), about)?;
        let shared = Arc::new(Shared::new(ring, 0));
        let mut log = FileLog::new(shared.clone(), fresh);
        old.iter().for_each(|record| log.carry_over(record.dot, &record.bytes));
        let generation = found.snapshot.as_ref().map_or(0, SnapshotReader::generation);
        Ok(ShardStart {
            actor: fresh,
            continued: false,
            snapshot: found.snapshot,
            old,
            findings: Vec::new(),
            shared,
            log: Some(log),
            keep: Keep {
                disk: self.disk.clone(),
                directory: self.shard_directory(shard),
                ring: ring_path,
                resume: None,
                base: Base { generation, mark: 0 },
                put_aside,
                next_slot: found.next_slot,
                next_generation: found.newest_generation + 1,
            },
        })
    }
}

fn of_error(path: &Path, error: &StorageError) -> Finding {
    let (offset, what) = match error {
        StorageError::Damaged { offset, what, .. } => (Some(*offset), what.clone()),
        other => (None, other.to_string()),
    };
    Finding::new(path, offset, FindingKind::SnapshotDamaged(what))
}

/// From which offset on the log is needed beside this snapshot; `None` if none would be enough.
fn needed_from(header: &ImageHeader, used: Option<&SnapshotReader>) -> Option<u64> {
    let generation = used.map_or(0, SnapshotReader::generation);
    let mark = used.filter(|used| used.header.log_salt == header.salt).map(|used| used.header.base.mark);
    match generation >= header.base.generation {
        true => Some(mark.unwrap_or(header.base.mark).max(header.base.mark)),
        false => mark,
    }
}

/// Whether the image holds what the ring says was made durable.
fn same_bytes(image: &ReadImage, left: &LeftRing) -> bool {
    let capacity = image.ring.len() as u64;
    // Behind the image's end stands its mark, where the ring may still hold what is not needed any more.
    let from = left.tail.max(image.header.base.mark);
    let to = left.durable.max(from);
    let (first, last) = ((from % capacity) as usize, (to % capacity) as usize);
    let same = |range: std::ops::Range<usize>| image.ring[range.clone()] == left.bytes[range];
    match to - from {
        0 => true,
        _ if first < last => same(first..last),
        _ => same(first..capacity as usize) && same(0..last),
    }
}

fn old_record(node: u16, ring: &[u8], found: &Found) -> OldRecord {
    let begin = (found.offset % ring.len() as u64) as usize + RECORD_HEADER_BYTES;
    let dot = Dot::new(ActorId::new(node, found.epoch), found.seq);
    OldRecord { dot, bytes: ring[begin..begin + found.len].to_vec() }
}

/// Every record that the image and the ring in memory still hold and the snapshot does not cover, each once.
fn left_records(path: &Path, node: u16, found: &Found1, findings: &mut Vec<Finding>) -> Vec<OldRecord> {
    let used = found.snapshot.as_ref();
    let covered =
        |salt: u64| used.filter(|used| used.header.log_salt == salt).map_or(0, |used| used.header.base.mark);
    let mut records = Vec::new();
    if let Some(image) = &found.image {
        let header = &image.header;
        let from = needed_from(header, used)
            .unwrap_or_else(|| header.base.mark.saturating_sub(header.capacity_bytes));
        let scan = image.scan(from);
        // Where memory has everything, it does not matter how far a flush had come when the process was killed.
        let in_memory = |left: &LeftRing| {
            left.ring.about().salt == header.salt && left.scan.holes.is_empty() && left.tail <= from
        };
        if !found.left.as_ref().is_some_and(in_memory) {
            note_holes(path, header, &scan, findings);
        }
        records.extend(scan.records.iter().map(|r| (header.salt, &image.ring, *r)));
    }
    if let Some(left) = &found.left {
        let salt = left.ring.about().salt;
        records.extend(left.scan.records.iter().map(|r| (salt, &left.bytes, *r)));
        // The same ring twice: in the order of the ring.
        if found.image.as_ref().is_some_and(|image| image.header.salt == salt) {
            records.sort_by_key(|(_, _, record)| record.offset);
        }
    }
    let mut seen = HashSet::new();
    let kept = records.into_iter().filter(|(salt, _, record)| {
        record.offset >= covered(*salt) && seen.insert((record.epoch, record.seq))
    });
    kept.map(|(_, ring, record)| old_record(node, ring, &record)).collect()
}

/// Says of each stretch without a record what it is.
fn note_holes(path: &Path, header: &ImageHeader, scan: &Scan, findings: &mut Vec<Finding>) {
    if !scan.has_end_mark {
        let offset = Some(RING_AT + scan.end % header.capacity_bytes);
        findings.push(Finding::new(path, offset, FindingKind::LogEndMissing));
    }
    let mut note = |from: u64, to: u64, what: fn(u64) -> FindingKind| {
        if from < to {
            let offset = Some(RING_AT + from % header.capacity_bytes);
            findings.push(Finding::new(path, offset, what(to - from)));
        }
    };
    let (reused, synced) = (header.base.mark, header.synced);
    let trailing = (scan.end < synced).then_some((scan.end, synced));
    for &(from, to) in scan.holes.iter().chain(&trailing) {
        note(from, to.min(reused), |bytes| FindingKind::LogReused { bytes });
        note(from.max(reused), to.min(synced), |bytes| FindingKind::LogDamaged { bytes });
        note(from.max(synced).max(reused), to, |bytes| FindingKind::LogTorn { bytes });
    }
}
