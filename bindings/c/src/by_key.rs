//! Reads of keys that are not known beforehand.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use crate::client::latticed_client;
use crate::edge::{bytes, call, given, place_for};
use crate::error::latticed_code;
use crate::register::copy_out;
use crate::set::latticed_element_visitor;

/// A counter's sum, without a handle: a lookup and a load. 0 if nobody has written it. From the first read by key on, the client
/// keeps the segment that it reads mapped until it is closed, also after the daemon's restart.
///
/// Errors: LATTICED_EINVAL, LATTICED_EBADKEY, LATTICED_EKINDMISMATCH; with LATTICED_READ_FRESH also LATTICED_EDAEMONSTALE and
/// LATTICED_EDAEMONCLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_read_counter(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    value: Option<&mut MaybeUninit<i64>>,
) -> latticed_code {
    call(|| {
        let (client, place) = (given(client, "client")?, place_for(value, "value")?);
        // SAFETY: the caller's promise.
        place.write(client.by_key().counter(unsafe { bytes(key, key_len, "key") }?)?);
        Ok(())
    })
}

/// True if an enable-wins flag is on, without a handle.
///
/// Errors: as latticed_read_counter().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_read_flag(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    is_on: Option<&mut MaybeUninit<bool>>,
) -> latticed_code {
    call(|| {
        let (client, place) = (given(client, "client")?, place_for(is_on, "is_on")?);
        // SAFETY: the caller's promise.
        place.write(client.by_key().flag(unsafe { bytes(key, key_len, "key") }?)?);
        Ok(())
    })
}

/// True if a disable-wins flag is on, without a handle.
///
/// Errors: as latticed_read_counter().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_read_flag_disable_wins(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    is_on: Option<&mut MaybeUninit<bool>>,
) -> latticed_code {
    call(|| {
        let (client, place) = (given(client, "client")?, place_for(is_on, "is_on")?);
        // SAFETY: the caller's promise.
        place.write(client.by_key().flag_disable_wins(unsafe { bytes(key, key_len, "key") }?)?);
        Ok(())
    })
}

/// Copies a register's value, without a handle; see latticed_register_get().
///
/// Errors: LATTICED_EBUFFER, LATTICED_EBUSY, LATTICED_ECORRUPT, and as latticed_read_counter().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_read_register(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    buffer: *mut c_void,
    capacity: usize,
    len: Option<&mut MaybeUninit<usize>>,
    is_set: Option<&mut MaybeUninit<bool>>,
) -> latticed_code {
    call(|| {
        let client = given(client, "client")?;
        // SAFETY: the caller's promise.
        let key = unsafe { bytes(key, key_len, "key") }?;
        // SAFETY: the caller's promise.
        unsafe { copy_out(buffer, capacity, len, is_set, |bytes| client.by_key().register_into(key, bytes)) }
    })
}

/// True if the element is a member of the set, without a handle.
///
/// Errors: LATTICED_EBUSY, LATTICED_ECORRUPT, and as latticed_read_counter().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_read_set_contains(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    element: *const c_void,
    element_len: usize,
    is_member: Option<&mut MaybeUninit<bool>>,
) -> latticed_code {
    call(|| {
        let (client, place) = (given(client, "client")?, place_for(is_member, "is_member")?);
        // SAFETY: the caller's promise, for both.
        let (key, element) =
            unsafe { (bytes(key, key_len, "key")?, bytes(element, element_len, "element")?) };
        place.write(client.by_key().set_contains(key, element)?);
        Ok(())
    })
}

/// How many members the set has, without a handle.
///
/// Errors: as latticed_read_counter().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_read_set_len(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    len: Option<&mut MaybeUninit<u64>>,
) -> latticed_code {
    call(|| {
        let (client, place) = (given(client, "client")?, place_for(len, "len")?);
        // SAFETY: the caller's promise.
        place.write(client.by_key().set_len(unsafe { bytes(key, key_len, "key") }?)?);
        Ok(())
    })
}

/// Visits the set's members, without a handle; see latticed_set_for_each_member().
///
/// Errors: LATTICED_EBUSY, LATTICED_ECORRUPT, and as latticed_read_counter().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_read_set_for_each_member(
    client: Option<&latticed_client>,
    key: *const c_void,
    key_len: usize,
    visit: latticed_element_visitor,
    context: *mut c_void,
) -> latticed_code {
    call(|| {
        let (client, visit) = (given(client, "client")?, given(visit, "visit")?);
        // SAFETY: the caller's promise.
        let key = unsafe { bytes(key, key_len, "key") }?;
        let each = |element: &[u8]| visit(context, element.as_ptr().cast(), element.len());
        Ok(client.by_key().for_each_member(key, each)?)
    })
}
