//! What applications do: reads, and enqueuing; and the worker's end of the ring.

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, ensure};
use lattice_client::{Client, Counter, Flag, Register, Set};
use lattice_segment::{
    RingConfig, RingConsumer, RingProducer, Submission, SubmitOp, Target, Verdict, create_rings, layout,
    monotonic_ns,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::segment::{World, world};
use super::{BURST, Operation, element};

/// Rings that hold all rounds, so that nobody has to drain them meanwhile.
const RINGS: RingConfig = RingConfig { submission_slots: 65_536, completion_slots: 32 };

/// A read by handle.
struct Read<H> {
    _world: World,
    handle: H,
    bytes: Vec<u8>,
    /// Counts the reads that gave the right answer.
    right: u32,
    rounds: u32,
    read: fn(&mut Read<H>) -> bool,
}

impl<H> Operation for Read<H> {
    fn prepare(&mut self) -> anyhow::Result<()> {
        ensure!(self.right == self.rounds * BURST, "a read went wrong");
        self.rounds += 1;
        Ok(())
    }

    fn round(&mut self) {
        for _ in 0..BURST {
            self.right += u32::from((self.read)(self));
        }
    }
}

fn reading<H: 'static>(
    kind: u8,
    publish: impl FnOnce(&mut World, lattice_segment::CellId) -> anyhow::Result<()>,
    open: impl FnOnce(&Client) -> lattice_client::Result<H>,
    read: fn(&mut Read<H>) -> bool,
) -> anyhow::Result<Box<dyn Operation>> {
    let mut world = world()?;
    let cell = world.open(kind, "key")?;
    publish(&mut world, cell)?;
    let client = Client::open_read_only(world.directory.path().join("segment"))?;
    let handle = open(&client)?;
    Ok(Box::new(Read { _world: world, handle, bytes: Vec::with_capacity(64), right: 0, rounds: 0, read }))
}

/// A counter.
pub fn read_counter() -> anyhow::Result<Box<dyn Operation>> {
    reading(
        layout::KIND_COUNTER,
        |world, cell| {
            world.writer.publish_word(cell, 42);
            Ok(())
        },
        |client| client.counter("key"),
        |read: &mut Read<Counter>| read.handle.get().is_ok_and(|value| value == 42),
    )
}

/// A flag.
pub fn read_flag() -> anyhow::Result<Box<dyn Operation>> {
    reading(
        layout::KIND_FLAG_ENABLE_WINS,
        |world, cell| {
            world.writer.publish_word(cell, 1);
            Ok(())
        },
        |client| client.flag("key"),
        |read: &mut Read<Flag>| read.handle.get().is_ok_and(|on| on),
    )
}

/// A register.
pub fn read_register() -> anyhow::Result<Box<dyn Operation>> {
    reading(
        layout::KIND_REGISTER,
        |world, cell| Ok(world.writer.publish_bytes(cell, &[7; 64])?),
        |client| client.register("key"),
        |read: &mut Read<Register>| {
            read.handle.get_into(&mut read.bytes).is_ok_and(|is_set| is_set && read.bytes.len() == 64)
        },
    )
}

/// Membership.
pub fn read_member() -> anyhow::Result<Box<dyn Operation>> {
    reading(
        layout::KIND_SET,
        |world, cell| Ok((0..100).try_for_each(|n| world.writer.set_insert(cell, element(n).as_bytes()))?),
        |client| client.set("key"),
        |read: &mut Read<Set>| read.handle.contains(b"member/000050").is_ok_and(|is_in| is_in),
    )
}

struct Enqueue {
    _world: World,
    counter: Counter,
    consumer: RingConsumer,
    enqueued: u32,
    expected: u32,
}

impl Operation for Enqueue {
    fn prepare(&mut self) -> anyhow::Result<()> {
        ensure!(self.enqueued == self.expected, "a write was refused");
        let mut taken = 0;
        while self.consumer.poll(1 << 16, &mut |_| Verdict::Applied)? > 0 {
            taken += 1;
        }
        ensure!(self.expected == 0 || taken > 0, "nothing came through the ring");
        self.consumer.complete();
        // Each tick of the coarse clock the client looks whether the daemon lives: now, not in the round.
        self.counter.add(1)?;
        self.expected += BURST;
        Ok(())
    }

    fn round(&mut self) {
        for _ in 0..BURST {
            self.enqueued += u32::from(self.counter.add(1).is_ok());
        }
    }
}

/// A client's write, up to the ring.
pub fn enqueue() -> anyhow::Result<Box<dyn Operation>> {
    let mut world = world()?;
    let cell = world.open(layout::KIND_COUNTER, "key")?;
    world.writer.publish_word(cell, 0);
    world.writer.heartbeat(monotonic_ns());
    let socket = world.directory.path().join("daemon.sock");
    let listener = UnixListener::bind(&socket)?;
    let (rings, mut consumers) = create_rings(1, RINGS)?;
    let segment = world.directory.path().join("segment");
    let daemon = std::thread::spawn(move || answer(&listener, &segment, rings.as_fd()));
    let client = Client::connect(&socket)?;
    daemon.join().ok().context("the daemon's thread panicked")??;
    let counter = client.counter("key")?;
    let consumer = consumers.pop().context("no rings")?;
    Ok(Box::new(Enqueue { _world: world, counter, consumer, enqueued: 0, expected: 0 }))
}

/// The daemon's part in attaching one client (`client/src/attach.rs`). The connection is left open for good: its end
/// would be the daemon's.
fn answer(listener: &UnixListener, segment: &Path, rings: std::os::fd::BorrowedFd<'_>) -> anyhow::Result<()> {
    let (mut stream, _) = listener.accept()?;
    BufReader::new(&stream).read_line(&mut String::new())?;
    let reply = format!("{{\"ok\":true,\"segment\":\"{}\",\"workers\":1}}\n", segment.display());
    let descriptors = [rings];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "no room for a descriptor");
    let sent = sendmsg(&stream, &[IoSlice::new(reply.as_bytes())], &mut control, SendFlags::empty())?;
    stream.write_all(&reply.as_bytes()[sent..])?;
    std::mem::forget(stream);
    Ok(())
}

struct Take {
    producer: RingProducer,
    consumer: RingConsumer,
    taken: u32,
    sum: i64,
}

impl Operation for Take {
    fn prepare(&mut self) -> anyhow::Result<()> {
        ensure!(self.sum == i64::from(self.taken), "a submission got lost");
        for _ in 0..BURST {
            self.producer.submit(&Submission {
                op: SubmitOp::CounterAdd,
                kind: layout::KIND_COUNTER,
                target: Target::Cell { cell: 1, generation: 1 },
                amount: 1,
                data: &[],
            })?;
        }
        self.taken += BURST;
        Ok(())
    }

    fn round(&mut self) {
        let sum = &mut self.sum;
        let taken = self.consumer.poll(BURST as usize, &mut |submission| {
            *sum += submission.amount;
            Verdict::Applied
        });
        debug_assert!(taken.is_ok());
        self.consumer.complete();
    }
}

/// The worker's end of the ring: poll and complete.
pub fn take() -> anyhow::Result<Box<dyn Operation>> {
    let (rings, mut consumers) = create_rings(1, RINGS)?;
    let producer = RingProducer::map(&rings)?.pop().context("no rings")?;
    Ok(Box::new(Take { producer, consumer: consumers.pop().context("no rings")?, taken: 0, sum: 0 }))
}
