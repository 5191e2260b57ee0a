//! Why the XDP program drops a datagram that was sent to the cluster's ports.
//!
//! This table is the only one: `build.rs` includes this file and writes the C enumeration from it, in the same order, so
//! that an index of the kernel's counters means the same on both sides.

/// Name of each reason in metrics; its index is that of the kernel's counter.
pub const DROP_REASONS: [&str; 12] = [
    // First fragment of an IPv4 datagram: daemons never fragment.
    "fragment",
    // The UDP length is below 8 or differs from what the IP header says.
    "bad_udp_length",
    // The packet ends before the UDP datagram does.
    "truncated",
    // The source address is not a peer's.
    "unknown_source",
    // Shorter than a frame's header and tag.
    "too_short",
    // Longer than a frame can be.
    "too_long",
    // Not a frame.
    "bad_magic",
    // A frame of another version of the wire format.
    "bad_version",
    // A frame of another cluster.
    "wrong_cluster",
    // The frame's payload length and the datagram's length contradict each other.
    "bad_length",
    // A good frame on a receive queue that no AF_XDP socket serves.
    "no_socket",
    // To the sessions' port, from a host that is no peer, when too many such came.
    "control_flood",
];
