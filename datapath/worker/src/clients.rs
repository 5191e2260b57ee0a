//! The attached clients and their rings, served in turn.
//!
//! ```text
//!              ┌──────────── served: at most `client_budget_slots` a turn ───────────┐
//!   attach ──> active ──────── DetachClient, Shutdown ───────> leaving ── ring empty ──> detached ──> ClientDetached
//!                 └──── fault: garbage in the ring, another worker's shard ───────────────────────> ClientFault
//! ```
//!
//! Each turn begins with another client: the one whose operation had to wait for a commit if there is one, else the next
//! in line. So a client that floods its ring takes its budget and no more, and what it fills (the burst of an engine) is
//! first offered to whoever had to wait.

use crate::command::{ClientId, Event};
use crate::status::LoopStats;
use crate::submit::{Executor, LOOK_AHEAD, Outcome};
use crate::wakeup::Wakeup;
use lattice_segment::{RingConsumer, RingFault, Verdict};
use rustix::fd::{AsFd, OwnedFd};

/// Why a client was let go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientFault {
    /// What it wrote into its ring is not a submission.
    #[error("garbage in the submission ring: {0}")]
    Ring(RingFault),
    /// It submitted an operation on a shard that another worker owns.
    #[error("an operation on shard {shard}, which belongs to another worker")]
    OtherWorker {
        /// The shard.
        shard: u16,
    },
    /// `max_clients` are attached already.
    #[error("this worker has as many clients as it may have")]
    TooMany,
    /// Its eventfd can't be watched.
    #[error("its wake-up can't be watched: {0}")]
    Wakeup(std::io::ErrorKind),
}

/// Submissions taken at most from a client that leaves: as many as fill the largest ring. A client that goes on writing
/// after it closed its connection can't stay for ever.
const LEAVING_SUBMISSIONS: usize = 1 << 16;

/// Filled slots from which looking ahead pays.
const WORTH_LOOKING_AHEAD: u64 = 4;

/// How often a sleeping worker looks at rings that can't wake it, nanoseconds.
const UNWATCHED_POLL_NS: u64 = 1_000_000;

/// Why a client is about to be removed.
enum Gone {
    Left,
    Faulted(ClientFault),
}

struct Client {
    id: ClientId,
    consumer: RingConsumer,
    wakeup: Option<OwnedFd>,
    /// Submissions that are still taken from it before it goes; `None`: it stays.
    leaving: Option<usize>,
    /// Submissions were carried out that are not acknowledged yet.
    incomplete: bool,
    /// The ring claims submissions, and the last poll got none out of it: it does not read its failures.
    stuck: bool,
    /// The last look before sleeping found submissions.
    claimed_pending: bool,
    gone: Option<Gone>,
}

/// What serving one client came to.
#[derive(Default)]
struct Served {
    submissions: usize,
    refused: u64,
    postponed: bool,
    fault: Option<ClientFault>,
}

impl Client {
    fn serve(&mut self, budget_slots: usize, executor: &mut Executor<'_>) -> Served {
        if !self.consumer.has_news() {
            // As a poll that got nothing.
            self.stuck = self.claimed_pending;
            return Served::default();
        }
        let mut served = Served::default();
        let mut left = budget_slots;
        while left > 0 {
            let slots = left.min(LOOK_AHEAD);
            left -= slots;
            if self.consumer.waiting() >= WORTH_LOOKING_AHEAD {
                self.look_ahead(slots, executor);
            }
            let before = served.submissions;
            self.take(slots, executor, &mut served);
            let is_last = served.submissions == before || served.postponed || served.fault.is_some();
            if is_last || !self.consumer.has_news() {
                break;
            }
        }
        self.incomplete |= served.submissions > 0;
        self.stuck = self.claimed_pending && served.submissions == 0 && !served.postponed;
        self.claimed_pending = self.stuck;
        served
    }

    /// Brings near what the submissions in the next slots will need.
    fn look_ahead(&self, slots: usize, executor: &mut Executor<'_>) {
        let (mut cells, mut count) = ([0; LOOK_AHEAD], 0);
        self.consumer.glimpse(slots, &mut |cell| {
            if let Some(place) = cells.get_mut(count) {
                *place = cell;
                count += 1;
            }
        });
        executor.approach(&cells[..count]);
    }

    /// Takes the submissions in the next slots.
    fn take(&mut self, slots: usize, executor: &mut Executor<'_>, served: &mut Served) {
        let polled = self.consumer.poll(slots, &mut |submission| match executor.execute(submission) {
            Outcome::Applied => {
                served.submissions += 1;
                Verdict::Applied
            }
            Outcome::Refused(code) => {
                served.submissions += 1;
                served.refused += 1;
                Verdict::Refused(code)
            }
            Outcome::Later => {
                served.postponed = true;
                Verdict::Retry
            }
            Outcome::Fault(why) => {
                served.fault = Some(why);
                Verdict::Retry
            }
        });
        if let Err(fault) = polled {
            served.fault = Some(ClientFault::Ring(fault));
        }
    }

    /// A leaving client goes when its ring is empty, or when it has had its share.
    fn has_left(&mut self, served: &Served) -> bool {
        let Some(remaining) = &mut self.leaving else { return false };
        *remaining = remaining.saturating_sub(served.submissions);
        *remaining == 0 || (served.submissions == 0 && !served.postponed)
    }
}

/// The clients of one worker.
pub(crate) struct Clients {
    clients: Vec<Client>,
    capacity: usize,
    budget_slots: usize,
    /// The client to begin the next turn with.
    first: usize,
    /// There is something for [`Clients::complete`] to do.
    incomplete: bool,
}

impl Clients {
    pub(crate) fn new(capacity: usize, budget_slots: usize) -> Self {
        Self { clients: Vec::with_capacity(capacity), capacity, budget_slots, first: 0, incomplete: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Takes up a client. An error gives its rings back with the reason.
    pub(crate) fn attach(
        &mut self,
        id: ClientId,
        consumer: RingConsumer,
        wakeup: Option<OwnedFd>,
        worker: &Wakeup,
    ) -> Result<(), (RingConsumer, ClientFault)> {
        if self.clients.len() == self.capacity {
            return Err((consumer, ClientFault::TooMany));
        }
        if let Some(Err(error)) = wakeup.as_ref().map(|eventfd| worker.watch(eventfd.as_fd())) {
            return Err((consumer, ClientFault::Wakeup(error.kind())));
        }
        self.clients.push(Client {
            id,
            consumer,
            wakeup,
            leaving: None,
            incomplete: false,
            stuck: false,
            claimed_pending: false,
            gone: None,
        });
        Ok(())
    }

    /// Lets a client go as soon as its ring is empty.
    pub(crate) fn detach(&mut self, id: ClientId) {
        for client in self.clients.iter_mut().filter(|client| client.id == id) {
            client.leaving.get_or_insert(LEAVING_SUBMISSIONS);
        }
    }

    /// Lets all clients go as soon as their rings are empty.
    pub(crate) fn detach_all(&mut self) {
        for client in &mut self.clients {
            client.leaving.get_or_insert(LEAVING_SUBMISSIONS);
        }
    }

    /// Serves each client once. Returns how many submissions were carried out.
    pub(crate) fn serve(&mut self, executor: &mut Executor<'_>, stats: &mut LoopStats) -> usize {
        let count = self.clients.len();
        if count == 0 {
            return 0;
        }
        let mut total = 0;
        let mut waiting = None;
        // A client that went may have been the one to begin with.
        let first = if self.first < count { self.first } else { 0 };
        for at in (first..count).chain(0..first) {
            let Some(client) = self.clients.get_mut(at) else { continue };
            let served = client.serve(self.budget_slots, executor);
            total += served.submissions;
            self.incomplete |= served.submissions > 0;
            stats.submissions_refused += served.refused;
            if served.postponed {
                stats.submissions_postponed += 1;
                waiting.get_or_insert(at);
            }
            if client.has_left(&served) {
                client.gone = Some(Gone::Left);
                self.incomplete = true;
            }
            if let Some(why) = served.fault {
                stats.clients_faulted += 1;
                client.gone = Some(Gone::Faulted(why));
                self.incomplete = true;
            }
        }
        self.first = waiting.unwrap_or(first + 1);
        stats.submissions += total as u64;
        total
    }

    /// Acknowledges what was carried out, once its effects are published, and removes the clients that are gone.
    pub(crate) fn complete(&mut self, worker: u16, wakeup: &Wakeup, tell: &mut dyn FnMut(Event)) {
        if !std::mem::take(&mut self.incomplete) {
            return;
        }
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            if client.incomplete {
                client.incomplete = false;
                client.consumer.complete();
            }
            let Some(gone) = client.gone.take() else {
                at += 1;
                continue;
            };
            let Client { id, consumer: retired, wakeup: eventfd, .. } = self.clients.swap_remove(at);
            if let Some(eventfd) = eventfd {
                wakeup.unwatch(eventfd.as_fd());
            }
            tell(match gone {
                Gone::Left => Event::ClientDetached { worker, id, retired },
                Gone::Faulted(why) => Event::ClientFault { worker, id, why, retired },
            });
        }
    }

    /// Asks all clients to knock from here on. `None`: there is something to do already, do not sleep. Else the longest
    /// sleep that these clients allow, nanoseconds.
    pub(crate) fn prepare_sleep(&mut self) -> Option<u64> {
        let mut longest_ns = u64::MAX;
        let mut pending = false;
        for client in &mut self.clients {
            client.claimed_pending = client.consumer.prepare_sleep();
            pending |= client.claimed_pending && !client.stuck;
            if client.wakeup.is_none() || client.stuck {
                longest_ns = longest_ns.min(UNWATCHED_POLL_NS);
            }
        }
        if pending { None } else { Some(longest_ns) }
    }

    /// No knocks any more: the worker is awake.
    pub(crate) fn wake(&mut self) {
        for client in &mut self.clients {
            client.consumer.wake();
        }
    }
}
