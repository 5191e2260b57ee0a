//! The seals of frames. valgrind's processor has AES and carry-less multiplication of 128 bits; a real one may have wider ones.

use anyhow::ensure;
use lattice_crdt::ActorId;
use lattice_seal::{KEY_FRAMES, OpenKey, Opened, SealKey, Secret};
use lattice_wire::{FrameType, FrameWriter, Header, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, split_frame};

use super::{BURST, Operation};

const CLUSTER_TAG: u32 = 0x1a77_1ced;

/// A full frame, sealed once in each step of a round, or opened.
struct Seals {
    seal: SealKey,
    open: OpenKey,
    opens: bool,
    frames: Vec<[u8; MAX_FRAME_BYTES]>,
    opened: Box<Opened>,
    /// Counts what went as it should.
    right: u32,
    rounds: u32,
}

impl Seals {
    fn seal(&mut self) {
        for frame in &mut self.frames {
            self.right += u32::from(self.seal.seal(0, frame).is_ok());
        }
    }

    fn open(&mut self) {
        for frame in &self.frames {
            let Ok(envelope) = split_frame(frame, CLUSTER_TAG) else { continue };
            self.right += u32::from(self.open.open(0, &envelope, &mut self.opened).is_ok());
        }
    }
}

impl Operation for Seals {
    fn prepare(&mut self) -> anyhow::Result<()> {
        ensure!(self.right == self.rounds * BURST, "a frame was not sealed or opened");
        if self.opens {
            self.seal();
            self.right -= BURST;
        }
        self.rounds += 1;
        Ok(())
    }

    fn round(&mut self) {
        if self.opens { self.open() } else { self.seal() }
    }
}

fn seals(opens: bool) -> anyhow::Result<Box<dyn Operation>> {
    let header = Header {
        frame_type: FrameType::Data,
        cluster_tag: CLUSTER_TAG,
        node: 1,
        dest_node: 2,
        shard: 0,
        actor: ActorId::new(1, 7),
        src_session: 1,
        dst_session: 2,
        lo: 0,
        count: 1,
        log_first: 1,
    };
    let mut frame = [0; MAX_FRAME_BYTES];
    let mut writer = FrameWriter::new(&mut frame, header).ok_or_else(|| anyhow::anyhow!("no room"))?;
    writer.push_bytes(&[7; MAX_PAYLOAD_BYTES])?;
    writer.finish_untagged();
    let secret = Secret::draw()?;
    Ok(Box::new(Seals {
        seal: SealKey::new(&secret, 1, KEY_FRAMES)?,
        open: OpenKey::new(&secret, 1)?,
        opens,
        frames: vec![frame; BURST as usize],
        opened: Box::new([0; MAX_PAYLOAD_BYTES]),
        right: 0,
        rounds: 0,
    }))
}

/// A full frame is sealed.
pub fn seal() -> anyhow::Result<Box<dyn Operation>> {
    seals(false)
}

/// A full frame is opened.
pub fn open() -> anyhow::Result<Box<dyn Operation>> {
    seals(true)
}
