//! The zoo's bugs of this crate that have a checker here: each property holds, and with its bug it does not.
#![cfg(feature = "zoo")]

#[allow(dead_code, reason = "the strategies of the other properties")]
mod owned;

use lattice_crdt::ActorId;
use lattice_wire::{MAX_RECORD_BYTES, decode_record, encode_record};
use lattice_zoo::{Bug, Checker};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Whether the property holds for all of 200 cases, the same ones each time. Failures are expected here, so none is kept.
fn holds<S: Strategy>(strategy: &S, property: impl Fn(S::Value) -> bool) -> bool {
    let config = Config { cases: 200, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let judged = runner.run(strategy, |value| {
        prop_assert!(property(value));
        Ok(())
    });
    judged.is_ok()
}

fn a_record_comes_back_as_it_was() -> bool {
    let actor = ActorId::new(1, 5);
    holds(&owned::record(), |record| {
        let mut buf = [0; MAX_RECORD_BYTES];
        let len = encode_record(&record.record(), actor, &mut buf).expect("within the limits");
        decode_record(&buf[..len], actor) == Ok((record.record(), len))
    })
}

type Property = (&'static str, fn() -> bool);
const PROPERTIES: [Property; 1] = [("a_record_comes_back_as_it_was", a_record_comes_back_as_it_was)];

#[test]
fn the_properties_hold() {
    for (name, holds) in PROPERTIES {
        assert!(holds(), "{name}");
    }
}

#[test]
fn each_bug_breaks_its_property() {
    for &bug in Bug::ALL {
        let Checker::Test("lattice-wire", name) = bug.checker() else { continue };
        let (_, holds) = PROPERTIES.into_iter().find(|(known, _)| *known == name).expect("of that name");
        lattice_zoo::arm(Some(bug));
        let survives = holds();
        lattice_zoo::arm(None);
        assert!(!survives, "{bug} survives {name}");
    }
}
