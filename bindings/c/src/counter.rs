//! Counters.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use lattice_client::Counter;

use crate::ack::{latticed_ack, latticed_reached, level, put_reached};
use crate::client::{latticed_client, latticed_ticket};
use crate::edge::{bytes, call, given, place_for, put, put_handle, release, timeout};
use crate::error::latticed_code;

/// A counter: a sum that every host may add to and subtract from.
pub struct latticed_counter(Counter);

/// Opens a counter, which need not exist yet: what nobody has written is 0. It is the caller's, to be given to
/// latticed_counter_close(); NULL is stored if the call fails.
///
/// Errors: LATTICED_EINVAL, LATTICED_EBADKEY, LATTICED_EKINDMISMATCH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_counter_open(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    counter: Option<&mut MaybeUninit<*mut latticed_counter>>,
) -> latticed_code {
    call(|| {
        put_handle(counter, "counter", || {
            // SAFETY: the caller's promise.
            let key = unsafe { bytes(key, key_len, "key") }?;
            Ok(latticed_counter(given(client, "client")?.client.counter(key)?))
        })
    })
}

/// Ends a handle. NULL is fine. No other call may be using it, and none may come after.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_counter_close(counter: Option<Box<latticed_counter>>) {
    release(counter);
}

/// The sum of all additions that this host has heard of: one load from shared memory.
///
/// Errors: LATTICED_EINVAL, LATTICED_EKINDMISMATCH if the key came into being with another kind; with LATTICED_READ_FRESH also
/// LATTICED_EDAEMONSTALE and LATTICED_EDAEMONCLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_counter_get(
    counter: Option<&latticed_counter>,
    value: Option<&mut MaybeUninit<i64>>,
) -> latticed_code {
    call(|| {
        let (counter, place) = (given(counter, "counter")?, place_for(value, "value")?);
        place.write(counter.0.get()?);
        Ok(())
    })
}

/// Adds; a negative amount subtracts. Enqueues only: never waits. `ticket` may be NULL.
///
/// Errors, with nothing enqueued: LATTICED_EINVAL, LATTICED_ERINGFULL, LATTICED_EREADONLY, LATTICED_EDAEMONSTALE,
/// LATTICED_EDAEMONCLOSED, LATTICED_EKINDMISMATCH.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_counter_add(
    counter: Option<&latticed_counter>,
    amount: i64,
    ticket: Option<&mut MaybeUninit<latticed_ticket>>,
) -> latticed_code {
    call(|| {
        put(ticket, given(counter, "counter")?.0.add(amount)?.into());
        Ok(())
    })
}

/// Adds, and waits until the sum on this host contains it.
///
/// Errors: those of latticed_counter_add() and of latticed_wait().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_counter_add_wait(
    counter: Option<&latticed_counter>,
    amount: i64,
    timeout_ns: u64,
) -> latticed_code {
    call(|| Ok(given(counter, "counter")?.0.add_wait(amount, timeout(timeout_ns))?))
}

/// Adds, and waits until that has got as far as `ack` says. What was reached is stored in `reached` (which may be NULL), also with
/// LATTICED_ENOTREACHED and LATTICED_EACKUNKNOWN.
///
/// Errors: those of latticed_counter_add() and of latticed_wait_with().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_counter_add_with(
    counter: Option<&latticed_counter>,
    amount: i64,
    ack: latticed_ack,
    timeout_ns: u64,
    reached: Option<&mut MaybeUninit<latticed_reached>>,
) -> latticed_code {
    call(|| {
        let counter = &given(counter, "counter")?.0;
        put_reached(reached, counter.add_with(amount, level(ack)?, timeout(timeout_ns)))
    })
}
