//! Attaching to a daemon over its Unix socket.
//!
//! ```text
//!   client                                daemon
//!     | connect ─────────────────────────> |  checks SO_PEERCRED
//!     | {"op":"attach"}\n ───────────────> |  makes a sealed memfd with one ring pair per worker
//!     | <─ {"ok":true,"segment":…}\n + fds |  SCM_RIGHTS with the first byte: the memfd, then one eventfd per worker
//!     |        … connection stays …        |  closing it on either side ends the attachment
//! ```
//!
//! One state machine ([`Attempt`]) that never blocks, driven in two ways: [`attach`] polls it until a timeout for the
//! first connection, and a client that lost its daemon advances it a step with each call, so that no read or write ever
//! waits for a daemon that is coming up.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, send, socket_with,
};
use serde::Deserialize;

use crate::clock::monotonic_ns;
use crate::error::{Error, Result};

/// A reply line is at most this long: more is not a reply of a latticed.
const MAX_REPLY_BYTES: usize = 64 * 1024;
/// One memfd and at most one eventfd for each of 64 workers.
const MAX_DESCRIPTORS: usize = 65;
const REQUEST: &[u8] = b"{\"op\":\"attach\"}\n";

/// The daemon's line, as it comes.
#[derive(Deserialize)]
struct ReplyLine {
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    segment: PathBuf,
    #[serde(default)]
    workers: u16,
}

/// What a successful attachment brought.
pub(crate) struct Attached {
    /// The connection, to be kept open: its end is the end of the attachment.
    pub stream: OwnedFd,
    /// The memfd of the rings.
    pub rings: OwnedFd,
    /// One eventfd per worker, to wake it when it sleeps; empty if the daemon sent none.
    pub wakeups: Vec<OwnedFd>,
    /// Path of the segment.
    pub segment: PathBuf,
    /// How many workers, so how many ring pairs.
    pub workers: u16,
}

/// An attachment under way.
pub(crate) struct Attempt {
    stream: OwnedFd,
    line: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    pub started_ns: u64,
}

impl Attempt {
    /// Connects and sends the request; neither waits. Fails if nobody listens or the daemon's backlog is full.
    pub fn start(socket: &Path) -> Result<Attempt> {
        let failed = |errno: Errno| Error::Connect { socket: socket.to_owned(), source: errno.into() };
        let stream = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )
        .map_err(failed)?;
        let address = SocketAddrUnix::new(socket).map_err(failed)?;
        connect(&stream, &address).map_err(failed)?;
        // The request is smaller than any socket buffer: it goes out whole or the peer is gone.
        send(&stream, REQUEST, SendFlags::NOSIGNAL).map_err(failed)?;
        Ok(Attempt { stream, line: Vec::new(), descriptors: Vec::new(), started_ns: monotonic_ns() })
    }

    /// Takes in what has arrived. `None`: not all of it yet.
    pub fn advance(&mut self) -> Result<Option<ReplyParts>> {
        let mut bytes = [0u8; 4096];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let received =
                match recvmsg(&self.stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
                    Ok(received) => received.bytes,
                    Err(Errno::AGAIN) => return Ok(None),
                    Err(Errno::INTR) => continue,
                    Err(errno) => {
                        return Err(Error::System { what: "reading the attach reply", source: errno.into() });
                    }
                };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    self.descriptors.extend(descriptors);
                }
            }
            if self.descriptors.len() > MAX_DESCRIPTORS {
                return Err(Error::Protocol(format!("more than {MAX_DESCRIPTORS} descriptors")));
            }
            if received == 0 {
                return Err(Error::Protocol("the daemon closed the connection without a reply".into()));
            }
            self.line.extend_from_slice(&bytes[..received]);
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                return parse(&self.line[..end]).map(Some);
            }
            if self.line.len() > MAX_REPLY_BYTES {
                return Err(Error::Protocol(format!("a reply of more than {MAX_REPLY_BYTES} bytes")));
            }
        }
    }

    /// Joins the parsed reply and the descriptors that came with it.
    pub fn finish(self, reply: ReplyParts) -> Result<Attached> {
        let mut descriptors = self.descriptors.into_iter();
        let rings = descriptors
            .next()
            .ok_or_else(|| Error::Protocol("no ring descriptor came with the reply".into()))?;
        let mut wakeups: Vec<OwnedFd> = descriptors.collect();
        if wakeups.len() != usize::from(reply.workers) {
            // A daemon that sends none bounds its workers' sleep instead; any other number can't be assigned to workers.
            wakeups.clear();
        }
        if !wakeups.iter().all(never_blocks) {
            return Err(Error::Protocol("a wake-up descriptor that could block a write".into()));
        }
        Ok(Attached { stream: self.stream, rings, wakeups, segment: reply.segment, workers: reply.workers })
    }

    /// Sleeps until more has arrived, at most `timeout_ns`.
    fn wait(&self, timeout_ns: u64) -> Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (timeout_ns % 1_000_000_000) as i64,
        };
        match poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::System { what: "waiting for the attach reply", source: errno.into() }),
        }
    }
}

/// The usable part of a positive reply.
pub(crate) struct ReplyParts {
    segment: PathBuf,
    workers: u16,
}

fn parse(line: &[u8]) -> Result<ReplyParts> {
    let reply: ReplyLine = serde_json::from_slice(line)
        .map_err(|error| Error::Protocol(format!("not a reply line: {error}")))?;
    if !reply.ok {
        return Err(Error::Attach { code: reply.code, message: reply.error });
    }
    if reply.segment.as_os_str().is_empty() || reply.workers == 0 {
        return Err(Error::Protocol("the reply names no segment or no workers".into()));
    }
    Ok(ReplyParts { segment: reply.segment, workers: reply.workers })
}

/// Attaches, waiting at most `timeout` for the reply.
pub(crate) fn attach(socket: &Path, timeout: Duration) -> Result<Attached> {
    let mut attempt = Attempt::start(socket)?;
    let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let deadline_ns = attempt.started_ns.saturating_add(timeout_ns);
    loop {
        if let Some(reply) = attempt.advance()? {
            return attempt.finish(reply);
        }
        let now_ns = monotonic_ns();
        if now_ns >= deadline_ns {
            return Err(Error::Protocol(format!("no reply within {timeout:?}")));
        }
        attempt.wait(deadline_ns - now_ns)?;
    }
}

/// True if the descriptor is in non-blocking mode: a write that knocks at a worker is made under a lane's lock.
fn never_blocks(descriptor: &OwnedFd) -> bool {
    fcntl_getfl(descriptor).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}

/// True if the daemon has closed its end: it stopped, died, or dropped this client. Asks for the state of the connection
/// and not for the end of its bytes: a daemon's last word that nobody reads would hide that end for ever.
pub(crate) fn is_hung_up(stream: &OwnedFd) -> bool {
    let over = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR | PollFlags::NVAL;
    let mut watched = [PollFd::new(stream, PollFlags::RDHUP)];
    match poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => watched[0].revents().intersects(over),
        Err(Errno::INTR) => false,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
    use std::io::{IoSlice, Write};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_refusal_keeps_the_daemons_words_and_code() {
        let error = parse(br#"{"ok":false,"error":"too many clients","code":"limit"}"#).err();
        assert!(
            matches!(&error, Some(Error::Attach { code, message }) if code == "limit" && message == "too many clients"),
            "{error:?}"
        );
    }

    #[test]
    fn replies_that_are_not_replies_are_protocol_errors() {
        for line in
            [&b"hello"[..], b"{}", br#"{"ok":true}"#, br#"{"ok":true,"segment":"/x","workers":0}"#, b"\xff"]
        {
            assert!(matches!(parse(line), Err(Error::Protocol(_))), "{line:?}");
        }
    }

    #[test]
    fn unknown_fields_of_a_newer_daemon_are_ignored() {
        let reply = parse(br#"{"ok":true,"segment":"/s","workers":2,"shards":4,"client":7,"new":[]}"#);
        assert!(matches!(reply, Ok(ReplyParts { workers: 2, .. })));
    }

    const REPLY: &[u8] = br#"{"ok":true,"segment":"/s","workers":1}"#;

    /// An attempt whose daemon is the other end.
    fn under_way() -> (Attempt, UnixStream) {
        let (client, daemon) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let attempt =
            Attempt { stream: client.into(), line: Vec::new(), descriptors: Vec::new(), started_ns: 0 };
        (attempt, daemon)
    }

    fn send_with(daemon: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        sendmsg(daemon, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
    }

    #[test]
    fn a_daemon_cannot_fill_the_descriptor_table() {
        let (mut attempt, daemon) = under_way();
        let descriptors = [daemon.as_fd(); MAX_DESCRIPTORS];
        send_with(&daemon, b" ", &descriptors);
        assert!(matches!(attempt.advance(), Ok(None)));
        send_with(&daemon, b" ", &descriptors);
        assert!(matches!(attempt.advance(), Err(Error::Protocol(_))));
    }

    #[test]
    fn a_wake_up_that_could_block_a_write_is_refused() {
        for blocks in [true, false] {
            let (mut attempt, mut daemon) = under_way();
            daemon.set_nonblocking(!blocks).unwrap();
            send_with(&daemon, REPLY, &[daemon.as_fd(), daemon.as_fd()]);
            daemon.write_all(b"\n").unwrap();
            let reply = attempt.advance().unwrap().unwrap();
            assert_eq!(attempt.finish(reply).is_err(), blocks);
        }
    }

    #[test]
    fn unread_bytes_do_not_hide_that_the_daemon_hung_up() {
        let (attempt, mut daemon) = under_way();
        daemon.write_all(b"a word too many").unwrap();
        assert!(!is_hung_up(&attempt.stream));
        drop(daemon);
        assert!(is_hung_up(&attempt.stream));
    }
}
