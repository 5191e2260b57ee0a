//! The two ends of a key: sealing frames, and opening them.

use std::fmt;

use lattice_wire::{Envelope, Frame, HEADER_BYTES, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, SealMark, TAG_BYTES};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};

use crate::window::Window;
use crate::{SECRET_BYTES, Secret};

const _: () = assert!(MAX_FRAME_BYTES == HEADER_BYTES + MAX_PAYLOAD_BYTES + TAG_BYTES);
const _: () = assert!(NONCE_LEN == 12 && SECRET_BYTES == 16);

/// The key has sealed as many frames as it may, or was made for fewer shards. The frame is not sealed, and not to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key has sealed as many frames as it may")]
pub struct Worn;

/// Why a frame was not opened. Nothing of it may be used, and nothing was changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No key of that number is known of its sender: one of an earlier session, or none yet.
    #[error("it is sealed with a key that is not known")]
    UnknownKey,
    /// The tag does not fit header and payload: it was damaged, or made by somebody who does not have the key.
    #[error("its seal is broken")]
    BadTag,
    /// It has come before, or so many after it that this can't be told.
    #[error("it has come before")]
    Replayed,
}

/// The library takes no such key. It takes every one of sixteen bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key can't be used")]
pub struct Unusable;

/// Room for the payload of a frame that is opened.
pub type Opened = [u8; MAX_PAYLOAD_BYTES];

/// The sender's end of a key, as one worker holds it. Several workers may have one each: of different shards.
pub struct SealKey {
    id: u32,
    key: LessSafeKey,
    /// Of each shard: the frames sealed so far.
    counters: Box<[u64]>,
    sealed: u64,
    limit: u64,
}

impl SealKey {
    /// For a keyspace of so many shards. `limit`: the frames that it may seal here, of all shards together; the limits of all
    /// workers make [`KEY_FRAMES`](crate::KEY_FRAMES) at most.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn new(secret: &Secret, shards: u16, limit: u64) -> Result<Self, Unusable> {
        let counters = vec![0; usize::from(shards)].into();
        Ok(Self { id: secret.id(), key: expand(secret)?, counters, sealed: 0, limit })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Frames sealed so far.
    #[must_use]
    pub fn sealed(&self) -> u64 {
        self.sealed
    }

    /// It has sealed an eighth of what it may, and is to be replaced.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.sealed >= self.limit / 8
    }

    /// Seals a frame of a shard where it lies: encrypts the payload, and writes key, counter and tag. The frame has its header and
    /// room for the tag, as [`lattice_wire::FrameWriter::finish_untagged`] leaves it.
    ///
    /// # Errors
    /// [`Worn`]; also if it is shorter than a frame.
    pub fn seal(&mut self, shard: u16, frame: &mut [u8]) -> Result<(), Worn> {
        let counter = self.counters.get_mut(usize::from(shard)).ok_or(Worn)?;
        let (covered, tag) = frame.split_last_chunk_mut::<TAG_BYTES>().ok_or(Worn)?;
        let (header, payload) = covered.split_first_chunk_mut::<HEADER_BYTES>().ok_or(Worn)?;
        if self.sealed >= self.limit {
            return Err(Worn);
        }
        // Counted before it is used, and never given back: no nonce is used twice, whatever happens below.
        self.sealed += 1;
        *counter += 1;
        SealMark { key: self.id, counter: *counter }.write(header);
        let aad = Aad::from(&header[..]);
        // An error: longer than AES-GCM allows, which no frame is.
        let made =
            self.key.seal_in_place_separate_tag(nonce(shard, *counter), aad, payload).map_err(|_| Worn)?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }
}

/// The receiver's end of a key, as one worker holds it: with a replay window for each shard.
pub struct OpenKey {
    id: u32,
    key: LessSafeKey,
    windows: Box<[Window]>,
}

impl OpenKey {
    /// For a keyspace of so many shards.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn new(secret: &Secret, shards: u16) -> Result<Self, Unusable> {
        let windows = vec![Window::new(); usize::from(shards)].into();
        Ok(Self { id: secret.id(), key: expand(secret)?, windows })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Opens a frame that came for a shard, into `opened`. A frame of another shard has another nonce, and does not open.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn open<'o>(
        &mut self,
        shard: u16,
        envelope: &Envelope<'_>,
        opened: &'o mut Opened,
    ) -> Result<Frame<'o>, Refused> {
        let mark = envelope.mark.filter(|mark| mark.key == self.id).ok_or(Refused::UnknownKey)?;
        let window = self.windows.get_mut(usize::from(shard)).ok_or(Refused::UnknownKey)?;
        let header = envelope.covered.get(..HEADER_BYTES).ok_or(Refused::BadTag)?;
        let payload = opened.get_mut(..envelope.payload.len()).ok_or(Refused::BadTag)?;
        payload.copy_from_slice(envelope.payload);
        let (nonce, tag) = (nonce(shard, mark.counter), Tag::from(*envelope.tag));
        let payload: &'o [u8] = self
            .key
            .open_in_place_separate_tag(nonce, Aad::from(header), tag, payload, 0..)
            .map_err(|_| Refused::BadTag)?;
        match window.admit(mark.counter) {
            true => Ok(Frame { header: envelope.header, payload }),
            false => Err(Refused::Replayed),
        }
    }
}

fn nonce(shard: u16, counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..2].copy_from_slice(&shard.to_le_bytes());
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn expand(secret: &Secret) -> Result<LessSafeKey, Unusable> {
    UnboundKey::new(&AES_128_GCM, secret.bytes()).map(LessSafeKey::new).map_err(|_| Unusable)
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("id", &self.id).field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenKey").field("id", &self.id).finish_non_exhaustive()
    }
}
