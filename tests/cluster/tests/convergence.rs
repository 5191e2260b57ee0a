//! Nothing lost, nothing counted twice: random writes from all hosts over a network that loses 30 % of the frames, doubles
//! 20 % and reorders 30 % end in the exact totals on every host.
//!
//! `LATTICE_SOAK_SECONDS` says how long they write (`make soak`: 240), `LATTICE_SEED` repeats a run's writes and faults.

mod common;

use std::time::Duration;

use common::{Writer, assert_exact, clients, fabric_or_loopback};
use lattice_cluster::{Cluster, ClusterSpec, Fabric, Faults};

const DEFAULT_SECONDS: u64 = 20;

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

#[test]
fn random_writes_under_loss_duplication_and_reordering_end_in_the_exact_totals() {
    let seconds = number_from("LATTICE_SOAK_SECONDS").unwrap_or(DEFAULT_SECONDS);
    let seed = number_from("LATTICE_SEED").unwrap_or(0x1a77_1ced);
    let fabric = fabric_or_loopback(Fabric::Switch);
    // The faults are there from the first frame on: sessions are set up under them too.
    let spec = ClusterSpec { fabric, faults: Faults::HARSH, seed, ..ClusterSpec::default() };
    let cluster = Cluster::start(&spec).unwrap();
    let clients = clients(&cluster);
    eprintln!("writing for {seconds} s from {} hosts (LATTICE_SEED={seed})", clients.len());

    let mut writers: Vec<Writer> =
        clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), seed)).collect();
    std::thread::scope(|scope| {
        for writer in &mut writers {
            scope.spawn(|| writer.run_for(Duration::from_secs(seconds)));
        }
    });
    for writer in &writers {
        assert!(writer.writes > 100 * seconds, "only {} writes", writer.writes);
    }
    let total: u64 = writers.iter().map(|writer| writer.writes).sum();
    eprintln!("{total} writes; waiting for the hosts to be equal, still under faults");
    assert_exact(&cluster, &clients, &writers);

    let counts = cluster.network().counts().unwrap();
    eprintln!("{counts:?}");
    // The test would prove nothing over a network that was kind.
    let frames = counts.delivered + counts.lost;
    assert!(counts.lost * 5 > frames, "{counts:?}");
    assert!(counts.duplicated * 10 > frames && counts.delayed * 10 > frames, "{counts:?}");
}
