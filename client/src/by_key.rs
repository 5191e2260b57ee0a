//! Reading keys that are not known beforehand: no handle, no allocation, no lock.
//!
//! ```text
//!   ByKey  attachment 1 ── hash ── index probe ── cell ── value          while its daemon serves
//!          attachment n, behind the client's read lock                   after a restart (some 20 ns more)
//! ```
//!
//! A handle remembers where its key is, so its reads are cheaper still: whoever reads the same key again and again opens one.
//! Like a handle, a [`ByKey`] keeps the first segment mapped until it is dropped, and a clone begins on the newest.

use std::sync::Arc;

use lattice_segment::{CellRef, Lookup, ReadError, Reader, key_hash, layout};

use crate::attachment::Attachment;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::kind::Kind;
use crate::types::copy_register;

/// Reads any key of this host. Made by [`Client::by_key`]; `Send + Sync`.
///
/// A key that nobody has written reads as its kind's empty value. Every call returns [`Error::BadKey`] for an empty key or one
/// over 128 bytes, and [`Error::KindMismatch`] if the key exists with another kind only; with
/// [`ReadPolicy::Fresh`](crate::ReadPolicy::Fresh) also [`Error::DaemonStale`] and [`Error::DaemonClosed`].
pub struct ByKey {
    client: Client,
    fresh_only: bool,
    first: Arc<Attachment>,
}

impl Client {
    /// For reads of keys that are not known beforehand: what a lookup and the read cost, and nothing else.
    #[must_use]
    pub fn by_key(&self) -> ByKey {
        ByKey { client: self.clone(), fresh_only: self.reads_fresh_only(), first: self.successor() }
    }
}

impl Clone for ByKey {
    fn clone(&self) -> Self {
        self.client.by_key()
    }
}

impl ByKey {
    /// A counter's sum; 0 if nobody has written it.
    ///
    /// # Errors
    /// Those of all reads by key.
    #[inline]
    pub fn counter(&self, key: impl AsRef<[u8]>) -> Result<i64> {
        // The segment carries the sum as the bits of an i64.
        self.word(Kind::Counter, key.as_ref()).map(|word| word as i64)
    }

    /// True if an enable-wins flag is on.
    ///
    /// # Errors
    /// Those of all reads by key.
    #[inline]
    pub fn flag(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.word(Kind::FlagEnableWins, key.as_ref()).map(|word| word != 0)
    }

    /// True if a disable-wins flag is on.
    ///
    /// # Errors
    /// Those of all reads by key.
    #[inline]
    pub fn flag_disable_wins(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.word(Kind::FlagDisableWins, key.as_ref()).map(|word| word != 0)
    }

    /// Replaces what `bytes` holds by the register's; false (and empty) if it was never set.
    ///
    /// # Errors
    /// Those of all reads by key; [`Error::Busy`] if it changes faster than it can be copied; [`Error::Corrupt`].
    pub fn register_into(&self, key: impl AsRef<[u8]>, bytes: &mut Vec<u8>) -> Result<bool> {
        let is_set =
            self.read(Kind::Register, key.as_ref(), |reader, cell| copy_register(reader, cell, bytes))?;
        if is_set.is_none() {
            bytes.clear();
        }
        Ok(is_set.unwrap_or(false))
    }

    /// True if the element is a member of the set.
    ///
    /// # Errors
    /// As [`ByKey::register_into`].
    pub fn set_contains(&self, key: impl AsRef<[u8]>, element: &[u8]) -> Result<bool> {
        let found = self.read(Kind::Set, key.as_ref(), |reader, cell| reader.set_contains(cell, element))?;
        Ok(found.unwrap_or(false))
    }

    /// How many members the set has.
    ///
    /// # Errors
    /// Those of all reads by key.
    pub fn set_len(&self, key: impl AsRef<[u8]>) -> Result<u64> {
        let len = self.read(Kind::Set, key.as_ref(), |reader, cell| Ok(reader.set_len(cell)?))?;
        Ok(len.unwrap_or(0))
    }

    /// Visits all members of the set, as [`Set::for_each_member`](crate::Set::for_each_member) does.
    ///
    /// # Errors
    /// As [`ByKey::register_into`].
    pub fn for_each_member(&self, key: impl AsRef<[u8]>, mut visit: impl FnMut(&[u8])) -> Result<()> {
        self.read(Kind::Set, key.as_ref(), |reader, cell| reader.set_members(cell, &mut visit)).map(|_| ())
    }

    #[inline]
    fn word(&self, kind: Kind, key: &[u8]) -> Result<u64> {
        let word = self.read(kind, key, |reader, cell| Ok(reader.word(cell)?))?;
        Ok(word.unwrap_or(0))
    }

    /// Looks the key up and reads its cell; `None` if it is not published.
    #[inline]
    fn read<T>(
        &self,
        kind: Kind,
        key: &[u8],
        value: impl FnOnce(&Reader, CellRef) -> std::result::Result<T, ReadError>,
    ) -> Result<Option<T>> {
        if key.is_empty() || key.len() > layout::MAX_KEY_BYTES {
            return Err(Error::BadKey { len: key.len(), limit: layout::MAX_KEY_BYTES });
        }
        if !self.fresh_only && !self.first.is_over() {
            return read_in(&self.first, kind, key, value);
        }
        let attachment = self.client.successor();
        if self.fresh_only {
            if attachment.is_over() {
                return Err(self.client.daemon_closed(&attachment));
            }
            self.client.check_heartbeat(&attachment, attachment.worker_of(key_hash(key)))?;
        }
        read_in(&attachment, kind, key, value)
    }
}

#[inline]
fn read_in<T>(
    attachment: &Attachment,
    kind: Kind,
    key: &[u8],
    value: impl FnOnce(&Reader, CellRef) -> std::result::Result<T, ReadError>,
) -> Result<Option<T>> {
    let cell = match attachment.reader.lookup(kind.as_u8(), key) {
        Lookup::Found(cell) => cell,
        Lookup::Missing => return Ok(None),
        Lookup::OtherKind(found) => {
            return Err(Error::KindMismatch { wanted: kind, found: Kind::from_u8(found) });
        }
    };
    match value(&attachment.reader, cell) {
        Ok(value) => Ok(Some(value)),
        // The cell was found a moment ago, so Stale is a cell that changes while it is read.
        Err(ReadError::Busy | ReadError::Stale) => Err(Error::Busy),
        Err(ReadError::Corrupt) => Err(Error::Corrupt),
    }
}
