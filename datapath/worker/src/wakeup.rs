//! Waking a worker that sleeps.
//!
//! ```text
//!   control thread ─ command ──┐                              ┌── eventfd of this worker
//!   other workers ── frame ────┼─> "does it sleep?" ─ knock ──┤                              ├─> epoll ─> port.wait
//!   clients ──────── write ────┘                              └── eventfd of each client
//! ```
//!
//! A knock is a system call, so it is only made when the sleeper's flag says that it sleeps. The flag is the one that
//! clients' rings have too (`lattice_segment::sleep`, which loom explores): either the work is found, or the knock is
//! made.
//!
//! The storage threads knock too, when more is durable, but only while somebody waits for that: a disk that is synced a hundred times
//! a second must not wake a worker as often.
//!
//! Each client has an eventfd of its own: it holds a duplicate, and could drain it or fill it, but then it is only its
//! own writes that are noticed later (never later than `max_sleep_ns`). The eventfds are watched edge-triggered, so
//! nothing has to be read from them; `epoll_wait` with a zero timeout takes the edges.

use lattice_segment::sleep;
use lattice_segment::sync::{AtomicU64, Ordering::Relaxed};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::mem::MaybeUninit;

/// Tells one sleeping worker that there is work. Shared by everyone who may bring it some.
#[derive(Debug)]
pub struct Wakeup {
    eventfd: OwnedFd,
    epoll: OwnedFd,
    sleeping: AtomicU64,
    /// Not 0: whoever sleeps waits for the disk too.
    awaits_disk: AtomicU64,
}

impl Wakeup {
    /// Makes the eventfd and the epoll instance of one worker.
    pub fn new() -> io::Result<Self> {
        let eventfd = new_eventfd()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &eventfd, epoll::EventData::new_u64(0), EDGE)?;
        Ok(Self { eventfd, epoll, sleeping: AtomicU64::new(0), awaits_disk: AtomicU64::new(0) })
    }

    /// Called after work was stored where the worker will look for it: knocks if it sleeps.
    pub fn notify(&self) {
        if sleep::is_announced(&self.sleeping) {
            knock(self.eventfd.as_fd());
        }
    }

    /// Called by a storage thread after it published that more is durable.
    pub(crate) fn notify_of_disk(&self) {
        // The fence in `is_announced` comes before both loads, and the one in `announce` after both stores: whoever does not
        // find the disk's news when it looks for the last time is seen here to sleep, and to wait for them.
        if sleep::is_announced(&self.sleeping) && self.awaits_disk.load(Relaxed) != 0 {
            knock(self.eventfd.as_fd());
        }
    }

    /// From here on whoever brings work knocks; the storage threads if `awaits_disk` says so. The caller looks for work once
    /// more before it sleeps.
    pub(crate) fn arm(&self, awaits_disk: bool) {
        self.awaits_disk.store(awaits_disk.into(), Relaxed);
        sleep::announce(&self.sleeping);
    }

    /// The worker is awake: no knocks, and the edges that woke it are taken.
    pub(crate) fn disarm(&self) {
        sleep::withdraw(&self.sleeping);
        // What an error (EINTR) or a full array leaves behind ends the next sleep at once: harmless.
        let mut edges = [MaybeUninit::<epoll::Event>::uninit(); EDGES];
        let _ = epoll::wait(&self.epoll, &mut edges, Some(&ZERO));
    }

    /// What to poll for: readable when anyone knocked.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Watches a client's eventfd too.
    pub(crate) fn watch(&self, client: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, client, epoll::EventData::new_u64(1), EDGE)?)
    }

    /// Stops watching a client's eventfd. Needed: the client's duplicate keeps it open beyond our own closing.
    pub(crate) fn unwatch(&self, client: BorrowedFd<'_>) {
        // It was added by `watch`; if that failed there is nothing to delete.
        let _ = epoll::delete(&self.epoll, client);
    }
}

/// Knocks taken at a time.
const EDGES: usize = 32;
const EDGE: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ET);
const ZERO: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };

/// Makes the eventfd by which one client wakes one worker: the worker's end, for
/// [`Command::AttachClient`](crate::Command::AttachClient), and the client's.
pub fn client_wakeup() -> io::Result<(OwnedFd, OwnedFd)> {
    let worker = new_eventfd()?;
    let client = worker.try_clone()?;
    Ok((worker, client))
}

fn new_eventfd() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Adds one to an eventfd. `EAGAIN` means that its counter is full: there is an edge already.
fn knock(eventfd: BorrowedFd<'_>) {
    let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    fn readable(wakeup: &Wakeup) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(wakeup.fd(), PollFlags::IN)];
        poll(&mut fds, Some(&ZERO)).unwrap() == 1
    }

    #[test]
    fn a_knock_is_made_only_for_a_sleeper_and_taken_once() {
        let wakeup = Wakeup::new().unwrap();
        wakeup.notify();
        assert!(!readable(&wakeup), "awake: no system call, no edge");
        wakeup.arm(false);
        wakeup.notify();
        assert!(readable(&wakeup));
        wakeup.disarm();
        assert!(!readable(&wakeup), "the edge was taken without reading the eventfd");
        wakeup.arm(false);
        wakeup.notify();
        assert!(readable(&wakeup), "the next knock is a new edge");
    }

    #[test]
    fn the_disk_wakes_only_who_sleeps_and_waits_for_it() {
        let wakeup = Wakeup::new().unwrap();
        wakeup.notify_of_disk();
        assert!(!readable(&wakeup), "awake");
        wakeup.arm(false);
        wakeup.notify_of_disk();
        assert!(!readable(&wakeup), "asleep, and for something else");
        wakeup.disarm();
        wakeup.arm(true);
        wakeup.notify_of_disk();
        assert!(readable(&wakeup));
        wakeup.disarm();
        wakeup.notify_of_disk();
        assert!(!readable(&wakeup), "awake again");
    }

    #[test]
    fn a_client_wakes_through_its_own_end_until_unwatched() {
        let wakeup = Wakeup::new().unwrap();
        let (worker, client) = client_wakeup().unwrap();
        wakeup.watch(worker.as_fd()).unwrap();
        knock(client.as_fd());
        assert!(readable(&wakeup));
        wakeup.unwatch(worker.as_fd());
        drop(worker);
        knock(client.as_fd());
        assert!(!readable(&wakeup), "a detached client reaches nobody");
    }
}
