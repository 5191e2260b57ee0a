//! What must come of any state once the faults stop: everybody gets what anybody's log holds, and syncs with everybody.
//!
//! Healing is a function, run from every reachable state in several orders, not a part of the state space: what converges
//! in one round of each order needs no fairness.

use crate::config::Config;
use crate::spec::Violation;
use crate::state::State;

/// Rounds of healing. One is not enough where a sync's reason only shows after others.
const ROUNDS: usize = 4;

/// In which order it heals.
#[derive(Copy, Clone, Debug)]
struct Order {
    logs_first: bool,
    /// From the last node to the first, and from the last record to the first.
    reversed: bool,
    /// Everything that one node receives, then the next; else everything that one sends.
    by_receiver: bool,
}

const ORDERS: [Order; 4] = [
    Order { logs_first: true, reversed: false, by_receiver: false },
    Order { logs_first: true, reversed: true, by_receiver: true },
    Order { logs_first: false, reversed: false, by_receiver: true },
    Order { logs_first: false, reversed: true, by_receiver: false },
];

/// Heals in every order, and says what is wrong with where that leads.
pub fn check(config: &Config, state: &State) -> Result<(), Violation> {
    ORDERS.iter().try_for_each(|order| {
        let known = state.known(config);
        let mut healed = *state;
        for replica in &mut healed.replicas {
            (replica.syncs, replica.writing) = ([None; 2], None);
        }
        for _ in 0..ROUNDS {
            healed.round(config, *order);
        }
        healed.check_healed(config, known)
    })
}

impl State {
    fn round(&mut self, config: &Config, order: Order) {
        if order.logs_first {
            self.deliver_logs(config, order);
        }
        for (from, to) in pairs(config, order) {
            self.sync_at_once(config, from, to);
        }
        if !order.logs_first {
            self.deliver_logs(config, order);
        }
        if config.drops {
            self.drop_what_is_stable(config);
        }
    }

    fn deliver_logs(&mut self, config: &Config, order: Order) {
        let ops = self.ops;
        for (from, to) in pairs(config, order) {
            let log = self.log(from);
            let mut records: Vec<_> = ops.iter().filter(|op| op.dot & log != 0).collect();
            if order.reversed {
                records.reverse();
            }
            records.into_iter().for_each(|op| self.replicas[to].now.merge(config, op));
        }
    }

    /// Everybody makes a snapshot, tells the others, and drops what it may.
    fn drop_what_is_stable(&mut self, config: &Config) {
        self.snapshot_everywhere(config);
        for at in 0..config.replicas {
            for key in 0..config.keys {
                if self.may_drop(config, at, key) {
                    self.drop_key(config, at, key);
                }
            }
        }
    }
}

/// All pairs of nodes.
fn pairs(config: &Config, order: Order) -> impl Iterator<Item = (usize, usize)> + use<> {
    let last = config.replicas - 1;
    let nodes = move |i: usize| if order.reversed { last - i } else { i };
    let all = (0..=last).flat_map(move |one| (0..=last).map(move |other| (nodes(one), nodes(other))));
    let all = all.filter(|(one, other)| one != other);
    all.map(move |(one, other)| if order.by_receiver { (other, one) } else { (one, other) })
}
