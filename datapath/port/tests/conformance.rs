//! One suite over every kind of port, so that they behave alike: `support/suite.rs` says what they must do.
//! Those that need rights say that they were skipped, or fail where `CI` is set.

mod support;

use lattice_bpf::Mode;
use support::fixture::Fixture;
use support::{skipped_without_rights, suite};

#[test]
fn memory_ipv4() {
    suite::run(&mut Fixture::memory(false));
}

#[test]
fn memory_ipv6() {
    suite::run(&mut Fixture::memory(true));
}

#[test]
fn udp_over_loopback_ipv4() {
    suite::run(&mut Fixture::udp_loopback());
}

/// Ports over a veth pair: the two sides' modes, `None` for UDP.
fn over_veth(test: &str, sides: [Option<Mode>; 2]) {
    if skipped_without_rights(test) {
        return;
    }
    for ipv6 in [false, true] {
        suite::run(&mut Fixture::veth(ipv6, sides));
    }
}

#[test]
fn udp_over_veth_ipv4_and_ipv6() {
    over_veth("udp_over_veth_ipv4_and_ipv6", [None, None]);
}

#[test]
fn xdp_driver_ipv4_and_ipv6() {
    over_veth("xdp_driver_ipv4_and_ipv6", [Some(Mode::Auto), Some(Mode::Driver)]);
}

#[test]
fn xdp_generic_ipv4_and_ipv6() {
    over_veth("xdp_generic_ipv4_and_ipv6", [Some(Mode::Generic), Some(Mode::Generic)]);
}

/// Mixed clusters work. The kernel verifies the UDP checksums that AF_XDP wrote on the way.
#[test]
fn xdp_to_udp_and_back_ipv4_and_ipv6() {
    over_veth("xdp_to_udp_and_back_ipv4_and_ipv6", [Some(Mode::Driver), None]);
    over_veth("xdp_to_udp_and_back_ipv4_and_ipv6", [None, Some(Mode::Driver)]);
}
