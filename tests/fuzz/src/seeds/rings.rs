//! Seeds of the ring targets: clients that behave, and the first steps of some that do not.

use super::Seed;
use crate::clients::key_of_first_shard;

// Steps of `ring::ring`.
const SCRIBBLE: u8 = 0;
const OFFER: u8 = 1;
const PUSH: u8 = 2;
const COMPLETE: u8 = 3;
const SLEEP: u8 = 4;
const TAKE_FAILURE: u8 = 5;
const POLL: u8 = 6;

/// A submission by key.
fn push(op: u8, kind: u8, key: &[u8], data_len: u16) -> Vec<u8> {
    let mut step = vec![PUSH, op - 1, kind, 1, key.len() as u8];
    step.extend(key);
    step.extend(data_len.to_le_bytes());
    step.extend(5u64.to_le_bytes());
    step
}

/// A submission by handle.
fn push_cell(op: u8, kind: u8, cell: u32, data_len: u16) -> Vec<u8> {
    let mut step = vec![PUSH, op - 1, kind, 0];
    step.extend(cell.to_le_bytes());
    step.extend(7u32.to_le_bytes());
    step.extend(data_len.to_le_bytes());
    step.extend((-5i64).to_le_bytes());
    step
}

/// A poll whose submissions are applied (2), refused with a code (1, and two bytes), or retried (0).
fn poll(budget: u8, verdicts: &[u8]) -> Vec<u8> {
    let mut step = vec![POLL, budget];
    for verdict in verdicts {
        step.push(*verdict);
        if *verdict == 1 {
            step.extend([8, 0]);
        }
        // Nothing is scribbled meanwhile.
        step.push(1);
    }
    step
}

pub(super) fn seeds() -> Vec<Seed> {
    let honest = [
        push(1, 1, b"counter", 0),
        push(4, 4, b"register", 1024),
        poll(64, &[2, 2]),
        vec![COMPLETE],
        push_cell(5, 5, 3, 256),
        push(6, 5, &[b'k'; 128], 16),
        vec![SLEEP],
        poll(64, &[1, 2]),
        vec![COMPLETE, TAKE_FAILURE, TAKE_FAILURE],
    ];
    let retried = [push(7, 5, b"set", 0), poll(1, &[0]), poll(1, &[2]), vec![COMPLETE]];
    let budget = [push(1, 1, b"a", 0), push(1, 1, b"b", 64), poll(1, &[2, 2]), poll(9, &[2, 2])];
    let offered = [vec![OFFER, 1, 1, 3, 0, 0, 0, 0, 0, 1], poll(8, &[2]), vec![COMPLETE]];
    let jumped = [vec![SCRIBBLE, 0, 0, 2, 200], poll(8, &[]), poll(8, &[]), vec![SLEEP]];
    [("honest", honest.concat()), ("retried", retried.concat()), ("offered", offered.concat())]
        .into_iter()
        .chain([("index-jumped", jumped.concat()), ("budget", budget.concat())])
        .map(|(name, data)| Seed::new("ring", name, data))
        .chain(worker_seeds())
        .collect()
}

/// A submission by key of the hostile client of `clients::clients`.
fn submit(op: u8, kind: u8, key: &[u8], data_len: u16) -> Vec<u8> {
    let mut step = vec![2, op - 1, kind - 1, 5, 2, key.len() as u8];
    step.extend(key);
    step.extend(data_len.to_le_bytes());
    step.push(0);
    step
}

/// Inputs of `clients::clients`: what the other client does beside the honest one.
fn worker_seeds() -> Vec<Seed> {
    const TURN: [u8; 2] = [7, 0];
    const ADD: [u8; 2] = [4, 9];
    const SETTLE: u8 = 5;
    const COME_AND_GO: u8 = 6;
    // A word of the lines, or of the slots, set.
    const JUMP: [u8; 5] = [0, 0, 0, 1, 200];
    const GARBAGE: [u8; 6] = [0, 1, 0, 0, 1, 77];
    let key = key_of_first_shard("k");
    let behaves: Vec<u8> =
        [submit(1, 1, &key, 0), submit(4, 4, &key, 1000), ADD.into(), submit(1, 1, &key, 0), TURN.into()]
            .concat();
    let leaves = [behaves.as_slice(), &[COME_AND_GO], &TURN, &[COME_AND_GO], &behaves, &[SETTLE]].concat();
    let jumps = [&ADD[..], &JUMP, &TURN, &[COME_AND_GO], &GARBAGE, &TURN].concat();
    let set = key_of_first_shard("set");
    let mut floods = Vec::new();
    for _ in 0..40 {
        floods.extend(submit(5, 5, &set, 256));
        floods.extend(ADD);
    }
    floods.push(SETTLE);
    [("behaves", behaves), ("leaves", leaves), ("index-jumped", jumps), ("floods", floods)]
        .map(|(name, data)| Seed::new("clients", name, data))
        .into()
}
