//! Opening, closing, waiting, listing.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::time::Duration;

use lattice_client::{ByKey, Client, ClientOptions, ReadPolicy, Ticket};

use crate::ack::{latticed_ack, latticed_reached, level, put_reached};
use crate::edge::{Outcome, bytes, call, given, path, place_for, put_handle, release, timeout};
use crate::error::{Failure, latticed_code};
use crate::kind::latticed_kind;

/// The way to one daemon.
pub struct latticed_client {
    pub(crate) client: Client,
    /// Made by the first read by key: from then on its segment stays mapped.
    by_key: OnceLock<ByKey>,
}

impl latticed_client {
    fn new(client: Client) -> Self {
        latticed_client { client, by_key: OnceLock::new() }
    }

    #[inline]
    pub(crate) fn by_key(&self) -> &ByKey {
        self.by_key.get_or_init(|| self.client.by_key())
    }
}

/// Reads serve the last known state while the daemon is away; latticed_health_of() tells how old it is.
pub const LATTICED_READ_LAST_KNOWN: u32 = 0;
/// Reads fail with LATTICED_EDAEMONSTALE or LATTICED_EDAEMONCLOSED instead. Each read costs some 25 ns more.
pub const LATTICED_READ_FRESH: u32 = 1;

/// How to open a client. Set it to the defaults with latticed_options_init() first.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct latticed_options {
    /// LATTICED_READ_LAST_KNOWN (the default) or LATTICED_READ_FRESH.
    pub read_policy: u32,
    /// How long latticed_connect() waits for the daemon's reply, in nanoseconds; two seconds.
    pub connect_timeout_ns: u64,
    /// The shortest time between two attempts to attach to a daemon's successor, in nanoseconds; 20 ms.
    pub reattach_interval_ns: u64,
}

/// A receipt for an enqueued write. A plain value: copy it, keep it, drop it. Its words mean nothing to anybody else.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct latticed_ticket {
    /// Not for the caller.
    pub words: [u64; 3],
}

impl From<Ticket> for latticed_ticket {
    fn from(ticket: Ticket) -> Self {
        latticed_ticket { words: ticket.to_words() }
    }
}

fn ticket_of(ticket: Option<&latticed_ticket>) -> Outcome<Ticket> {
    let words = given(ticket, "ticket")?.words;
    Ticket::from_words(words).ok_or_else(|| Failure::invalid(format_args!("the ticket is none")))
}

fn options_of(options: Option<&latticed_options>) -> Outcome<ClientOptions> {
    let Some(options) = options else { return Ok(ClientOptions::new()) };
    let policy = match options.read_policy {
        LATTICED_READ_LAST_KNOWN => ReadPolicy::LastKnown,
        LATTICED_READ_FRESH => ReadPolicy::Fresh,
        other => return Err(Failure::invalid(format_args!("{other} is no read policy"))),
    };
    Ok(ClientOptions::new()
        .read_policy(policy)
        .connect_timeout(timeout(options.connect_timeout_ns))
        .reattach_interval(timeout(options.reattach_interval_ns)))
}

/// The version of this library, such as "0.1.0". A constant: valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Sets options to the defaults. Never fails; nothing is done if `options` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_options_init(options: Option<&mut MaybeUninit<latticed_options>>) {
    let defaults = ClientOptions::new();
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if let Some(options) = options {
        options.write(latticed_options {
            read_policy: LATTICED_READ_LAST_KNOWN,
            connect_timeout_ns: ns(defaults.connect_timeout),
            reattach_interval_ns: ns(defaults.reattach_interval),
        });
    }
}

/// Attaches to the daemon behind a Unix socket, to read and write. Waits for its reply. `options` may be NULL. The client is the
/// caller's, to be given to latticed_close(); NULL is stored if the call fails.
///
/// Errors: LATTICED_EINVAL, LATTICED_ECONNECT, LATTICED_EATTACH, LATTICED_EPROTOCOL, LATTICED_EOPEN, LATTICED_ESYSTEM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_connect(
    socket: *const c_char,
    options: Option<&latticed_options>,
    client: Option<&mut MaybeUninit<*mut latticed_client>>,
) -> latticed_code {
    call(|| {
        put_handle(client, "client", || {
            // SAFETY: the caller's promise.
            let socket = unsafe { path(socket, "socket") }?;
            Ok(latticed_client::new(Client::connect_with(socket, options_of(options)?)?))
        })
    })
}

/// Maps a segment without speaking to its daemon: every write is LATTICED_EREADONLY. Needs read permission on the file only;
/// works while the daemon is down, on what it last published. Otherwise as latticed_connect().
///
/// Errors: LATTICED_EINVAL, LATTICED_EOPEN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_open_read_only(
    segment: *const c_char,
    options: Option<&latticed_options>,
    client: Option<&mut MaybeUninit<*mut latticed_client>>,
) -> latticed_code {
    call(|| {
        put_handle(client, "client", || {
            // SAFETY: the caller's promise.
            let segment = unsafe { path(segment, "segment") }?;
            Ok(latticed_client::new(Client::open_read_only_with(segment, options_of(options)?)?))
        })
    })
}

/// Ends a client. Handles that were opened with it stay good, and hold the connection until the last of them is closed. NULL is
/// fine. No other call may be using the client, and none may come after.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_close(client: Option<Box<latticed_client>>) {
    release(client);
}

/// Ends the connection now, for the client and all of its handles, and for good: writes fail with LATTICED_EDAEMONCLOSED, those
/// under way end as LATTICED_EOUTCOMEUNKNOWN, reads serve the last known state. For those who can't say when the last handle is
/// closed; latticed_close() is still due.
///
/// Errors: LATTICED_EINVAL.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_disconnect(client: Option<&latticed_client>) -> latticed_code {
    call(|| {
        given(client, "client")?.client.disconnect();
        Ok(())
    })
}

/// Asks what became of a write: `applied` is true if it is applied and visible to every reader of this host, false if it is still
/// under way. Does not wait.
///
/// Errors: LATTICED_EINVAL, LATTICED_EREFUSED, LATTICED_EOUTCOMEUNKNOWN, LATTICED_EOUTCOMEFORGOTTEN.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_poll(
    client: Option<&latticed_client>,
    ticket: Option<&latticed_ticket>,
    applied: Option<&mut MaybeUninit<bool>>,
) -> latticed_code {
    call(|| {
        let (client, place) = (given(client, "client")?, place_for(applied, "applied")?);
        place.write(client.client.poll(ticket_of(ticket)?)?);
        Ok(())
    })
}

/// Waits until a write is applied and visible to every reader of this host.
///
/// Errors: LATTICED_EINVAL, LATTICED_EREFUSED, LATTICED_ETIMEOUT (wait again), LATTICED_EOUTCOMEUNKNOWN,
/// LATTICED_EOUTCOMEFORGOTTEN.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_wait(
    client: Option<&latticed_client>,
    ticket: Option<&latticed_ticket>,
    timeout_ns: u64,
) -> latticed_code {
    call(|| Ok(given(client, "client")?.client.wait(ticket_of(ticket)?, timeout(timeout_ns))?))
}

/// Waits until a write has got as far as `ack` says. What was reached is stored in `reached` (which may be NULL), also with
/// LATTICED_ENOTREACHED and LATTICED_EACKUNKNOWN.
///
/// Errors: LATTICED_EINVAL, LATTICED_EACKIMPOSSIBLE, LATTICED_ENOTREACHED (wait again), LATTICED_EACKUNKNOWN, LATTICED_EREFUSED,
/// LATTICED_EOUTCOMEFORGOTTEN.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_wait_with(
    client: Option<&latticed_client>,
    ticket: Option<&latticed_ticket>,
    ack: latticed_ack,
    timeout_ns: u64,
    reached: Option<&mut MaybeUninit<latticed_reached>>,
) -> latticed_code {
    call(|| {
        let client = &given(client, "client")?.client;
        put_reached(reached, client.wait_with(ticket_of(ticket)?, level(ack)?, timeout(timeout_ns)))
    })
}

/// Waits until every write that was enqueued through this client and its handles so far is processed: then all that were not
/// refused are visible to every reader of this host.
///
/// Errors: LATTICED_EINVAL, LATTICED_ETIMEOUT, LATTICED_EWRITESREFUSED and LATTICED_EOUTCOMEUNKNOWN (each reported once).
#[unsafe(no_mangle)]
pub extern "C" fn latticed_barrier(client: Option<&latticed_client>, timeout_ns: u64) -> latticed_code {
    call(|| Ok(given(client, "client")?.client.barrier(timeout(timeout_ns))?))
}

/// latticed_barrier() for any level. What was reached, by the write that is least far, is stored in `reached` (which may be NULL).
///
/// Errors: LATTICED_EINVAL, LATTICED_EACKIMPOSSIBLE, LATTICED_ENOTREACHED, LATTICED_EACKUNKNOWN, LATTICED_EWRITESREFUSED,
/// LATTICED_EREADONLY.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_barrier_with(
    client: Option<&latticed_client>,
    ack: latticed_ack,
    timeout_ns: u64,
    reached: Option<&mut MaybeUninit<latticed_reached>>,
) -> latticed_code {
    call(|| {
        let client = &given(client, "client")?.client;
        put_reached(reached, client.barrier_with(level(ack)?, timeout(timeout_ns)))
    })
}

/// Waits until the client is attached to a live daemon again. Other calls attach by themselves in passing; this is for those
/// who have nothing else to do.
///
/// Errors: LATTICED_EINVAL, LATTICED_EDAEMONCLOSED if none came back in time.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_reconnect(client: Option<&latticed_client>, timeout_ns: u64) -> latticed_code {
    call(|| Ok(given(client, "client")?.client.reconnect(timeout(timeout_ns))?))
}

/// What latticed_keys() calls with each key. The key is the library's, until the function returns.
pub type latticed_key_visitor =
    Option<extern "C" fn(context: *mut c_void, kind: latticed_kind, key: *const c_void, key_len: usize)>;

/// Calls `visit` with each published key that begins with `prefix`, in byte order, after all were found. Reads the whole index: for
/// tools, not for hot paths. `prefix` may be NULL if `prefix_len` is 0.
///
/// Errors: LATTICED_EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_keys(
    client: Option<&latticed_client>,
    prefix: *const c_void,
    prefix_len: usize,
    visit: latticed_key_visitor,
    context: *mut c_void,
) -> latticed_code {
    call(|| {
        let (client, visit) = (given(client, "client")?, given(visit, "visit")?);
        // SAFETY: the caller's promise.
        let prefix = unsafe { bytes(prefix, prefix_len, "prefix") }?;
        for found in client.client.keys(prefix) {
            visit(context, found.kind.into(), found.key.as_ptr().cast(), found.key.len());
        }
        Ok(())
    })
}
