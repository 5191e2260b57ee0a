//! A peer that catches up: it takes one slice of a turn at most over all shards of the worker, and none of a turn with writes
//! while others come. Counted by the bytes that syncs have sent, turn by turn.

mod rig;

use crossbeam_channel::bounded;
use lattice_engine::EngineLimits;
use lattice_wire::MAX_FRAME_BYTES;
use lattice_worker::Command;
use rig::{Client, Cluster, Plan, moment};

/// Keys that the peer lacks, far more than the log remembers.
const KEYS: u32 = 3_000;
/// Turns that no sync here needs: two seconds.
const ENOUGH_TURNS: usize = 200_000;
/// The turns of the rig are so far apart.
const TURN_NS: u64 = 10_000;
/// Over all shards, slices are so far apart while there are writes.
const GAP_BUSY_NS: u64 = 200_000;

/// Two nodes that have not met. The first has written what its log does not hold any more.
fn filled() -> (Cluster, Client) {
    let limits = EngineLimits { max_keys: 4096, log_bytes: 1 << 16, log_records: 64, ..Default::default() };
    let mut cluster =
        Cluster::new(&Plan { limits: EngineLimits { max_burst_ops: 64, ..limits }, ..Default::default() });
    let mut client = cluster.nodes[0].attach(256);
    for key in 0..KEYS {
        client.add(&key.to_le_bytes(), 1).unwrap();
        while !client.settled() {
            cluster.now_ns += TURN_NS;
            cluster.nodes[0].workers[0].turn_at(moment(cluster.now_ns));
        }
    }
    (cluster, client)
}

/// One turn of all; then the bytes that each shard of the first node has sent in syncs, and how many syncs the second has had.
fn turn(cluster: &mut Cluster) -> (Vec<u64>, u64) {
    let ask = |node: &rig::Node| {
        let (reply, status) = bounded(1);
        node.commands[0].try_send(Command::Status(reply)).unwrap();
        status
    };
    let statuses: Vec<_> = cluster.nodes.iter().map(ask).collect();
    cluster.turn();
    let stats = |node: usize| {
        let status = statuses[node].try_recv().unwrap();
        status.shards.into_iter().map(|shard| shard.stats)
    };
    (stats(0).map(|of| of.sync_bytes_sent).collect(), stats(1).map(|of| of.syncs_completed).sum())
}

/// Turns until the peer has everything; `write` says in which turns there are writes. Of each turn: whether it had one, and
/// whether a slice.
fn catch_up(cluster: &mut Cluster, client: &mut Client, write: impl Fn(usize) -> bool) -> Vec<(bool, bool)> {
    let mut turns = Vec::new();
    let (mut before, _) = turn(cluster);
    for number in 0..ENOUGH_TURNS {
        let writes = write(number);
        if writes {
            client.add(b"hot", 1).unwrap();
        }
        let (after, synced) = turn(cluster);
        let grown: Vec<u64> =
            before.iter().zip(&after).map(|(b, a)| a - b).filter(|grown| *grown > 0).collect();
        assert!(grown.len() <= 1 && grown.iter().all(|bytes| *bytes < MAX_FRAME_BYTES as u64), "{grown:?}");
        turns.push((writes, !grown.is_empty()));
        before = after;
        if synced >= 4 {
            return turns;
        }
    }
    panic!("not caught up: {:#?}", cluster.status(1));
}

#[test]
fn a_quiet_worker_has_one_slice_a_turn() {
    let (mut cluster, mut client) = filled();
    let turns = catch_up(&mut cluster, &mut client, |_| false);
    let slices = turns.iter().filter(|(_, slice)| *slice).count();
    assert!(slices > 50, "{slices} slices in {} turns", turns.len());
}

#[test]
fn writes_go_first_and_a_sync_goes_on_between_them() {
    let (mut cluster, mut client) = filled();
    let turns = catch_up(&mut cluster, &mut client, |turn| turn % 2 == 0);
    let with_writes = turns.iter().filter(|(writes, slice)| *writes && *slice).count();
    assert_eq!(with_writes, 0, "there are turns enough without");
    let slices = turns.iter().filter(|(_, slice)| *slice).count();
    let most = turns.len() as u64 * TURN_NS / GAP_BUSY_NS + 8;
    assert!(slices as u64 <= most, "{slices} slices in {} turns", turns.len());
}

#[test]
fn a_sync_is_not_shut_out_by_writes_in_every_turn() {
    let (mut cluster, mut client) = filled();
    let turns = catch_up(&mut cluster, &mut client, |_| true);
    assert!(turns.iter().any(|(writes, slice)| *writes && *slice));
}
