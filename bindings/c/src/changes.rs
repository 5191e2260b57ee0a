//! Following changes.

use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

use lattice_client::{Change, Changes};

use crate::client::latticed_client;
use crate::edge::{call, given, place_for, put_handle, release, timeout};
use crate::error::{Failure, latticed_code};
use crate::kind::{LATTICED_MAX_KEY_BYTES, latticed_kind};

/// A watcher: sees every change from its making on.
pub struct latticed_changes(Mutex<Changes>);

/// What a watcher is told.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum latticed_change_type {
    /// Nothing happened in time.
    LATTICED_CHANGE_NONE = 0,
    /// A key was published; reading it gives this value or a later one.
    LATTICED_CHANGE_KEY = 1,
    /// The watcher was too slow: changes of some keys were not reported. Read again what you care about.
    LATTICED_CHANGE_OVERRUN = 2,
    /// The client is attached to another daemon now. Read again what you care about.
    LATTICED_CHANGE_RESTARTED = 3,
}

/// A change.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct latticed_change {
    /// What happened. The rest is zero unless it is LATTICED_CHANGE_KEY.
    pub what: latticed_change_type,
    /// The key's kind.
    pub kind: latticed_kind,
    /// How often it has been published, this time included.
    pub version: u64,
    /// Bytes of the key.
    pub key_len: usize,
    /// The key. No zero byte ends it, unless it is shorter than the array.
    pub key: [u8; 128],
}

const _: () = assert!(LATTICED_MAX_KEY_BYTES == 128, "the array of latticed_change has the limit's length");

const NO_CHANGE: latticed_change = latticed_change {
    what: latticed_change_type::LATTICED_CHANGE_NONE,
    kind: latticed_kind::LATTICED_KIND_OTHER,
    version: 0,
    key_len: 0,
    key: [0; 128],
};

/// Follows the changes of all keys, from now on. To miss nothing: make the watcher first, then read. It is the caller's, to be
/// given to latticed_changes_close(); NULL is stored if the call fails.
///
/// Errors: LATTICED_EINVAL.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_changes_open(
    client: Option<&latticed_client>,
    changes: Option<&mut MaybeUninit<*mut latticed_changes>>,
) -> latticed_code {
    call(|| {
        put_handle(changes, "changes", || {
            Ok(latticed_changes(Mutex::new(given(client, "client")?.client.changes())))
        })
    })
}

/// Ends a watcher. NULL is fine. No other call may be using it, and none may come after.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_changes_close(changes: Option<Box<latticed_changes>>) {
    release(changes);
}

/// The next change, waiting for it at most `timeout_ns`; 0 does not wait. Changes of one key come in order; a key that changed
/// twice before it was looked at may be reported twice. A second thread waits until the first one's call is over.
///
/// Errors: LATTICED_EINVAL, LATTICED_ECORRUPT.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_changes_next(
    changes: Option<&latticed_changes>,
    timeout_ns: u64,
    change: Option<&mut MaybeUninit<latticed_change>>,
) -> latticed_code {
    use latticed_change_type::*;
    call(|| {
        let (changes, place) = (given(changes, "changes")?, place_for(change, "change")?);
        let place = place.write(NO_CHANGE);
        let mut changes = changes.0.lock().unwrap_or_else(PoisonError::into_inner);
        match changes.next(timeout(timeout_ns))? {
            None => {}
            Some(Change::Overrun) => place.what = LATTICED_CHANGE_OVERRUN,
            Some(Change::Restarted) => place.what = LATTICED_CHANGE_RESTARTED,
            Some(Change::Key { key, version }) => {
                let bytes = place.key.get_mut(..key.key.len());
                bytes.ok_or_else(|| Failure::internal("a key over the limit"))?.copy_from_slice(&key.key);
                (place.what, place.kind) = (LATTICED_CHANGE_KEY, key.kind.into());
                (place.version, place.key_len) = (version, key.key.len());
            }
            // What later libraries tell asks for a second look, too.
            Some(_) => place.what = LATTICED_CHANGE_OVERRUN,
        }
        Ok(())
    })
}
