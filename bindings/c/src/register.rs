//! Registers.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::MaybeUninit;

use lattice_client::Register;

use crate::ack::{latticed_ack, latticed_reached, level, put_reached};
use crate::client::{latticed_client, latticed_ticket};
use crate::edge::{Outcome, bytes, call, given, place_for, put, put_handle, release, timeout};
use crate::error::{Failure, latticed_code};

/// A register: the bytes of the last writer.
pub struct latticed_register(Register);

thread_local! {
    /// What a read copies into, before the caller's buffer is known to be large enough: grows once, to the longest value.
    static COPY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Reads bytes, of which `read` says whether they were ever set, into a caller's buffer.
///
/// # Safety
/// Unless `capacity` is 0, `buffer` points to so many bytes that nobody else uses meanwhile.
pub(crate) unsafe fn copy_out(
    buffer: *mut c_void,
    capacity: usize,
    len: Option<&mut MaybeUninit<usize>>,
    is_set: Option<&mut MaybeUninit<bool>>,
    read: impl FnOnce(&mut Vec<u8>) -> lattice_client::Result<bool>,
) -> Outcome {
    let len = place_for(len, "len")?.write(0);
    if capacity > 0 && buffer.is_null() {
        return Err(Failure::invalid(format_args!("buffer is NULL")));
    }
    let copy = |bytes: &mut Vec<u8>| {
        let found = read(bytes)?;
        *len = bytes.len();
        if bytes.len() > capacity {
            return Err(Failure::buffer(capacity, bytes.len()));
        }
        if !bytes.is_empty() {
            // SAFETY: no more than the buffer's capacity, which is not 0 then, so that it is not NULL; and the caller promises
            // that nobody else uses it, this thread's own copy included.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len()) };
        }
        put(is_set, found);
        Ok(())
    };
    // Gone with its thread where a destructor of the caller's reads: then a copy of its own does.
    let mut bytes = COPY.try_with(Cell::take).unwrap_or_default();
    let result = copy(&mut bytes);
    let _ = COPY.try_with(|place| place.set(bytes));
    result
}

/// Opens a register, which need not exist yet. It is the caller's, to be given to latticed_register_close(); NULL is stored if the
/// call fails.
///
/// Errors: LATTICED_EINVAL, LATTICED_EBADKEY, LATTICED_EKINDMISMATCH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_register_open(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    reg: Option<&mut MaybeUninit<*mut latticed_register>>,
) -> latticed_code {
    call(|| {
        put_handle(reg, "reg", || {
            // SAFETY: the caller's promise.
            let key = unsafe { bytes(key, key_len, "key") }?;
            Ok(latticed_register(given(client, "client")?.client.register(key)?))
        })
    })
}

/// Ends a handle. NULL is fine. No other call may be using it, and none may come after.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_register_close(reg: Option<Box<latticed_register>>) {
    release(reg);
}

/// Copies the value into `buffer` and stores its length in `len`. `is_set` (which may be NULL) is false, and the length 0, if it was
/// never set. A buffer of LATTICED_MAX_REGISTER_BYTES is always large enough; `buffer` may be NULL if `capacity` is 0, which asks
/// for the length alone.
///
/// Errors: LATTICED_EBUFFER if it is too small (`len` is what is needed), LATTICED_EBUSY, LATTICED_ECORRUPT, and as
/// latticed_counter_get().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_register_get(
    reg: Option<&latticed_register>,
    buffer: *mut c_void,
    capacity: usize,
    len: Option<&mut MaybeUninit<usize>>,
    is_set: Option<&mut MaybeUninit<bool>>,
) -> latticed_code {
    call(|| {
        let register = &given(reg, "reg")?.0;
        // SAFETY: the caller's promise.
        unsafe { copy_out(buffer, capacity, len, is_set, |bytes| register.get_into(bytes)) }
    })
}

/// Replaces the bytes, by at most LATTICED_MAX_REGISTER_BYTES. Enqueues only: never waits. `ticket` may be NULL.
///
/// Errors: LATTICED_ETOOLARGE, and as latticed_counter_add().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_register_set(
    reg: Option<&latticed_register>,
    value: *const c_void,
    value_len: usize,
    ticket: Option<&mut MaybeUninit<latticed_ticket>>,
) -> latticed_code {
    call(|| {
        // SAFETY: the caller's promise.
        let value = unsafe { bytes(value, value_len, "value") }?;
        put(ticket, given(reg, "reg")?.0.set(value)?.into());
        Ok(())
    })
}

/// Replaces the bytes, and waits until this host sees them (or those of a later writer).
///
/// Errors: those of latticed_register_set() and of latticed_wait().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_register_set_wait(
    reg: Option<&latticed_register>,
    value: *const c_void,
    value_len: usize,
    timeout_ns: u64,
) -> latticed_code {
    call(|| {
        // SAFETY: the caller's promise.
        let value = unsafe { bytes(value, value_len, "value") }?;
        Ok(given(reg, "reg")?.0.set_wait(value, timeout(timeout_ns))?)
    })
}

/// Replaces the bytes, and waits until that has got as far as `ack` says; see latticed_wait_with().
///
/// Errors: those of latticed_register_set() and of latticed_wait_with().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_register_set_with(
    reg: Option<&latticed_register>,
    value: *const c_void,
    value_len: usize,
    ack: latticed_ack,
    timeout_ns: u64,
    reached: Option<&mut MaybeUninit<latticed_reached>>,
) -> latticed_code {
    call(|| {
        // SAFETY: the caller's promise.
        let value = unsafe { bytes(value, value_len, "value") }?;
        let register = &given(reg, "reg")?.0;
        put_reached(reached, register.set_with(value, level(ack)?, timeout(timeout_ns)))
    })
}
