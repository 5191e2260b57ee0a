//! The handles that applications use: one per key, made by [`Client`].
//!
//! Every read serves from this host's segment; every write is enqueued to this host's daemon and returns a [`Ticket`]
//! without waiting. A key that nobody has written yet reads as its kind's empty value: 0, off, unset, no members.

use std::time::Duration;

use lattice_segment::{CellRef, ReadError, Reader, SubmitOp, layout};

use crate::ack::{Ack, Reached};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::kind::Kind;
use crate::ticket::Ticket;

/// Opening handles. None of them needs the key to exist.
///
/// # Errors
/// Each returns [`Error::BadKey`] for an empty key or one over 128 bytes, and [`Error::KindMismatch`] if the key exists on
/// this host with another kind.
impl Client {
    /// A counter: a sum that every host may add to and subtract from.
    ///
    /// # Errors
    /// As for all handles.
    pub fn counter(&self, key: impl AsRef<[u8]>) -> Result<Counter> {
        Handle::open(self, Kind::Counter, key.as_ref()).map(|handle| Counter { handle })
    }

    /// A flag for which a concurrent enable beats a disable.
    ///
    /// # Errors
    /// As for all handles.
    pub fn flag(&self, key: impl AsRef<[u8]>) -> Result<Flag> {
        Handle::open(self, Kind::FlagEnableWins, key.as_ref()).map(|handle| Flag { handle })
    }

    /// A flag for which a concurrent disable beats an enable.
    ///
    /// # Errors
    /// As for all handles.
    pub fn flag_disable_wins(&self, key: impl AsRef<[u8]>) -> Result<Flag> {
        Handle::open(self, Kind::FlagDisableWins, key.as_ref()).map(|handle| Flag { handle })
    }

    /// A register: the bytes of the last writer, up to 1024.
    ///
    /// # Errors
    /// As for all handles.
    pub fn register(&self, key: impl AsRef<[u8]>) -> Result<Register> {
        Handle::open(self, Kind::Register, key.as_ref()).map(|handle| Register { handle })
    }

    /// A set of elements of up to 256 bytes; a concurrent insert beats a remove.
    ///
    /// # Errors
    /// As for all handles.
    pub fn set(&self, key: impl AsRef<[u8]>) -> Result<Set> {
        Handle::open(self, Kind::Set, key.as_ref()).map(|handle| Set { handle })
    }
}

macro_rules! handle {
    ($name:ident) => {
        impl $name {
            /// The key.
            #[must_use]
            pub fn key(&self) -> &[u8] {
                self.handle.key()
            }

            /// The kind under which it was opened.
            #[must_use]
            pub fn kind(&self) -> Kind {
                self.handle.kind()
            }

            /// The client that it came from.
            #[must_use]
            pub fn client(&self) -> &Client {
                self.handle.client()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("key", &String::from_utf8_lossy(self.key()))
                    .field("kind", &self.kind())
                    .finish()
            }
        }
    };
}

handle!(Counter);
handle!(Flag);
handle!(Register);
handle!(Set);

/// A counter. See [`Client::counter`].
#[derive(Clone)]
pub struct Counter {
    handle: Handle,
}

impl Counter {
    /// The sum of all additions that this host has heard of. One load.
    ///
    /// # Errors
    /// [`Error::KindMismatch`] if the key came into being with another kind; with [`crate::ReadPolicy::Fresh`] also
    /// [`Error::DaemonStale`] and [`Error::DaemonClosed`].
    #[inline]
    pub fn get(&self) -> Result<i64> {
        // The segment carries the sum as the bits of an i64.
        self.handle.read_word().map(|word| word as i64)
    }

    /// Adds; a negative amount subtracts. Enqueues only.
    ///
    /// # Errors
    /// [`Error::RingFull`], [`Error::ReadOnly`], [`Error::DaemonStale`], [`Error::DaemonClosed`]: nothing was enqueued.
    #[inline]
    pub fn add(&self, amount: i64) -> Result<Ticket> {
        self.handle.submit(SubmitOp::CounterAdd, amount, &[])
    }

    /// Adds, and waits until the sum on this host contains it.
    ///
    /// # Errors
    /// Those of [`Counter::add`] and of [`Client::wait`].
    pub fn add_wait(&self, amount: i64, timeout: Duration) -> Result<()> {
        self.client().wait(self.add(amount)?, timeout)
    }

    /// Adds, and waits until that has got as far as `ack` says.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use lattice_client::{Ack, Client};
    ///
    /// # fn main() -> Result<(), lattice_client::Error> {
    /// let client = Client::connect("/dev/shm/latticed/host-a/daemon.sock")?;
    /// let reached = client.counter("paid")?.add_with(1, Ack::Majority, Duration::from_secs(1))?;
    /// assert!(reached.has(Ack::Majority) && reached.local);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Counter::add`] and of [`Client::wait_with`].
    pub fn add_with(&self, amount: i64, ack: Ack, timeout: Duration) -> Result<Reached> {
        self.handle.write_with(ack, timeout, || self.add(amount))
    }
}

/// A flag. See [`Client::flag`] and [`Client::flag_disable_wins`].
#[derive(Clone)]
pub struct Flag {
    handle: Handle,
}

impl Flag {
    /// True if it is on. One load.
    ///
    /// # Errors
    /// As [`Counter::get`].
    #[inline]
    pub fn get(&self) -> Result<bool> {
        self.handle.read_word().map(|word| word != 0)
    }

    /// Turns it on. Enqueues only.
    ///
    /// # Errors
    /// As [`Counter::add`].
    pub fn enable(&self) -> Result<Ticket> {
        self.handle.submit(SubmitOp::FlagEnable, 0, &[])
    }

    /// Turns it on, and waits until this host sees it.
    ///
    /// # Errors
    /// Those of [`Flag::enable`] and of [`Client::wait`].
    pub fn enable_wait(&self, timeout: Duration) -> Result<()> {
        self.client().wait(self.enable()?, timeout)
    }

    /// Turns it on, and waits until that has got as far as `ack` says.
    ///
    /// # Errors
    /// Those of [`Flag::enable`] and of [`Client::wait_with`].
    pub fn enable_with(&self, ack: Ack, timeout: Duration) -> Result<Reached> {
        self.handle.write_with(ack, timeout, || self.enable())
    }

    /// Turns it off. Enqueues only.
    ///
    /// # Errors
    /// As [`Counter::add`].
    pub fn disable(&self) -> Result<Ticket> {
        self.handle.submit(SubmitOp::FlagDisable, 0, &[])
    }

    /// Turns it off, and waits until this host sees it.
    ///
    /// # Errors
    /// Those of [`Flag::disable`] and of [`Client::wait`].
    pub fn disable_wait(&self, timeout: Duration) -> Result<()> {
        self.client().wait(self.disable()?, timeout)
    }

    /// Turns it off, and waits until that has got as far as `ack` says.
    ///
    /// # Errors
    /// Those of [`Flag::disable`] and of [`Client::wait_with`].
    pub fn disable_with(&self, ack: Ack, timeout: Duration) -> Result<Reached> {
        self.handle.write_with(ack, timeout, || self.disable())
    }
}

/// A register. See [`Client::register`].
#[derive(Clone)]
pub struct Register {
    handle: Handle,
}

impl Register {
    /// The bytes of the last writer, or `None` if it was never set.
    ///
    /// # Errors
    /// As [`Counter::get`]; [`Error::Busy`] if it changes faster than it can be copied; [`Error::Corrupt`].
    pub fn get(&self) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        Ok(self.get_into(&mut bytes)?.then_some(bytes))
    }

    /// Replaces what `bytes` holds by the register's; false (and empty) if it was never set. Allocates only when the buffer
    /// is too small, so this is the one for a hot path.
    ///
    /// # Errors
    /// As [`Register::get`].
    #[inline]
    pub fn get_into(&self, bytes: &mut Vec<u8>) -> Result<bool> {
        let is_set = self.handle.read(|reader, cell| copy_register(reader, cell, bytes))?;
        if is_set.is_none() {
            bytes.clear();
        }
        Ok(is_set.unwrap_or(false))
    }

    /// Replaces the bytes. Enqueues only.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over 1024 bytes, and as [`Counter::add`].
    pub fn set(&self, bytes: &[u8]) -> Result<Ticket> {
        check_len(bytes, layout::MAX_REGISTER_BYTES)?;
        self.handle.submit(SubmitOp::RegisterSet, 0, bytes)
    }

    /// Replaces the bytes, and waits until this host sees them (or those of a later writer).
    ///
    /// # Errors
    /// Those of [`Register::set`] and of [`Client::wait`].
    pub fn set_wait(&self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.client().wait(self.set(bytes)?, timeout)
    }

    /// Replaces the bytes, and waits until that has got as far as `ack` says.
    ///
    /// # Errors
    /// Those of [`Register::set`] and of [`Client::wait_with`].
    pub fn set_with(&self, bytes: &[u8], ack: Ack, timeout: Duration) -> Result<Reached> {
        self.handle.write_with(ack, timeout, || self.set(bytes))
    }
}

/// A set. See [`Client::set`].
#[derive(Clone)]
pub struct Set {
    handle: Handle,
}

impl Set {
    /// True if the element is a member. Does not depend on the set's size.
    ///
    /// # Errors
    /// As [`Register::get`].
    pub fn contains(&self, element: &[u8]) -> Result<bool> {
        let found = self.handle.read(|reader, cell| reader.set_contains(cell, element))?;
        Ok(found.unwrap_or(false))
    }

    /// How many members it has.
    ///
    /// # Errors
    /// As [`Counter::get`].
    pub fn len(&self) -> Result<u64> {
        let len = self.handle.read(|reader, cell| reader.set_len(cell).map_err(ReadError::from))?;
        Ok(len.unwrap_or(0))
    }

    /// True if it has no members.
    ///
    /// # Errors
    /// As [`Counter::get`].
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// All members, in byte order. Not a snapshot: a member that is inserted or removed meanwhile may or may not be in it,
    /// all others are, once.
    ///
    /// # Errors
    /// As [`Register::get`].
    pub fn members(&self) -> Result<Vec<Vec<u8>>> {
        let mut members = Vec::new();
        self.handle.read(|reader, cell| {
            // Begins anew if an earlier attempt found the cell stale half-way.
            members.clear();
            reader.set_members(cell, &mut |element| members.push(element.to_vec()))
        })?;
        members.sort_unstable();
        Ok(members)
    }

    /// Visits all members, in no order, with the guarantee of [`Set::members`]. Allocates one buffer, for a part of the set at
    /// a time, and nothing for each member. If it fails, some members may have been visited.
    ///
    /// # Errors
    /// As [`Register::get`].
    pub fn for_each_member(&self, mut visit: impl FnMut(&[u8])) -> Result<()> {
        self.handle.read(|reader, cell| reader.set_members(cell, &mut visit)).map(|_| ())
    }

    /// Inserts an element. Enqueues only.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over 256 bytes, and as [`Counter::add`].
    pub fn insert(&self, element: &[u8]) -> Result<Ticket> {
        check_len(element, layout::MAX_ELEMENT_BYTES)?;
        self.handle.submit(SubmitOp::SetInsert, 0, element)
    }

    /// Inserts an element, and waits until this host sees it.
    ///
    /// # Errors
    /// Those of [`Set::insert`] and of [`Client::wait`].
    pub fn insert_wait(&self, element: &[u8], timeout: Duration) -> Result<()> {
        self.client().wait(self.insert(element)?, timeout)
    }

    /// Inserts an element, and waits until that has got as far as `ack` says.
    ///
    /// # Errors
    /// Those of [`Set::insert`] and of [`Client::wait_with`].
    pub fn insert_with(&self, element: &[u8], ack: Ack, timeout: Duration) -> Result<Reached> {
        self.handle.write_with(ack, timeout, || self.insert(element))
    }

    /// Removes an element; an insertion elsewhere that this host has not heard of yet stays. Enqueues only.
    ///
    /// # Errors
    /// As [`Set::insert`].
    pub fn remove(&self, element: &[u8]) -> Result<Ticket> {
        check_len(element, layout::MAX_ELEMENT_BYTES)?;
        self.handle.submit(SubmitOp::SetRemove, 0, element)
    }

    /// Removes an element, and waits until this host sees it.
    ///
    /// # Errors
    /// Those of [`Set::remove`] and of [`Client::wait`].
    pub fn remove_wait(&self, element: &[u8], timeout: Duration) -> Result<()> {
        self.client().wait(self.remove(element)?, timeout)
    }

    /// Removes an element, and waits until that has got as far as `ack` says.
    ///
    /// # Errors
    /// Those of [`Set::remove`] and of [`Client::wait_with`].
    pub fn remove_with(&self, element: &[u8], ack: Ack, timeout: Duration) -> Result<Reached> {
        self.handle.write_with(ack, timeout, || self.remove(element))
    }

    /// Removes every element that this host sees when its daemon applies it. Enqueues only.
    ///
    /// # Errors
    /// As [`Counter::add`].
    pub fn clear(&self) -> Result<Ticket> {
        self.handle.submit(SubmitOp::SetClear, 0, &[])
    }

    /// Removes every element that this host sees, and waits until that has got as far as `ack` says.
    ///
    /// # Errors
    /// Those of [`Set::clear`] and of [`Client::wait_with`].
    pub fn clear_with(&self, ack: Ack, timeout: Duration) -> Result<Reached> {
        self.handle.write_with(ack, timeout, || self.clear())
    }
}

/// Replaces what `bytes` holds by a register's value; false if it was never set.
#[inline]
pub(crate) fn copy_register(
    reader: &Reader,
    cell: CellRef,
    bytes: &mut Vec<u8>,
) -> std::result::Result<bool, ReadError> {
    // An empty value may have been set, or none at all: only the version can tell. It is asked first: afterwards it could be
    // that of a value set since the copy, which would make the emptiness before it a value.
    let was_set = reader.version(cell)? > 0;
    reader.bytes(cell, bytes)?;
    Ok(was_set || !bytes.is_empty())
}

fn check_len(bytes: &[u8], limit: usize) -> Result<()> {
    if bytes.len() > limit { Err(Error::TooLarge { len: bytes.len(), limit }) } else { Ok(()) }
}
