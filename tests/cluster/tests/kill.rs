//! A daemon that dies under load, alone: what it acknowledged is there when it is back.
//!
//! ```text
//!   writers, one key each:  op 1, op 2, … op n      one after the other, each acknowledged before the next
//!                             │ logged: in the log     │ durable: every few ops
//!   ── SIGKILL, SIGSTOP and SIGKILL ──>  back with a prefix of the ops, up to logged at least
//!   ── power cut ───────────────────>  back with a prefix of the ops, up to durable at least
//! ```
//!
//! A cut of the power is a copy of the block device as it is at that moment: what was not synced is in the page cache above it,
//! and not in the copy. So is what the file system had not committed. The logs are so small that snapshots are always under way.
//!
//! `LATTICE_KILLS` says how often (`make kill`: 500 times).

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use common::{CONVERGE_TIMEOUT, WRITE_TIMEOUT, connect};
use lattice_client::{Ack, Client, Error};
use lattice_cluster::command::run;
use lattice_cluster::fault::Dice;
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, StorageTable, admin, require, wait};

/// Operations after which an element of a set comes round again: inserted in one lap, removed in the next.
const LAP: u64 = 40;
/// Every so many operations one is waited for until it is durable.
const DURABLE_EVERY: u64 = 16;

fn rounds(few: u64) -> u64 {
    std::env::var("LATTICE_KILLS").map_or(few, |text| text.parse().expect("LATTICE_KILLS is a number"))
}

/// What one key of a kind becomes by its n-th operation.
#[derive(Clone, Copy, Debug)]
enum What {
    Counter,
    Register,
    Set,
}

/// The writer of one key.
#[derive(Debug)]
struct Writer {
    what: What,
    key: String,
    /// Operations that were handed to the client.
    submitted: u64,
    /// Operations that were acknowledged: in the log.
    logged: u64,
    /// Operations that were acknowledged: on the disk.
    durable: u64,
}

fn writers() -> Vec<Writer> {
    let whats = [What::Counter, What::Register, What::Set];
    let writer = |n: usize| {
        let what = whats[n % whats.len()];
        Writer { what, key: format!("{what:?}/{n}"), submitted: 0, logged: 0, durable: 0 }
    };
    (0..6).map(writer).collect()
}

fn element(op: u64) -> Vec<u8> {
    format!("element {:03} {}", op % LAP, "x".repeat((op % LAP) as usize)).into_bytes()
}

/// Elements after so many operations.
fn members_after(ops: u64) -> BTreeSet<Vec<u8>> {
    let mut members = BTreeSet::new();
    // What came before the last two laps is overwritten.
    for op in ops.saturating_sub(2 * LAP) + 1..=ops {
        match (op / LAP).is_multiple_of(2) {
            true => members.insert(element(op)),
            false => members.remove(&element(op)),
        };
    }
    members
}

impl Writer {
    /// Writes until the daemon is gone. Each acknowledgement is counted.
    fn run(&mut self, client: &Client, acknowledged: &AtomicU64) {
        loop {
            let op = self.submitted + 1;
            let durably = op.is_multiple_of(DURABLE_EVERY);
            let ack = if durably { Ack::Durable } else { Ack::Logged };
            self.submitted = op;
            match self.write(client, op, ack) {
                Ok(()) => {
                    self.logged = op;
                    self.durable = if durably { op } else { self.durable };
                    acknowledged.fetch_add(1, Relaxed);
                }
                Err(Error::Refused(refusal)) => panic!("{}: {refusal:?}", self.key),
                // It is gone, or stands still; whether this one was applied nobody knows.
                Err(_) => return,
            }
        }
    }

    fn write(&self, client: &Client, op: u64, ack: Ack) -> Result<(), Error> {
        match self.what {
            What::Counter => client.counter(&self.key)?.add_with(1, ack, WRITE_TIMEOUT),
            What::Register => {
                client.register(&self.key)?.set_with(op.to_string().as_bytes(), ack, WRITE_TIMEOUT)
            }
            What::Set => {
                let set = client.set(&self.key)?;
                match (op / LAP).is_multiple_of(2) {
                    true => set.insert_with(&element(op), ack, WRITE_TIMEOUT),
                    false => set.remove_with(&element(op), ack, WRITE_TIMEOUT),
                }
            }
        }
        .map(|_| ())
    }

    /// How many operations a daemon shows, which must be `at_least` of them; from there it goes on.
    fn resume(&mut self, client: &Client, at_least: u64) {
        let shown = match self.what {
            What::Counter => Some(client.counter(&self.key).unwrap().get().unwrap() as u64),
            What::Register => client
                .register(&self.key)
                .unwrap()
                .get()
                .unwrap()
                .map_or(Some(0), |value| String::from_utf8_lossy(&value).parse().ok()),
            What::Set => {
                let members: BTreeSet<_> =
                    client.set(&self.key).unwrap().members().unwrap().into_iter().collect();
                (at_least..=self.submitted).find(|&ops| members_after(ops) == members)
            }
        };
        let range = at_least..=self.submitted;
        assert!(shown.is_some_and(|ops| range.contains(&ops)), "{self:?} shows {shown:?}, not {range:?}");
        let shown = shown.unwrap_or_default();
        (self.submitted, self.logged) = (shown, shown);
        self.durable = self.durable.min(shown);
    }
}

/// Runs all writers against a daemon; `strike` is called when enough is acknowledged, and must end it.
fn write_until(socket: &Path, writers: &mut [Writer], enough: u64, strike: impl FnOnce()) {
    let acknowledged = AtomicU64::new(0);
    let clients: Vec<Client> = writers.iter().map(|_| connect(socket)).collect();
    std::thread::scope(|scope| {
        for (writer, client) in writers.iter_mut().zip(&clients) {
            let acknowledged = &acknowledged;
            scope.spawn(move || writer.run(client, acknowledged));
        }
        wait::until("writes to be acknowledged", CONVERGE_TIMEOUT, || {
            let count = acknowledged.load(Relaxed);
            anyhow::ensure!(count >= enough, "{count} of {enough}");
            Ok(())
        })
        .unwrap();
        strike();
    });
}

fn spec(storage: StorageTable) -> ClusterSpec {
    // Some hundred operations of the smallest log there may be.
    let limits = BTreeMap::from([("log_bytes", 1 << 16)]);
    let storage = StorageTable { snapshot_interval_s: Some(1), ..storage };
    ClusterSpec { hosts: 1, fabric: Fabric::Loopback, limits, storage, ..ClusterSpec::default() }
}

fn actor(cluster: &Cluster) -> String {
    cluster.fingerprints().unwrap().remove(0).actor
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let mut cluster = Cluster::start(&spec(StorageTable::default())).unwrap();
    let (mut dice, mut writers) = (Dice::new(7), writers());
    let socket = cluster.hosts()[0].socket();
    let first = actor(&cluster);
    let kills = rounds(6);
    for kill in 0..kills {
        let enough = 1 + dice.below(1500);
        let daemon = cluster.daemon(0);
        write_until(&socket, &mut writers, enough, || {
            if kill % 3 > 0 {
                daemon.pause().unwrap();
            }
            if kill % 3 == 1 {
                // How long it stands still is the fault, not a way of waiting for something.
                std::thread::sleep(Duration::from_millis(dice.below(20)));
                daemon.resume().unwrap();
            }
            daemon.kill().unwrap();
        });
        cluster.restart(0).unwrap();
        let client = connect(&socket);
        for writer in &mut writers {
            writer.resume(&client, writer.logged);
        }
        assert_eq!(actor(&cluster), first, "kill {kill}: nothing was lost, the epoch goes on");
    }
    let ops: u64 = writers.iter().map(|writer| writer.logged).sum();
    eprintln!("{kills} kills under load, {ops} operations kept, in one epoch");
}

/// A file system on a block device of its own, whose content is in a file.
struct Disk {
    image: PathBuf,
    place: PathBuf,
}

impl Disk {
    fn make(directory: &Path) -> anyhow::Result<Disk> {
        unmount_stale()?;
        let disk = Disk { image: directory.join("disk.img"), place: directory.join("disk") };
        std::fs::create_dir(&disk.place)?;
        std::fs::File::create(&disk.image)?.set_len(32 << 20)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> anyhow::Result<()> {
        // Nothing is committed but what somebody syncs.
        run(Command::new("mount").args(["-o", "loop,commit=300"]).arg(&self.image).arg(&self.place)).map(drop)
    }

    /// Keeps what the device has at this moment.
    fn cut(&self) -> anyhow::Result<()> {
        std::fs::copy(&self.image, self.cut_image())?;
        Ok(())
    }

    /// From now on the disk is what it was at the cut.
    fn come_back(&self) -> anyhow::Result<()> {
        run(Command::new("umount").arg(&self.place))?;
        std::fs::rename(self.cut_image(), &self.image)?;
        self.mount()
    }

    fn cut_image(&self) -> PathBuf {
        self.image.with_extension("cut")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.place)) {
            eprintln!("a mount was left behind: {error:#}");
        }
    }
}

/// A directory's name carries its owner's process, as namespaces' names do.
const DISK_PREFIX: &str = "lattice-disk-";

/// Takes away the mounts of runs that were killed before they could.
fn unmount_stale() -> anyhow::Result<()> {
    for line in std::fs::read_to_string("/proc/mounts")?.lines() {
        let Some(place) = line.split(' ').nth(1).filter(|place| place.contains(DISK_PREFIX)) else {
            continue;
        };
        let owner = place.split(DISK_PREFIX).nth(1).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            run(Command::new("umount").arg(place))?;
        }
    }
    Ok(())
}

#[test]
fn what_was_acknowledged_as_durable_is_there_after_a_power_cut() {
    if !require(&Environment::probe().namespaces) {
        return;
    }
    let prefix = format!("{DISK_PREFIX}{}-", std::process::id());
    let directory = tempfile::Builder::new().prefix(&prefix).tempdir_in("/dev/shm").unwrap();
    let disk = match Disk::make(directory.path()) {
        Ok(disk) => disk,
        Err(error) if lattice_cluster::environment::is_ci() => panic!("CI must have loop devices: {error:#}"),
        Err(error) => return eprintln!("skipped: no block device of one's own: {error:#}"),
    };
    let storage = StorageTable { directory: Some(disk.place.join("data")), ..StorageTable::default() };
    let mut cluster = Cluster::start(&spec(storage)).unwrap();
    let (mut dice, mut writers) = (Dice::new(11), writers());
    let socket = cluster.hosts()[0].socket();
    let runtime = cluster.hosts()[0].plan.directory.clone();
    let mut actors = BTreeSet::from([actor(&cluster)]);
    let cuts = rounds(12) / 2;
    let mut lost = 0;
    for cut in 0..cuts {
        let enough = 1 + dice.below(1500);
        let daemon = cluster.daemon(0);
        write_until(&socket, &mut writers, enough, || {
            // First it stands still: while the device is copied, nothing new may reach it.
            daemon.pause().unwrap();
            disk.cut().unwrap();
            daemon.kill().unwrap();
        });
        disk.come_back().unwrap();
        // With the power went what was on tmpfs.
        std::fs::remove_dir_all(&runtime).unwrap();
        cluster.restart(0).unwrap();
        let client = connect(&socket);
        for writer in &mut writers {
            let logged = writer.logged;
            writer.resume(&client, writer.durable);
            lost += logged.saturating_sub(writer.logged);
        }
        assert!(actors.insert(actor(&cluster)), "cut {cut}: a new epoch after each");
        let status = admin::ask(&socket, "status").unwrap();
        let degraded = &status["degraded"];
        assert!(degraded.as_array().is_some_and(Vec::is_empty), "nothing durable was lost: {degraded}");
    }
    let ops: u64 = writers.iter().map(|writer| writer.logged).sum();
    eprintln!(
        "{cuts} power cuts under load, {ops} operations kept, {lost} lost that were logged and not durable"
    );
}

/// A machine that is restored whole from an image, its memory included, does not know that it is one. Its peers do.
#[test]
fn a_machine_restored_from_an_image_begins_a_new_epoch_as_soon_as_a_peer_knows_better() {
    let spec = ClusterSpec { hosts: 2, fabric: Fabric::Loopback, shards: 1, ..ClusterSpec::default() };
    let mut cluster = Cluster::start(&spec).unwrap();
    let sockets: Vec<_> = cluster.hosts().iter().map(|host| host.socket()).collect();
    let home = cluster.hosts()[0].plan.directory.clone();
    let add = |times: i64| {
        let client = connect(&sockets[0]);
        for _ in 0..times {
            client.counter("total").unwrap().add_with(1, Ack::All, WRITE_TIMEOUT).unwrap();
        }
    };
    add(10);
    cluster.daemon(0).stop().unwrap();
    let image = tempfile::tempdir_in("/dev/shm").unwrap();
    copy(&home, image.path());
    cluster.restart(0).unwrap();
    cluster.wait_peers_up().unwrap();
    let before = actor(&cluster);
    add(10);
    cluster.daemon(0).kill().unwrap();
    copy(image.path(), &home);
    cluster.restart(0).unwrap();
    wait::until("a new epoch", CONVERGE_TIMEOUT, || {
        anyhow::ensure!(actor(&cluster) != before, "still {before}");
        Ok(())
    })
    .unwrap();
    add(10);
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    for socket in &sockets {
        assert_eq!(connect(socket).counter("total").unwrap().get().unwrap(), 30, "{}", socket.display());
    }
}

/// Copies regular files of a directory over those of another one, which stay the same files.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
