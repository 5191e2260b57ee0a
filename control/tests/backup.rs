//! Backups of a real daemon that is being written to, and the nodes that come of them. Real processes, real files; one host
//! without peers, so that everything a restored node shows came from the backup.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::SeqCst;

use lattice_client::{Client, Error};
use rustix::process::Signal;
use support::{Daemon, PATIENCE, text};
use tempfile::TempDir;

/// A directory with the configurations of two nodes.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        // Where a segment and a log belong.
        let home = Self(TempDir::new_in("/dev/shm").expect("a temporary directory"));
        home.configure("one", 1, "disk", 2, "");
        home.configure("two", 2, "disk", 2, "");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self, node: &str) -> PathBuf {
        self.path(&format!("{node}.toml"))
    }

    /// Writes a configuration, `lines` in its `[storage]`.
    fn configure(&self, name: &str, node: u16, cluster: &str, shards: u16, lines: &str) {
        let text = format!(
            "[cluster]\nname = {cluster:?}\nshards = {shards}\n[node]\nid = {node}\n[network]\naddress = \"127.0.0.1\"\n\
             port = \"udp\"\nbase_port = {}\n[workers]\nidle = \"sleep\"\n[limits]\nlog_bytes = 1048576\n\
             segment_cells_per_worker = 4096\nsegment_extent_bytes_per_worker = 1048576\n\
             [paths]\ndirectory = {:?}\n[storage]\ndirectory = {:?}\n{lines}\n",
            support::free_ports(shards),
            self.path(name),
            self.path(&format!("{name}-data")),
        );
        std::fs::write(self.config(name), text).expect("a configuration");
    }

    fn start(&self, node: &str) -> Daemon {
        Daemon::start(&self.config(node), &self.path(&format!("{node}.log")))
    }

    fn client(&self, node: &str) -> Client {
        Client::connect(self.path(node).join("daemon.sock")).expect("it is ready")
    }

    /// A backup of the daemon, which must succeed.
    #[track_caller]
    fn back_up(&self, daemon: &Daemon, name: &str) -> PathBuf {
        let path = self.path(name);
        let said = daemon.ctl_ok(&["backup", path.to_str().expect("text")]);
        assert!(said.starts_with(&format!("{}: 2 shards, ", path.display())), "{said}");
        path
    }

    fn restore(&self, backup: &Path, node: &str, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latticed"));
        command.args(["restore", "--as-new"]).arg(backup).arg("--config").arg(self.config(node)).args(more);
        command.output().expect("latticed starts")
    }

    /// A restore that must fail; what it said.
    #[track_caller]
    fn refused(&self, backup: &Path, node: &str, more: &[&str]) -> String {
        let output = self.restore(backup, node, more);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        text(&output.stderr)
    }
}

#[track_caller]
fn succeeded(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// A register in the shard of the counter `count`.
fn register_beside_it() -> String {
    let shard = |key: &str| lattice_segment::shard_of(lattice_segment::key_hash(key.as_bytes()), 2);
    let mut names = (0..).map(|number| format!("said {number}"));
    names.find(|name| shard(name) == shard("count")).expect("one in two")
}

/// Adds to a counter and then says in a register how far it is, again and again: two keys of one shard, in a known order.
fn write_on(client: &Client, acknowledged: &AtomicI64, stop: &AtomicI64) {
    let (counter, register) =
        (client.counter("count").expect("a key"), client.register(register_beside_it()).expect("a key"));
    while stop.load(SeqCst) == 0 {
        // Refused while the log is full.
        let added = counter.add_wait(1, PATIENCE);
        assert!(matches!(added, Ok(()) | Err(Error::Refused(_))), "{added:?}");
        let count = counter.get().expect("read");
        let said = register.set_wait(count.to_string().as_bytes(), PATIENCE);
        assert!(matches!(said, Ok(()) | Err(Error::Refused(_))), "{said:?}");
        if said.is_ok() {
            acknowledged.store(count, SeqCst);
        }
    }
}

#[test]
fn a_backup_under_load_has_everything_that_was_acknowledged_before_it() {
    let home = Home::new();
    let daemon = home.start("one");
    let client = home.client("one");
    client.flag("on").and_then(|flag| flag.enable_wait(PATIENCE)).expect("written");
    let set = client.set("members").expect("a key");
    for member in 0..300 {
        set.insert_wait(format!("member {member}").as_bytes(), PATIENCE).expect("written");
    }
    for member in 0..200 {
        set.remove_wait(format!("member {member}").as_bytes(), PATIENCE).expect("written");
    }
    let (acknowledged, stop) = (AtomicI64::new(0), AtomicI64::new(0));
    let bounds: Vec<(i64, i64)> = std::thread::scope(|scope| {
        let writing = home.client("one");
        let (acknowledged, stop) = (&acknowledged, &stop);
        scope.spawn(move || write_on(&writing, acknowledged, stop));
        support::wait_until("some writes", || acknowledged.load(SeqCst) > 50);
        let backups = (0..3).map(|number| {
            let before = acknowledged.load(SeqCst);
            home.back_up(&daemon, &format!("backup-{number}"));
            // One more may be under way, and have been refused its saying so.
            (before, acknowledged.load(SeqCst) + 10)
        });
        let bounds = backups.collect();
        stop.store(1, SeqCst);
        bounds
    });
    assert!(daemon.end_with(Signal::TERM).success());
    for (number, (before, after)) in bounds.into_iter().enumerate() {
        succeeded(&home.restore(&home.path(&format!("backup-{number}")), "two", &[]));
        let daemon = home.start("two");
        let client = home.client("two");
        let count = client.counter("count").and_then(|counter| counter.get()).expect("read");
        assert!((before..=after).contains(&count), "{count}, and not {before} to {after}");
        let register =
            client.register(register_beside_it()).and_then(|register| register.get()).expect("read");
        let said: i64 = text(&register.expect("set")).parse().expect("a number");
        assert!((before..=count).contains(&said), "a later write without the one before: {said} of {count}");
        assert!(client.flag("on").and_then(|flag| flag.get()).expect("read"));
        let mut members = client.set("members").and_then(|set| set.members()).expect("read");
        members.sort();
        let expected: Vec<_> = (200..300).map(|member| format!("member {member}").into_bytes()).collect();
        assert_eq!(members, expected);
        // It is a node like any other: it writes, and what it wrote outlives it, also where the machine starts anew.
        client.counter("count").and_then(|counter| counter.add_wait(1_000, PATIENCE)).expect("written");
        assert!(daemon.end_with(Signal::TERM).success());
        std::fs::remove_dir_all(home.path("two")).expect("as after a boot");
        let daemon = home.start("two");
        assert_eq!(daemon.ctl_ok(&["get", "count"]), format!("{}\n", count + 1_000));
        assert!(daemon.end_with(Signal::KILL).code().is_none());
        for directory in ["two", "two-data"] {
            std::fs::remove_dir_all(home.path(directory)).expect("it is there");
        }
    }
}

#[test]
fn a_dump_has_every_key_with_its_value_from_a_daemon_and_from_a_backup() {
    let home = Home::new();
    let daemon = home.start("one");
    let client = home.client("one");
    client.counter("b/counter").and_then(|counter| counter.add_wait(-5, PATIENCE)).expect("written");
    client.flag("b/flag").and_then(|flag| flag.enable_wait(PATIENCE)).expect("written");
    client.flag_disable_wins("b/brake").and_then(|flag| flag.enable_wait(PATIENCE)).expect("written");
    client.register("a").and_then(|register| register.set_wait(b"v \xff", PATIENCE)).expect("written");
    let set = client.set(b"c\xfe").expect("a key");
    for element in ["z", "größe"] {
        set.insert_wait(element.as_bytes(), PATIENCE).expect("written");
    }
    let lines = [
        r#"{"key":"a","kind":"register","value":{"hex":"7620ff"}}"#,
        r#"{"key":"b/brake","kind":"flag-disable-wins","value":true}"#,
        r#"{"key":"b/counter","kind":"counter","value":-5}"#,
        r#"{"key":"b/flag","kind":"flag-enable-wins","value":true}"#,
        r#"{"key":{"hex":"63fe"},"kind":"set","value":["größe","z"]}"#,
    ];
    let backup = home.back_up(&daemon, "backup");
    let backup = backup.to_str().expect("text");
    let all = lines.map(|line| format!("{line}\n")).concat();
    assert_eq!(daemon.ctl_ok(&["dump"]), all);
    assert_eq!(daemon.ctl_ok(&["dump", "--backup", backup]), all);
    for prefix in ["b/", "none"] {
        let matching = lines.iter().filter(|line| line.contains(&format!("\"key\":\"{prefix}")));
        let matching: String = matching.map(|line| format!("{line}\n")).collect();
        assert_eq!(daemon.ctl_ok(&["dump", "--prefix", prefix]), matching);
        assert_eq!(daemon.ctl_ok(&["dump", "--prefix", prefix, "--backup", backup]), matching);
    }
    let mut bytes = std::fs::read(backup).expect("it is there");
    let last = bytes.len() - 70;
    bytes[last] ^= 1;
    std::fs::write(home.path("damaged"), bytes).expect("written");
    let output = daemon.ctl(&["dump", "--backup", home.path("damaged").to_str().expect("text")]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));
    assert!(text(&output.stderr).contains("damaged: at byte "), "{}", text(&output.stderr));
}

#[test]
fn what_can_not_be_done_is_said_and_leaves_everything_as_it_was() {
    let home = Home::new();
    let daemon = home.start("one");
    assert_eq!(daemon.ctl_ok(&["add", "k", "5"]), "5\n");
    let backup = home.back_up(&daemon, "backup");
    let bytes = std::fs::read(&backup).expect("it is there");

    let refuse = |arguments: &[&str]| {
        let output = daemon.ctl(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        text(&output.stderr)
    };
    let said = refuse(&["backup", backup.to_str().expect("text")]);
    assert!(said.contains("backup: is there already and is not overwritten"), "{said}");
    let said = refuse(&["backup", "/nowhere/backup"]);
    assert!(said.contains("/nowhere/backup.partial: making the backup: No such file"), "{said}");
    let said = refuse(&["backup", "/dev/full"]);
    assert!(said.contains("is there already"), "{said}");

    // The daemon that runs there keeps its directory, and one that has run there keeps its data.
    let said = home.refused(&backup, "one", &[]);
    assert!(said.contains("another latticed") && said.contains("nothing was restored"), "{said}");
    assert!(daemon.end_with(Signal::TERM).success());
    let said = home.refused(&backup, "one", &[]);
    assert!(said.contains("one-data: not empty: there is") && said.contains("nothing was changed"), "{said}");

    home.configure("three", 3, "another", 2, "");
    let said = home.refused(&backup, "three", &[]);
    assert!(said.contains("of cluster \"disk\", and this node is of \"another\""), "{said}");
    let said = home.refused(&backup, "three", &["--from-cluster", "third"]);
    assert!(said.contains("of cluster \"disk\", not of \"third\""), "{said}");
    assert!(!home.path("three-data").exists());
    home.configure("four", 4, "disk", 4, "");
    let said = home.refused(&backup, "four", &[]);
    assert!(said.contains("the backup has 2 shards, and this cluster 4"), "{said}");
    home.configure("five", 5, "disk", 2, "mode = \"memory\"");
    let said = home.refused(&backup, "five", &[]);
    assert!(said.contains("storage.mode is \"memory\""), "{said}");
    let memory = home.start("five");
    let output = memory.ctl(&["backup", home.path("never").to_str().expect("text")]);
    assert!(text(&output.stderr).contains("keeps nothing on disk"), "{}", text(&output.stderr));
    assert!(!home.path("never").exists() && !home.path("never.partial").exists());

    let damaged = home.path("damaged");
    std::fs::write(&damaged, &bytes[..bytes.len() - 1]).expect("written");
    let said = home.refused(&damaged, "two", &[]);
    assert!(said.contains("damaged: at byte "), "{said}");
    assert!(!home.path("two-data").exists());

    // A copy of its state is what another cluster may have.
    succeeded(&home.restore(&backup, "three", &["--from-cluster", "disk"]));
    let three = home.start("three");
    assert_eq!(three.ctl_ok(&["add", "k", "1"]), "6\n");
}

/// Two who ask at the same time: the one gets a backup, the other is told to come again, and when it does it gets one.
#[test]
fn of_two_backups_at_a_time_one_is_told_to_wait() {
    let home = Home::new();
    let daemon = home.start("one");
    assert_eq!(daemon.ctl_ok(&["add", "k", "5"]), "5\n");
    let ask = || {
        let mut stream = support::connect(&home.path("one").join("daemon.sock"));
        stream.write_all(b"{\"op\":\"backup\"}\n").expect("it takes a line");
        stream
    };
    let answer = |stream: UnixStream| -> serde_json::Value {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    };
    // Asked while the daemon stands still, both are there when it goes on. One of them may be through before it comes to the
    // other, on a machine that is busy.
    let mut refused = None;
    for _ in 0..20 {
        daemon.signal(Signal::STOP);
        let asked = [ask(), ask(), ask()];
        daemon.signal(Signal::CONT);
        let (done, others): (Vec<_>, Vec<_>) =
            asked.map(answer).into_iter().partition(|answer| answer["ok"] == true);
        assert!(!done.is_empty(), "{others:?}");
        refused = others.into_iter().next();
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("one that had to wait, in twenty times three");
    assert_eq!(refused["code"], "busy", "{refused}");
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("another backup")), "{refused}");
    home.back_up(&daemon, "afterwards");
}

#[test]
fn a_full_disk_is_said_and_nothing_of_the_backup_stays() {
    let home = Home::new();
    let daemon = home.start("one");
    let client = home.client("one");
    for key in 0..200 {
        let register = client.register(format!("k {key}")).expect("a key");
        register.set_wait(&[7; 900], PATIENCE).expect("written");
    }
    let full = home.path("full");
    std::fs::create_dir(&full).expect("a directory");
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs {full} && {ctl} --socket {socket} backup {full}/backup; code=$?; ls {full}; exit $code",
        full = full.display(),
        ctl = env!("CARGO_BIN_EXE_latticectl"),
        socket = home.path("one").join("daemon.sock").display(),
    );
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().expect("unshare");
    let said = text(&output.stderr);
    if said.contains("unshare failed") || said.contains("permission denied") {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount: {said}");
        eprintln!("not run, for want of rights: {said}");
        return;
    }
    assert!(said.contains("backup: writing the backup: No space left on device"), "{said}");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "nothing is left there");
    let backup = home.back_up(&daemon, "backup");
    assert!(std::fs::metadata(backup).expect("it is there").len() > 200 * 900);
}
