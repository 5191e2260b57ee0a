//! What daemons may, and what they let others do: after the start they are nobody, without capabilities, and everything goes on
//! all the same; who may write what is checked by who connected, and changes while they run.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{CONVERGE_TIMEOUT, WRITE_TIMEOUT, Writer, assert_exact, clients, connect, fabric_or_loopback};
use lattice_client::{Client, Error, Refusal};
use lattice_cluster::binaries::Binaries;
use lattice_cluster::{Cluster, ClusterSpec, Fabric, admin, environment, wait};
use rustix::process::{Uid, geteuid};
use tempfile::TempDir;

/// Who the daemons become: no names belong to these numbers.
const USER: u32 = 54_321;
const GROUP: u32 = 54_322;

/// Root, or the test is skipped.
fn is_root() -> bool {
    let ok = if geteuid().is_root() { Ok(()) } else { Err("not root: nobody else can become others".into()) };
    environment::require(&ok)
}

/// Configurations in a directory that anybody can enter, each with lines of its own at the end.
fn plans(spec: &ClusterSpec, lines: &str) -> (TempDir, Vec<PathBuf>) {
    let home = tempfile::Builder::new().prefix("latticed-").tempdir_in("/dev/shm").unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let plans = spec.write_plans(home.path()).unwrap();
    for plan in &plans {
        let text = fs::read_to_string(&plan.file).unwrap();
        fs::write(&plan.file, format!("{text}\n{lines}\n")).unwrap();
    }
    (home, plans.into_iter().map(|plan| plan.file).collect())
}

/// Fields of `/proc/PID/task/…/status` that all threads must agree on.
fn thread_rights(pid: u64) -> Vec<Vec<String>> {
    let names = ["Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"];
    let of = |status: &str| {
        let fields = status.lines().filter_map(|line| line.split_once(':'));
        let named = fields.filter(|(name, _)| names.contains(name));
        named.map(|(name, value)| format!("{name} {}", value.split_whitespace().next().unwrap())).collect()
    };
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| of(&fs::read_to_string(task.unwrap().path().join("status")).unwrap())).collect()
}

fn give_to_user(path: &Path) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_to_user(&entry.unwrap().path()));
    }
    lchown(path, Some(USER), Some(GROUP)).unwrap();
}

/// Every file below, with owner, group and mode.
fn files(directory: &Path, found: &mut Vec<(PathBuf, u32, u32, u32)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        if about.is_dir() {
            files(&path, found);
        }
        found.push((path, about.uid(), about.gid(), about.mode() & 0o7777));
    }
}

#[test]
fn daemons_that_were_root_have_no_rights_and_do_all_that_they_did() {
    if !is_root() {
        return;
    }
    let fabric = fabric_or_loopback(Fabric::Bridge);
    let members = fabric != Fabric::Loopback;
    let spec = ClusterSpec { fabric, members, ..ClusterSpec::default() };
    let (home, files_of) = plans(&spec, &format!("[process]\nuser = \"{USER}\"\ngroup = \"{GROUP}\""));
    if members {
        let pki = home.path().join("pki");
        fs::set_permissions(&pki, fs::Permissions::from_mode(0o755)).unwrap();
        ["host-a", "host-b", "host-c"].iter().for_each(|name| give_to_user(&pki.join(name)));
    }
    let mut cluster = Cluster::start_files(&files_of, fabric, Binaries::find().unwrap()).unwrap();
    let clients = clients(&cluster);
    let mut writers: Vec<Writer> =
        clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), 9)).collect();
    writers.iter_mut().for_each(Writer::batch);

    for host in cluster.hosts() {
        let status = admin::ask(&host.socket(), "status").unwrap();
        let none = "0000000000000000";
        let expected = [
            format!("Uid {USER}"),
            format!("Gid {GROUP}"),
            format!("CapInh {none}"),
            format!("CapPrm {none}"),
            format!("CapEff {none}"),
            format!("CapBnd {none}"),
            format!("CapAmb {none}"),
            "NoNewPrivs 1".to_owned(),
            "Seccomp 2".to_owned(),
        ];
        let threads = thread_rights(status["pid"].as_u64().unwrap());
        assert!(threads.len() > 2, "{threads:?}");
        assert!(threads.iter().all(|thread| *thread == expected), "{threads:?}");

        let mut found = Vec::new();
        files(&host.plan.directory, &mut found);
        for (path, uid, gid, mode) in &found {
            assert_eq!((*uid, *gid), (USER, GROUP), "{}", path.display());
            assert_eq!(mode & 0o007, 0, "{} has mode {mode:o}", path.display());
        }
        let mode = |name: &str| {
            let path = host.plan.directory.join(name);
            found.iter().find(|file| file.0 == path).map(|file| file.3)
        };
        assert_eq!(
            (mode("segment"), mode("daemon.sock"), mode("lock")),
            (Some(0o640), Some(0o660), Some(0o640))
        );
        assert_eq!(fs::metadata(&host.plan.directory).unwrap().mode() & 0o7777, 0o750);
    }

    // What an operator does, and what a bad day does.
    writers.iter_mut().for_each(Writer::batch);
    for host in cluster.hosts() {
        admin::ask(&host.socket(), "snapshot").unwrap();
        let reloaded = admin::ask(&host.socket(), "reload").unwrap();
        assert_eq!((reloaded["applied"].as_array().unwrap().len()), 0, "{reloaded}");
    }
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    let before = cluster.fingerprints().unwrap()[1].actor.clone();
    cluster.daemon(1).kill().unwrap();
    writers[0].batch();
    cluster.restart(1).unwrap();
    cluster.wait_peers_up().unwrap();
    assert_eq!(cluster.fingerprints().unwrap()[1].actor, before, "what it had kept it could read");
    clients[1].reconnect(WRITE_TIMEOUT).unwrap();
    cluster.daemon(2).stop().unwrap();
    cluster.restart(2).unwrap();
    cluster.wait_peers_up().unwrap();
    clients[2].reconnect(WRITE_TIMEOUT).unwrap();
    writers.iter_mut().for_each(Writer::batch);
    assert_exact(&cluster, &clients, &writers);
}

#[test]
fn who_may_not_write_is_told_which_rule_says_so_and_a_reload_changes_it() {
    let spec = ClusterSpec { hosts: 1, fabric: Fabric::Loopback, ..ClusterSpec::default() };
    let rules = |undeclared: &str, writer: u32| {
        format!(
            "[keys]\nundeclared = \"{undeclared}\"\n[[namespaces]]\nname = \"limits\"\nkind = \"counter\"\nmax_keys = 2\n\
             [[namespaces]]\nname = \"closed\"\nwrite = [\"user:{writer}\"]\n"
        )
    };
    let own = geteuid().as_raw();
    let (_home, files) = plans(&spec, "");
    let plain = fs::read_to_string(&files[0]).unwrap();
    fs::write(&files[0], format!("{plain}{}", rules("default", own + 1))).unwrap();
    let cluster = Cluster::start_files(&files, Fabric::Loopback, Binaries::find().unwrap()).unwrap();
    let socket = cluster.hosts()[0].socket();
    let client = connect(&socket);
    let add = |client: &Client, key: &str| {
        client.counter(key).and_then(|counter| counter.add_wait(1, WRITE_TIMEOUT))
    };
    let refusal = |result: Result<(), Error>| match result {
        Err(Error::Refused(refusal)) => Some(refusal),
        Ok(()) => None,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(refusal(add(&client, "limits/a")), None);
    assert_eq!(refusal(add(&client, "limits/b")), None);
    assert_eq!(refusal(add(&client, "limits/a")), None);
    assert_eq!(refusal(add(&client, "limits/c")), Some(Refusal::NamespaceFull));
    assert_eq!(refusal(add(&client, "closed/a")), Some(Refusal::AccessDenied));
    assert_eq!(refusal(add(&client, "free")), None);
    let flag = client.flag("limits/f").unwrap();
    assert_eq!(refusal(flag.enable_wait(WRITE_TIMEOUT)), Some(Refusal::OtherKindDeclared));

    // The words of latticectl.
    let ctl = Binaries::find().unwrap().latticectl().unwrap();
    let told = |arguments: &[&str]| {
        let output = Command::new(&ctl).arg("--socket").arg(&socket).args(arguments).output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap(),
        )
    };
    let file = files[0].display().to_string();
    let (ok, text) = told(&["add", "closed/a", "1"]);
    let rule = format!("only user:{} may write to `closed/a`, and this is user {own}", own + 1);
    assert!(!ok && text.contains(&rule) && text.contains(&file) && text.contains("\"closed\""), "{text}");
    let (ok, text) = told(&["add", "limits/c", "1"]);
    assert!(!ok && text.contains("may have 2 keys") && text.contains(&file), "{text}");
    let (ok, text) = told(&["status"]);
    assert!(ok && text.contains("limits/: 2 of 2 keys, counter, written by whoever can connect"), "{text}");

    // Somebody else, in a thread of its own: rights belong to threads.
    if is_root() {
        let theirs = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let uid = Uid::from_raw(own + 1);
                rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
                refusal(add(&connect(&socket), "closed/a"))
            });
            other.join().unwrap()
        });
        assert_eq!(theirs, None, "it is on the list");
        assert_eq!(client.counter("closed/a").unwrap().get().unwrap(), 1);
        assert_eq!(refusal(add(&client, "closed/a")), Some(Refusal::AccessDenied), "by handle");
    }

    // A list with a mistake changes nothing; a good one holds at once, for those who are connected.
    let mistake =
        format!("{plain}{}[log]\nfilter = \"debug\"\n", rules("refuse", own).replace("user:", "user:x"));
    fs::write(&files[0], mistake).unwrap();
    let error = admin::ask(&socket, "reload").unwrap_err().to_string();
    assert!(
        error.contains("namespaces[1].write: there is no user `x") && error.contains("nothing was changed"),
        "{error}"
    );
    assert_eq!(refusal(add(&client, "free")), None);
    fs::write(&files[0], format!("{plain}{}", rules("refuse", own))).unwrap();
    let reloaded = admin::ask(&socket, "reload").unwrap();
    assert_eq!(reloaded["needs_restart"].as_array().unwrap().len(), 0, "{reloaded}");
    assert_eq!(refusal(add(&client, "closed/a")), None);
    assert_eq!(refusal(add(&client, "free")), Some(Refusal::Undeclared));
    assert_eq!(refusal(add(&client, "limits/c")), Some(Refusal::NamespaceFull));

    wait::until("the counters", CONVERGE_TIMEOUT, || {
        let counters = admin::counters(&socket)?;
        for name in ["denied_access", "denied_kind", "denied_undeclared", "denied_full"] {
            anyhow::ensure!(counters[name] > 0, "{name} is 0");
        }
        Ok(())
    })
    .unwrap();
}
