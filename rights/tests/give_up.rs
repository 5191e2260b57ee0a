//! Processes of one thread that give up their rights: what the kernel says of them afterwards, and what they can do no more.
//!
//! Each case is this program started again, because nothing leads back. Needs root; elsewhere it says that it was skipped.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, ExitCode};

use lattice_rights::{
    Account, CapabilitySet, act_as, act_as_root, filter_system_calls, give_up, without_capabilities,
};

/// Of nobody; the last one is a group that it is in beside its own.
fn account() -> Account {
    Account { uid: 65_534, gid: 65_533, groups: vec![65_533, 12] }
}

const CASES: &[(&str, fn())] = &[
    ("a user for good", a_user_for_good),
    ("one capability is kept", one_capability_is_kept),
    ("root without capabilities", root_without_capabilities),
    ("not with two threads", not_with_two_threads),
    ("acting as a user and back", acting_as_a_user_and_back),
    ("laid down and taken up", laid_down_and_taken_up),
    ("no programs are started", no_programs_are_started),
];

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    if let Some((_, case)) = CASES.iter().find(|(name, _)| Some(*name) == argument.as_deref()) {
        case();
        return ExitCode::SUCCESS;
    }
    if !lattice_rights::is_root() {
        println!("skipped: only root has rights to give up");
        return if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let this = std::env::current_exe().expect("own program");
    let mut failed = 0;
    for (name, _) in CASES {
        let ok = Command::new(&this).arg(name).status().is_ok_and(|status| status.success());
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        failed += usize::from(!ok);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `/proc/self/status`, by its fields.
fn status() -> HashMap<String, String> {
    let text = fs::read_to_string("/proc/self/status").expect("every Linux has it");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

fn assert_status(expected: &[(&str, &str)]) {
    let status = status();
    for (name, value) in expected {
        assert_eq!(status.get(*name).map(String::as_str), Some(*value), "{name}");
    }
}

const NONE: &str = "0000000000000000";
const BPF: &str = "0000008000000000";

fn a_user_for_good() {
    assert!(fs::read("/etc/shadow").is_ok(), "root reads it");
    give_up(Some(&account()), CapabilitySet::empty()).expect("root may");
    assert_status(&[
        ("Uid", "65534 65534 65534 65534"),
        ("Gid", "65533 65533 65533 65533"),
        ("Groups", "12 65533"),
        ("CapInh", NONE),
        ("CapPrm", NONE),
        ("CapEff", NONE),
        ("CapBnd", NONE),
        ("CapAmb", NONE),
        ("NoNewPrivs", "1"),
        ("Threads", "1"),
    ]);
    assert!(fs::read("/etc/shadow").is_err());
    assert!(act_as_root().is_err());
    give_up(None, CapabilitySet::empty()).expect("nothing is left, and that is so");
}

fn one_capability_is_kept() {
    give_up(Some(&account()), CapabilitySet::BPF).expect("root may");
    assert_status(&[("Uid", "65534 65534 65534 65534"), ("CapPrm", BPF), ("CapEff", BPF), ("CapBnd", NONE)]);
    assert!(act_as_root().is_err());
}

fn root_without_capabilities() {
    give_up(None, CapabilitySet::empty()).expect("root may");
    assert_status(&[
        ("Uid", "0 0 0 0"),
        ("CapPrm", NONE),
        ("CapEff", NONE),
        ("CapBnd", NONE),
        ("NoNewPrivs", "1"),
    ]);
    assert!(act_as(&account()).is_err());
}

fn not_with_two_threads() {
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv());
    let told = give_up(Some(&account()), CapabilitySet::empty())
        .expect_err("the other one would keep its rights")
        .to_string();
    assert!(told.ends_with("and there are 2"), "{told}");
    assert_status(&[("Uid", "0 0 0 0"), ("NoNewPrivs", "0")]);
    drop(end);
    assert!(thread.join().is_ok());
}

fn acting_as_a_user_and_back() {
    let home = tempfile::tempdir().expect("a directory");
    let own = |path: &Path| {
        File::create(path).and_then(|file| file.metadata()).map(|found| (found.uid(), found.gid()))
    };
    std::os::unix::fs::chown(home.path(), Some(65_534), None).expect("root may");
    act_as(&account()).expect("root may");
    assert_eq!(own(&home.path().join("a")).ok(), Some((65_534, 65_533)));
    assert!(fs::read("/etc/shadow").is_err());
    act_as_root().expect("the way back is open");
    assert!(fs::read("/etc/shadow").is_ok());
    give_up(Some(&account()), CapabilitySet::empty()).expect("root again");
    assert!(act_as_root().is_err());
}

fn laid_down_and_taken_up() {
    let home = tempfile::tempdir().expect("a directory");
    let theirs = home.path().join("theirs");
    fs::write(&theirs, "x").expect("own directory");
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).expect("own file");
    std::os::unix::fs::chown(&theirs, Some(65_534), None).expect("root may");
    let reads = || File::open(&theirs).is_ok();
    assert!(reads());
    assert!(!without_capabilities(reads).expect("own capabilities"));
    assert!(reads());
}

fn no_programs_are_started() {
    let home = tempfile::tempdir().expect("a directory");
    give_up(Some(&Account { uid: 0, gid: 0, groups: Vec::new() }), CapabilitySet::empty()).expect("root may");
    filter_system_calls().expect("this kernel has seccomp");
    assert_status(&[("Seccomp", "2"), ("NoNewPrivs", "1")]);
    let refused = Command::new("/bin/true").spawn().expect_err("not on the list");
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    // What is left is enough for threads, files and sockets.
    let path = home.path().join("file");
    let written = std::thread::spawn(move || fs::write(&path, b"x").and_then(|()| fs::read(path)));
    assert_eq!(written.join().expect("no panic").expect("files"), b"x");
    std::os::unix::net::UnixStream::pair().expect("sockets");
    std::net::UdpSocket::bind("127.0.0.1:0").expect("sockets");
}
