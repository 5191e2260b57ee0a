//! What every port must do, whatever it stands on. Each function is one promise of `trait Port`.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use lattice_port::{MAX_FRAME_BYTES, PeerSlot, PortMode, TransmitError};

use super::fixture::Fixture;
use super::{Kept, PATIENCE, UDP_PORTS, expect_silence, frame, new_eventfd, receive, transmit};

const PEER: PeerSlot = PeerSlot(0);
const LARGEST_PAYLOAD: usize = MAX_FRAME_BYTES - 80;

/// All promises, in an order in which each leaves a quiet network behind.
pub fn run(fixture: &mut Fixture) {
    carries_frames_of_every_size_both_ways(fixture);
    keeps_shard_ports_apart(fixture);
    carries_bursts_without_loss(fixture);
    refuses_when_full_and_recovers(fixture);
    refuses_what_can_not_be_sent(fixture);
    respects_the_budget(fixture);
    drops_and_counts_strangers(fixture);
    wait_ends_for_each_of_its_reasons(fixture);
    owns_every_frame_after_quiet(fixture);
}

fn carries_frames_of_every_size_both_ways(fixture: &mut Fixture) {
    let udp_port = fixture.udp_port(0);
    for (from, to) in [(0, 1), (1, 0)] {
        let before = [fixture.ports[from].stats(), fixture.ports[to].stats()];
        let frames: Vec<_> =
            [0, 1, 2, 3, 500, 1001, LARGEST_PAYLOAD].map(|bytes| frame(bytes as u32, bytes)).into();
        for frame in &frames {
            transmit(&mut *fixture.ports[from], PEER, udp_port, frame);
        }
        fixture.ports[from].flush().unwrap();
        let received = receive(&mut *fixture.ports[to], frames.len());
        let source = fixture.addresses[from];
        let expected: Vec<_> =
            frames.iter().map(|frame| Kept { frame: frame.clone(), source, udp_port }).collect();
        assert_eq!(received, expected);

        let after = [fixture.ports[from].stats(), fixture.ports[to].stats()];
        let (count, bytes) =
            (frames.len() as u64, frames.iter().map(|frame| frame.len() as u64).sum::<u64>());
        assert_eq!(after[0].transmitted - before[0].transmitted, count);
        assert_eq!(after[0].transmitted_bytes - before[0].transmitted_bytes, bytes);
        assert_eq!(after[1].received - before[1].received, count);
        assert_eq!(after[1].received_bytes - before[1].received_bytes, bytes);
    }
}

fn keeps_shard_ports_apart(fixture: &mut Fixture) {
    let udp_ports: Vec<u16> = (0..UDP_PORTS).map(|shard| fixture.udp_port(shard)).collect();
    for (number, &udp_port) in (0..).zip(&udp_ports) {
        transmit(&mut *fixture.ports[0], PEER, udp_port, &frame(number, 16));
    }
    fixture.ports[0].flush().unwrap();
    let mut received = receive(&mut *fixture.ports[1], udp_ports.len());
    received.sort_by_key(|kept| kept.udp_port);
    for (number, (kept, udp_port)) in (0..).zip(received.iter().zip(udp_ports)) {
        assert_eq!((kept.udp_port, &kept.frame), (udp_port, &frame(number, 16)));
    }
}

fn carries_bursts_without_loss(fixture: &mut Fixture) {
    let udp_port = fixture.udp_port(0);
    let mut next = 0;
    for burst in [1, 63, 64, 65, 100, 33, 7].repeat(4) {
        for number in next..next + burst {
            transmit(
                &mut *fixture.ports[0],
                PEER,
                udp_port,
                &frame(number, number as usize % LARGEST_PAYLOAD),
            );
        }
        fixture.ports[0].flush().unwrap();
        let received = receive(&mut *fixture.ports[1], burst as usize);
        for (number, kept) in (next..).zip(&received) {
            assert_eq!(kept.frame, frame(number, number as usize % LARGEST_PAYLOAD), "in order, unharmed");
        }
        next += burst;
    }
    expect_silence(&mut *fixture.ports[1]);
}

fn refuses_when_full_and_recovers(fixture: &mut Fixture) {
    let udp_port = fixture.udp_port(0);
    let [left, right] = &mut fixture.ports;
    let room = left.transmit_room();
    assert!(room > 0);
    for number in 0..room as u32 {
        assert_eq!(left.transmit_room(), room - number as usize);
        left.transmit(PEER, udp_port, &frame(number, 0)).unwrap();
    }
    let before = left.stats().transmit_full;
    assert_eq!(left.transmit_room(), 0);
    assert_eq!(left.transmit(PEER, udp_port, &frame(u32::MAX, 0)), Err(TransmitError::Full));
    assert_eq!(left.stats().transmit_full, before + 1);
    left.stats().frames.check().unwrap();

    left.flush().unwrap();
    for (number, kept) in (0..).zip(receive(&mut **right, room)) {
        assert_eq!(kept.frame, frame(number, 0), "what was queued left; what was refused did not");
    }
    let deadline = Instant::now() + PATIENCE;
    while left.transmit_room() < room {
        assert!(Instant::now() < deadline, "room never came back: {:?}", left.stats());
        left.flush().unwrap();
    }
    expect_silence(&mut **right);
}

fn refuses_what_can_not_be_sent(fixture: &mut Fixture) {
    let udp_port = fixture.udp_port(0);
    let [left, right] = &mut fixture.ports;
    let (room, before) = (left.transmit_room(), left.stats());
    let too_long = vec![0; MAX_FRAME_BYTES + 1];
    assert_eq!(left.transmit(PEER, udp_port, &too_long), Err(TransmitError::TooLong));
    for slot in [1, u16::MAX] {
        assert_eq!(left.transmit(PeerSlot(slot), udp_port, &frame(0, 0)), Err(TransmitError::NoRoute));
    }
    left.set_route(PeerSlot(u16::MAX), None); // ignored
    let after = left.stats();
    assert_eq!(after.transmit_too_long, before.transmit_too_long + 1);
    assert_eq!(after.transmit_no_route, before.transmit_no_route + 2);
    assert_eq!(left.transmit_room(), room, "nothing was queued");
    left.flush().unwrap();
    transmit(&mut **left, PEER, udp_port, &frame(9, 9));
    left.flush().unwrap();
    assert_eq!(receive(&mut **right, 1)[0].frame, frame(9, 9), "and nothing was sent");
}

fn respects_the_budget(fixture: &mut Fixture) {
    let udp_port = fixture.udp_port(0);
    let [left, right] = &mut fixture.ports;
    for number in 0..10 {
        transmit(&mut **left, PEER, udp_port, &frame(number, 0));
    }
    left.flush().unwrap();
    assert_eq!(right.receive(0, &mut |_| panic!("a budget of nothing")).unwrap(), 0);
    let mut numbers = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while numbers.len() < 10 {
        let before = numbers.len();
        let delivered = right.receive(3, &mut |received| numbers.push(received.frame[16])).unwrap();
        assert!(delivered <= 3 && numbers.len() == before + delivered);
        assert!(Instant::now() < deadline);
    }
    assert_eq!(numbers, (0..10).collect::<Vec<u8>>());
}

fn drops_and_counts_strangers(fixture: &mut Fixture) {
    let udp_port = fixture.udp_port(0);
    let before = fixture.unknown_sources(1);
    transmit(&mut *fixture.stranger, PEER, udp_port, &frame(66, 0));
    fixture.stranger.flush().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while fixture.unknown_sources(1) == before {
        expect_silence(&mut *fixture.ports[1]);
        assert!(Instant::now() < deadline, "the stranger's frame was never seen");
    }
    assert_eq!(fixture.unknown_sources(1), before + 1);
    transmit(&mut *fixture.ports[0], PEER, udp_port, &frame(67, 0));
    fixture.ports[0].flush().unwrap();
    assert_eq!(receive(&mut *fixture.ports[1], 1)[0].frame, frame(67, 0));
}

fn wait_ends_for_each_of_its_reasons(fixture: &mut Fixture) {
    let udp_port = fixture.udp_port(1);
    let [left, right] = &mut fixture.ports;
    let wakeup = new_eventfd();

    let started = Instant::now();
    right.wait(Duration::from_millis(30), wakeup.as_fd()).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(30), "nothing else ended it");

    // A frame, sent before or during the wait: both must end it.
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            transmit(&mut **left, PEER, udp_port, &frame(1, 1));
            left.flush().unwrap();
        });
        right.wait(2 * PATIENCE, wakeup.as_fd()).unwrap();
    });
    assert!(started.elapsed() < PATIENCE, "the frame ended it");
    assert_eq!(receive(&mut **right, 1)[0].frame, frame(1, 1));

    // The eventfd, also when it was written before the wait; it is left for its owner to reset.
    for _ in 0..2 {
        let started = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| rustix::io::write(&wakeup, &1u64.to_ne_bytes()).unwrap());
            right.wait(2 * PATIENCE, wakeup.as_fd()).unwrap();
        });
        assert!(started.elapsed() < PATIENCE, "the eventfd ended it");
    }
    let mut count = [0; 8];
    rustix::io::read(&wakeup, &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 2);
}

fn owns_every_frame_after_quiet(fixture: &mut Fixture) {
    for port in &mut fixture.ports {
        port.flush().unwrap();
        let stats = port.stats();
        stats.frames.check().unwrap();
        assert_eq!((stats.foreign_descriptors, stats.invalid_descriptors, stats.fill_ring_full), (0, 0, 0));
        assert_eq!((stats.malformed, stats.oversize, stats.transmit_failed), (0, 0, 0));
        if matches!(port.mode(), PortMode::XdpDriver | PortMode::XdpGeneric) {
            let (frames, half) = (stats.frames, u64::from(super::fixture::UMEM_FRAMES / 2));
            assert_eq!(
                (frames.total, frames.kernel_receive, frames.free),
                (2 * half, half, half),
                "{frames:?}"
            );
        }
        assert!(port.describe().starts_with(port.mode().name()), "{}", port.describe());
    }
}
