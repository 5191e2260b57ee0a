//! The admin socket: accepts connections, reads bounded lines, answers them. Everything that arrives is hostile input.
//!
//! ```text
//!   accept ──> peer credentials ──> line ──> request ──> reply ──┐
//!                                    ▲                           │
//!                                    └───────────────────────────┘   until end of file, a fault, a bad length, or silence
//! ```
//!
//! What can go wrong, and what happens: garbage is answered with an error and counted against the connection, which is
//! closed at the eighth; a line beyond [`MAX_LINE_BYTES`] is answered and closes it; a connection that neither attached
//! nor says anything is closed after [`IDLE_TIMEOUT`]; one that does not take its reply, after [`WRITE_TIMEOUT`]. There
//! are never more connections than `max_clients` and a few for `latticectl`; one too many is told so.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lattice_worker::Command;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::attach::Attachment;
use super::{Daemon, StartError, attach, backup, compare, drain, forget, reload, status, why};
use crate::protocol::{MAX_LINE_BYTES, Refusal, Reply, Request, Snapshots, codes};

/// Connections beyond `max_clients`, so that `latticectl` gets an answer when all clients are there.
const SPARE_CONNECTIONS: usize = 16;
/// Silence after which a connection that did not attach is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that a peer has to take a reply.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that a worker has to take a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// Lines that are no requests, after which a connection is closed.
const MAX_BAD_LINES: u32 = 8;
/// Pause after a failed accept (no descriptors left, mostly): others must get to run and to close theirs.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Listens at `path`, mode 0660: made under another name and renamed, so that nobody connects before the mode is set, and
/// what a dead daemon left there is replaced.
///
/// # Errors
/// [`StartError::Socket`].
pub fn listen(path: &Path) -> Result<UnixListener, StartError> {
    let failed = |source| StartError::Socket { path: path.to_owned(), source };
    let unfinished = path.with_extension("new");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&unfinished).map_err(failed)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    std::fs::rename(&unfinished, path).map_err(failed)?;
    Ok(listener)
}

/// Accepts until the task is dropped.
pub async fn serve(daemon: Arc<Daemon>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let daemon = Arc::clone(&daemon);
                tokio::spawn(async move { admit(daemon, stream).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin socket could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Counts a connection for as long as it lives.
struct Slot(Arc<Daemon>);

impl Slot {
    fn take(daemon: &Arc<Daemon>) -> Option<Self> {
        let limit = daemon.live.limits().max_clients + SPARE_CONNECTIONS;
        // Relaxed: a count that nothing else is published with; all tasks run on one thread.
        let before = daemon.connections.fetch_add(1, Ordering::Relaxed);
        let slot = Self(Arc::clone(daemon));
        (before < limit).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn admit(daemon: Arc<Daemon>, mut stream: UnixStream) {
    let Some(_slot) = Slot::take(&daemon) else {
        let refusal = Refusal::new(
            codes::TOO_MANY_CLIENTS,
            "too many connections to this daemon; close some, or raise limits.max_clients",
        );
        // The peer is being turned away: whether it still listens does not matter.
        let _ = within_write_timeout(stream.write_all(&Reply::<Nothing>::Refused(refusal).to_line())).await;
        return;
    };
    let stream = BufReader::new(stream);
    let mut connection = Connection { daemon, stream, attachment: None, bad_lines: 0 };
    let end = connection.converse().await;
    connection.finish(end).await;
}

/// A reply of which only the refusal is ever sent.
#[derive(Serialize)]
struct Nothing {}

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed it")]
    Closed,
    #[error("the peer said nothing, or did not take its reply, for too long")]
    Silent,
    #[error("the peer sent lines that are no requests")]
    Garbage,
    #[error("the daemon dismissed the client")]
    Dismissed,
    #[error("the socket failed: {0}")]
    Failed(std::io::Error),
}

struct Connection {
    daemon: Arc<Daemon>,
    stream: BufReader<UnixStream>,
    attachment: Option<Attachment>,
    bad_lines: u32,
}

impl Connection {
    async fn converse(&mut self) -> End {
        let mut line = Vec::new();
        while self.bad_lines < MAX_BAD_LINES {
            let step = match self.read_line(&mut line).await {
                Ok(true) => self.answer(&line).await,
                Ok(false) => self.refuse_long_line().await,
                Err(end) => Err(end),
            };
            if let Err(end) = step {
                return end;
            }
        }
        End::Garbage
    }

    /// Reads one line into `line`. False: it is too long.
    async fn read_line(&mut self, line: &mut Vec<u8>) -> Result<bool, End> {
        line.clear();
        let dismissed = self.attachment.as_ref().map(Attachment::dismissed);
        let attached = dismissed.is_some();
        let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        let mut bounded = (&mut self.stream).take(limit);
        let read = tokio::select! {
            read = bounded.read_until(b'\n', line) => read,
            () = wait_for(dismissed) => return Err(End::Dismissed),
            () = tokio::time::sleep(IDLE_TIMEOUT), if !attached => return Err(End::Silent),
        };
        match read {
            Ok(0) => Err(End::Closed),
            Ok(_) if line.ends_with(b"\n") => Ok(true),
            Ok(_) if line.len() >= MAX_LINE_BYTES => Ok(false),
            Ok(_) => Err(End::Closed),
            Err(error) => Err(End::Failed(error)),
        }
    }

    async fn answer(&mut self, line: &[u8]) -> Result<(), End> {
        let request = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(error) => return self.refuse_bad_line(&error).await,
        };
        match request {
            Request::Attach => self.attach().await,
            Request::Status => self.send(&Reply::Done(status::status(&self.daemon).await)).await,
            Request::Snapshot => self.send(&self.snapshot().await).await,
            Request::Forget { node } => self.send_outcome(forget::request(&self.daemon, node).await).await,
            Request::Backup => self.backup().await,
            Request::Reload => self.send_outcome(reload::reload(&self.daemon).await).await,
            Request::Diff { node, prefix, most } => {
                self.send_outcome(compare::diff(&self.daemon, node, prefix, most).await).await
            }
            Request::Drain { step } => self.send_outcome(drain::drain(&self.daemon, step).await).await,
            Request::ConvergedAll => self.send_outcome(compare::all_converged(&self.daemon).await).await,
            Request::Why { key, element } => {
                self.send_outcome(why::why(&self.daemon, key, element).await).await
            }
            Request::Converged => self.send(&Reply::Done(status::convergence(&self.daemon).await)).await,
        }
    }

    async fn snapshot(&self) -> Reply<Snapshots> {
        match take_snapshots(&self.daemon).await {
            Ok(()) => Reply::Done(Snapshots { shards: self.daemon.config.cluster.shards }),
            Err(refusal) => Reply::Refused(refusal),
        }
    }

    async fn backup(&mut self) -> Result<(), End> {
        let (reply, descriptors) = match backup::backup(&self.daemon).await {
            Ok(backup) => backup,
            Err(refusal) => return self.send(&Reply::<Nothing>::Refused(refusal)).await,
        };
        self.send_with_descriptors(&Reply::Done(reply), &descriptors).await
    }

    async fn send_with_descriptors<T: Serialize>(
        &mut self,
        reply: &Reply<T>,
        descriptors: &[OwnedFd],
    ) -> Result<(), End> {
        let line = reply.to_line();
        let sent = attach::send_with_descriptors(self.stream.get_ref(), &line, descriptors);
        let count = within_write_timeout(sent).await?;
        within_write_timeout(self.stream.get_mut().write_all(&line[count..])).await
    }

    async fn attach(&mut self) -> Result<(), End> {
        let outcome = match self.attachment {
            None => attach::attach(&self.daemon, self.stream.get_ref()).await,
            Some(_) => Err(Refusal::new(
                codes::ALREADY_ATTACHED,
                "this connection has its rings already; open another one for another client",
            )),
        };
        let (attachment, reply, descriptors) = match outcome {
            Ok(granted) => granted,
            Err(refusal) => return self.send(&Reply::<Nothing>::Refused(refusal)).await,
        };
        self.attachment = Some(attachment);
        self.send_with_descriptors(&Reply::Done(reply), &descriptors).await
    }

    async fn send_outcome<T: Serialize>(&mut self, outcome: Result<T, Refusal>) -> Result<(), End> {
        match outcome {
            Ok(done) => self.send(&Reply::Done(done)).await,
            Err(refusal) => self.send(&Reply::<Nothing>::Refused(refusal)).await,
        }
    }

    async fn send<T: Serialize>(&mut self, reply: &Reply<T>) -> Result<(), End> {
        within_write_timeout(self.stream.get_mut().write_all(&reply.to_line())).await
    }

    async fn refuse_bad_line(&mut self, error: &serde_json::Error) -> Result<(), End> {
        self.bad_lines += 1;
        self.daemon.count_bad_line();
        let refusal = Refusal::new(
            codes::BAD_REQUEST,
            format!("not a request ({error}); one is a line such as {{\"op\":\"status\"}}"),
        );
        self.send(&Reply::<Nothing>::Refused(refusal)).await
    }

    async fn refuse_long_line(&mut self) -> Result<(), End> {
        self.daemon.count_bad_line();
        let refusal =
            Refusal::new(codes::LINE_TOO_LONG, format!("a line has at most {MAX_LINE_BYTES} bytes; closing"));
        self.send(&Reply::<Nothing>::Refused(refusal)).await?;
        Err(End::Garbage)
    }

    /// Lets the client go, whatever ended the conversation.
    async fn finish(self, end: End) {
        let client = self.attachment.as_ref().map(Attachment::id);
        match &end {
            End::Closed | End::Dismissed => tracing::debug!(client, reason = %end, "connection closed"),
            _ if self.daemon.may_log_connection() => {
                tracing::info!(client, reason = %end, "connection closed")
            }
            _ => {}
        }
        // Closed before the detachment, which waits for room in the workers' queues: the peer knows at once.
        drop(self.stream);
        if let Some(attachment) = self.attachment {
            attachment.detach(&self.daemon).await;
        }
    }
}

/// Tells every worker to write snapshots, beginning now.
///
/// # Errors
/// [`Refusal`]: there is nowhere to write them, or a worker is busy; some may have been told.
pub(super) async fn take_snapshots(daemon: &Daemon) -> Result<(), Refusal> {
    if daemon.storage.is_none() {
        let error = "this daemon keeps nothing on disk (storage.mode = \"memory\")";
        return Err(Refusal::new(codes::NO_STORAGE, error));
    }
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    for worker in 0..daemon.workers.count() {
        if !daemon.workers.send_until(worker, Command::TakeSnapshots, deadline).await {
            let error = format!("worker {worker} takes no commands at the moment; try again");
            return Err(Refusal::new(codes::BUSY, error));
        }
    }
    Ok(())
}

/// Completes when the client is dismissed; never for a connection that is not attached.
async fn wait_for(dismissed: Option<Arc<Notify>>) {
    match dismissed {
        Some(dismissed) => dismissed.notified().await,
        None => std::future::pending().await,
    }
}

async fn within_write_timeout<T>(write: impl Future<Output = std::io::Result<T>>) -> Result<T, End> {
    match tokio::time::timeout(WRITE_TIMEOUT, write).await {
        Ok(outcome) => outcome.map_err(End::Failed),
        Err(_) => Err(End::Silent),
    }
}
