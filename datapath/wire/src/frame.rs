//! Frames: header, payload, tag.
//!
//! The tag is XXH3-128 over header and payload, seeded with the cluster tag. That is integrity, not authenticity: it
//! finds damage that Ethernet and UDP checksums let through (UDP's are off on the AF_XDP path), and anybody who knows
//! the format can make one. A seal (crate `lattice-seal`) puts an AES-GCM tag into the same 16 bytes instead.
//!
//! ```text
//!   FrameWriter ── finish_untagged ──┬── write_checksum ──> wire ──> split_frame ──┬── checked ──> Frame
//!                                    └── a seal ─────────────────────────────────> └── opened ──> Frame
//! ```

use lattice_crdt::ActorId;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::codec::Writer;
use crate::delta::write_renamed;
use crate::header::{HEADER_BYTES, Header, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, SealMark, TAG_BYTES, offsets};
use crate::{Delta, NoRoom, Record, SyncItem, WireError};

/// A frame that has been checked; its payload has not been decoded.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Frame<'a> {
    /// What the sender said about it.
    pub header: Header,
    /// What it carries.
    pub payload: &'a [u8],
}

/// A frame in its parts. Its header makes sense, and its length is what that says; its tag has not been looked at, so nothing
/// of it is believed yet.
#[derive(Copy, Clone, Debug)]
pub struct Envelope<'a> {
    /// What it claims.
    pub header: Header,
    /// The seal that it claims to have; `None`: it has a checksum.
    pub mark: Option<SealMark>,
    /// Header and payload as they are: what the tag covers.
    pub covered: &'a [u8],
    /// The payload; of a sealed frame, encrypted.
    pub payload: &'a [u8],
    /// The tag.
    pub tag: &'a [u8; TAG_BYTES],
}

impl<'a> Envelope<'a> {
    /// The frame, if it is not sealed and its checksum is right.
    ///
    /// # Errors
    /// [`WireError::Sealed`], [`WireError::BadTag`]; nothing of such a frame may be used.
    pub fn checked(self) -> Result<Frame<'a>, WireError> {
        if self.mark.is_some() {
            return Err(WireError::Sealed);
        }
        if *self.tag != tag_of(self.covered, self.header.cluster_tag) && !zoo!(TagNotChecked) {
            return Err(WireError::BadTag);
        }
        Ok(Frame { header: self.header, payload: self.payload })
    }
}

/// Splits a frame, after the cheap checks, the cheapest first. `bytes` is the whole UDP payload.
///
/// # Errors
/// [`WireError`] says what is wrong first; nothing of such a frame may be used.
pub fn split_frame(bytes: &[u8], expected_cluster_tag: u32) -> Result<Envelope<'_>, WireError> {
    if bytes.len() > MAX_FRAME_BYTES || zoo!(MtuOffByOne) && bytes.len() == MAX_FRAME_BYTES {
        return Err(WireError::TooLong);
    }
    let (covered, tag) = bytes.split_last_chunk::<TAG_BYTES>().ok_or(WireError::TooShort)?;
    let (head, payload) = covered.split_first_chunk::<HEADER_BYTES>().ok_or(WireError::TooShort)?;
    let (header, mark, payload_len) = Header::decode(head, expected_cluster_tag)?;
    if payload.len() != payload_len {
        return Err(WireError::BadLength);
    }
    Ok(Envelope { header, mark, covered, payload, tag })
}

/// Checks a frame that is not sealed, and splits it. `bytes` is the whole UDP payload.
///
/// # Errors
/// [`WireError`] says what is wrong first, the cheap checks coming first; nothing of such a frame may be used.
pub fn decode_frame(bytes: &[u8], expected_cluster_tag: u32) -> Result<Frame<'_>, WireError> {
    split_frame(bytes, expected_cluster_tag)?.checked()
}

/// Writes the checksum into the tag of a frame that [`FrameWriter::finish_untagged`] has made. Less than a frame is left as
/// it is.
pub fn write_checksum(frame: &mut [u8]) {
    let Some((covered, tag)) = frame.split_last_chunk_mut::<TAG_BYTES>() else { return };
    let Some(cluster_tag) = covered.get(offsets::CLUSTER_TAG..).and_then(<[u8]>::first_chunk) else { return };
    *tag = tag_of(covered, u32::from_le_bytes(*cluster_tag));
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

    /// Writes header and checksum; returns the frame's length.
    pub fn finish(self) -> usize {
        let cluster_tag = self.header.cluster_tag;
        let (buf, len) = self.finish_header();
        let tag_at = len - TAG_BYTES;
        let tag = tag_of(&buf[..tag_at], cluster_tag);
        buf[tag_at..len].copy_from_slice(&tag);
        len
    }

    /// Writes the header and leaves room for the tag, which is the sender's last step; returns the frame's length.
    pub fn finish_untagged(self) -> usize {
        self.finish_header().1
    }

    fn finish_header(self) -> (&'a mut [u8; MAX_FRAME_BYTES], usize) {
        // At most MAX_PAYLOAD_BYTES, which is asserted to fit a u16.
        let header = self.header.encode(self.payload_len as u16);
        self.buf[..HEADER_BYTES].copy_from_slice(&header);
        (self.buf, HEADER_BYTES + self.payload_len + TAG_BYTES)
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
