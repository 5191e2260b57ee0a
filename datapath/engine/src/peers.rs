//! Peers that come while the engine runs.

use crate::config::EngineConfigError;
use crate::engine::{Engine, sources};
use crate::lane::Lane;
use crate::log::LogStore;

impl<L: LogStore> Engine<L> {
    /// Takes up one more peer; says its slot, which is the next one. A node that is a peer already keeps its slot.
    ///
    /// The bound on pre-removed dots grows with it, as if it had been there from the start, and from now on it counts as a
    /// member: nothing is dropped that it may still need.
    ///
    /// # Errors
    /// [`EngineConfigError::Peers`]: it is this node, or there would be more nodes than actors. Nothing was changed.
    pub fn add_peer(&mut self, node: u16) -> Result<usize, EngineConfigError> {
        if let Some(slot) = self.lanes.iter().position(|lane| lane.node == node) {
            return Ok(slot);
        }
        let limits = &self.config.limits;
        if node == self.config.actor.node() {
            return Err(EngineConfigError::Peers(format!("node {node} is this node")));
        }
        if self.lanes.len() + 2 > limits.max_actors {
            let (nodes, most) = (self.lanes.len() + 2, limits.max_actors);
            return Err(EngineConfigError::Peers(format!("{nodes} nodes, but max_actors is {most}")));
        }
        let mut lane = Lane::new(node, limits);
        // Who was forgotten is a member again when it comes in a new epoch, not by being named.
        lane.forgotten = self.forgotten.generation(node) > 0;
        self.lanes.push(lane);
        self.config.peers.push(node);
        self.pre_removed.grow(self.config.limits.max_pre_removed.saturating_mul(sources(&self.config)));
        self.wake();
        Ok(self.lanes.len() - 1)
    }
}
