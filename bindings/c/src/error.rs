//! Codes, and what a thread remembers of its last failure.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::mem::MaybeUninit;

use lattice_client::{Error, Refusal};

/// What every function returns that can fail. The numbers stay as they are; more may be added.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum latticed_code {
    /// It is done.
    LATTICED_OK = 0,
    /// An argument is NULL that must not be, or has a value that means nothing. Nothing happened.
    LATTICED_EINVAL = 1,
    /// The caller's buffer is too small; nothing was copied, and the length that is needed was stored.
    LATTICED_EBUFFER = 2,
    /// No daemon answers at the socket: is latticed running, and may this user open the socket?
    LATTICED_ECONNECT = 3,
    /// The daemon refused to attach this client.
    LATTICED_EATTACH = 4,
    /// The daemon's reply can't be used: do daemon and library match?
    LATTICED_EPROTOCOL = 5,
    /// The segment can't be opened or is not valid.
    LATTICED_EOPEN = 6,
    /// A key has 1 to LATTICED_MAX_KEY_BYTES bytes.
    LATTICED_EBADKEY = 7,
    /// A register has at most LATTICED_MAX_REGISTER_BYTES bytes, an element LATTICED_MAX_ELEMENT_BYTES.
    LATTICED_ETOOLARGE = 8,
    /// The key exists on this host with another kind. Open it as what it is, or choose another key.
    LATTICED_EKINDMISMATCH = 9,
    /// The ring to the key's worker is full; nothing was enqueued. Wait for earlier writes, then try again.
    LATTICED_ERINGFULL = 10,
    /// The client was opened with latticed_open_read_only().
    LATTICED_EREADONLY = 11,
    /// The key's worker has been silent for longer than its timeout; nothing was enqueued.
    LATTICED_EDAEMONSTALE = 12,
    /// The daemon is gone; nothing was enqueued. Later calls attach to its successor by themselves.
    LATTICED_EDAEMONCLOSED = 13,
    /// The daemon refused the write; nothing was changed. latticed_last_error() has the reason.
    LATTICED_EREFUSED = 14,
    /// A barrier found refused writes; latticed_last_error() has their number and the first one's reason. The others are applied.
    LATTICED_EWRITESREFUSED = 15,
    /// The time is up; the write is still under way. Wait again.
    LATTICED_ETIMEOUT = 16,
    /// The daemon went away before it acknowledged: applied or not, nobody can say. Read before repeating.
    LATTICED_EOUTCOMEUNKNOWN = 17,
    /// No write can get as far as was asked at this daemon; nothing was enqueued.
    LATTICED_EACKIMPOSSIBLE = 18,
    /// The time is up, and the write has not got as far as was asked; it goes on by itself. What was reached is told.
    LATTICED_ENOTREACHED = 19,
    /// The daemon went away before it told that the write got as far as was asked. What it had told is told.
    LATTICED_EACKUNKNOWN = 20,
    /// The result of this write is no longer remembered: wait sooner.
    LATTICED_EOUTCOMEFORGOTTEN = 21,
    /// The value changes faster than it can be copied. Read again.
    LATTICED_EBUSY = 22,
    /// The segment contradicts itself at this key. Restart the daemon, and report it.
    LATTICED_ECORRUPT = 23,
    /// A system call failed; latticed_last_error() has its errno.
    LATTICED_ESYSTEM = 24,
    /// A fault of this library, which it has survived. Report the text.
    LATTICED_EINTERNAL = 25,
    /// Another failure; its text says which.
    LATTICED_EOTHER = 26,
}

/// Why the daemon refused a write. Nothing was changed, here or anywhere.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum latticed_refusal {
    /// Nothing was refused.
    LATTICED_REFUSAL_NONE = 0,
    /// No room for another key, element or value: raise the daemon's limits.
    LATTICED_REFUSAL_CAPACITY = 1,
    /// The key exists with another kind.
    LATTICED_REFUSAL_KIND_MISMATCH = 2,
    /// The daemon's clock runs ahead of its peers': correct it.
    LATTICED_REFUSAL_CLOCK_SKEW = 3,
    /// A value or element over the limit.
    LATTICED_REFUSAL_TOO_LARGE = 4,
    /// An empty or over-long key.
    LATTICED_REFUSAL_BAD_KEY = 5,
    /// The handle was stale: try again.
    LATTICED_REFUSAL_STALE_HANDLE = 6,
    /// The daemon does not know this operation: it is older than this library.
    LATTICED_REFUSAL_NOT_SUPPORTED = 7,
    /// The daemon's log is full for the moment: try again.
    LATTICED_REFUSAL_LOG_FULL = 8,
    /// Another reason; the text says which.
    LATTICED_REFUSAL_OTHER = 9,
}

/// What is known of a failure beside its text.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct latticed_error {
    /// What the function returned.
    pub code: latticed_code,
    /// Why the daemon refused, with LATTICED_EREFUSED and LATTICED_EWRITESREFUSED.
    pub refusal: latticed_refusal,
    /// How many writes were refused (LATTICED_EWRITESREFUSED) or are of unknown outcome (LATTICED_EOUTCOMEUNKNOWN); else 0.
    pub writes: u64,
    /// The errno of the system call that failed, or 0.
    pub system_error: c_int,
    /// The write of this call certainly changed nothing: it may be repeated without being counted twice.
    pub nothing_happened: bool,
    /// The same call can succeed a moment later without anybody changing anything.
    pub is_temporary: bool,
}

const NO_ERROR: latticed_error = latticed_error {
    code: latticed_code::LATTICED_OK,
    refusal: latticed_refusal::LATTICED_REFUSAL_NONE,
    writes: 0,
    system_error: 0,
    nothing_happened: true,
    is_temporary: false,
};

/// A failure on its way to the caller.
pub(crate) struct Failure {
    details: latticed_error,
    text: String,
}

thread_local! {
    static LAST: RefCell<(latticed_error, Option<CString>)> = const { RefCell::new((NO_ERROR, None)) };
}

impl Failure {
    fn new(code: latticed_code, text: String) -> Failure {
        Failure { details: latticed_error { code, ..NO_ERROR }, text }
    }

    /// The caller's mistake.
    #[cold]
    pub fn invalid(what: fmt::Arguments<'_>) -> Failure {
        Failure::new(latticed_code::LATTICED_EINVAL, format!("{what}; nothing was done"))
    }

    /// A buffer that is too small.
    #[cold]
    pub fn buffer(capacity: usize, needed: usize) -> Failure {
        let text = format!("the buffer has {capacity} bytes, the value {needed}; nothing was copied");
        Failure::new(latticed_code::LATTICED_EBUFFER, text)
    }

    /// This library's mistake.
    #[cold]
    pub fn internal(panic: &str) -> Failure {
        let text = format!("a fault of the library: {panic}; what the call did is unknown; report this");
        let mut failure = Failure::new(latticed_code::LATTICED_EINTERNAL, text);
        failure.details.nothing_happened = false;
        failure
    }

    /// Makes it this thread's last error.
    #[cold]
    pub fn remember(self) -> latticed_code {
        let code = self.details.code;
        let text = CString::new(self.text.replace('\0', "?")).ok();
        // Fails only while the thread ends, in a destructor of the caller's: then nobody asks any more.
        let _ = LAST.try_with(|last| *last.borrow_mut() = (self.details, text));
        code
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let mut details = latticed_error {
            code: code_of(&error),
            nothing_happened: error.nothing_happened(),
            is_temporary: error.is_temporary(),
            ..NO_ERROR
        };
        match &error {
            Error::Refused(refusal) => details.refusal = refusal_of(*refusal),
            Error::WritesRefused { count, first } => {
                (details.refusal, details.writes) = (refusal_of(*first), *count);
            }
            Error::OutcomeUnknown { writes } => details.writes = *writes,
            Error::Connect { source, .. } | Error::System { source, .. } => {
                details.system_error = source.raw_os_error().unwrap_or(0);
            }
            _ => {}
        }
        Failure { details, text: error.to_string() }
    }
}

fn code_of(error: &Error) -> latticed_code {
    use latticed_code::*;
    match error {
        Error::Connect { .. } => LATTICED_ECONNECT,
        Error::Attach { .. } => LATTICED_EATTACH,
        Error::Protocol(_) => LATTICED_EPROTOCOL,
        Error::Open { .. } => LATTICED_EOPEN,
        Error::BadKey { .. } => LATTICED_EBADKEY,
        Error::TooLarge { .. } => LATTICED_ETOOLARGE,
        Error::KindMismatch { .. } => LATTICED_EKINDMISMATCH,
        Error::RingFull { .. } => LATTICED_ERINGFULL,
        Error::ReadOnly => LATTICED_EREADONLY,
        Error::DaemonStale { .. } => LATTICED_EDAEMONSTALE,
        Error::DaemonClosed { .. } => LATTICED_EDAEMONCLOSED,
        Error::Refused(_) => LATTICED_EREFUSED,
        Error::WritesRefused { .. } => LATTICED_EWRITESREFUSED,
        Error::Timeout { .. } => LATTICED_ETIMEOUT,
        Error::OutcomeUnknown { .. } => LATTICED_EOUTCOMEUNKNOWN,
        Error::AckImpossible { .. } => LATTICED_EACKIMPOSSIBLE,
        Error::NotReached { .. } => LATTICED_ENOTREACHED,
        Error::AckUnknown { .. } => LATTICED_EACKUNKNOWN,
        Error::OutcomeForgotten => LATTICED_EOUTCOMEFORGOTTEN,
        Error::Busy => LATTICED_EBUSY,
        Error::Corrupt => LATTICED_ECORRUPT,
        Error::System { .. } => LATTICED_ESYSTEM,
        _ => LATTICED_EOTHER,
    }
}

fn refusal_of(refusal: Refusal) -> latticed_refusal {
    use latticed_refusal::*;
    match refusal {
        Refusal::CapacityExceeded => LATTICED_REFUSAL_CAPACITY,
        Refusal::KindMismatch => LATTICED_REFUSAL_KIND_MISMATCH,
        Refusal::ClockSkew => LATTICED_REFUSAL_CLOCK_SKEW,
        Refusal::TooLarge => LATTICED_REFUSAL_TOO_LARGE,
        Refusal::BadKey => LATTICED_REFUSAL_BAD_KEY,
        Refusal::StaleHandle => LATTICED_REFUSAL_STALE_HANDLE,
        Refusal::NotSupported => LATTICED_REFUSAL_NOT_SUPPORTED,
        Refusal::LogFull => LATTICED_REFUSAL_LOG_FULL,
        _ => LATTICED_REFUSAL_OTHER,
    }
}

/// What is known of the last call of this thread that failed. A call that succeeds leaves it as it is; without one that
/// failed the code is LATTICED_OK. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_last_error(error: Option<&mut MaybeUninit<latticed_error>>) {
    crate::edge::put(error, LAST.try_with(|last| last.borrow().0).unwrap_or(NO_ERROR));
}

/// The same in words: what happened to the state, and what to do. Never NULL; empty if no call of this thread has failed. It
/// is the library's, and valid until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_last_error_text() -> *const c_char {
    let text =
        |last: &RefCell<(_, Option<CString>)>| last.borrow().1.as_deref().map_or(c"".as_ptr(), CStr::as_ptr);
    LAST.try_with(text).unwrap_or(c"".as_ptr())
}

/// A code's name, such as "LATTICED_EBUSY"; "unknown" for a number that is none. A constant: valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_code_name(code: c_int) -> *const c_char {
    let name = match code {
        0 => c"LATTICED_OK",
        1 => c"LATTICED_EINVAL",
        2 => c"LATTICED_EBUFFER",
        3 => c"LATTICED_ECONNECT",
        4 => c"LATTICED_EATTACH",
        5 => c"LATTICED_EPROTOCOL",
        6 => c"LATTICED_EOPEN",
        7 => c"LATTICED_EBADKEY",
        8 => c"LATTICED_ETOOLARGE",
        9 => c"LATTICED_EKINDMISMATCH",
        10 => c"LATTICED_ERINGFULL",
        11 => c"LATTICED_EREADONLY",
        12 => c"LATTICED_EDAEMONSTALE",
        13 => c"LATTICED_EDAEMONCLOSED",
        14 => c"LATTICED_EREFUSED",
        15 => c"LATTICED_EWRITESREFUSED",
        16 => c"LATTICED_ETIMEOUT",
        17 => c"LATTICED_EOUTCOMEUNKNOWN",
        18 => c"LATTICED_EACKIMPOSSIBLE",
        19 => c"LATTICED_ENOTREACHED",
        20 => c"LATTICED_EACKUNKNOWN",
        21 => c"LATTICED_EOUTCOMEFORGOTTEN",
        22 => c"LATTICED_EBUSY",
        23 => c"LATTICED_ECORRUPT",
        24 => c"LATTICED_ESYSTEM",
        25 => c"LATTICED_EINTERNAL",
        26 => c"LATTICED_EOTHER",
        _ => c"unknown",
    };
    name.as_ptr()
}
