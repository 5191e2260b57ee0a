//! Attaching a client: rings of its own in a sealed memfd, a consumer for each worker, an eventfd to wake each.
//!
//! The client ends up with descriptors that only it and the daemon have; what it writes there is hostile input to the
//! workers, which check every index and length. A client that breaks the rules is dismissed: its connection is closed,
//! its rings are given up, and nobody else notices.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lattice_segment::{RingConfig, RingConsumer, create_rings};
use lattice_worker::{ClientId, Command, Credentials, client_wakeup};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::Daemon;
use crate::protocol::{Attached, Client, Refusal, codes};

/// Descriptors of one reply, at most: the rings, and an eventfd for each of 64 workers.
const MAX_DESCRIPTORS: usize = 65;
/// Longest that an attachment waits for room in the workers' queues: many clients may come and go in one moment.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before a detachment that found a worker's queue full is tried again.
const DETACH_RETRY: Duration = Duration::from_millis(2);

/// The attached clients.
#[derive(Debug, Default)]
pub struct Clients {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: ClientId,
    present: BTreeMap<ClientId, (Client, Arc<Notify>)>,
}

impl Clients {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everyone who is attached.
    pub fn list(&self) -> Vec<Client> {
        self.state().present.values().map(|(client, _)| *client).collect()
    }

    /// Closes the connection of a client; unknown ones are gone already.
    pub fn dismiss(&self, id: ClientId) {
        if let Some((_, dismissed)) = self.state().present.get(&id) {
            dismissed.notify_one();
        }
    }

    /// Closes everyone's connection.
    pub fn dismiss_all(&self) {
        self.state().present.values().for_each(|(_, dismissed)| dismissed.notify_one());
    }

    /// Enters a client, unless `limit` are there.
    fn enter(&self, limit: usize, who: impl FnOnce(ClientId) -> Client) -> Option<Attachment> {
        let mut state = self.state();
        if state.present.len() >= limit {
            return None;
        }
        state.last_id += 1;
        let id = state.last_id;
        let dismissed = Arc::new(Notify::new());
        state.present.insert(id, (who(id), Arc::clone(&dismissed)));
        Some(Attachment { id, dismissed })
    }

    fn leave(&self, id: ClientId) {
        self.state().present.remove(&id);
    }
}

/// One client's place in the daemon.
#[derive(Debug)]
pub struct Attachment {
    id: ClientId,
    dismissed: Arc<Notify>,
}

impl Attachment {
    /// Its number.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Notified when the daemon closes the connection.
    pub fn dismissed(&self) -> Arc<Notify> {
        Arc::clone(&self.dismissed)
    }

    /// Takes the client from every worker, however long their queues are: what it had submitted is still applied.
    pub async fn detach(self, daemon: &Daemon) {
        for worker in 0..daemon.workers.count() {
            while !daemon.workers.send(worker, Command::DetachClient { id: self.id }) {
                tokio::time::sleep(DETACH_RETRY).await;
            }
        }
        daemon.clients.leave(self.id);
    }
}

/// What an attachment consists of: the client's place, the reply, and the descriptors that go with it.
type Granted = (Attachment, Attached, Vec<OwnedFd>);

/// Attaches the peer of `stream`.
///
/// # Errors
/// [`Refusal`]: nothing is left behind.
pub async fn attach(daemon: &Daemon, stream: &UnixStream) -> Result<Granted, Refusal> {
    let system = |what: &str, error: &dyn std::fmt::Display| {
        Refusal::new(codes::SYSTEM, format!("{what}: {error}; nothing was attached"))
    };
    let peer = stream.peer_cred().map_err(|error| system("the peer's credentials are not known", &error))?;
    let groups = lattice_rights::peer_groups(stream)
        .map_err(|error| system("the peer's groups are not known", &error))?;
    let credentials =
        Credentials { uid: peer.uid(), gids: std::iter::once(peer.gid()).chain(groups).collect() };
    let who = |client| Client { client, pid: peer.pid(), uid: peer.uid(), gid: peer.gid() };
    let limits = daemon.live.limits();
    let attachment = daemon.clients.enter(limits.max_clients, who).ok_or_else(|| {
        Refusal::new(
            codes::TOO_MANY_CLIENTS,
            format!(
                "{} clients are attached already; close some, or raise limits.max_clients",
                limits.max_clients
            ),
        )
    })?;
    let id = attachment.id;
    match give_rings(daemon, id, &credentials).await {
        Ok(descriptors) => {
            if daemon.may_log_connection() {
                let (pid, uid, gid) = (peer.pid(), peer.uid(), peer.gid());
                tracing::info!(client = id, pid, uid, gid, "client attached");
            }
            let reply = Attached {
                segment: daemon.config.paths.segment(),
                incarnation: format!("{:016x}", daemon.reader.incarnation()),
                workers: daemon.workers.count(),
                shards: daemon.config.cluster.shards,
                client: id,
            };
            Ok((attachment, reply, descriptors))
        }
        Err(refusal) => {
            // From the workers that had taken their end, however long their queues are: they would keep it for ever.
            attachment.detach(daemon).await;
            Err(refusal)
        }
    }
}

/// Makes the rings and hands each worker its end.
async fn give_rings(daemon: &Daemon, id: ClientId, who: &Credentials) -> Result<Vec<OwnedFd>, Refusal> {
    let system = |error: &dyn std::fmt::Display| {
        Refusal::new(codes::SYSTEM, format!("rings can't be made: {error}; nothing was attached"))
    };
    let limits = daemon.live.limits();
    let sizes =
        RingConfig { submission_slots: limits.submission_slots, completion_slots: limits.completion_slots };
    let (rings, consumers) = create_rings(daemon.workers.count(), sizes).map_err(|error| system(&error))?;
    let mut descriptors = vec![rings];
    let mut worker_ends = Vec::with_capacity(consumers.len());
    for _ in &consumers {
        let (worker_end, client_end) = client_wakeup().map_err(|error| system(&error))?;
        worker_ends.push(worker_end);
        descriptors.push(client_end);
    }
    hand_over(daemon, id, who, consumers, worker_ends).await?;
    Ok(descriptors)
}

/// Gives every worker its end. Refused: some may have theirs, and the caller detaches the client from all.
async fn hand_over(
    daemon: &Daemon,
    id: ClientId,
    who: &Credentials,
    consumers: Vec<RingConsumer>,
    worker_ends: Vec<OwnedFd>,
) -> Result<(), Refusal> {
    let deadline = Instant::now() + HAND_OVER_TIMEOUT;
    for (worker, (consumer, wakeup)) in (0..).zip(consumers.into_iter().zip(worker_ends)) {
        let command = Command::AttachClient { id, consumer, wakeup: Some(wakeup), who: who.clone() };
        if !daemon.workers.send_until(worker, command, deadline).await {
            return Err(Refusal::new(
                codes::BUSY,
                "a worker's command queue is full; nothing was attached; try again",
            ));
        }
    }
    Ok(())
}

/// Sends as much of `line` as the socket takes, the descriptors with its first byte. Returns how much that was.
///
/// # Errors
/// The socket's error; the descriptors were not sent.
pub async fn send_with_descriptors(
    stream: &UnixStream,
    line: &[u8],
    descriptors: &[OwnedFd],
) -> std::io::Result<usize> {
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    loop {
        stream.writable().await?;
        let sent = stream.try_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
                return Err(std::io::Error::other("more workers than descriptors fit one message"));
            }
            Ok(sendmsg(stream, &[IoSlice::new(line)], &mut ancillary, SendFlags::NOSIGNAL)?)
        });
        match sent {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(client: ClientId) -> Client {
        Client { client, pid: None, uid: 0, gid: 0 }
    }

    #[test]
    fn clients_are_bounded_and_numbers_are_not_reused() {
        let clients = Clients::default();
        let first = clients.enter(2, client).expect("room");
        let second = clients.enter(2, client).expect("room");
        assert!(clients.enter(2, client).is_none());
        clients.leave(first.id);
        let third = clients.enter(2, client).expect("room again");
        assert_eq!((first.id, second.id, third.id), (1, 2, 3));
        assert_eq!(clients.list().iter().map(|c| c.client).collect::<Vec<_>>(), [2, 3]);
    }

    #[tokio::test]
    async fn a_dismissal_is_not_lost_when_nobody_waits_yet() {
        let clients = Clients::default();
        let attachment = clients.enter(1, client).expect("room");
        clients.dismiss(attachment.id);
        attachment.dismissed().notified().await;
        clients.dismiss(99);
    }

    #[tokio::test]
    async fn descriptors_arrive_with_the_first_byte() {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let (end, other) = client_wakeup().expect("an eventfd");
        let count = send_with_descriptors(&ours, b"{}\n", &[end, other]).await.expect("sent");
        assert_eq!(count, 3);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 1];
        recvmsg(&theirs, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .expect("received");
        let received: usize = control
            .drain()
            .map(|message| if let RecvAncillaryMessage::ScmRights(fds) = message { fds.count() } else { 0 })
            .sum();
        assert_eq!((bytes, received), (*b"{", 2));
    }
}
