//! `seal`: what it costs that frames are sealed (AES-128-GCM), beside the checksum of those that are not.
//!
//! ```text
//!   sender    cut ── seal | checksum ──> frame ──> split ── open (copies the payload) | check ── merge    receiver
//! ```
//!
//! A frame is made for one peer in either case, so sealing copies nothing. The rows of deltas are rounds of a thousand
//! counters, as in `merge`: sealed and not in turns, so that both have the same weather; the headline is the difference.

use std::time::{Duration, Instant};

use anyhow::Context;
use lattice_crdt::{ActorId, Kind};
use lattice_engine::LocalOp;
use lattice_seal::{KEY_FRAMES, OpenKey, Opened, SealKey, Secret};
use lattice_wire::{
    FrameType, FrameWriter, HEADER_BYTES, Header, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, TAG_BYTES,
    decode_frame, split_frame, write_checksum,
};
use serde_json::json;

use crate::budget::{Budget, Quantity};
use crate::engines::{Engines, Round, Size};
use crate::measure::{Effort, measure};
use crate::merge::{Draw, names, per_delta};
use crate::report::{Report, Row};
use crate::series::{Series, Unit};

const CLUSTER_TAG: u32 = 0xBE7C;
const CORE: usize = 0;
const ROUND: usize = 1000;
const KEYS: usize = 1000;
/// Frames that are sealed before they are opened again.
const FRAMES: usize = 256;
/// Of a full frame (DESIGN, section 8), and of each delta in one.
const FULL_FRAME_NS: f64 = 350.0;
const DELTA_NS: f64 = 8.0;

/// Runs all cases.
///
/// # Errors
/// If keys can't be drawn, or the engines do not do what they are told.
pub fn run(effort: Effort) -> anyhow::Result<Report> {
    let is_pinned = core_affinity::set_for_current(core_affinity::CoreId { id: CORE });
    let mut report = Report::new("seal", json!({ "loop": "closed", "pinned": is_pinned, "round": ROUND }));
    for payload_bytes in [MAX_PAYLOAD_BYTES, 16] {
        frames(payload_bytes, effort)?.into_iter().for_each(|row| report.push(row));
    }
    let [added, plain, sealed] = deltas(effort)?;
    report.push_headline(added);
    report.push(plain);
    report.push(sealed);
    Ok(report)
}

/// A frame without a tag.
fn untagged(payload_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let header = Header {
        frame_type: FrameType::Data,
        cluster_tag: CLUSTER_TAG,
        node: 1,
        dest_node: 2,
        shard: 0,
        actor: ActorId::new(1, 7),
        src_session: 1,
        dst_session: 2,
        lo: 0,
        count: 1,
        log_first: 1,
    };
    let mut frame = vec![0; MAX_FRAME_BYTES];
    let mut writer = FrameWriter::new(&mut frame, header).context("no room")?;
    writer.push_bytes(&vec![7; payload_bytes])?;
    let len = writer.finish_untagged();
    frame.truncate(len);
    Ok(frame)
}

fn keys() -> anyhow::Result<(SealKey, OpenKey)> {
    let secret = Secret::draw()?;
    Ok((SealKey::new(&secret, 1, KEY_FRAMES)?, OpenKey::new(&secret, 1)?))
}

/// Sealing, opening, and the two ends of the checksum, of a frame with so much payload.
fn frames(payload_bytes: usize, effort: Effort) -> anyhow::Result<[Row; 4]> {
    let duration = effort.pick(Duration::from_millis(600), Duration::from_millis(5));
    let bytes = HEADER_BYTES + payload_bytes + TAG_BYTES;
    let name = |what: &str| format!("{what} a frame of {bytes} B");
    let mut frame = untagged(payload_bytes)?;

    let (mut key, _) = keys()?;
    let seal = measure(&name("seal"), duration, || Ok(key.seal(0, &mut frame)?))?;

    let (mut sealer, mut opener) = keys()?;
    let mut sealed = Vec::new();
    let mut opened: Box<Opened> = Box::new([0; MAX_PAYLOAD_BYTES]);
    let mut open = Series::new(name("open"), Unit::Ns);
    let began = Instant::now();
    while began.elapsed() < duration {
        sealed.resize(FRAMES, untagged(payload_bytes)?);
        sealed.iter_mut().try_for_each(|frame| sealer.seal(0, frame))?;
        let batch = Instant::now();
        for frame in &sealed {
            std::hint::black_box(opener.open(0, &split_frame(frame, CLUSTER_TAG)?, &mut opened)?);
        }
        open.record(batch.elapsed().as_nanos() as f64 / FRAMES as f64);
        if sealer.sealed() > KEY_FRAMES / 2 {
            (sealer, opener) = keys()?;
        }
    }

    let mut plain = untagged(payload_bytes)?;
    let write = measure(&name("checksum"), duration, || {
        write_checksum(std::hint::black_box(&mut plain));
        Ok(())
    })?;
    let check = measure(&name("check the checksum of"), duration, || {
        Ok(decode_frame(std::hint::black_box(&plain), CLUSTER_TAG)?.header.count)
    })?;
    let budget = || Budget::at_most(Quantity::P50, FULL_FRAME_NS);
    Ok([
        Row::new(seal.batch).budget(budget()).chart("seal"),
        Row::new(open).budget(budget()).chart("seal"),
        Row::new(write.batch).chart("seal"),
        Row::new(check.batch).chart("seal"),
    ])
}

/// What sealing adds to a delta, from the log of one host into the published segment of the other; and both ways.
fn deltas(effort: Effort) -> anyhow::Result<[Row; 3]> {
    let directory = tempfile::Builder::new().prefix("lattice-bench-").tempdir_in("/dev/shm")?;
    let size = Size { origins: 1, keys: KEYS + 16, extent_bytes: 1 << 20 };
    let mut engines = Engines::start(directory.path(), size)?;
    let (keys, mut draw) = (names(KEYS), Draw::new());
    let mut round = |engines: &mut Engines, is_sealed: bool| -> anyhow::Result<Round> {
        engines.seal(is_sealed)?;
        let operation = |_: usize| {
            let key = keys.get(draw.below(KEYS)).map_or(&[][..], Vec::as_slice);
            (Kind::Counter, key, LocalOp::CounterAdd(1))
        };
        engines.round(0, ROUND, ROUND, operation)
    };
    // All keys, and then by alias.
    for _ in 0..16 {
        round(&mut engines, false)?;
    }
    let way = |what: &str| format!("counter, {KEYS} keys: cut + merge + publish, {what}");
    let mut plain = Series::new(way("with a checksum"), Unit::Ns);
    let mut sealed = Series::new(way("sealed"), Unit::Ns);
    let mut total = Round::default();
    let duration = effort.pick(Duration::from_millis(3000), Duration::from_millis(20));
    let began = Instant::now();
    while began.elapsed() < duration {
        for (is_sealed, series) in [(false, &mut plain), (true, &mut sealed)] {
            let round = round(&mut engines, is_sealed)?;
            series.record(per_delta(round.cut + round.merge + round.publish, round));
            total.add(&round);
        }
    }
    let added = (sealed.numbers().p50 - plain.numbers().p50).max(0.0);
    let setup = json!({ "deltas per frame": total.deltas as f64 / total.frames as f64 });
    let added = Row::new(Series::single("what sealing adds to a delta, both ends", Unit::Ns, added))
        .budget(Budget::at_most(Quantity::P50, DELTA_NS))
        .setup(setup);
    Ok([added, Row::new(plain).chart("seal"), Row::new(sealed).chart("seal")])
}
