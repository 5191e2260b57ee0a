//! Events on their way to the control thread.
//!
//! The worker never waits for the channel: what finds it full stays here, in order, and is offered again each turn. While
//! something waits no command is taken, and without commands there is at most one event for each client and each kind of
//! degradation. So the queue is bounded, and its room is set aside at the start.

use crate::command::Event;
use crossbeam_channel::{Sender, TrySendError};
use std::collections::VecDeque;

/// The worker's end of the events channel, and what waits for room in it.
pub(crate) struct Outgoing {
    events: Sender<Event>,
    waiting: VecDeque<Event>,
}

impl Outgoing {
    /// `capacity`: the most events that there can be without a command in between.
    pub(crate) fn new(events: Sender<Event>, capacity: usize) -> Self {
        Self { events, waiting: VecDeque::with_capacity(capacity) }
    }

    pub(crate) fn send(&mut self, event: Event) {
        self.waiting.push_back(event);
        self.settle();
    }

    /// Offers what waits. Returns whether nothing waits any more.
    pub(crate) fn settle(&mut self) -> bool {
        while let Some(event) = self.waiting.pop_front() {
            // A control thread that is gone needs no news: `Disconnected` drops the event.
            if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                self.waiting.push_front(event);
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Degradation;
    use crossbeam_channel::bounded;

    fn event(worker: u16) -> Event {
        Event::Degraded { worker, what: Degradation::Unpinned }
    }

    fn worker_of(event: Event) -> u16 {
        match event {
            Event::Degraded { worker, .. } => worker,
            other => panic!("unexpected {other:?}"),
        }
    }

    #[test]
    fn a_full_channel_delays_events_and_keeps_their_order() {
        let (sender, receiver) = bounded(1);
        let mut outgoing = Outgoing::new(sender, 4);
        for worker in 0..3 {
            outgoing.send(event(worker));
        }
        assert!(!outgoing.settle());
        for worker in 0..3 {
            assert_eq!(worker_of(receiver.try_recv().unwrap()), worker);
            outgoing.settle();
        }
        assert!(outgoing.settle() && receiver.is_empty());
    }

    #[test]
    fn nobody_listening_is_no_reason_to_keep_events() {
        let (sender, receiver) = bounded(1);
        let mut outgoing = Outgoing::new(sender, 4);
        drop(receiver);
        outgoing.send(event(0));
        assert!(outgoing.settle());
    }
}
