//! What is kept of forgotten nodes: the file `forgotten` in the data directory, and a state that is set aside.
//!
//! ```text
//!   latticectl forget 3 ──> workers' engines ──> Event::Forgotten ──> file, synced ──> KeepForgotten to all workers
//!                              ▲                                        │
//!                              └── other daemons' engines               └──> the next start, before any frame
//! ```
//!
//! An engine answers for what it knows of a forgotten node only when that is kept: so the file is there before the workers
//! hear that it is. In memory mode there is none; peers tell a restarted daemon.
//!
//! If this node was forgotten itself, and has state of before, the file says so. Such a daemon takes no writes. Its next start
//! puts the old state aside in `forgotten-<generation>`, for people, and begins as a new member: peers bring what they have.
//! A shard that had nothing when it was told goes on at once, in an epoch of the new generation: it takes writes, and is not put
//! aside with the others. What can go wrong: the file can't be written, or read; it is said so, and a start without knowing it is
//! refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lattice_worker::{Command, ShardStatus, WorkerStatus};
use serde::{Deserialize, Serialize};

use super::{Daemon, StartError, status, storage};
use crate::config::{Config, StorageMode};
use crate::protocol::{ForgottenNode, Refusal, codes};

/// Time that the workers have to carry out what an operator asks for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two looks whether they have.
const LOOK: Duration = Duration::from_millis(5);

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// Nodes, each with the least generation that its epochs must have.
    nodes: BTreeMap<u16, u8>,
    /// This node has state of before it was forgotten: in all shards but those that have begun.
    begin_anew: bool,
    /// Shards that have begun in this node's present generation, with nothing of before.
    begun: BTreeSet<u16>,
}

impl Known {
    fn join(&mut self, own: u16, nodes: &[(u16, u8)]) {
        for &(node, generation) in nodes {
            let least = self.nodes.entry(node).or_default();
            if node == own && generation > *least {
                self.begun.clear();
            }
            *least = generation.max(*least);
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Forgotten {
    own: u16,
    /// `None`: in memory only.
    data: Option<PathBuf>,
    known: Mutex<Known>,
}

impl Forgotten {
    /// Reads what earlier runs kept.
    ///
    /// # Errors
    /// [`StartError::System`]: the file is there and can't be read, or is none.
    pub fn open(config: &Config) -> Result<Self, StartError> {
        let data = (config.storage.mode == StorageMode::Disk).then(|| config.storage.directory.clone());
        let known = data.as_deref().map(read).transpose().map_err(|source| StartError::System {
            step: "reading the file `forgotten` of the data directory (remove it only if no node was ever forgotten)",
            source,
        })?;
        Ok(Self { own: config.node.id, data, known: Mutex::new(known.unwrap_or_default()) })
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The generation of this node's next epoch, as far as it is known here.
    pub fn generation(&self) -> u8 {
        self.known().nodes.get(&self.own).copied().unwrap_or(0)
    }

    /// Whether the next start begins with nothing of before this node was forgotten.
    pub fn begins_anew(&self) -> bool {
        self.data.is_none() || self.known().begin_anew
    }

    /// The other nodes that were forgotten.
    pub fn others(&self) -> Vec<(u16, u8)> {
        self.known().nodes.into_iter().filter(|(node, _)| *node != self.own).collect()
    }

    /// Puts the state of before this node was forgotten aside, if it is to be. For whoever holds the directory's locks, before
    /// anything is recovered; cut short, the next start goes on.
    ///
    /// # Errors
    /// [`StartError::System`].
    pub fn set_aside(&self, logs: &Path) -> Result<(), StartError> {
        let mut known = self.known();
        let Some(data) = self.data.as_deref().filter(|_| known.begin_anew) else { return Ok(()) };
        let aside = data.join(format!("forgotten-{}", self.generation()));
        let failed = |source| StartError::System {
            step: "putting aside the state of before this node was forgotten",
            source,
        };
        move_shards(data, &aside, logs, &known.begun).map_err(failed)?;
        known.begin_anew = false;
        write(data, &known).map_err(failed)?;
        tracing::warn!(
            aside = %aside.display(),
            "this node was forgotten by the cluster: what it had is put aside, and it begins as a new member"
        );
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// Takes up what is known of nodes; keeps it, if there was anything new. `of_before`: a shard of this node that has state of
    /// before it was forgotten.
    fn learn(&self, nodes: &[(u16, u8)], of_before: Option<u16>) -> io::Result<()> {
        self.change(|known| {
            known.join(self.own, nodes);
            if let Some(shard) = of_before {
                known.begin_anew = true;
                known.begun.remove(&shard);
            }
        })
    }

    /// The epochs of a shard of this node have that generation from now on.
    pub fn begin_generation(&self, shard: u16, generation: u8) -> io::Result<()> {
        if generation == 0 {
            return Ok(());
        }
        self.change(|known| {
            known.join(self.own, &[(self.own, generation)]);
            known.begun.insert(shard);
        })
    }

    fn change(&self, change: impl FnOnce(&mut Known)) -> io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = known.clone();
        change(&mut after);
        if *known != after {
            // A few hundred bytes, some times in a cluster's life: not worth a thread.
            self.data.as_deref().map_or(Ok(()), |data| write(data, &after))?;
            *known = after;
        }
        Ok(())
    }
}

/// Takes a node out of the members, on the word of an operator. One that was forgotten and has not come back stays so.
///
/// # Errors
/// [`Refusal`]: it is no peer, or lives; a worker takes no commands, or some shard has not carried it out in time.
pub async fn request(daemon: &Arc<Daemon>, node: u16) -> Result<ForgottenNode, Refusal> {
    let statuses = || daemon.workers.statuses(status::WORKER_TIMEOUT);
    let Some(peer) = status::peers(daemon, &statuses().await).into_iter().find(|peer| peer.node == node)
    else {
        let text = format!("node {node} is no peer of this node: latticectl peers lists them");
        return Err(Refusal::new(codes::UNKNOWN_NODE, text));
    };
    if peer.up {
        let text =
            format!("node {node} is up: it would lose what the others don't have; stop its latticed before");
        return Err(Refusal::new(codes::NODE_UP, text));
    }
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    for worker in 0..daemon.workers.count() {
        if !daemon.workers.send_until(worker, Command::Forget { node }, deadline).await {
            return Err(Refusal::new(codes::BUSY, format!("worker {worker} takes no commands: try again")));
        }
    }
    // A worker carries out commands in their order: what it says now is of after that.
    let least = least_generation(daemon, node, &statuses().await);
    loop {
        let kept = daemon.forgotten.others().into_iter().find(|(forgotten, _)| *forgotten == node);
        if let Some((node, generation)) = kept.filter(|(_, kept)| least.is_some_and(|least| *kept >= least)) {
            return Ok(ForgottenNode { node, generation });
        }
        if Instant::now() >= deadline {
            return Err(Refusal::new(
                codes::BUSY,
                format!("node {node} is not forgotten in all shards: try again"),
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The least generation that a node's next epoch must have, once all shards have forgotten those so far.
fn least_generation(daemon: &Daemon, node: u16, workers: &[WorkerStatus]) -> Option<u8> {
    let shards = || workers.iter().flat_map(|worker| &worker.shards);
    let of = |shard: &ShardStatus| {
        let lane = shard.peers.iter().find(|peer| peer.node == node)?;
        let known = shard.forgotten.iter().find(|(forgotten, _)| *forgotten == node)?;
        lane.forgotten.then_some(known.1)
    };
    let is_complete = shards().count() == usize::from(daemon.config.cluster.shards);
    let all: Option<Vec<u8>> = shards().map(of).collect();
    all.filter(|_| is_complete)?.into_iter().max()
}

/// Keeps what a shard has learnt, and tells all workers.
pub async fn keep(daemon: Arc<Daemon>, shard: u16, nodes: Vec<(u16, u8)>) {
    let this = nodes.iter().find(|(node, _)| *node == daemon.config.node.id);
    if let Some((_, generation)) = this {
        tracing::error!(
            shard,
            generation,
            "this node was forgotten by the cluster; it takes no writes: restart latticed, and it puts its state aside and begins \
             as a new member"
        );
    }
    // In memory mode, a restart is all it takes.
    let of_before = this.filter(|_| daemon.forgotten.data.is_some()).map(|_| shard);
    if let Err(error) = daemon.forgotten.learn(&nodes, of_before) {
        tracing::error!(%error, "forgotten nodes are not kept: gaps in what is known of them stay open until the next start");
        return;
    }
    let nodes = daemon.forgotten.others();
    tracing::info!(shard, ?nodes, "forgotten nodes");
    for worker in 0..daemon.workers.count() {
        // Every worker has the shard of its own number.
        storage::tell(&daemon.workers, worker, Command::KeepForgotten { nodes: nodes.clone() }).await;
    }
}

fn read(data: &Path) -> io::Result<Known> {
    match fs::read(data.join("forgotten")) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Known::default()),
        Err(error) => Err(error),
    }
}

/// Written beside, synced and renamed: it is whole, or the one before.
fn write(data: &Path, known: &Known) -> io::Result<()> {
    let beside = data.join("forgotten.new");
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec(known)?)?;
    file.sync_all()?;
    fs::rename(&beside, data.join("forgotten"))?;
    File::open(data)?.sync_all()
}

/// Moves the shards' directories, and after that their logs in memory: these would bring the old operations back.
fn move_shards(data: &Path, aside: &Path, logs: &Path, begun: &BTreeSet<u16>) -> io::Result<()> {
    fs::create_dir_all(aside)?;
    for (directory, is_log) in [(logs, true), (data, false)] {
        for entry in fs::read_dir(directory)? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            let Some(shard) = name.to_str().and_then(shard_of).filter(|shard| !begun.contains(shard)) else {
                continue;
            };
            tracing::warn!(shard, path = %path.display(), "put aside");
            if is_log {
                // Another file system.
                let copy = aside.join(&name);
                fs::copy(&path, &copy)?;
                File::open(&copy)?.sync_all()?;
                fs::remove_file(path)?;
            } else {
                fs::rename(path, free_name(aside, &name.to_string_lossy()))?;
            }
        }
    }
    File::open(aside)?.sync_all()?;
    File::open(data)?.sync_all()
}

/// The shard whose directory or log this is.
fn shard_of(name: &str) -> Option<u16> {
    name.strip_prefix("shard-")?.split('.').next()?.parse().ok()
}

/// Never that of something that was put aside before.
fn free_name(aside: &Path, name: &str) -> PathBuf {
    let again = (1_u64..).map(|time| aside.join(format!("{name}.{time}")));
    let mut names = std::iter::once(aside.join(name)).chain(again);
    names.find(|name| !name.exists()).unwrap_or_else(|| aside.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &Path) -> Forgotten {
        let known = read(data).expect("readable");
        Forgotten { own: 1, data: Some(data.to_owned()), known: Mutex::new(known) }
    }

    #[test]
    fn what_is_learnt_is_there_after_a_restart_and_never_less() {
        let directory = tempfile::tempdir().expect("a directory");
        let forgotten = of(directory.path());
        assert_eq!((forgotten.generation(), forgotten.others()), (0, Vec::new()));
        forgotten.learn(&[(3, 2), (7, 1)], None).expect("written");
        forgotten.learn(&[(3, 1)], None).expect("nothing to write");
        forgotten.begin_generation(0, 4).expect("written");
        let again = of(directory.path());
        assert_eq!((again.generation(), again.others()), (4, vec![(3, 2), (7, 1)]));
        fs::write(directory.path().join("forgotten"), b"{").expect("written");
        assert!(read(directory.path()).is_err());
    }

    fn put(directory: &Path, name: &str) {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a parent"))
            .and_then(|()| fs::write(path, name))
            .expect("written");
    }

    #[test]
    fn the_state_of_before_is_put_aside_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let (data, logs) = (directory.path().join("data"), directory.path().join("logs"));
        put(&data, "shard-000/log");
        put(&data, "identity");
        put(&logs, "shard-000.ring");
        put(&logs, "lock");
        of(&data).set_aside(&logs).expect("nothing to do");
        assert!(data.join("shard-000").exists() && logs.join("shard-000.ring").exists());
        of(&data).learn(&[(1, 1)], Some(0)).expect("written");
        of(&data).set_aside(&logs).expect("put aside");
        assert!(!data.join("shard-000").exists() && !logs.join("shard-000.ring").exists());
        assert!(data.join("identity").exists() && logs.join("lock").exists());
        let aside = data.join("forgotten-1");
        let was = |name: &str| fs::read_to_string(aside.join(name)).expect("there");
        assert_eq!(
            (was("shard-000/log"), was("shard-000.ring")),
            ("shard-000/log".into(), "shard-000.ring".into())
        );
        put(&data, "shard-000/log");
        of(&data).set_aside(&logs).expect("nothing to do");
        assert!(data.join("shard-000").exists() && of(&data).generation() == 1);
        // Old logs were brought back: what was put aside before stays.
        of(&data).learn(&[(1, 1)], Some(0)).expect("written");
        of(&data).set_aside(&logs).expect("put aside");
        assert_eq!(
            (was("shard-000/log"), was("shard-000.1/log")),
            ("shard-000/log".into(), "shard-000/log".into())
        );
    }

    #[test]
    fn a_shard_that_has_begun_anew_is_not_put_aside() {
        let directory = tempfile::tempdir().expect("a directory");
        let (data, logs) = (directory.path().join("data"), directory.path().join("logs"));
        for shard in ["000", "001"] {
            put(&data, &format!("shard-{shard}/log"));
            put(&logs, &format!("shard-{shard}.ring"));
        }
        let forgotten = of(&data);
        forgotten.begin_generation(1, 1).expect("written");
        forgotten.learn(&[(1, 1)], Some(0)).expect("written");
        of(&data).set_aside(&logs).expect("put aside");
        let is_there = |shard: &str| {
            let place = (data.join(format!("shard-{shard}")), logs.join(format!("shard-{shard}.ring")));
            (place.0.exists(), place.1.exists())
        };
        assert_eq!((is_there("000"), is_there("001")), ((false, false), (true, true)));
        // Forgotten once more, it has state of before as well.
        of(&data).learn(&[(1, 2)], Some(1)).expect("written");
        of(&data).set_aside(&logs).expect("put aside");
        assert_eq!(is_there("001"), (false, false));
        assert!(data.join("forgotten-2/shard-001/log").exists());
    }
}
