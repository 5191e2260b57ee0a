//! Frames: header, payload, tag.
//!
//! The tag is XXH3-128 over header and payload, seeded with the cluster tag. That is integrity, not authenticity: it
//! finds damage that Ethernet and UDP checksums let through (UDP's are off on the AF_XDP path), and anybody who knows
//! the format can make one. Sealing puts an AES-GCM tag into the same 16 bytes and its counter into the header.

use lattice_crdt::ActorId;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::codec::Writer;
use crate::delta::write_renamed;
use crate::header::{HEADER_BYTES, Header, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, TAG_BYTES};
use crate::{Delta, NoRoom, Record, SyncItem, WireError};

/// A frame that has been checked; its payload has not been decoded.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Frame<'a> {
    /// What the sender said about it.
    pub header: Header,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Checks a frame and splits it. `bytes` is the whole UDP payload.
///
/// # Errors
/// [`WireError`] says what is wrong first, the cheap checks coming first; nothing of such a frame may be used.
pub fn decode_frame(bytes: &[u8], expected_cluster_tag: u32) -> Result<Frame<'_>, WireError> {
    if bytes.len() > MAX_FRAME_BYTES || zoo!(MtuOffByOne) && bytes.len() == MAX_FRAME_BYTES {
        return Err(WireError::TooLong);
    }
    let (sealed, tag) = bytes.split_last_chunk::<TAG_BYTES>().ok_or(WireError::TooShort)?;
    let (head, payload) = sealed.split_first_chunk::<HEADER_BYTES>().ok_or(WireError::TooShort)?;
    let (header, payload_len) = Header::decode(head, expected_cluster_tag)?;
    if payload.len() != payload_len {
        return Err(WireError::BadLength);
    }
    let seed = if zoo!(OtherClusterAccepted) { header.cluster_tag } else { expected_cluster_tag };
    if *tag != tag_of(sealed, seed) && !zoo!(TagNotChecked) {
        return Err(WireError::BadTag);
    }
    Ok(Frame { header, payload })
}

fn tag_of(header_and_payload: &[u8], cluster_tag: u32) -> [u8; TAG_BYTES] {
    xxh3_128_with_seed(header_and_payload, u64::from(cluster_tag)).to_le_bytes()
}

/// Builds one frame in place. Each push writes all or nothing, so a push that finds no room leaves a frame that can be
/// finished and sent, and what did not fit goes into the next one.
#[derive(Debug)]
pub struct FrameWriter<'a> {
    buf: &'a mut [u8; MAX_FRAME_BYTES],
    header: Header,
    payload_len: usize,
}

impl<'a> FrameWriter<'a> {
    /// Starts a frame in `buf`; `None` if that is shorter than [`MAX_FRAME_BYTES`].
    pub fn new(buf: &'a mut [u8], header: Header) -> Option<Self> {
        let (buf, _) = buf.split_first_chunk_mut::<MAX_FRAME_BYTES>()?;
        Some(Self { buf, header, payload_len: 0 })
    }

    /// How many bytes of payload still fit.
    pub fn payload_room(&self) -> usize {
        MAX_PAYLOAD_BYTES - self.payload_len
    }

    /// How many bytes of payload were pushed.
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }

    /// The header as it will be written.
    pub fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }

    /// Sets how many records or items the payload has.
    pub fn set_count(&mut self, count: u32) {
        self.header.count = count;
    }

    /// Appends bytes that are encoded already: records out of the log.
    ///
    /// # Errors
    /// [`NoRoom`]; the frame is as it was.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.push_with(|out| out.bytes(bytes))
    }

    /// Appends a record out of the log, naming its key by this alias. One that has no key can't be named so.
    ///
    /// # Errors
    /// [`NoRoom`]; the frame is as it was.
    pub fn push_aliased(&mut self, record: &[u8], alias: u32) -> Result<(), NoRoom> {
        self.push_with(|out| write_renamed(record, alias, false, out))
    }

    /// Appends a record out of the log, defining this alias for its key.
    ///
    /// # Errors
    /// [`NoRoom`]; the frame is as it was.
    pub fn push_defining(&mut self, record: &[u8], alias: u32) -> Result<(), NoRoom> {
        self.push_with(|out| write_renamed(record, alias, true, out))
    }

    /// Appends a record of the header's actor.
    ///
    /// # Errors
    /// [`NoRoom`]; the frame is as it was.
    pub fn push_record(&mut self, record: &Record<'_>) -> Result<(), NoRoom> {
        self.push_delta(&Delta::from(*record))
    }

    /// Appends a record of the header's actor, however it names its key.
    ///
    /// # Errors
    /// [`NoRoom`]; the frame is as it was.
    pub fn push_delta(&mut self, delta: &Delta<'_>) -> Result<(), NoRoom> {
        let actor: ActorId = self.header.actor;
        self.push_with(|out| delta.write(actor, out))
    }

    /// Starts the payload of a SyncData frame; items follow.
    ///
    /// # Errors
    /// [`NoRoom`]; the frame is as it was.
    pub fn push_sync_id(&mut self, sync_id: u32) -> Result<(), NoRoom> {
        self.push_with(|out| out.u32(sync_id))
    }

    /// Appends one item to a SyncData frame.
    ///
    /// # Errors
    /// [`NoRoom`]; the frame is as it was.
    pub fn push_item(&mut self, item: &SyncItem<'_>) -> Result<(), NoRoom> {
        self.push_with(|out| item.write(out))
    }

    /// Writes header and tag; returns the frame's length.
    pub fn finish(self) -> usize {
        // At most MAX_PAYLOAD_BYTES, which is asserted to fit a u16.
        let header = self.header.encode(self.payload_len as u16);
        let tag_at = HEADER_BYTES + self.payload_len;
        self.buf[..HEADER_BYTES].copy_from_slice(&header);
        let tag = tag_of(&self.buf[..tag_at], self.header.cluster_tag);
        self.buf[tag_at..tag_at + TAG_BYTES].copy_from_slice(&tag);
        tag_at + TAG_BYTES
    }

    /// What the `encode` of the payload structs is made of.
    #[inline]
    pub(crate) fn push_with(
        &mut self,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        let start = HEADER_BYTES + self.payload_len;
        let end = HEADER_BYTES + MAX_PAYLOAD_BYTES;
        let mut out = Writer::new(self.buf.get_mut(start..end).ok_or(NoRoom)?);
        write(&mut out)?;
        self.payload_len += out.len();
        Ok(())
    }
}
