//! Sets.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use lattice_client::Set;

use crate::ack::{latticed_ack, latticed_reached, level, put_reached};
use crate::client::{latticed_client, latticed_ticket};
use crate::edge::{bytes, call, given, place_for, put, put_handle, release, timeout};
use crate::error::latticed_code;

/// A set of elements; a concurrent insert beats a remove.
pub struct latticed_set(Set);

/// What visits the members of a set. The element is the library's, until the function returns.
pub type latticed_element_visitor =
    Option<extern "C" fn(context: *mut c_void, element: *const c_void, element_len: usize)>;

/// Opens a set, which need not exist yet: what nobody has written is empty. It is the caller's, to be given to
/// latticed_set_close(); NULL is stored if the call fails.
///
/// Errors: LATTICED_EINVAL, LATTICED_EBADKEY, LATTICED_EKINDMISMATCH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_set_open(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    set: Option<&mut MaybeUninit<*mut latticed_set>>,
) -> latticed_code {
    call(|| {
        put_handle(set, "set", || {
            // SAFETY: the caller's promise.
            let key = unsafe { bytes(key, key_len, "key") }?;
            Ok(latticed_set(given(client, "client")?.client.set(key)?))
        })
    })
}

/// Ends a handle. NULL is fine. No other call may be using it, and none may come after.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_set_close(set: Option<Box<latticed_set>>) {
    release(set);
}

/// True if the element is a member. Does not depend on the set's size.
///
/// Errors: LATTICED_EBUSY, LATTICED_ECORRUPT, and as latticed_counter_get().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_set_contains(
    set: Option<&latticed_set>,
    element: *const c_void,
    element_len: usize,
    is_member: Option<&mut MaybeUninit<bool>>,
) -> latticed_code {
    call(|| {
        let (set, place) = (given(set, "set")?, place_for(is_member, "is_member")?);
        // SAFETY: the caller's promise.
        let element = unsafe { bytes(element, element_len, "element") }?;
        place.write(set.0.contains(element)?);
        Ok(())
    })
}

/// How many members it has.
///
/// Errors: as latticed_counter_get().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_set_len(
    set: Option<&latticed_set>,
    len: Option<&mut MaybeUninit<u64>>,
) -> latticed_code {
    call(|| {
        let (set, place) = (given(set, "set")?, place_for(len, "len")?);
        place.write(set.0.len()?);
        Ok(())
    })
}

/// Calls `visit` with each member, in byte order, after all were copied: if the call fails, it was not called. Not a snapshot: a
/// member that is inserted or removed meanwhile may or may not be visited, all others are, once.
///
/// Errors: as latticed_set_contains().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_set_members(
    set: Option<&latticed_set>,
    visit: latticed_element_visitor,
    context: *mut c_void,
) -> latticed_code {
    call(|| {
        let (set, visit) = (given(set, "set")?, given(visit, "visit")?);
        for element in set.0.members()? {
            visit(context, element.as_ptr().cast(), element.len());
        }
        Ok(())
    })
}

/// As latticed_set_members(), in no order, and with each member as it is read: needs memory for a part of the set only. If it
/// fails, some members may have been visited.
///
/// Errors: as latticed_set_contains().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_set_for_each_member(
    set: Option<&latticed_set>,
    visit: latticed_element_visitor,
    context: *mut c_void,
) -> latticed_code {
    call(|| {
        let (set, visit) = (given(set, "set")?, given(visit, "visit")?);
        Ok(set.0.for_each_member(|element| visit(context, element.as_ptr().cast(), element.len()))?)
    })
}

/// Inserts an element of at most LATTICED_MAX_ELEMENT_BYTES. Enqueues only: never waits. `ticket` may be NULL.
///
/// Errors: LATTICED_ETOOLARGE, and as latticed_counter_add().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_set_insert(
    set: Option<&latticed_set>,
    element: *const c_void,
    element_len: usize,
    ticket: Option<&mut MaybeUninit<latticed_ticket>>,
) -> latticed_code {
    call(|| {
        // SAFETY: the caller's promise.
        let element = unsafe { bytes(element, element_len, "element") }?;
        put(ticket, given(set, "set")?.0.insert(element)?.into());
        Ok(())
    })
}

/// Inserts an element, and waits until this host sees it.
///
/// Errors: those of latticed_set_insert() and of latticed_wait().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_set_insert_wait(
    set: Option<&latticed_set>,
    element: *const c_void,
    element_len: usize,
    timeout_ns: u64,
) -> latticed_code {
    call(|| {
        // SAFETY: the caller's promise.
        let element = unsafe { bytes(element, element_len, "element") }?;
        Ok(given(set, "set")?.0.insert_wait(element, timeout(timeout_ns))?)
    })
}

/// Inserts an element, and waits until that has got as far as `ack` says; see latticed_wait_with().
///
/// Errors: those of latticed_set_insert() and of latticed_wait_with().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_set_insert_with(
    set: Option<&latticed_set>,
    element: *const c_void,
    element_len: usize,
    ack: latticed_ack,
    timeout_ns: u64,
    reached: Option<&mut MaybeUninit<latticed_reached>>,
) -> latticed_code {
    call(|| {
        // SAFETY: the caller's promise.
        let element = unsafe { bytes(element, element_len, "element") }?;
        let set = &given(set, "set")?.0;
        put_reached(reached, set.insert_with(element, level(ack)?, timeout(timeout_ns)))
    })
}

/// Removes an element; an insertion elsewhere that this host has not heard of yet stays. Enqueues only: never waits. `ticket` may
/// be NULL.
///
/// Errors: as latticed_set_insert().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_set_remove(
    set: Option<&latticed_set>,
    element: *const c_void,
    element_len: usize,
    ticket: Option<&mut MaybeUninit<latticed_ticket>>,
) -> latticed_code {
    call(|| {
        // SAFETY: the caller's promise.
        let element = unsafe { bytes(element, element_len, "element") }?;
        put(ticket, given(set, "set")?.0.remove(element)?.into());
        Ok(())
    })
}

/// Removes an element, and waits until this host sees it.
///
/// Errors: those of latticed_set_remove() and of latticed_wait().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_set_remove_wait(
    set: Option<&latticed_set>,
    element: *const c_void,
    element_len: usize,
    timeout_ns: u64,
) -> latticed_code {
    call(|| {
        // SAFETY: the caller's promise.
        let element = unsafe { bytes(element, element_len, "element") }?;
        Ok(given(set, "set")?.0.remove_wait(element, timeout(timeout_ns))?)
    })
}

/// Removes an element, and waits until that has got as far as `ack` says; see latticed_wait_with().
///
/// Errors: those of latticed_set_remove() and of latticed_wait_with().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_set_remove_with(
    set: Option<&latticed_set>,
    element: *const c_void,
    element_len: usize,
    ack: latticed_ack,
    timeout_ns: u64,
    reached: Option<&mut MaybeUninit<latticed_reached>>,
) -> latticed_code {
    call(|| {
        // SAFETY: the caller's promise.
        let element = unsafe { bytes(element, element_len, "element") }?;
        let set = &given(set, "set")?.0;
        put_reached(reached, set.remove_with(element, level(ack)?, timeout(timeout_ns)))
    })
}

/// Removes every element that this host sees when its daemon applies it. Enqueues only: never waits. `ticket` may be NULL.
///
/// Errors: as latticed_counter_add().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_set_clear(
    set: Option<&latticed_set>,
    ticket: Option<&mut MaybeUninit<latticed_ticket>>,
) -> latticed_code {
    call(|| {
        put(ticket, given(set, "set")?.0.clear()?.into());
        Ok(())
    })
}

/// Removes every element that this host sees, and waits until that has got as far as `ack` says; see latticed_wait_with().
///
/// Errors: those of latticed_set_clear() and of latticed_wait_with().
#[unsafe(no_mangle)]
pub extern "C" fn latticed_set_clear_with(
    set: Option<&latticed_set>,
    ack: latticed_ack,
    timeout_ns: u64,
    reached: Option<&mut MaybeUninit<latticed_reached>>,
) -> latticed_code {
    call(|| {
        let set = &given(set, "set")?.0;
        put_reached(reached, set.clear_with(level(ack)?, timeout(timeout_ns)))
    })
}
