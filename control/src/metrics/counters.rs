//! Which metric each counter of the segment is.
//!
//! Workers name their counters in the segment for whoever looks (`lattice_worker`, module `counters`); here those names become
//! families with units, types and labels. A counter that this table does not know is shown all the same, by its own name as a
//! label of [`OTHER`], so nothing is lost between two versions; a test holds that the table knows all of this version's.

use super::exposition::{Family, Kind};

/// One counter of the segment as a sample.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its name in the segment.
    pub counter: &'static str,
    /// Values of the family's labels.
    pub labels: &'static [&'static str],
}

/// A family that is made of counters of the segment.
#[derive(Clone, Copy, Debug)]
pub struct CounterFamily {
    /// Name, type, meaning.
    pub family: Family,
    /// Names of its labels, beside `worker`.
    pub labels: &'static [&'static str],
    /// The counters hold nanoseconds, the family seconds.
    pub is_time: bool,
    /// Where its samples come from.
    pub sources: &'static [Source],
}

/// Counters that the table does not know.
pub const OTHER: Family = Family {
    name: "latticed_other",
    kind: Kind::Gauge,
    help: "Counters of the segment that have no metric of their own, by their names there.",
};

/// Counters that are not shown: others count the same.
pub const NOT_SHOWN: &[&str] = &["loop_frames_received", "loop_frames_transmitted", "transmit_refused"];

/// Prefix of the counters that are the buckets of the histogram of acknowledgements; the bound in nanoseconds follows, or `inf`.
pub const ACK_BUCKET_PREFIX: &str = "ack_latency_le_";
/// The counter that is the sum of that histogram.
pub const ACK_SUM: &str = "ack_latency_sum_ns";

const fn family(name: &'static str, kind: Kind, help: &'static str) -> Family {
    Family { name, kind, help }
}

const fn source(counter: &'static str, labels: &'static [&'static str]) -> Source {
    Source { counter, labels }
}

/// A family of one counter.
const fn one(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    sources: &'static [Source; 1],
) -> CounterFamily {
    CounterFamily { family: family(name, kind, help), labels: &[], is_time: false, sources }
}

/// The table.
pub const FAMILIES: &[CounterFamily] = &[
    one(
        "latticed_operations_applied_total",
        Kind::Counter,
        "Operations of local clients that were applied.",
        &[source("ops_applied", &[])],
    ),
    one(
        "latticed_operations_refused_total",
        Kind::Counter,
        "Operations of local clients that were refused with an error.",
        &[source("ops_refused", &[])],
    ),
    one(
        "latticed_operations_coalesced_total",
        Kind::Counter,
        "Increments and writes that shared the record of an earlier one.",
        &[source("ops_coalesced", &[])],
    ),
    one(
        "latticed_deltas_logged_total",
        Kind::Counter,
        "Delta records of own operations appended to the log.",
        &[source("records_logged", &[])],
    ),
    one(
        "latticed_deltas_merged_total",
        Kind::Counter,
        "Delta records of other hosts that were merged.",
        &[source("records_merged", &[])],
    ),
    CounterFamily {
        family: family(
            "latticed_merges_total",
            Kind::Counter,
            "Delta records of other hosts that were merged, by the type of their key.",
        ),
        labels: &["type"],
        is_time: false,
        sources: &[
            source("merged_counters", &["counter"]),
            source("merged_flags", &["flag"]),
            source("merged_registers", &["register"]),
            source("merged_sets", &["set"]),
        ],
    },
    CounterFamily {
        family: family(
            "latticed_deltas_skipped_total",
            Kind::Counter,
            "Delta records of other hosts without effect: known already, or covered by a running state sync.",
        ),
        labels: &["reason"],
        is_time: false,
        sources: &[source("records_duplicate", &["duplicate"]), source("records_in_sync", &["in_sync"])],
    },
    one(
        "latticed_frames_received_total",
        Kind::Counter,
        "Frames that an engine received and decoded.",
        &[source("frames_received", &[])],
    ),
    one(
        "latticed_frames_sent_total",
        Kind::Counter,
        "Frames that an engine handed out for transmission.",
        &[source("frames_sent", &[])],
    ),
    one(
        "latticed_frames_retransmitted_total",
        Kind::Counter,
        "Data frames sent again.",
        &[source("retransmitted", &[])],
    ),
    one(
        "latticed_retransmission_timeouts_total",
        Kind::Counter,
        "Times that no acknowledgement came in time.",
        &[source("retransmission_timeouts", &[])],
    ),
    CounterFamily {
        family: family(
            "latticed_frames_dropped_total",
            Kind::Counter,
            "Received frames that had no effect, or only a part of it, by where and why. Repair brings their operations again.",
        ),
        labels: &["stage", "reason"],
        is_time: false,
        sources: &[
            source("dropped_too_short", &["engine", "too_short"]),
            source("dropped_too_long", &["engine", "too_long"]),
            source("dropped_bad_magic", &["engine", "bad_magic"]),
            source("dropped_bad_version", &["engine", "bad_version"]),
            source("dropped_bad_type", &["engine", "bad_type"]),
            source("dropped_wrong_cluster", &["engine", "wrong_cluster"]),
            source("dropped_bad_length", &["engine", "bad_length"]),
            source("dropped_bad_reserved", &["engine", "bad_reserved"]),
            source("dropped_sealed", &["engine", "sealed"]),
            source("dropped_bad_interval", &["engine", "bad_interval"]),
            source("dropped_bad_tag", &["engine", "bad_tag"]),
            source("dropped_record", &["engine", "bad_record"]),
            source("dropped_address", &["engine", "address"]),
            source("dropped_stale_session", &["engine", "stale_session"]),
            source("dropped_out_of_order_bound", &["engine", "out_of_order_bound"]),
            source("dropped_unknown_alias", &["engine", "unknown_alias"]),
            source("dropped_forgotten", &["engine", "forgotten"]),
            source("dropped_unexpected", &["engine", "unexpected"]),
            source("seal_missing", &["seal", "missing"]),
            source("seal_unknown_key", &["seal", "unknown_key"]),
            source("seal_broken", &["seal", "broken"]),
            source("seal_replayed", &["seal", "replayed"]),
            source("frames_misdirected", &["worker", "misdirected"]),
            source("handover_dropped", &["worker", "handover_full"]),
            source("port_unknown_source", &["port", "unknown_source"]),
            source("port_oversize", &["port", "oversize"]),
            source("port_malformed", &["port", "malformed"]),
            source("port_fill_ring_empty", &["kernel", "fill_ring_empty"]),
            source("port_receive_ring_full", &["kernel", "receive_ring_full"]),
            source("port_receive_dropped", &["kernel", "receive_dropped"]),
        ],
    },
    CounterFamily {
        family: family(
            "latticed_frames_not_sent_total",
            Kind::Counter,
            "Frames that a port refused or the kernel did not take, by reason. Repair sends their operations again.",
        ),
        labels: &["reason"],
        is_time: false,
        sources: &[
            source("seal_no_key", &["no_key"]),
            source("port_transmit_full", &["full"]),
            source("port_transmit_no_route", &["no_route"]),
            source("port_transmit_too_long", &["too_long"]),
            source("port_transmit_failed", &["failed"]),
        ],
    },
    CounterFamily {
        family: family("latticed_frames_sealed_total", Kind::Counter, "Frames that were sealed or opened."),
        labels: &["direction"],
        is_time: false,
        sources: &[source("frames_opened", &["in"]), source("frames_sealed", &["out"])],
    },
    CounterFamily {
        family: family(
            "latticed_syncs_total",
            Kind::Counter,
            "State syncs: requested, completed and abandoned by this host as receiver, served by it to others.",
        ),
        labels: &["event"],
        is_time: false,
        sources: &[
            source("syncs_requested", &["requested"]),
            source("syncs_completed", &["completed"]),
            source("syncs_abandoned", &["abandoned"]),
            source("syncs_served", &["served"]),
        ],
    },
    one(
        "latticed_sync_sent_bytes_total",
        Kind::Counter,
        "Bytes of items sent in state syncs, each counted once.",
        &[source("sync_bytes_sent", &[])],
    ),
    one(
        "latticed_full_walks_total",
        Kind::Counter,
        "State syncs of everything that were begun for peers.",
        &[source("full_walks", &[])],
    ),
    one("latticed_keys", Kind::Gauge, "Keys held.", &[source("keys", &[])]),
    one(
        "latticed_keys_dropped_total",
        Kind::Counter,
        "Keys dropped because they were empty everywhere.",
        &[source("keys_dropped", &[])],
    ),
    one(
        "latticed_pre_removed_dots",
        Kind::Gauge,
        "Removals held of operations that have not come yet.",
        &[source("pre_removed", &[])],
    ),
    one(
        "latticed_unpublished_keys",
        Kind::Gauge,
        "Keys whose value waits for room in the segment: readers here miss it.",
        &[source("unpublished", &[])],
    ),
    one(
        "latticed_vector_actors",
        Kind::Gauge,
        "Nodes and epochs of nodes in the version vectors, summed over shards; without those that are folded.",
        &[source("actors", &[])],
    ),
    one(
        "latticed_epochs_dead",
        Kind::Gauge,
        "Epochs of nodes that are over and not folded yet, summed over shards.",
        &[source("epochs_dead", &[])],
    ),
    one(
        "latticed_epochs_folded",
        Kind::Gauge,
        "Epochs of nodes that are over and folded, summed over shards.",
        &[source("epochs_folded", &[])],
    ),
    one(
        "latticed_folds_total",
        Kind::Counter,
        "Decisions to fold epochs that are over.",
        &[source("folds", &[])],
    ),
    one(
        "latticed_gaps_closed_total",
        Kind::Counter,
        "Operations of forgotten epochs that were given up, since no member had them.",
        &[source("gaps_closed", &[])],
    ),
    one(
        "latticed_log_records",
        Kind::Gauge,
        "Own operations that the log holds for retransmission, summed over shards.",
        &[source("log_records", &[])],
    ),
    one(
        "latticed_submissions_total",
        Kind::Counter,
        "Operations taken from the rings of clients.",
        &[source("submissions", &[])],
    ),
    one(
        "latticed_submissions_refused_total",
        Kind::Counter,
        "Operations taken from the rings of clients and refused with an error code.",
        &[source("submissions_refused", &[])],
    ),
    one(
        "latticed_submissions_log_full_total",
        Kind::Counter,
        "Operations of clients that found no room in the log; the client's library tries them again.",
        &[source("refused_log_full", &[])],
    ),
    CounterFamily {
        family: family(
            "latticed_submissions_denied_total",
            Kind::Counter,
            "Operations of clients that were refused by the rules of a namespace.",
        ),
        labels: &["reason"],
        is_time: false,
        sources: &[
            source("denied_access", &["access"]),
            source("denied_kind", &["kind"]),
            source("denied_undeclared", &["undeclared"]),
            source("denied_full", &["full"]),
        ],
    },
    one(
        "latticed_submissions_postponed_total",
        Kind::Counter,
        "Times that a client's operation had to wait for a commit.",
        &[source("submissions_postponed", &[])],
    ),
    one(
        "latticed_ring_waiting_slots",
        Kind::Gauge,
        "Slots of 64 bytes that clients have filled and that were not taken yet.",
        &[source("ring_slots_waiting", &[])],
    ),
    one(
        "latticed_clients_faulted_total",
        Kind::Counter,
        "Clients let go for breaking the rules of their ring.",
        &[source("clients_faulted", &[])],
    ),
    one("latticed_turns_total", Kind::Counter, "Turns of the polling loop.", &[source("loop_turns", &[])]),
    one(
        "latticed_busy_turns_total",
        Kind::Counter,
        "Turns of the polling loop that found something to do.",
        &[source("loop_busy_turns", &[])],
    ),
    CounterFamily {
        family: family(
            "latticed_busy_seconds_total",
            Kind::Counter,
            "Time in turns that found something to do: its rate is the duty cycle.",
        ),
        labels: &[],
        is_time: true,
        sources: &[source("loop_busy_ns", &[])],
    },
    CounterFamily {
        family: family(
            "latticed_longest_turn_seconds",
            Kind::Gauge,
            "The longest turn since the start: what a stall looks like.",
        ),
        labels: &[],
        is_time: true,
        sources: &[source("loop_longest_turn_ns", &[])],
    },
    one(
        "latticed_sleeps_total",
        Kind::Counter,
        "Times that the polling loop went to sleep.",
        &[source("loop_sleeps", &[])],
    ),
    CounterFamily {
        family: family(
            "latticed_handovers_total",
            Kind::Counter,
            "Frames passed on to the worker that owns their shard, and taken over from others.",
        ),
        labels: &["direction"],
        is_time: false,
        sources: &[source("handed_over", &["out"]), source("taken_over", &["in"])],
    },
    one(
        "latticed_port_errors_total",
        Kind::Counter,
        "System calls of the port that failed.",
        &[source("port_errors", &[])],
    ),
    CounterFamily {
        family: family("latticed_port_frames_total", Kind::Counter, "Frames that the port moved."),
        labels: &["direction"],
        is_time: false,
        sources: &[source("port_received", &["in"]), source("port_transmitted", &["out"])],
    },
    CounterFamily {
        family: family(
            "latticed_port_bytes_total",
            Kind::Counter,
            "Bytes of the frames that the port moved.",
        ),
        labels: &["direction"],
        is_time: false,
        sources: &[source("port_received_bytes", &["in"]), source("port_transmitted_bytes", &["out"])],
    },
    one(
        "latticed_port_kicks_total",
        Kind::Counter,
        "System calls that sent frames or woke the transmit side.",
        &[source("port_transmit_kicks", &[])],
    ),
    one(
        "latticed_port_fill_ring_full_total",
        Kind::Counter,
        "Receive batches that found the fill ring without room.",
        &[source("port_fill_ring_full", &[])],
    ),
    CounterFamily {
        family: family(
            "latticed_port_bad_descriptors_total",
            Kind::Counter,
            "Descriptors that the kernel refused, or returned though they were not lent: bugs.",
        ),
        labels: &["reason"],
        is_time: false,
        sources: &[
            source("port_invalid_descriptors", &["invalid"]),
            source("port_foreign_descriptors", &["foreign"]),
        ],
    },
];
