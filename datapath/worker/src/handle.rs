//! Starting a worker's thread, and holding it from outside.

use crate::command::{Command, Event};
use crate::config::{WorkerConfig, WorkerConfigError};
use crate::handoff::Handoff;
use crate::shards::Engine;
use crate::snapshots::WorkerStorage;
use crate::status::WorkerStatus;
use crate::turn::Worker;
use crate::wakeup::Wakeup;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use lattice_port::Port;
use lattice_segment::Writer;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Commands that may wait for a worker.
const COMMAND_CAPACITY: usize = 64;

/// What a worker is made of. All of it is opened and allocated before, with whatever rights that takes.
pub struct WorkerParts {
    /// Its configuration.
    pub config: WorkerConfig,
    /// The engines of its shards, in the order of [`WorkerConfig::owned_shards`].
    pub engines: Vec<Engine>,
    /// Where frames come from and go to.
    pub port: Box<dyn Port>,
    /// Its part of the segment.
    pub writer: Writer,
    /// Its ends of the rings between the workers, from [`Handoff::for_workers`].
    pub handoff: Handoff,
    /// The way to storage, where the engines' logs are in files.
    pub storage: Option<WorkerStorage>,
}

/// Why a worker could not be made. Nothing runs; its parts are dropped.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The configuration can't be run.
    #[error(transparent)]
    Config(#[from] WorkerConfigError),
    /// The engines are not those of this worker's shards, in ascending order.
    #[error("worker {worker} owns the shards {expected:?}, it was given engines of {found:?}")]
    Engines {
        /// Index of the worker.
        worker: u16,
        /// The shards that it owns.
        expected: Vec<u16>,
        /// The shards of the engines.
        found: Vec<u16>,
    },
    /// The parts belong to another number of workers, or to another worker.
    #[error("worker {worker}: the {part} belongs elsewhere")]
    Misplaced {
        /// Index of the worker.
        worker: u16,
        /// Which part.
        part: &'static str,
    },
    /// The thread could not be started.
    #[error("cannot start the worker's thread: {0}")]
    Thread(#[from] io::Error),
}

/// Makes a worker and starts its thread; it pins itself if it is told to. `events` should have room for a few events of
/// each client; when it has none, they wait with the worker.
pub fn spawn(parts: WorkerParts, events: Sender<Event>) -> Result<WorkerHandle, SpawnError> {
    let (sender, commands) = bounded(COMMAND_CAPACITY);
    let index = parts.config.index;
    let wakeup = Arc::clone(parts.handoff.wakeup());
    let worker = Worker::new(parts, commands, events)?;
    let thread =
        std::thread::Builder::new().name(format!("lattice-worker-{index}")).spawn(move || worker.run())?;
    Ok(WorkerHandle { index, commands: sender, wakeup, thread })
}

/// A running worker. Dropping it without [`Command::Shutdown`] leaves the thread running on its own.
#[derive(Debug)]
pub struct WorkerHandle {
    index: u16,
    commands: Sender<Command>,
    wakeup: Arc<Wakeup>,
    thread: JoinHandle<()>,
}

/// A command did not reach its worker; it is given back.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Too many commands wait already. Take the worker's events (it takes no commands while they wait), try again.
    #[error("too many commands wait for the worker")]
    Full(Box<Command>),
    /// The worker has ended.
    #[error("the worker has ended")]
    Stopped(Box<Command>),
}

/// The worker's thread panicked: a bug, its shards are not served any more.
#[derive(Debug, thiserror::Error)]
#[error("worker {worker} panicked: {message}")]
pub struct WorkerPanicked {
    /// Index of the worker.
    pub worker: u16,
    /// What it said.
    pub message: String,
}

impl WorkerHandle {
    /// Index of the worker.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Gives the worker a command and wakes it if it sleeps. Never blocks.
    pub fn send(&self, command: Command) -> Result<(), CommandError> {
        self.commands.try_send(command).map_err(|refused| match refused {
            TrySendError::Full(command) => CommandError::Full(Box::new(command)),
            TrySendError::Disconnected(command) => CommandError::Stopped(Box::new(command)),
        })?;
        self.wakeup.notify();
        Ok(())
    }

    /// Asks for a status; it arrives on the returned channel, in the worker's next turn as a rule.
    pub fn request_status(&self) -> Result<Receiver<WorkerStatus>, CommandError> {
        let (reply, status) = bounded(1);
        self.send(Command::Status(reply))?;
        Ok(status)
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread to end; send [`Command::Shutdown`] first.
    pub fn join(self) -> Result<(), WorkerPanicked> {
        self.thread.join().map_err(|payload| {
            let message = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            WorkerPanicked { worker: self.index, message }
        })
    }
}
