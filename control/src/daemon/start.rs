//! From a configuration to a running daemon, and from a signal to a clean end. The order is the module's in [`super`].

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use lattice_members::Members;
use lattice_segment::{Reader, Segment, SegmentConfig, Writer};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::attach::Clients;
use super::forget::Forgotten;
use super::identity::Identity;
use super::known::Known;
use super::namespaces::InForce;
use super::neighbours::{KnownRoutes, Neighbours};
use super::notify::Service;
use super::observe::Observer;
use super::ports::Ports;
use super::reload::{Live, LogControl};
use super::rights::Rights;
use super::roster::Roster;
use super::storage::{Prepared, StorageThreads};
use super::workers::Workers;
use super::{
    Daemon, RunError, StartError, admin, compare, directory, drain, events, http, interface, membership,
    namespaces, notify, observe, ports, reload, storage,
};
use crate::config::Config;

/// Longest time from a signal to the end: the workers' own drain and some scheduling.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time from a worker's start to its first heartbeat.
const FIRST_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks for it.
const HEARTBEAT_POLL: Duration = Duration::from_micros(200);

/// What is not in the configuration file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// End on SIGHUP: a developer's daemon ends with its terminal. Without it the configuration is read again.
    pub stop_on_hangup: bool,
    /// The file that the configuration came from, to be read again.
    pub file: Option<PathBuf>,
    /// How the log's filter is changed; `None`: not at all.
    pub log: Option<LogControl>,
}

/// Runs a daemon until a signal ends it. Prints one line on standard output when it is ready.
///
/// # Errors
/// [`RunError`]: it did not start, or ended otherwise than by a signal.
pub fn run(config: Config, options: Options) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| StartError::System { step: "starting the control thread's runtime", source })?;
    runtime.block_on(daemon(config, options))
}

async fn daemon(mut config: Config, options: Options) -> Result<(), RunError> {
    // First, so that a signal during the start is not lost and not deadly.
    let mut signals = Signals::new(&options)?;
    let service = Service::from_environment();
    let rights = Rights::prepare(&config)?;
    directory::create(&config.paths.directory)?;
    let _lock = directory::lock(&config.paths.lock())?;
    let forgotten = Forgotten::open(&config)?;
    let identity = Identity::draw(config.node.id, forgotten.generation())?;
    let known = Known::open(&config, &forgotten);
    let as_written = config.clone();
    config.peers.extend(known.peers());
    let prepared = storage::open(&config, &identity, forgotten, known)?;
    let (members, hub) = membership::open(&config, &prepared, &identity)?.unzip();
    rights.take_up()?;
    let netlink = interface::netlink()?;
    let ports = ports::open(&config, &netlink).await?;
    let rights = rights.give_up(&config, ports.program.as_ref())?;
    look_at_file(&options);
    let live = Live::new(options.file, &as_written, options.log);
    let (segment, writers) =
        Segment::create(&segment_config(&config, &prepared)).map_err(StartError::Segment)?;
    let Running { daemon, mut tasks, threads } =
        start(config, live, prepared, members, Opened { netlink, ports, writers, rights }).await?;
    if let Some(hub) = hub {
        // Only now: whoever hears of this node sends it frames.
        tasks.spawn(hub);
        tasks.spawn(membership::attend(Arc::clone(&daemon)));
        tasks.spawn(compare::attend(Arc::clone(&daemon)));
    }
    segment.mark_ready();
    announce(&daemon);
    service.ready(&daemon);
    tasks.spawn(notify::feed_watchdog(service.clone(), Arc::clone(&daemon)));
    let died = tokio::select! {
        () = signals.stop(&daemon) => None,
        worker = events::attend(Arc::clone(&daemon)) => Some(worker),
    };
    service.stopping();
    let stopped = stop(&daemon, tasks, threads).await;
    segment.close();
    match (died, stopped) {
        (Some(worker), _) => Err(RunError::WorkerDied(worker)),
        (None, Err(hanging)) => Err(RunError::Hanging(hanging)),
        (None, Ok(())) => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

struct Running {
    daemon: Arc<Daemon>,
    tasks: tokio::task::JoinSet<()>,
    threads: Option<StorageThreads>,
}

/// What was opened for workers.
struct Opened {
    netlink: rtnetlink::Handle,
    ports: Ports,
    writers: Vec<Writer>,
    /// What the process may from here on.
    rights: String,
}

/// Starts the workers and the control thread's tasks.
async fn start(
    config: Config,
    live: Live,
    prepared: Prepared,
    members: Option<Members>,
    opened: Opened,
) -> Result<Running, StartError> {
    let Opened { netlink, ports, writers, rights } = opened;
    let port_mode = log_ports(&ports);
    let rules = Arc::new(namespaces::table(&config, worker_count(&config))?);
    let started = prepared.kept.map(|kept| kept.run(&config)).transpose()?;
    let (threads, for_workers, about, news) = match started {
        Some(s) => (Some(s.threads), s.for_workers, Some(s.about), Some(s.news)),
        None => Default::default(),
    };
    let workers = Arc::new(Workers::start(&config, prepared.engines, for_workers, ports.ports, writers)?);
    namespaces::tell(&workers, &rules).await;
    let mut tasks = tokio::task::JoinSet::new();
    let (routes, roster) = (KnownRoutes::default(), Roster::of(&config));
    if let Some(interface) = ports.interface {
        let neighbours = Neighbours::new(
            netlink,
            interface,
            config.network.address,
            roster.clone(),
            Duration::from_millis(config.timers.neighbour_refresh_ms),
            Arc::clone(&workers),
            routes.clone(),
        );
        tasks.spawn(neighbours.await?.run());
    }
    let reader = open_own_segment(&config.paths.segment())?;
    wait_for_heartbeats(&workers, &reader).await?;
    let listener = admin::listen(&config.paths.socket())?;
    let metrics = http::listen(config.metrics.listen).await?;
    // Unreadable counters only mean that a few frames of the start are taken for later ones.
    let drops = ports.program.as_ref().map(|program| program.drop_counters().unwrap_or_default());
    let observer = Observer::new(config.cluster.shards, workers.count());
    let daemon = Arc::new(Daemon {
        observer,
        live,
        rights,
        namespaces: InForce::new(rules),
        metrics: metrics.as_ref().map(|(_, address)| *address),
        config,
        workers,
        reader,
        storage: about,
        forgotten: prepared.forgotten,
        known: prepared.known,
        port_mode,
        program: ports.program.map(std::sync::Mutex::new),
        unserved_before_start: super::no_socket(&drops.unwrap_or_default()),
        clients: Clients::default(),
        routes,
        roster,
        members,
        walks: compare::Walks::default(),
        drain: drain::Drain::default(),
        connections: AtomicUsize::new(0),
        bad_lines: AtomicU64::new(0),
        connection_log: Daemon::new_connection_log(),
        began: Instant::now(),
    });
    tasks.spawn(admin::serve(Arc::clone(&daemon), listener));
    tasks.spawn(observe::observe(Arc::clone(&daemon)));
    if let Some((listener, _)) = metrics {
        tasks.spawn(http::serve(Arc::clone(&daemon), listener));
    }
    if let Some(news) = news {
        tasks.spawn(storage::attend(Arc::clone(&daemon), news));
    }
    Ok(Running { daemon, tasks, threads })
}

/// Says so now if the configuration can't be read again by who the daemon is from here on.
fn look_at_file(options: &Options) {
    let Some(file) = &options.file else { return };
    if let Err(error) = std::fs::File::open(file) {
        tracing::warn!(file = %file.display(), %error, "the configuration can't be read again: a reload will be refused");
    }
}

/// Waits until every worker has given its first sign of life: a segment that is READY before would look dead to clients.
async fn wait_for_heartbeats(workers: &Workers, reader: &Reader) -> Result<(), StartError> {
    let deadline = Instant::now() + FIRST_HEARTBEAT_TIMEOUT;
    for worker in 0..workers.count() {
        while reader.heartbeat_age_ns(worker, lattice_segment::monotonic_ns()) == u64::MAX {
            if Instant::now() >= deadline || workers.finished().is_some() {
                let reason = "it gave no sign of life; its core may be taken: try other workers.cores, or idle = \"yield\"";
                return Err(StartError::Worker { worker, reason: reason.to_owned() });
            }
            tokio::time::sleep(HEARTBEAT_POLL).await;
        }
    }
    Ok(())
}

fn open_own_segment(path: &Path) -> Result<Reader, StartError> {
    Reader::open(path).map_err(|error| StartError::System {
        step: "reading the segment that was just made",
        source: std::io::Error::other(error),
    })
}

fn worker_count(config: &Config) -> u16 {
    u16::try_from(config.workers.cores.len()).unwrap_or(u16::MAX)
}

fn segment_config(config: &Config, prepared: &Prepared) -> SegmentConfig {
    SegmentConfig {
        path: config.paths.segment(),
        node: config.node.id,
        node_name: config.node.name.clone(),
        cluster: config.cluster.name.clone(),
        // Shards that lost something may be in other epochs; the status has each.
        actor: prepared.engines.first().map_or(0, |engine| engine.actor().as_u64()),
        workers: worker_count(config),
        shards: config.cluster.shards,
        cells_per_worker: config.limits.segment_cells_per_worker,
        extent_bytes_per_worker: config.limits.segment_extent_bytes_per_worker,
        change_ring_entries: config.limits.change_ring_entries,
        heartbeat_timeout_ns: config.timers.segment_heartbeat_timeout_ms.saturating_mul(1_000_000),
        socket_path: Some(config.paths.socket()),
    }
}

/// Says how frames move, and why not in a better way.
fn log_ports(ports: &Ports) -> lattice_port::PortMode {
    for reason in &ports.refused {
        tracing::info!("not used: {reason}");
    }
    for (worker, port) in ports.ports.iter().enumerate() {
        tracing::info!(worker, mode = %port.mode(), "{}", port.describe());
    }
    ports.ports.first().map_or(lattice_port::PortMode::Udp, |port| port.mode())
}

/// The line that whoever started the daemon waits for.
fn announce(daemon: &Daemon) {
    let paths = &daemon.config.paths;
    let line = format!(
        "ready port={} segment={} socket={}",
        daemon.port_mode,
        paths.segment().display(),
        paths.socket().display()
    );
    tracing::info!("{line}");
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        tracing::debug!("nobody reads standard output");
    }
}

/// Orderly end: no new clients, no clients, workers done, all of it durable, socket gone. The caller closes the segment.
async fn stop(
    daemon: &Daemon,
    mut tasks: tokio::task::JoinSet<()>,
    threads: Option<StorageThreads>,
) -> Result<(), Vec<u16>> {
    tracing::info!("stopping");
    tasks.shutdown().await;
    if let Some(members) = &daemon.members {
        members.leave().await;
    }
    if let Err(error) = std::fs::remove_file(daemon.config.paths.socket()) {
        tracing::warn!(%error, "the admin socket could not be removed");
    }
    let stopped = daemon.workers.stop(STOP_TIMEOUT).await;
    // Blocks this thread, which has nothing else to do any more.
    match (threads, &stopped) {
        (Some(threads), Ok(())) => threads.stop(),
        (Some(threads), Err(_)) => threads.stop_flusher(),
        (None, _) => {}
    }
    // After the workers took what was submitted: a client sees its last writes acknowledged, then the end.
    daemon.clients.dismiss_all();
    stopped
}

/// The signals that a daemon listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    stop_on_hangup: bool,
}

impl Signals {
    fn new(options: &Options) -> Result<Self, StartError> {
        let listen = |kind| {
            signal(kind).map_err(|source| StartError::System { step: "listening for signals", source })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            stop_on_hangup: options.stop_on_hangup,
        })
    }

    /// Completes when a signal asks for the end.
    async fn stop(&mut self, daemon: &Daemon) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return tracing::info!("SIGTERM"),
                _ = self.interrupt.recv() => return tracing::info!("SIGINT"),
                _ = self.hangup.recv() => {
                    if self.stop_on_hangup {
                        return tracing::info!("SIGHUP");
                    }
                    reload::on_hangup(daemon).await;
                }
            }
        }
    }
}
