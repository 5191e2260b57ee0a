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

use crate::acks::{Acks, Column};
use crate::command::{ClientId, Event};
use crate::namespaces::{CellRules, Credentials, Denied, Rights};
use crate::shards::Shards;
use crate::status::LoopStats;
use crate::submit::{Executor, LOOK_AHEAD, Mark, Outcome};
use crate::wakeup::Wakeup;
use lattice_segment::{RingConsumer, RingFault, Verdict, codes};
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
    /// It asked how far writes have got that it made before the node took a new epoch: nobody can tell any more.
    #[error("it asks about writes of an epoch that is over")]
    EpochOver,
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

/// A client that is to be attached.
pub(crate) struct Newcomer {
    pub(crate) id: ClientId,
    pub(crate) consumer: RingConsumer,
    pub(crate) wakeup: Option<OwnedFd>,
    pub(crate) who: Credentials,
}

struct Client {
    id: ClientId,
    consumer: RingConsumer,
    wakeup: Option<OwnedFd>,
    who: Credentials,
    rights: Rights,
    /// Submissions that are still taken from it before it goes; `None`: it stays.
    leaving: Option<usize>,
    /// Submissions were carried out that are not acknowledged yet.
    incomplete: bool,
    /// Its place among those who ask how far their writes have got, and whether it has just asked.
    column: Column,
    marked: Option<Mark>,
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
    log_full: u64,
    denied: [u64; Denied::ALL.len()],
    postponed: bool,
    fault: Option<ClientFault>,
}

impl Served {
    #[cold]
    fn count(&mut self, code: u16) {
        self.refused += 1;
        self.log_full += u64::from(code == codes::LOG_FULL);
        for (count, why) in self.denied.iter_mut().zip(Denied::ALL) {
            *count += u64::from(code == why.code());
        }
    }

    #[cold]
    fn tell(&self, stats: &mut LoopStats) {
        stats.submissions_refused += self.refused;
        stats.refused_log_full += self.log_full;
        let [access, kind, undeclared, full] = self.denied;
        stats.denied_access += access;
        stats.denied_kind += kind;
        stats.denied_undeclared += undeclared;
        stats.denied_full += full;
    }
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
        let rights = self.rights;
        let polled =
            self.consumer.poll(slots, &mut |submission| match executor.execute(submission, rights) {
                Outcome::Applied => {
                    served.submissions += 1;
                    Verdict::Applied
                }
                Outcome::Refused(code) => {
                    served.submissions += 1;
                    served.count(code);
                    Verdict::Refused(code)
                }
                Outcome::Marked(mark) => {
                    served.submissions += 1;
                    let before = self.marked.unwrap_or_default();
                    self.marked = Some(Mark { peers: before.peers || mark.peers });
                    Verdict::Applied
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
    /// How far what they wrote has got.
    acks: Acks,
}

impl Clients {
    pub(crate) fn new(capacity: usize, budget_slots: usize, shards: &Shards) -> Self {
        Self {
            clients: Vec::with_capacity(capacity),
            capacity,
            budget_slots,
            first: 0,
            incomplete: false,
            acks: Acks::new(capacity, shards),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Slots that all clients together say they have filled and that were not taken yet.
    pub(crate) fn waiting_slots(&self) -> u64 {
        self.clients.iter().map(|client| client.consumer.waiting()).sum()
    }

    /// Takes up a client. An error gives its rings back with the reason.
    pub(crate) fn attach(
        &mut self,
        newcomer: Newcomer,
        worker: &Wakeup,
        shards: &Shards,
        rules: &CellRules,
    ) -> Result<(), (RingConsumer, ClientFault)> {
        let Newcomer { id, consumer, wakeup, who } = newcomer;
        let Some(column) = self.acks.open(shards).filter(|_| self.clients.len() < self.capacity) else {
            return Err((consumer, ClientFault::TooMany));
        };
        if let Some(Err(error)) = wakeup.as_ref().map(|eventfd| worker.watch(eventfd.as_fd())) {
            self.acks.close(column);
            return Err((consumer, ClientFault::Wakeup(error.kind())));
        }
        consumer.set_terms(Acks::terms(shards));
        self.clients.push(Client {
            id,
            consumer,
            wakeup,
            rights: rules.rights_of(&who),
            who,
            leaving: None,
            incomplete: false,
            column,
            marked: None,
            stuck: false,
            claimed_pending: false,
            gone: None,
        });
        Ok(())
    }

    /// The rules are others: what each client may is asked anew.
    pub(crate) fn judge_again(&mut self, rules: &CellRules) {
        for client in &mut self.clients {
            client.rights = rules.rights_of(&client.who);
        }
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
            if served.refused > 0 {
                served.tell(stats);
            }
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
    pub(crate) fn complete(
        &mut self,
        shards: &mut Shards,
        worker: u16,
        wakeup: &Wakeup,
        tell: &mut dyn FnMut(Event),
    ) {
        if !std::mem::take(&mut self.incomplete) {
            return;
        }
        if self.clients.iter().any(|client| client.marked.is_some()) {
            self.cut(shards);
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
            let Client { id, consumer: retired, wakeup: eventfd, column, .. } = self.clients.swap_remove(at);
            self.acks.close(column);
            if let Some(eventfd) = eventfd {
                wakeup.unwatch(eventfd.as_fd());
            }
            tell(match gone {
                Gone::Left => Event::ClientDetached { worker, id, retired },
                Gone::Faulted(why) => Event::ClientFault { worker, id, why, retired },
            });
        }
    }

    /// Everything taken so far is committed: that is what the clients that have just asked are to be told about.
    #[cold]
    fn cut(&mut self, shards: &mut Shards) {
        let Self { clients, acks, .. } = self;
        let mut asks_peers = false;
        let taken = clients.iter_mut().map(|client| {
            let mark = client.marked.take();
            asks_peers |= mark.is_some_and(|mark| mark.peers);
            (client.column, client.consumer.taken(), mark.is_some())
        });
        acks.cut(&*shards, taken);
        if asks_peers {
            shards.ask_peers();
        }
    }

    /// Whether some client may have to be told how far its writes have got.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        self.acks.is_pending()
    }

    /// Whether some client's writes are on their way to this host's disk.
    pub(crate) fn awaits_disk(&self) -> bool {
        self.acks.awaits_disk()
    }

    /// Whether this host's disk has what some client is to be told that it has.
    pub(crate) fn disk_has_come(&self, shards: &Shards) -> bool {
        self.acks.disk_has_come(shards)
    }

    /// Tells those who asked how far their writes have got, and wakes who sleeps until he is told. Returns how many were told.
    #[cold]
    pub(crate) fn tell(&mut self, shards: &Shards) -> usize {
        let Self { clients, acks, incomplete, .. } = self;
        if !acks.advance(shards) {
            return 0;
        }
        let mut told = 0;
        for client in clients {
            if !acks.is_waiting(client.column) {
                continue;
            }
            if acks.has_lost_track(client.column) {
                client.gone = Some(Gone::Faulted(ClientFault::EpochOver));
                *incomplete = true;
                continue;
            }
            let levels = acks.levels(shards, client.column);
            told += 1;
            if client.consumer.tell(&levels) {
                client.consumer.wake_client();
            }
        }
        told
    }

    /// Says again what acknowledgements there can be: members come and go.
    pub(crate) fn refresh_terms(&self, shards: &Shards) {
        let terms = Acks::terms(shards);
        self.clients.iter().for_each(|client| client.consumer.set_terms(terms));
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
