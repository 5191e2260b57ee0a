//! Sealed frames: what comes back, what does not, and what each key may be used for.

use std::collections::{BTreeSet, HashSet};

use lattice_crdt::ActorId;
use lattice_seal::{
    KEY_FRAMES, OpenKey, Opened, Refused, SECRET_BYTES, SealKey, Secret, WINDOW_FRAMES, Window, Worn,
};
use lattice_wire::{
    FrameType, FrameWriter, HEADER_BYTES, Header, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, TAG_BYTES, WireError,
    decode_frame, offsets, split_frame,
};
use proptest::prelude::*;

const CLUSTER: u32 = 0xC1A5_7E12;
const SHARDS: u16 = 4;
const SHARD: u16 = 3;

fn secret(byte: u8) -> Secret {
    Secret::of_parts(0x5EA1_0001, [byte; SECRET_BYTES]).expect("a number")
}

fn ends(secret: &Secret) -> (SealKey, OpenKey) {
    let seal = SealKey::new(secret, SHARDS, KEY_FRAMES).expect("usable");
    (seal, OpenKey::new(secret, SHARDS).expect("usable"))
}

fn untagged(frame_type: FrameType, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        frame_type,
        cluster_tag: CLUSTER,
        node: 1,
        dest_node: 2,
        shard: SHARD,
        actor: ActorId::new(1, 77),
        src_session: 4,
        dst_session: 5,
        lo: 6,
        count: 7,
        log_first: 8,
    };
    let mut bytes = vec![0; MAX_FRAME_BYTES];
    let mut writer = FrameWriter::new(&mut bytes, header).expect("room");
    writer.push_bytes(payload).expect("it fits");
    let len = writer.finish_untagged();
    bytes.truncate(len);
    bytes
}

fn sealed(key: &mut SealKey, frame_type: FrameType, payload: &[u8]) -> Vec<u8> {
    let mut bytes = untagged(frame_type, payload);
    key.seal(SHARD, &mut bytes).expect("sealed");
    bytes
}

/// As a receiver does it: the type and payload, or why not.
fn open(key: &mut OpenKey, bytes: &[u8]) -> Result<(FrameType, Vec<u8>), String> {
    let mut opened: Opened = [0; MAX_PAYLOAD_BYTES];
    let envelope = split_frame(bytes, CLUSTER).map_err(|error| error.reason().to_owned())?;
    let frame = key.open(SHARD, &envelope, &mut opened).map_err(|refused| format!("{refused:?}"))?;
    Ok((frame.header.frame_type, frame.payload.to_vec()))
}

fn payloads() -> [Vec<u8>; 3] {
    let text = b"a payload that nobody else may read".to_vec();
    [Vec::new(), text, (0..MAX_PAYLOAD_BYTES).map(|at| at as u8).collect()]
}

#[test]
fn what_was_sealed_comes_back_once_and_shows_nothing_on_its_way() {
    let (mut seal, mut key) = ends(&secret(1));
    for (frame_type, payload) in FrameType::ALL.into_iter().flat_map(|t| payloads().map(|p| (t, p))) {
        let bytes = sealed(&mut seal, frame_type, &payload);
        assert_eq!(bytes.len(), HEADER_BYTES + payload.len() + TAG_BYTES, "no byte longer");
        for part in payload.chunks_exact(16) {
            assert!(!bytes.windows(16).any(|window| window == part), "in clear");
        }
        assert_eq!(decode_frame(&bytes, CLUSTER), Err(WireError::Sealed), "nobody takes it without the key");
        assert_eq!(open(&mut key, &bytes), Ok((frame_type, payload)));
        assert_eq!(open(&mut key, &bytes), Err("Replayed".to_owned()));
    }
    assert_eq!(seal.sealed(), 3 * FrameType::ALL.len() as u64);
}

#[test]
fn every_flipped_bit_of_every_type_is_refused() {
    let (mut seal, mut key) = ends(&secret(1));
    for (frame_type, payload) in FrameType::ALL.into_iter().flat_map(|t| payloads().map(|p| (t, p))) {
        let bytes = sealed(&mut seal, frame_type, &payload);
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut key, &flipped).is_err(), "{frame_type:?}, bit {bit}");
        }
        assert_eq!(open(&mut key, &bytes), Ok((frame_type, payload)), "none of them moved the window");
    }
}

#[test]
fn a_frame_is_of_one_key_one_shard_and_one_place_in_it() {
    let (mut seal, mut key) = ends(&secret(1));
    let bytes = sealed(&mut seal, FrameType::Data, b"hello");
    // Another key of the same number: that of somebody who guesses, or of an earlier run.
    assert_eq!(open(&mut ends(&secret(2)).1, &bytes), Err("BadTag".to_owned()));
    let other = Secret::of_parts(7, [1; SECRET_BYTES]).expect("a number");
    assert_eq!(open(&mut ends(&other).1, &bytes), Err("UnknownKey".to_owned()));
    // At the port of another shard, even with a header that says so.
    let mut opened: Opened = [0; MAX_PAYLOAD_BYTES];
    let envelope = split_frame(&bytes, CLUSTER).expect("a frame");
    assert_eq!(key.open(SHARD - 1, &envelope, &mut opened), Err(Refused::BadTag));
    assert_eq!(key.open(SHARDS, &envelope, &mut opened), Err(Refused::UnknownKey));
    let mut moved = bytes.clone();
    moved[offsets::SHARD] -= 1;
    assert_eq!(open(&mut key, &moved), Err("BadTag".to_owned()));
    // As another one of the same key.
    let mut later = bytes.clone();
    later[offsets::SEAL_COUNTER] += 1;
    assert_eq!(open(&mut key, &later), Err("BadTag".to_owned()));
    // Without a seal: its bytes with a checksum.
    let mut plain = untagged(FrameType::Data, b"hello");
    lattice_wire::write_checksum(&mut plain);
    assert!(decode_frame(&plain, CLUSTER).is_ok());
    assert_eq!(open(&mut key, &plain), Err("UnknownKey".to_owned()));
    assert!(open(&mut key, &bytes).is_ok());
}

#[test]
fn a_key_ends_where_it_was_told_to() {
    let mut key = SealKey::new(&secret(1), SHARDS, 16).expect("usable");
    for at in 0..16 {
        assert_eq!(key.is_worn(), at >= 2);
        sealed(&mut key, FrameType::Ack, b"");
    }
    let (before, mut frame) = (untagged(FrameType::Ack, b""), untagged(FrameType::Ack, b""));
    assert_eq!(key.seal(SHARD, &mut frame), Err(Worn));
    assert_eq!(frame, before);
    assert_eq!(ends(&secret(1)).0.seal(SHARDS, &mut frame), Err(Worn), "a shard that it was not made for");
    assert_eq!(ends(&secret(1)).0.seal(SHARD, &mut [0; 79]), Err(Worn), "less than a frame");
}

/// What a receiver that forgets nothing would let in.
#[derive(Default)]
struct Naive {
    seen: BTreeSet<u64>,
}

impl Naive {
    fn admit(&mut self, counter: u64) -> bool {
        let highest = self.seen.last().copied().unwrap_or(0);
        counter != 0 && counter.saturating_add(WINDOW_FRAMES) > highest && self.seen.insert(counter)
    }
}

/// Steps of a stream that runs on, is shuffled, repeats itself and jumps.
fn steps() -> impl Strategy<Value = Vec<u64>> {
    let step = prop_oneof![
        8 => 0..4_i64,
        4 => -70..70_i64,
        2 => -2_200..2_200_i64,
        1 => 0..9_000_i64,
    ];
    let edge = prop_oneof![8 => Just(0_u64), 1 => Just(u64::MAX - 5_000)];
    (edge, prop::collection::vec(step, 1..600)).prop_map(|(start, steps)| {
        let mut at = start;
        steps
            .into_iter()
            .map(|step| {
                at = at.saturating_add_signed(step);
                at
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn the_window_lets_in_what_a_receiver_that_forgets_nothing_would(counters in steps()) {
        let (mut window, mut naive) = (Window::new(), Naive::default());
        for counter in counters {
            prop_assert_eq!(window.admit(counter), naive.admit(counter), "{}", counter);
        }
    }

    /// Workers have shards of their own and copies of one key: no two frames of them share shard and counter, from which
    /// the nonce is made.
    #[test]
    fn no_nonce_is_used_twice(frames in prop::collection::vec((0..SHARDS, 0..200_usize), 1..200)) {
        let mut workers = [ends(&secret(1)).0, ends(&secret(1)).0];
        let mut nonces = HashSet::new();
        for (shard, len) in frames {
            let mut bytes = untagged(FrameType::Data, &vec![7; len]);
            workers[usize::from(shard % 2)].seal(shard, &mut bytes).expect("sealed");
            let mark = split_frame(&bytes, CLUSTER).expect("a frame").mark.expect("a seal");
            prop_assert!(mark.counter > 0);
            prop_assert!(nonces.insert((shard, mark.counter)));
        }
    }

    #[test]
    fn frames_open_in_any_order_within_the_window(order in Just((0..200_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let (mut seal, mut key) = ends(&secret(1));
        let frames: Vec<_> = (0..200).map(|n: u8| sealed(&mut seal, FrameType::Data, &[n])).collect();
        for at in order {
            prop_assert_eq!(open(&mut key, &frames[at]), Ok((FrameType::Data, vec![at as u8])));
        }
    }
}
