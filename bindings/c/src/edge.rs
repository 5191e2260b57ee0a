//! The edge itself: panics end here, pointers become references and slices, results become codes.

use std::any::Any;
use std::ffi::{CStr, OsStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use crate::error::{Failure, latticed_code};

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Where a function puts its result.
pub(crate) type Out<'a, T> = Option<&'a mut MaybeUninit<T>>;

/// Runs the body of a function of the header.
#[inline]
pub(crate) fn call(body: impl FnOnce() -> Outcome) -> latticed_code {
    // Unwind safe: the client's own locks take a panic in another thread into account, and a handle is of use after any call.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => latticed_code::LATTICED_OK,
        Ok(Err(failure)) => failure.remember(),
        Err(panic) => Failure::internal(said(&*panic)).remember(),
    }
}

/// Ends the life of what the caller owned.
pub(crate) fn release<T>(owned: Option<Box<T>>) {
    // What a destructor panics with has nobody to go to: these functions return nothing.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(owned)));
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without words")
}

/// An argument that must not be NULL.
#[inline]
pub(crate) fn given<T>(argument: Option<T>, name: &'static str) -> Outcome<T> {
    argument.ok_or_else(|| Failure::invalid(format_args!("{name} is NULL")))
}

/// Makes a handle, after its place was found to be there: what can't be handed over is not made. The place holds NULL if the
/// making fails.
pub(crate) fn put_handle<T>(
    place: Out<'_, *mut T>,
    name: &'static str,
    make: impl FnOnce() -> Outcome<T>,
) -> Outcome {
    let place = place_for(place, name)?.write(std::ptr::null_mut());
    *place = Box::into_raw(Box::new(make()?));
    Ok(())
}

/// The place of a result that has to be there.
#[inline]
pub(crate) fn place_for<'a, T>(place: Out<'a, T>, name: &'static str) -> Outcome<&'a mut MaybeUninit<T>> {
    given(place, name)
}

/// Puts a result that the caller may not care about.
#[inline]
pub(crate) fn put<T>(place: Out<'_, T>, value: T) {
    if let Some(place) = place {
        place.write(value);
    }
}

pub(crate) fn timeout(timeout_ns: u64) -> Duration {
    Duration::from_nanos(timeout_ns)
}

/// Bytes of a given length. NULL is fine where the length is 0.
///
/// # Safety
/// Unless `len` is 0, `bytes` points to so many bytes that nobody changes while the result lives.
#[inline]
pub(crate) unsafe fn bytes<'a>(bytes: *const c_void, len: usize, name: &'static str) -> Outcome<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if bytes.is_null() {
        return Err(Failure::invalid(format_args!("{name} is NULL")));
    }
    if len > isize::MAX as usize {
        return Err(Failure::invalid(format_args!("the length of {name} is no length")));
    }
    // SAFETY: not null, and the caller promises the rest; any address is aligned for bytes.
    Ok(unsafe { std::slice::from_raw_parts(bytes.cast(), len) })
}

/// A text that ends with a zero byte.
///
/// # Safety
/// Unless it is NULL, `text` points to a text that ends with a zero byte and that nobody changes while the result lives.
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &'static str) -> Outcome<&'a CStr> {
    if text.is_null() {
        return Err(Failure::invalid(format_args!("{name} is NULL")));
    }
    // SAFETY: not null, and the caller promises the rest.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// A path: any bytes but zero.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn path<'a>(path: *const c_char, name: &'static str) -> Outcome<&'a Path> {
    // SAFETY: as for this function.
    let text = unsafe { text(path, name) }?;
    Ok(Path::new(OsStr::from_bytes(text.to_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_code_and_its_words_the_last_error() {
        for (panic, words) in [
            ((|| panic!("it broke")) as fn() -> Outcome, "it broke"),
            (|| panic!("it broke {}", 2), "it broke 2"),
        ] {
            assert_eq!(call(panic), latticed_code::LATTICED_EINTERNAL);
            // SAFETY: the text of this thread's last error, which ends with a zero byte.
            let text = unsafe { CStr::from_ptr(crate::error::latticed_last_error_text()) };
            assert!(text.to_str().is_ok_and(|text| text.contains(words)), "{text:?}");
        }
    }

    #[test]
    fn no_bytes_need_no_pointer_and_some_do() {
        // SAFETY: no bytes, or NULL, or bytes that are there.
        unsafe {
            assert!(bytes(std::ptr::null(), 0, "key").is_ok_and(<[u8]>::is_empty));
            assert!(bytes(std::ptr::null(), 1, "key").is_err());
            assert!(bytes(b"ab".as_ptr().cast(), usize::MAX, "key").is_err());
            assert!(bytes(b"ab".as_ptr().cast(), 2, "key").is_ok_and(|found| found == b"ab"));
        }
    }
}
