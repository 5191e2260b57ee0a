//! A daemon and its data directory: what a restart finds, and what it refuses, with which words. Real processes, real files;
//! one host without peers, so that everything it shows came from the directory.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use support::{Daemon, latticed, text};
use tempfile::TempDir;

/// A directory with a configuration; its data and its runtime directory lie in it.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        // Where a segment and a log belong.
        let home = Self(TempDir::new_in("/dev/shm").expect("a temporary directory"));
        home.configure("");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("latticed.toml")
    }

    /// Writes the configuration, `lines` in its `[storage]`.
    fn configure(&self, lines: &str) {
        self.configure_as(1, "one", "data", lines);
    }

    fn configure_as(&self, node: u16, runtime: &str, data: &str, lines: &str) {
        let text = format!(
            "[cluster]\nname = \"disk\"\nshards = 2\n[node]\nid = {node}\n[network]\naddress = \"127.0.0.1\"\n\
             port = \"udp\"\nbase_port = {}\n[workers]\nidle = \"sleep\"\n[limits]\nlog_bytes = 65536\n\
             segment_cells_per_worker = 4096\nsegment_extent_bytes_per_worker = 1048576\n\
             [paths]\ndirectory = {:?}\n[storage]\ndirectory = {:?}\n{lines}\n",
            support::free_ports(2),
            self.path(runtime),
            self.path(data),
        );
        std::fs::write(self.config(), text).expect("a configuration");
    }

    fn start(&self) -> Daemon {
        Daemon::start(&self.config(), &self.path("latticed.log"))
    }

    /// Runs the daemon, which must not get ready, and returns what it said.
    #[track_caller]
    fn refused(&self) -> String {
        refused(latticed(self.0.path()).arg("--config").arg(self.config()).output().expect("latticed starts"))
    }

    /// The files that a start reads, each with its content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        for directory in ["data", "data/shard-000", "data/shard-001"] {
            for entry in std::fs::read_dir(self.path(directory)).expect("it is there").flatten() {
                if entry.path().is_file() {
                    files.push((entry.path(), std::fs::read(entry.path()).expect("readable")));
                }
            }
        }
        files
    }

    /// As after a boot: what was on tmpfs is gone.
    fn reboot(&self) {
        std::fs::remove_dir_all(self.path("one")).expect("a runtime directory");
    }
}

#[track_caller]
fn refused(output: Output) -> String {
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(text(&output.stdout), "", "not ready");
    told
}

fn status(daemon: &Daemon) -> Value {
    serde_json::from_str(&daemon.ctl_ok(&["status", "--json"])).expect("JSON")
}

fn actors(daemon: &Daemon) -> Vec<String> {
    let status = status(daemon);
    let shards = status["shards"].as_array().expect("shards").clone();
    shards.iter().map(|shard| shard["actor"].as_str().expect("an actor").to_owned()).collect()
}

fn continued(daemon: &Daemon) -> Vec<bool> {
    let status = status(daemon);
    let shards = status["shards"].as_array().expect("shards").clone();
    shards.iter().map(|shard| shard["kept"]["epoch_continued"].as_bool().expect("kept")).collect()
}

fn wait_until_durable(daemon: &Daemon) {
    support::wait_until("everything to be durable", || {
        let shards = status(daemon)["shards"].as_array().expect("shards").clone();
        shards.iter().all(|shard| shard["kept"]["durable_lag_seqs"] == 0)
    });
}

/// Some of each kind, enough for both shards.
fn write(daemon: &Daemon) {
    for n in 0..8 {
        daemon.ctl_ok(&["add", &format!("counter/{n}"), "5"]);
        daemon.ctl_ok(&["insert", &format!("set/{n}"), "a"]);
        daemon.ctl_ok(&["insert", &format!("set/{n}"), "b"]);
        daemon.ctl_ok(&["remove", &format!("set/{n}"), "a"]);
    }
    daemon.ctl_ok(&["set", "register", "kept"]);
    daemon.ctl_ok(&["enable", "flag"]);
    daemon.ctl_ok(&["enable", "brake", "--wins", "disable"]);
}

#[track_caller]
fn assert_written(daemon: &Daemon) {
    for n in 0..8 {
        assert_eq!(daemon.ctl_ok(&["get", &format!("counter/{n}")]), "5\n");
        assert_eq!(daemon.ctl_ok(&["members", &format!("set/{n}")]), "b\n");
    }
    assert_eq!(daemon.ctl_ok(&["get", "register"]), "kept\n");
    assert_eq!(
        (daemon.ctl_ok(&["get", "flag"]), daemon.ctl_ok(&["get", "brake"])),
        ("on\n".into(), "on\n".into())
    );
}

#[test]
fn a_killed_daemon_goes_on_with_its_epoch_and_all_its_state() {
    let home = Home::new();
    let daemon = home.start();
    write(&daemon);
    let before = actors(&daemon);
    assert_eq!(continued(&daemon), [false, false]);
    daemon.end_with(Signal::KILL);
    for signal in [Signal::KILL, Signal::TERM, Signal::KILL] {
        let daemon = home.start();
        assert_written(&daemon);
        assert_eq!((actors(&daemon), continued(&daemon)), (before.clone(), vec![true, true]));
        assert_eq!(status(&daemon)["degraded"], serde_json::json!([]));
        daemon.end_with(signal);
    }
}

#[test]
fn a_stopped_daemon_loses_nothing_in_another_boot() {
    let home = Home::new();
    // Only the end makes anything durable.
    home.configure("sync = \"never\"");
    let daemon = home.start();
    write(&daemon);
    let before = actors(&daemon);
    assert!(daemon.end_with(Signal::TERM).success());
    home.reboot();
    let daemon = home.start();
    assert_written(&daemon);
    assert_eq!(continued(&daemon), [false, false], "another boot is another epoch");
    assert!(actors(&daemon).iter().all(|actor| !before.contains(actor)));
    assert_eq!(status(&daemon)["storage"]["findings"], serde_json::json!([]));
}

#[test]
fn a_crash_of_the_machine_takes_only_what_was_not_durable() {
    for sync in ["interval", "always"] {
        let home = Home::new();
        home.configure(&format!("sync = {sync:?}"));
        let daemon = home.start();
        write(&daemon);
        wait_until_durable(&daemon);
        daemon.end_with(Signal::KILL);
        home.reboot();
        let daemon = home.start();
        assert_written(&daemon);
        assert_eq!(continued(&daemon), [false, false]);
    }
}

#[test]
fn snapshots_are_written_when_asked_for_and_read_at_the_next_start() {
    let home = Home::new();
    let daemon = home.start();
    write(&daemon);
    assert!(daemon.ctl_ok(&["snapshot"]).starts_with("2 shards, "));
    let kept = |daemon: &Daemon| status(daemon)["shards"][0]["kept"].clone();
    let first = kept(&daemon);
    assert_eq!(
        (&first["log_used_bytes"], &first["snapshot_pending"]),
        (&Value::from(0), &Value::from(false))
    );
    assert!(first["snapshot_generation"].as_u64() > Some(0) && first["snapshot_bytes"].as_u64() > Some(0));
    daemon.ctl_ok(&["snapshot", "--json"]);
    assert_eq!(
        kept(&daemon)["snapshot_generation"].as_u64(),
        first["snapshot_generation"].as_u64().map(|generation| generation + 1)
    );
    daemon.end_with(Signal::KILL);
    home.reboot();
    assert_written(&home.start());
}

/// More than the log holds, many times: snapshots make room while writing goes on, and nobody is told of it.
#[test]
fn a_log_is_written_round_and_round() {
    let home = Home::new();
    let daemon = home.start();
    let value = "v".repeat(900);
    for n in 0..400 {
        daemon.ctl_ok(&["set", &format!("register/{}", n % 10), &format!("{n} {value}")]);
    }
    let status = status(&daemon);
    for shard in status["shards"].as_array().expect("shards") {
        assert!(shard["kept"]["snapshot_generation"].as_u64() > Some(2), "{shard}");
        assert!(shard["kept"]["log_used_bytes"].as_u64() <= shard["kept"]["log_bytes"].as_u64());
    }
    daemon.end_with(Signal::KILL);
    let daemon = home.start();
    for n in 390..400 {
        assert_eq!(daemon.ctl_ok(&["get", &format!("register/{}", n % 10)]), format!("{n} {value}\n"));
    }
    assert_eq!(continued(&daemon), [true, true]);
}

#[test]
fn a_daemon_in_memory_forgets_and_says_so() {
    let home = Home::new();
    home.configure("mode = \"memory\"");
    let daemon = home.start();
    write(&daemon);
    assert!(daemon.ctl_ok(&["status"]).contains("storage none"));
    let refused = daemon.ctl(&["snapshot"]);
    assert!(text(&refused.stderr).contains("keeps nothing on disk"), "{}", text(&refused.stderr));
    daemon.end_with(Signal::KILL);
    let daemon = home.start();
    assert_eq!(daemon.ctl_ok(&["keys"]), "");
    assert!(!home.path("data").exists());
}

#[test]
fn a_second_daemon_on_a_directory_is_refused() {
    let home = Home::new();
    let daemon = home.start();
    write(&daemon);
    // Another runtime directory, the same data.
    home.configure_as(1, "two", "data", "");
    let told = home.refused();
    let expected = format!("data/lock: in use by process {}; another latticed runs on it", daemon.pid());
    assert!(told.contains(&expected), "{told}");
    // The other way round: the logs are of a node that runs.
    assert_written(&daemon);
}

#[test]
fn a_directory_of_another_node_or_cluster_is_refused_and_left_alone() {
    let home = Home::new();
    let daemon = home.start();
    write(&daemon);
    daemon.end_with(Signal::KILL);
    // But for the lock, which says who came last.
    let files = || home.files().into_iter().filter(|(path, _)| !path.ends_with("lock")).collect::<Vec<_>>();
    let before = files();
    home.configure_as(2, "one", "data", "");
    let told = home.refused();
    assert!(told.contains("data/identity: this directory is of node 1, and this is node 2;"), "{told}");
    home.configure("");
    let config = std::fs::read_to_string(home.config()).expect("written above");
    for (from, to, what) in [
        (
            "name = \"disk\"",
            "name = \"disc\"",
            "this directory is of cluster \"disk\", and this is cluster \"disc\";",
        ),
        ("shards = 2", "shards = 4", "this directory is of shards 2, and this is shards 4;"),
    ] {
        std::fs::write(home.config(), config.replace(from, to)).expect("a configuration");
        let told = home.refused();
        assert!(told.contains(what) && told.contains("give this node's own directory"), "{told}");
    }
    assert!(files() == before, "nothing was touched");
    std::fs::write(home.config(), config).expect("a configuration");
    let daemon = home.start();
    assert_written(&daemon);
    assert_eq!(continued(&daemon), [true, true]);
}

/// A copy of the directory, in its place or in another one, is as old as it is: it never goes on with the epoch.
#[test]
fn a_directory_that_was_copied_or_brought_back_begins_a_new_epoch() {
    let home = Home::new();
    let daemon = home.start();
    write(&daemon);
    let before = actors(&daemon);
    daemon.end_with(Signal::TERM);
    copy(&home.path("data"), &home.path("copy"));
    copy(&home.path("data"), &home.path("backup"));

    // In another place.
    home.configure_as(1, "one", "copy", "");
    let daemon = home.start();
    assert_written(&daemon);
    assert_eq!(continued(&daemon), [false, false]);
    daemon.end_with(Signal::TERM);

    // Brought back to its own place, after more was written there: file by file, so that the directory is the same one.
    home.configure("");
    std::fs::remove_dir_all(home.path("one")).expect("another directory's logs");
    let daemon = home.start();
    let second = actors(&daemon);
    assert!(second.iter().all(|actor| !before.contains(actor)), "the logs in memory were gone");
    for n in 0..8 {
        daemon.ctl_ok(&["add", &format!("counter/{n}"), "5"]);
    }
    daemon.end_with(Signal::TERM);
    copy(&home.path("backup"), &home.path("data"));
    let daemon = home.start();
    let third = actors(&daemon);
    assert!(third.iter().all(|actor| !before.contains(actor) && !second.contains(actor)), "{third:?}");
    assert_eq!(continued(&daemon), [false, false]);
    let findings = status(&daemon)["storage"]["findings"].to_string();
    assert!(findings.contains("an older copy, or damaged"), "{findings}");
}

/// Copies a directory over another one, whose files stay the same files.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("it is there").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// A byte that changed, in every file in turn: the start says which file and where, and what does not depend on it is served.
#[test]
fn a_flipped_byte_in_any_file_is_named_and_the_rest_is_served() {
    let home = Home::new();
    let daemon = home.start();
    write(&daemon);
    // The only snapshot is that of the new epoch, with nothing in it: the log matters.
    daemon.end_with(Signal::TERM);
    home.reboot();
    let files = home.files();
    let tried = files.iter().filter(|(path, bytes)| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        !bytes.is_empty() && name != "lock"
    });
    let mut seen = 0;
    for (path, bytes) in tried {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        // In the log: within its first records, behind two blocks of headers.
        let at = if name == "log" { 8192 + 40 } else { bytes.len() / 2 };
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        std::fs::write(path, damaged).expect("own file");
        seen += 1;
        let shown = format!("{}: ", path.strip_prefix(home.0.path()).expect("below it").display());
        if name == "identity" {
            let told = home.refused();
            assert!(
                told.contains(&shown) && told.contains("at byte 0") && told.contains("put back a good copy"),
                "{told}"
            );
        } else {
            let daemon = home.start();
            let said = status(&daemon).to_string();
            assert!(said.contains(&shown), "{name}: {said}");
            let total: u32 = (0..8)
                .filter(|n| daemon.ctl(&["get", &format!("counter/{n}")]).status.success())
                .count() as u32;
            assert!(total > 0, "{name}: the other shard is served");
            daemon.end_with(Signal::KILL);
        }
        for (path, bytes) in &files {
            std::fs::write(path, bytes).expect("own file");
        }
        let _ = std::fs::remove_dir_all(home.path("one"));
    }
    assert!(seen >= 5, "identity, logs, snapshots: {seen}");
}

/// The same for the logs in memory, which a killed daemon leaves behind: what is damaged there is not believed, and what was
/// durable comes from the disk.
#[test]
fn a_flipped_byte_in_a_log_in_memory_is_named_and_what_was_durable_is_served() {
    let home = Home::new();
    let daemon = home.start();
    write(&daemon);
    wait_until_durable(&daemon);
    daemon.end_with(Signal::KILL);
    let files = home.files();
    let rings: Vec<PathBuf> =
        (0..2).map(|shard| home.path(&format!("one/log/shard-00{shard}.ring"))).collect();
    let whole: Vec<(PathBuf, Vec<u8>)> =
        rings.iter().map(|ring| (ring.clone(), std::fs::read(ring).expect("it is there"))).collect();
    // Its header, and the first record behind it.
    for (damaged, at, named) in
        [(0, 64, ""), (1, 64, ""), (0, 4096 + 16, "at byte 4096"), (1, 4096 + 16, "at byte 4096")]
    {
        // What the daemon before has made meanwhile is of another history: a snapshot of its new epoch, say.
        for (path, _) in home.files() {
            std::fs::remove_file(path).expect("own file");
        }
        for (path, bytes) in files.iter().chain(&whole) {
            std::fs::write(path, bytes).expect("own file");
        }
        let mut bytes = whole[damaged].1.clone();
        bytes[at] ^= 0x40;
        std::fs::write(&rings[damaged], bytes).expect("own file");
        let daemon = home.start();
        let said = status(&daemon)["storage"]["findings"].to_string();
        let shown = format!("log/shard-00{damaged}.ring: {named}");
        assert!(said.contains(&shown), "byte {at} of {damaged}: {said}");
        assert_written(&daemon);
        assert_eq!(continued(&daemon), [damaged != 0, damaged != 1], "byte {at}");
        daemon.end_with(Signal::KILL);
    }
}

/// `body` in a mount namespace of its own, or the reason why there is none here.
fn in_mount_namespace(home: &Home, mount: &str) -> Option<Output> {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "CI must be able to mount");
        eprintln!("skipped: not root, no mounts");
        return None;
    }
    let daemon = env!("CARGO_BIN_EXE_latticed");
    let script = format!("{mount} && exec timeout -s KILL 30 {daemon} --config {}", home.config().display());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).stdin(Stdio::null());
    Some(command.output().expect("unshare is there"))
}

#[test]
fn a_full_disk_is_said_at_the_start() {
    let home = Home::new();
    std::fs::create_dir(home.path("data")).expect("a directory");
    std::fs::set_permissions(home.path("data"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("own");
    let mount = format!("mount -t tmpfs -o size=96k,mode=700 tmpfs {}", home.path("data").display());
    let Some(output) = in_mount_namespace(&home, &mount) else { return };
    let told = refused(output);
    assert!(
        told.contains("data/shard-00") && told.contains("No space left") && told.contains("make room"),
        "{told}"
    );
}

#[test]
fn a_read_only_directory_is_said_at_the_start() {
    let home = Home::new();
    let daemon = home.start();
    write(&daemon);
    daemon.end_with(Signal::TERM);
    let data = home.path("data").display().to_string();
    let mount = format!("mount --bind {data} {data} && mount -o remount,ro,bind {data}");
    let Some(output) = in_mount_namespace(&home, &mount) else { return };
    let told = refused(output);
    assert!(
        told.contains("data/lock") && told.contains("Read-only") && told.contains("can write to"),
        "{told}"
    );
    assert_written(&home.start());
}

/// A disk that fills up while the daemon runs: snapshots fail and are said to; reads go on, writes as long as the log has room,
/// and then they are refused.
#[test]
fn a_disk_that_fills_up_stops_writes_and_nothing_else() {
    let home = Home::new();
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "CI must be able to mount");
        return eprintln!("skipped: not root, no mounts");
    }
    let mount =
        format!("mkdir -p {0} && mount -t tmpfs -o size=1m,mode=700 tmpfs {0}", home.path("data").display());
    let daemon = Daemon::start_behind(&mount, &home.config(), &home.path("latticed.log"));
    write(&daemon);
    // Through the daemon's own root: the mount is in its namespace.
    let inside = PathBuf::from(format!("/proc/{}/root{}/ballast", daemon.pid(), home.path("data").display()));
    let _ = std::fs::write(&inside, vec![1; 4 << 20]);
    let failed = daemon.ctl(&["snapshot", "--timeout", "20"]);
    assert!(!failed.status.success());
    assert!(text(&failed.stderr).contains("a snapshot failed"), "{}", text(&failed.stderr));
    let log = std::fs::read_to_string(home.path("latticed.log")).expect("its log");
    assert!(log.contains("snapshot.new") && log.contains("No space left"), "{log}");

    let value = "v".repeat(900);
    let refused = (0..400).find_map(|n| {
        let output = daemon.ctl(&["set", &format!("register/{}", n % 10), &value, "--timeout", "1"]);
        (!output.status.success()).then(|| text(&output.stderr))
    });
    let refused = refused.expect("the logs hold 64 KiB each");
    assert!(refused.contains("log"), "{refused}");
    assert_written(&daemon);
    support::wait_until("the status to say so", || {
        status(&daemon)["degraded"].to_string().contains("log-full")
    });
    // Room again: the next try succeeds, by itself or because it is asked for.
    std::fs::remove_file(&inside).expect("own file");
    daemon.ctl_ok(&["snapshot"]);
    daemon.ctl_ok(&["set", "register/0", "again"]);
    assert_eq!(daemon.ctl_ok(&["get", "register/0"]), "again\n");
}
