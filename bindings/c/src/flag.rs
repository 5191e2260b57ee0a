//! Flags.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use lattice_client::Flag;

use crate::ack::{latticed_ack, latticed_reached, level, put_reached};
use crate::client::{latticed_client, latticed_ticket};
use crate::edge::{bytes, call, given, place_for, put, put_handle, release, timeout};
use crate::error::latticed_code;

/// A flag: a switch.
pub struct latticed_flag(Flag);

/// Opens a flag for which a concurrent enable beats a disable. It need not exist yet: what nobody has written is off. It is the
/// caller's, to be given to latticed_flag_close(); NULL is stored if the call fails.
///
/// Errors: LATTICED_EINVAL, LATTICED_EBADKEY, LATTICED_EKINDMISMATCH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_flag_open(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    flag: Option<&mut MaybeUninit<*mut latticed_flag>>,
) -> latticed_code {
    call(|| {
        put_handle(flag, "flag", || {
            // SAFETY: the caller's promise.
            let key = unsafe { bytes(key, key_len, "key") }?;
            Ok(latticed_flag(given(client, "client")?.client.flag(key)?))
        })
    })
}

/// As latticed_flag_open(), for a flag for which a concurrent disable beats an enable.
///
/// Errors: as latticed_flag_open().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_flag_open_disable_wins(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    flag: Option<&mut MaybeUninit<*mut latticed_flag>>,
) -> latticed_code {
    call(|| {
        put_handle(flag, "flag", || {
            // SAFETY: the caller's promise.
            let key = unsafe { bytes(key, key_len, "key") }?;
            Ok(latticed_flag(given(client, "client")?.client.flag_disable_wins(key)?))
        })
    })
}

/// Ends a handle. NULL is fine. No other call may be using it, and none may come after.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_flag_close(flag: Option<Box<latticed_flag>>) {
    release(flag);
}

/// True if it is on: one load from shared memory.
///
/// Errors: as latticed_counter_get().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_flag_get(
    flag: Option<&latticed_flag>,
    is_on: Option<&mut MaybeUninit<bool>>,
) -> latticed_code {
    call(|| {
        let (flag, place) = (given(flag, "flag")?, place_for(is_on, "is_on")?);
        place.write(flag.0.get()?);
        Ok(())
    })
}

/// Turns it on. Enqueues only: never waits. `ticket` may be NULL.
///
/// Errors: as latticed_counter_add().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_flag_enable(
    flag: Option<&latticed_flag>,
    ticket: Option<&mut MaybeUninit<latticed_ticket>>,
) -> latticed_code {
    call(|| {
        put(ticket, given(flag, "flag")?.0.enable()?.into());
        Ok(())
    })
}

/// Turns it on, and waits until this host sees it.
///
/// Errors: those of latticed_flag_enable() and of latticed_wait().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_flag_enable_wait(flag: Option<&latticed_flag>, timeout_ns: u64) -> latticed_code {
    call(|| Ok(given(flag, "flag")?.0.enable_wait(timeout(timeout_ns))?))
}

/// Turns it on, and waits until that has got as far as `ack` says; see latticed_wait_with().
///
/// Errors: those of latticed_flag_enable() and of latticed_wait_with().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_flag_enable_with(
    flag: Option<&latticed_flag>,
    ack: latticed_ack,
    timeout_ns: u64,
    reached: Option<&mut MaybeUninit<latticed_reached>>,
) -> latticed_code {
    call(|| {
        let flag = &given(flag, "flag")?.0;
        put_reached(reached, flag.enable_with(level(ack)?, timeout(timeout_ns)))
    })
}

/// Turns it off. Enqueues only: never waits. `ticket` may be NULL.
///
/// Errors: as latticed_counter_add().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_flag_disable(
    flag: Option<&latticed_flag>,
    ticket: Option<&mut MaybeUninit<latticed_ticket>>,
) -> latticed_code {
    call(|| {
        put(ticket, given(flag, "flag")?.0.disable()?.into());
        Ok(())
    })
}

/// Turns it off, and waits until this host sees it.
///
/// Errors: those of latticed_flag_disable() and of latticed_wait().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_flag_disable_wait(flag: Option<&latticed_flag>, timeout_ns: u64) -> latticed_code {
    call(|| Ok(given(flag, "flag")?.0.disable_wait(timeout(timeout_ns))?))
}

/// Turns it off, and waits until that has got as far as `ack` says; see latticed_wait_with().
///
/// Errors: those of latticed_flag_disable() and of latticed_wait_with().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_flag_disable_with(
    flag: Option<&latticed_flag>,
    ack: latticed_ack,
    timeout_ns: u64,
    reached: Option<&mut MaybeUninit<latticed_reached>>,
) -> latticed_code {
    call(|| {
        let flag = &given(flag, "flag")?.0;
        put_reached(reached, flag.disable_with(level(ack)?, timeout(timeout_ns)))
    })
}
