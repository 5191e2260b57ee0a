//! The client itself: opening, re-attaching, waiting.
//!
//! ```text
//!   handles ──fast path──> Attachment n  (segment + rings of one incarnation)      no lock, no shared counter
//!      │ it is over                ▲
//!      └──slow path──> Client ─────┘ current: the newest attachment                 a read lock
//!                        │
//!                        └ link: the attempt under way, results of past attachments  a mutex, steps that never block
//! ```
//!
//! Lock order: `link`, then `current` or a lane; a lane's lock is never held while another is taken.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use lattice_segment::{Submission, SubmitError, Target, layout};

use crate::attach::{Attempt, attach};
use crate::attachment::{Attachment, lock, open_reader};
use crate::clock::{coarse_ns, monotonic_ns};
use crate::error::{Error, Result};
use crate::options::{ClientOptions, ReadPolicy};
use crate::pause::Pause;
use crate::ticket::{History, Ticket, add_refusals, finished};

/// An attempt without a reply for this long is given up and started again.
const ATTEMPT_TIMEOUT_NS: u64 = 2_000_000_000;

/// While a reply is awaited, it is looked for this often.
const REPLY_LOOK_INTERVAL_NS: u64 = 100_000;

/// Where the state comes from.
enum Source {
    /// A daemon's socket: read and write.
    Daemon(PathBuf),
    /// A segment file: read only.
    File(PathBuf),
}

/// The way to one daemon: opens handles, waits for writes, survives the daemon's restarts.
///
/// A `Client` is `Send + Sync` and a clone is one counter: give each thread a clone, or share one. All clones write through
/// the same rings, one per worker of the daemon, each behind a mutex that is held for the few nanoseconds of an enqueue;
/// threads that must not share even that take a `Client` of their own with a second [`Client::connect`].
///
/// Nothing here starts a thread, and no read or write ever waits: re-attaching to a restarted daemon is done in small
/// steps by the calls that notice its absence.
///
/// # What a restart leaves behind
///
/// A handle reads without a lock in the segment where it first found its key. After the daemon's restart it goes on in the
/// successor's, but through a read lock of its own (some 20 ns more), and keeps the first segment mapped, its memory with
/// it, until it is dropped: a reader may be in there, and to know that would cost every read. No descriptor is kept. A
/// clone of the handle, or one opened anew, is on the fast path of the present segment: long-lived programs that count
/// nanoseconds replace their handles when [`Health::attachments`](crate::Health::attachments) has moved.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    options: ClientOptions,
    current: RwLock<Arc<Attachment>>,
    link: Mutex<Link>,
    /// When the next step of re-attaching is due, monotonic. Only a rate limit, so relaxed.
    next_step_ns: AtomicU64,
}

/// What re-attaching needs to remember between its steps.
#[derive(Default)]
pub(crate) struct Link {
    attempt: Option<Attempt>,
    pub(crate) history: History,
    /// The application has ended it: there is no next attempt.
    ended: bool,
}

impl Client {
    /// Attaches to the daemon behind a Unix socket, to read and write.
    ///
    /// # Errors
    /// [`Error::Connect`] if nobody listens, [`Error::Attach`] if the daemon refuses, [`Error::Protocol`] or [`Error::Open`] if
    /// what it sent can't be used. Nothing stays open then.
    pub fn connect(socket: impl AsRef<Path>) -> Result<Client> {
        Client::connect_with(socket, ClientOptions::default())
    }

    /// [`Client::connect`] with options.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(socket: impl AsRef<Path>, options: ClientOptions) -> Result<Client> {
        let socket = socket.as_ref().to_owned();
        let attachment = Attachment::writable(1, attach(&socket, options.connect_timeout)?)?;
        Ok(Client::new(Source::Daemon(socket), options, attachment))
    }

    /// Maps a segment without speaking to its daemon: every write is [`Error::ReadOnly`]. Needs read permission on the file
    /// only; works while the daemon is down, on what it last published.
    ///
    /// # Errors
    /// [`Error::Open`] if the file is missing or not a valid segment.
    pub fn open_read_only(segment: impl AsRef<Path>) -> Result<Client> {
        Client::open_read_only_with(segment, ClientOptions::default())
    }

    /// [`Client::open_read_only`] with options.
    ///
    /// # Errors
    /// As [`Client::open_read_only`].
    pub fn open_read_only_with(segment: impl AsRef<Path>, options: ClientOptions) -> Result<Client> {
        let path = segment.as_ref().to_owned();
        let attachment = Attachment::read_only(1, open_reader(&path)?);
        Ok(Client::new(Source::File(path), options, attachment))
    }

    fn new(source: Source, options: ClientOptions, attachment: Attachment) -> Client {
        Client {
            inner: Arc::new(Inner {
                source,
                options,
                current: RwLock::new(Arc::new(attachment)),
                link: Mutex::new(Link::default()),
                next_step_ns: AtomicU64::new(0),
            }),
        }
    }

    /// Asks what became of a write: `Ok(true)` applied and visible, `Ok(false)` still under way.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::OutcomeUnknown`] or [`Error::OutcomeForgotten`].
    pub fn poll(&self, ticket: Ticket) -> Result<bool> {
        let attachment = self.current();
        if attachment.number == ticket.attachment
            && let Some(mut lane) = attachment.lane(ticket.worker)
            && !lane.is_retired()
        {
            return match lane.result_of(ticket.seq) {
                Some(processed) => finished(processed).map(|()| true),
                None => Ok(false),
            };
        }
        lock(&self.inner.link).history.result_of(ticket).map(|()| true)
    }

    /// Waits until a write is applied and visible to every reader of this host.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason; [`Error::Timeout`] if it is still under way (wait again);
    /// [`Error::OutcomeUnknown`] if the daemon went away first.
    pub fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<()> {
        let mut pause = Pause::new(timeout);
        while !self.poll(ticket)? {
            self.look(&pause);
            if !pause.pause() {
                return Err(self.timed_out(&pause, ticket.worker));
            }
        }
        Ok(())
    }

    /// Waits until every write that this client and its clones have enqueued so far is processed: then all that were not
    /// refused are visible to every reader of this host.
    ///
    /// # Errors
    /// [`Error::WritesRefused`] if some were refused and no [`Client::wait`] has reported them; [`Error::OutcomeUnknown`] if the
    /// daemon went away with some unacknowledged (refusals are then reported by the next barrier); each is reported once.
    /// [`Error::Timeout`] if some are still under way.
    pub fn barrier(&self, timeout: Duration) -> Result<()> {
        let mut pause = Pause::new(timeout);
        let attachment = self.current();
        let mut refused = None;
        for (worker, lane) in attachment.lanes() {
            let last = lane.lock().submitted();
            while !is_settled(&attachment, worker, last) {
                self.look(&pause);
                if !pause.pause() {
                    return Err(self.timed_out(&pause, worker));
                }
            }
        }
        let mut link = lock(&self.inner.link);
        let writes = link.history.take_unacknowledged();
        if writes > 0 {
            return Err(Error::OutcomeUnknown { writes });
        }
        if let Some(more) = link.history.take_unreported() {
            add_refusals(&mut refused, more);
        }
        drop(link);
        for (_, lane) in attachment.lanes() {
            if let Some(more) = lane.lock().take_unreported() {
                add_refusals(&mut refused, more);
            }
        }
        refused.map_or(Ok(()), |(count, first)| Err(Error::WritesRefused { count, first }))
    }

    /// Waits until the client is attached to a live daemon again. Calls do this by themselves in passing; this is for those
    /// who have nothing else to do.
    ///
    /// # Errors
    /// [`Error::DaemonClosed`] if none came back in time.
    pub fn reconnect(&self, timeout: Duration) -> Result<()> {
        let mut pause = Pause::new(timeout);
        loop {
            let attachment = self.current();
            let now_ns = monotonic_ns();
            if !self.is_lost(&attachment, now_ns) {
                return Ok(());
            }
            self.reattach(&attachment, now_ns);
            if !pause.pause() {
                return Err(Error::DaemonClosed { age: attachment.oldest_heartbeat(now_ns) });
            }
        }
    }

    /// Ends the connection now, for all clones and handles, and for good: writes fail with [`Error::DaemonClosed`], those under way
    /// end as [`Error::OutcomeUnknown`], and reads serve the last known state. Without it the connection ends when the last
    /// clone or handle is dropped, which not every language can promise to do in time.
    pub fn disconnect(&self) {
        let mut link = lock(&self.inner.link);
        (link.ended, link.attempt) = (true, None);
        // With the link held nobody attaches to another daemon meanwhile.
        let attachment = self.current();
        if !link.history.knows(attachment.number) {
            link.history.keep(attachment.number, attachment.retire());
        }
    }

    /// The newest attachment.
    pub(crate) fn current(&self) -> Arc<Attachment> {
        Arc::clone(&self.inner.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn reads_fresh_only(&self) -> bool {
        self.inner.options.read_policy == ReadPolicy::Fresh
    }

    /// The attachment to use now that a handle's own one is over: moves one step towards the successor, if due.
    pub(crate) fn successor(&self) -> Arc<Attachment> {
        let attachment = self.current();
        if !attachment.is_over() {
            return attachment;
        }
        self.reattach(&attachment, monotonic_ns());
        self.current()
    }

    /// Looks whether the daemon has gone without a word, and if so moves one step towards its successor.
    pub(crate) fn look_for_daemon(&self) {
        let attachment = self.current();
        let now_ns = monotonic_ns();
        if self.is_lost(&attachment, now_ns) {
            self.reattach(&attachment, now_ns);
        }
    }

    /// Enqueues one write on an attachment.
    #[inline]
    pub(crate) fn submit(
        &self,
        attachment: &Attachment,
        worker: u16,
        submission: &Submission<'_>,
    ) -> Result<Ticket> {
        let Some(mut lane) = attachment.lane(worker) else { return Err(Error::ReadOnly) };
        if lane.is_retired() {
            drop(lane);
            return Err(self.gone(attachment));
        }
        if lane.is_look_due(coarse_ns()) {
            drop(lane);
            self.check_alive(attachment, worker)?;
            let Some(again) = attachment.lane(worker) else { return Err(Error::ReadOnly) };
            lane = again;
            if lane.is_retired() {
                drop(lane);
                return Err(self.gone(attachment));
            }
        }
        match lane.submit(submission) {
            Ok(seq) => Ok(Ticket { attachment: attachment.number, seq, worker }),
            Err(error) => Err(not_enqueued(error, worker, submission)),
        }
    }

    /// Fails if the worker is silent or the daemon gone. Asked at most once per clock tick and lane.
    #[cold]
    fn check_alive(&self, attachment: &Attachment, worker: u16) -> Result<()> {
        if attachment.is_hung_up() {
            return Err(self.gone(attachment));
        }
        self.check_heartbeat(attachment, worker)
    }

    /// Looks for the daemon's successor; the write that came upon its absence fails all the same.
    #[cold]
    fn gone(&self, attachment: &Attachment) -> Error {
        self.look_for_daemon();
        self.daemon_closed(attachment)
    }

    /// Fails if the worker has been silent for longer than its timeout.
    pub(crate) fn check_heartbeat(&self, attachment: &Attachment, worker: u16) -> Result<()> {
        let age = attachment.heartbeat_age(worker, monotonic_ns());
        let timeout = attachment.heartbeat_timeout();
        if age > timeout {
            return Err(Error::DaemonStale { worker, age, timeout });
        }
        Ok(())
    }

    pub(crate) fn daemon_closed(&self, attachment: &Attachment) -> Error {
        Error::DaemonClosed { age: attachment.oldest_heartbeat(monotonic_ns()) }
    }

    /// True if this attachment will bring nothing new: closed, hung up, or (without a connection that could tell) silent.
    fn is_lost(&self, attachment: &Attachment, now_ns: u64) -> bool {
        if attachment.is_over() {
            return true;
        }
        match self.inner.source {
            Source::Daemon(_) => attachment.is_hung_up(),
            Source::File(_) => attachment.oldest_heartbeat(now_ns) > attachment.heartbeat_timeout(),
        }
    }

    /// The results of past attachments.
    pub(crate) fn link(&self) -> MutexGuard<'_, Link> {
        lock(&self.inner.link)
    }

    /// During a wait: notices a daemon that has gone, so that the wait ends with an outcome instead of a timeout.
    pub(crate) fn look(&self, pause: &Pause) {
        if pause.is_long() || self.current().is_over() {
            self.look_for_daemon();
        }
    }

    fn timed_out(&self, pause: &Pause, worker: u16) -> Error {
        let heartbeat_age = self.current().heartbeat_age(worker, monotonic_ns());
        Error::Timeout { waited: pause.waited(), heartbeat_age }
    }

    /// Ends a lost attachment and takes one step towards the next. Never blocks: if another thread is at it, it returns.
    #[cold]
    fn reattach(&self, lost: &Attachment, now_ns: u64) {
        let mut link = match self.inner.link.try_lock() {
            Ok(link) => link,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if self.current().number != lost.number {
            return;
        }
        if !link.history.knows(lost.number) {
            link.history.keep(lost.number, lost.retire());
        }
        if link.ended || now_ns < self.inner.next_step_ns.load(Ordering::Relaxed) {
            return;
        }
        if let Some(next) = self.step(&mut link, lost, now_ns) {
            *self.inner.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
            lost.supersede();
        }
        let interval_ns = match link.attempt {
            Some(_) => REPLY_LOOK_INTERVAL_NS,
            None => u64::try_from(self.inner.options.reattach_interval.as_nanos()).unwrap_or(u64::MAX),
        };
        self.inner.next_step_ns.store(now_ns.saturating_add(interval_ns), Ordering::Relaxed);
    }

    /// One step: begins an attempt, advances it, or finds that there is nothing to attach to yet.
    fn step(&self, link: &mut Link, lost: &Attachment, now_ns: u64) -> Option<Attachment> {
        match &self.inner.source {
            Source::File(path) => {
                let reader = open_reader(path).ok()?;
                let next = Attachment::read_only(lost.number + 1, reader);
                (next.reader.incarnation() != lost.reader.incarnation() && next.is_ready()).then_some(next)
            }
            Source::Daemon(socket) => {
                let mut attempt = match link.attempt.take() {
                    Some(attempt) if now_ns.saturating_sub(attempt.started_ns) < ATTEMPT_TIMEOUT_NS => {
                        attempt
                    }
                    _ => Attempt::start(socket).ok()?,
                };
                match attempt.advance() {
                    Ok(Some(reply)) => {
                        let attached = attempt.finish(reply).ok()?;
                        // A daemon that is going away may still accept: its closed segment would be lost at once.
                        Attachment::writable(lost.number + 1, attached).ok().filter(Attachment::is_ready)
                    }
                    Ok(None) => {
                        link.attempt = Some(attempt);
                        None
                    }
                    Err(_) => None,
                }
            }
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, path) = match &self.inner.source {
            Source::Daemon(socket) => ("socket", socket),
            Source::File(segment) => ("segment", segment),
        };
        f.debug_struct("Client")
            .field(name, path)
            .field("attachment", &self.current().number)
            .finish_non_exhaustive()
    }
}

/// True once a lane has processed everything up to `last`, or never will.
fn is_settled(attachment: &Attachment, worker: u16, last: u64) -> bool {
    attachment.lane(worker).is_none_or(|mut lane| lane.is_retired() || lane.has_processed(last))
}

fn not_enqueued(error: SubmitError, worker: u16, submission: &Submission<'_>) -> Error {
    match error {
        SubmitError::RingFull => Error::RingFull { worker },
        SubmitError::BadKey => {
            let len = if let Target::Key(key) = submission.target { key.len() } else { 0 };
            Error::BadKey { len, limit: layout::MAX_KEY_BYTES }
        }
        SubmitError::TooLarge => {
            Error::TooLarge { len: submission.data.len(), limit: layout::MAX_REGISTER_BYTES }
        }
    }
}
