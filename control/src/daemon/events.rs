//! The workers' news: clients that broke their rings' rules, degradations, epochs that are over, a worker that ended by itself.

use std::sync::Arc;
use std::time::Duration;

use lattice_worker::Event;

use super::{Daemon, forget, storage};

/// Period of looking for events: how long a client that broke the rules may keep its connection, nothing else.
const POLL: Duration = Duration::from_millis(50);

/// Handles events until a worker ends by itself; returns which.
pub async fn attend(daemon: Arc<Daemon>) -> u16 {
    loop {
        while let Some(event) = daemon.workers.next_event() {
            handle(&daemon, event);
        }
        if let Some(worker) = daemon.workers.finished() {
            return worker;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn handle(daemon: &Arc<Daemon>, event: Event) {
    match event {
        Event::ClientFault { worker, id, why, retired } => {
            // Unmapped on this thread: a worker would stand still for it.
            drop(retired);
            if daemon.may_log_connection() {
                tracing::warn!(client = id, worker, reason = %why, "client broke the rules of its ring; closing its connection");
            }
            daemon.clients.dismiss(id);
        }
        Event::ClientDetached { worker, id, retired } => {
            drop(retired);
            tracing::debug!(client = id, worker, "client detached");
        }
        Event::Degraded { worker, what } => {
            tracing::warn!(worker, reason = %what, "degraded: {}", super::remedy(what));
        }
        Event::EpochOver { shard, generation, .. } => {
            // It may have to wait for room in the worker's queue.
            tokio::spawn(storage::renew_epoch(Arc::clone(daemon), shard, generation));
        }
        Event::Forgotten { shard, nodes, .. } => {
            tokio::spawn(forget::keep(Arc::clone(daemon), shard, nodes));
        }
        Event::Stopped { worker, drained } => tracing::info!(worker, drained, "worker stopped"),
    }
}
