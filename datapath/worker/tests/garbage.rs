//! Garbage from the network is counted and changes nothing.

mod rig;

use lattice_port::{PeerSlot, Port};
use lattice_wire::MAX_FRAME_BYTES;
use rig::{Cluster, Plan, UDP_PORT_BASE};

/// A small generator (Marsaglia 2003, "Xorshift RNGs"): the bytes only have to be unlike frames.
fn noise(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn garbage_frames_change_nothing_and_are_counted() {
    let plan = Plan { nodes: 2, workers: 2, shards: 4, ..Default::default() };
    let mut cluster = Cluster::new(&plan);
    let mut client = cluster.nodes[0].attach(64);
    client.add(b"c", 3).unwrap();
    assert!(cluster.turn_until(200_000, |cluster| cluster.nodes[1].counter(b"c") == Some(3)));
    assert!(cluster.turn_until(2_000, |cluster| cluster.converged()));
    let digests = |cluster: &mut Cluster| {
        let statuses = cluster.status(1);
        let shards = statuses.iter().flat_map(|status| &status.shards);
        shards.map(|shard| (shard.state_digest, shard.vector_digest)).collect::<Vec<_>>()
    };
    let before = digests(&mut cluster);

    let mut state = 0x1234_5678_9abc_def1;
    let mut sent = 0;
    for n in 0..2_000 {
        let length = 1 + noise(&mut state) as usize % MAX_FRAME_BYTES;
        let mut frame: Vec<u8> = (0..length).map(|_| noise(&mut state) as u8).collect();
        if n % 2 == 0 && length > 2 {
            // Past the first checks: magic and version are right, nothing else is.
            frame[..2].copy_from_slice(b"LT");
            frame[2] = lattice_wire::VERSION;
        }
        // Shards 0..4 exist; the fifth port is nobody's.
        let udp_port = UDP_PORT_BASE + (n % 5) as u16;
        cluster.attacker.transmit(PeerSlot(1), udp_port, &frame).unwrap();
        sent += 1;
        if n % 50 == 0 {
            cluster.attacker.flush().unwrap();
            cluster.turn();
        }
    }
    cluster.attacker.flush().unwrap();
    // The counters in the segment are refreshed every 10 ms: a thousand turns of this rig's time.
    cluster.turns(2_000);

    assert_eq!(digests(&mut cluster), before, "garbage changed the state");
    assert_eq!(cluster.nodes[1].counter(b"c"), Some(3));
    let reasons = ["too_short", "bad_magic", "bad_version", "wrong_cluster", "bad_type", "bad_length"];
    let dropped: Vec<u64> =
        reasons.iter().map(|reason| cluster.nodes[1].counted(&format!("dropped_{reason}"))).collect();
    assert_eq!(dropped.iter().sum::<u64>(), sent / 5 * 4, "{dropped:?}");
    assert!(dropped[0] > 0 && dropped[1] > 0 && dropped[3] > 0, "{dropped:?}");
    assert_eq!(cluster.nodes[1].counted("frames_misdirected"), sent / 5);
    client.add(b"c", 1).unwrap();
    assert!(cluster.turn_until(200_000, |cluster| cluster.nodes[1].counter(b"c") == Some(4)), "life goes on");
}
