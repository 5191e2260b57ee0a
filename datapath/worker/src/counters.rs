//! A worker's counters in the segment: `latticectl top` and the metrics endpoint read them there.
//!
//! They describe themselves: a name is registered once, then only values are stored, every `counters_ns`. Each value is
//! named in one table together with where it comes from, so a counter can't be published under another's name:
//!
//! | names | what |
//! |---|---|
//! | as in [`EngineStats`] | sums over the shards of this worker |
//! | `loop_…`, and as in [`LoopStats`] | the loop itself |
//! | `port_…` | the port |

use crate::publisher::SegmentPublisher;
use crate::shards::Engine;
use crate::status::LoopStats;
use lattice_engine::EngineStats;
use lattice_port::PortStats;

type Source<S> = (&'static str, fn(&S) -> u64);

/// The fields of [`EngineStats`]; all of them, see the assertion below.
const ENGINE: &[Source<EngineStats>] = &[
    ("ops_applied", |s| s.ops_applied),
    ("ops_refused", |s| s.ops_refused),
    ("ops_coalesced", |s| s.ops_coalesced),
    ("records_logged", |s| s.records_logged),
    ("frames_received", |s| s.frames_received),
    ("frames_sent", |s| s.frames_sent),
    ("records_merged", |s| s.records_merged),
    ("merged_counters", |s| s.merged.counters),
    ("merged_flags", |s| s.merged.flags),
    ("merged_registers", |s| s.merged.registers),
    ("merged_sets", |s| s.merged.sets),
    ("records_duplicate", |s| s.records_duplicate),
    ("records_in_sync", |s| s.records_in_sync),
    ("dropped_too_short", |s| s.dropped_wire.too_short),
    ("dropped_too_long", |s| s.dropped_wire.too_long),
    ("dropped_bad_magic", |s| s.dropped_wire.bad_magic),
    ("dropped_bad_version", |s| s.dropped_wire.bad_version),
    ("dropped_bad_type", |s| s.dropped_wire.bad_type),
    ("dropped_wrong_cluster", |s| s.dropped_wire.wrong_cluster),
    ("dropped_bad_length", |s| s.dropped_wire.bad_length),
    ("dropped_bad_reserved", |s| s.dropped_wire.bad_reserved),
    ("dropped_sealed", |s| s.dropped_wire.sealed),
    ("dropped_bad_interval", |s| s.dropped_wire.bad_interval),
    ("dropped_bad_tag", |s| s.dropped_wire.bad_tag),
    ("dropped_record", |s| s.dropped_record),
    ("dropped_address", |s| s.dropped_address),
    ("dropped_stale_session", |s| s.dropped_stale_session),
    ("dropped_out_of_order_bound", |s| s.dropped_out_of_order_bound),
    ("dropped_unknown_alias", |s| s.dropped_unknown_alias),
    ("dropped_forgotten", |s| s.dropped_forgotten),
    ("gaps_closed", |s| s.gaps_closed),
    ("dropped_unexpected", |s| s.dropped_unexpected),
    ("retransmitted", |s| s.frames_retransmitted),
    ("retransmission_timeouts", |s| s.retransmission_timeouts),
    ("ack_latency_le_16384_ns", |s| s.ack_latency.buckets[0]),
    ("ack_latency_le_32768_ns", |s| s.ack_latency.buckets[1]),
    ("ack_latency_le_65536_ns", |s| s.ack_latency.buckets[2]),
    ("ack_latency_le_131072_ns", |s| s.ack_latency.buckets[3]),
    ("ack_latency_le_262144_ns", |s| s.ack_latency.buckets[4]),
    ("ack_latency_le_524288_ns", |s| s.ack_latency.buckets[5]),
    ("ack_latency_le_1048576_ns", |s| s.ack_latency.buckets[6]),
    ("ack_latency_le_2097152_ns", |s| s.ack_latency.buckets[7]),
    ("ack_latency_le_4194304_ns", |s| s.ack_latency.buckets[8]),
    ("ack_latency_le_8388608_ns", |s| s.ack_latency.buckets[9]),
    ("ack_latency_le_16777216_ns", |s| s.ack_latency.buckets[10]),
    ("ack_latency_le_33554432_ns", |s| s.ack_latency.buckets[11]),
    ("ack_latency_le_67108864_ns", |s| s.ack_latency.buckets[12]),
    ("ack_latency_le_134217728_ns", |s| s.ack_latency.buckets[13]),
    ("ack_latency_le_268435456_ns", |s| s.ack_latency.buckets[14]),
    ("ack_latency_le_inf", |s| s.ack_latency.buckets[15]),
    ("ack_latency_sum_ns", |s| s.ack_latency.sum_ns),
    ("syncs_requested", |s| s.syncs_requested),
    ("syncs_completed", |s| s.syncs_completed),
    ("syncs_abandoned", |s| s.syncs_abandoned),
    ("syncs_served", |s| s.syncs_served),
    ("sync_bytes_sent", |s| s.sync_bytes_sent),
    ("full_walks", |s| s.full_walks),
    ("keys_dropped", |s| s.keys_dropped),
    ("unpublished", |s| s.unpublished),
    ("folds", |s| s.folds),
    ("actors", |s| s.actors),
    ("epochs_dead", |s| s.epochs_dead),
    ("epochs_folded", |s| s.epochs_folded),
    ("log_records", |s| s.log_records),
    ("keys", |s| s.keys),
    ("pre_removed", |s| s.pre_removed),
];

/// The fields of [`LoopStats`]; all of them, see the assertion below.
const LOOP: &[Source<LoopStats>] = &[
    ("loop_turns", |s| s.turns),
    ("loop_busy_turns", |s| s.busy_turns),
    ("loop_busy_ns", |s| s.busy_ns),
    ("loop_longest_turn_ns", |s| s.longest_turn_ns),
    ("loop_sleeps", |s| s.sleeps),
    ("loop_frames_received", |s| s.frames_received),
    ("loop_frames_transmitted", |s| s.frames_transmitted),
    ("frames_misdirected", |s| s.frames_misdirected),
    ("transmit_refused", |s| s.transmit_refused),
    ("frames_sealed", |s| s.frames_sealed),
    ("frames_opened", |s| s.frames_opened),
    ("seal_missing", |s| s.seal_missing),
    ("seal_unknown_key", |s| s.seal_unknown_key),
    ("seal_broken", |s| s.seal_broken),
    ("seal_replayed", |s| s.seal_replayed),
    ("seal_no_key", |s| s.seal_no_key),
    ("handed_over", |s| s.handed_over),
    ("handover_dropped", |s| s.handover_dropped),
    ("taken_over", |s| s.taken_over),
    ("submissions", |s| s.submissions),
    ("submissions_refused", |s| s.submissions_refused),
    ("refused_log_full", |s| s.refused_log_full),
    ("denied_access", |s| s.denied_access),
    ("denied_kind", |s| s.denied_kind),
    ("denied_undeclared", |s| s.denied_undeclared),
    ("denied_full", |s| s.denied_full),
    ("submissions_postponed", |s| s.submissions_postponed),
    ("clients_faulted", |s| s.clients_faulted),
    ("ring_slots_waiting", |s| s.ring_slots_waiting),
    ("port_errors", |s| s.port_errors),
];

const _: () =
    assert!(size_of::<EngineStats>() == ENGINE.len() * size_of::<u64>(), "a field is not published");
const _: () = assert!(size_of::<LoopStats>() == LOOP.len() * size_of::<u64>(), "a field is not published");

/// Names all counters in the segment. Called once, before the first [`publish`]. Values without room are not published.
pub(crate) fn register(publisher: &mut SegmentPublisher) {
    let names: Vec<&str> = names().collect();
    let found_room = publisher.writer().register_counters(&names);
    if found_room < names.len() {
        tracing::warn!("the segment has room for {found_room} of {} counters", names.len());
    }
}

/// All names, in the order of their indexes.
fn names() -> impl Iterator<Item = &'static str> {
    let engine = ENGINE.iter().map(|(name, _)| *name);
    let turns = LOOP.iter().map(|(name, _)| *name);
    engine.chain(turns).chain(PortStats::NAMES.iter().copied())
}

/// Stores the present values.
pub(crate) fn publish(
    publisher: &mut SegmentPublisher,
    engines: &[Engine],
    loop_stats: &LoopStats,
    port: &PortStats,
) {
    let writer = publisher.writer();
    let mut index = 0;
    let mut store = |value: u64| {
        writer.set_counter(index, value);
        index += 1;
    };
    let mut sums = [0_u64; ENGINE.len()];
    for engine in engines {
        let stats = engine.stats();
        for (sum, (_, value)) in sums.iter_mut().zip(ENGINE) {
            *sum = sum.wrapping_add(value(&stats));
        }
    }
    for sum in sums {
        store(sum);
    }
    for (_, value) in LOOP {
        store(value(loop_stats));
    }
    for value in port.values() {
        store(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_fit_their_field() {
        let names: Vec<&str> = names().collect();
        let unique: BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert!(names.iter().all(|name| name.len() < 48));
    }
}
