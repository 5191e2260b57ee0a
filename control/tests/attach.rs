//! The admin socket against peers that don't keep to its rules.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use support::{Dev, PATIENCE, connect, is_closed};

const MAX_LINE_BYTES: usize = 64 * 1024;

/// Sends a line and reads the answer.
fn ask(stream: &mut BufReader<UnixStream>, line: &[u8]) -> Value {
    stream.get_mut().write_all(line).expect("the daemon reads");
    stream.get_mut().write_all(b"\n").expect("the daemon reads");
    let mut answer = String::new();
    stream.read_line(&mut answer).expect("an answer");
    serde_json::from_str(&answer).expect("a JSON line")
}

/// Waits until only the clients with these numbers are attached.
fn wait_for_clients(stream: &mut BufReader<UnixStream>, expected: &[&Value]) {
    let began = Instant::now();
    loop {
        let status = ask(stream, b"{\"op\":\"status\"}");
        let clients: Vec<_> =
            status["clients"].as_array().into_iter().flatten().map(|c| &c["client"]).collect();
        if clients == expected {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{clients:?} are attached, not {expected:?}");
    }
}

/// Attaches: the reply and the descriptors that came with it.
fn attach(stream: &mut UnixStream) -> (Value, Vec<OwnedFd>) {
    stream.write_all(b"{\"op\":\"attach\"}\n").expect("the daemon reads");
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(65))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(&*stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .expect("a reply");
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let reply = bytes[..received.bytes].strip_suffix(b"\n").expect("a whole line");
    (serde_json::from_slice(reply).expect("a JSON line"), descriptors)
}

#[test]
fn an_attachment_brings_rings_and_a_wakeup_for_each_worker() {
    let dev = Dev::start();
    let mut stream = connect(&dev.socket());
    let (reply, descriptors) = attach(&mut stream);
    assert_eq!((&reply["ok"], &reply["workers"], &reply["shards"]), (&json!(true), &json!(1), &json!(4)));
    assert_eq!(reply["segment"], json!(dev.directory().join("segment")));
    let reader = lattice_segment::Reader::open(dev.directory().join("segment")).expect("a segment");
    assert_eq!(reply["incarnation"], json!(format!("{:016x}", reader.incarnation())));
    assert_eq!(descriptors.len(), 2);
    assert_eq!(lattice_segment::RingProducer::map(&descriptors[0]).expect("rings").len(), 1);

    let mut stream = BufReader::new(stream);
    assert_eq!(ask(&mut stream, b"{\"op\":\"attach\"}")["code"], json!("already-attached"));
    let status = ask(&mut stream, b"{\"op\":\"status\"}");
    let clients = status["clients"].as_array().expect("a list");
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0]["pid"], json!(std::process::id()));
    assert_eq!(clients[0]["client"], reply["client"]);
}

#[test]
fn a_client_that_leaves_is_forgotten() {
    let dev = Dev::start();
    let mut stream = connect(&dev.socket());
    let _rings = attach(&mut stream);
    drop(stream);
    let mut asker = BufReader::new(connect(&dev.socket()));
    wait_for_clients(&mut asker, &[]);
}

#[test]
fn garbage_is_answered_and_then_closed_and_nobody_else_notices() {
    let dev = Dev::start();
    let mut witness = BufReader::new(connect(&dev.socket()));
    let lines: [&[u8]; 8] = [
        b"",
        b"hello",
        b"{\"op\":\"Attach\"}",
        b"{\"op\":[]}",
        b"\xff\xfe\x00",
        b"{\"op\":\"attach\"",
        b"[[[[[[[[[[[[[[[[[[[[",
        b"{\"op\":\"shutdown\"}",
    ];
    let mut stream = BufReader::new(connect(&dev.socket()));
    for line in lines {
        let answer = ask(&mut stream, line);
        assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!("bad-request")), "{line:?}");
    }
    assert!(is_closed(&mut stream), "the eighth was the last");
    let status = ask(&mut witness, b"{\"op\":\"status\"}");
    assert_eq!(status["ok"], json!(true));
    assert_eq!(status["counters"]["admin_bad_lines"], json!(8));
}

#[test]
fn a_line_without_an_end_is_cut_off() {
    let dev = Dev::start();
    let mut stream = BufReader::new(connect(&dev.socket()));
    // Exactly as long as a line may be, but without its end.
    stream.get_mut().write_all(&vec![b'x'; MAX_LINE_BYTES]).expect("the daemon reads");
    let mut answer = String::new();
    stream.read_line(&mut answer).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("a JSON line");
    assert_eq!(answer["code"], json!("line-too-long"));
    assert!(is_closed(&mut stream));

    // One byte less is a line like any other.
    let mut stream = BufReader::new(connect(&dev.socket()));
    let mut longest = b"{\"op\":\"converged\",\"x\":\"".to_vec();
    longest.resize(MAX_LINE_BYTES - 3, b'x');
    longest.extend_from_slice(b"\"}");
    assert_eq!(ask(&mut stream, &longest)["converged"], json!(true));
}

#[test]
fn half_a_line_and_an_end_of_file_do_no_harm() {
    let dev = Dev::start();
    let mut stream = connect(&dev.socket());
    stream.write_all(b"{\"op\":").expect("the daemon reads");
    stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    assert!(is_closed(&mut stream));
    assert_eq!(dev.ctl_ok(&["add", "n", "1"]), "1\n");
}

#[test]
fn a_client_that_writes_garbage_into_its_ring_loses_its_connection_and_nobody_else_notices() {
    let dev = Dev::start();
    let mut bystander = connect(&dev.socket());
    let (bystanders, _rings) = attach(&mut bystander);

    let mut stream = connect(&dev.socket());
    let (_, descriptors) = attach(&mut stream);
    let rings = File::from(descriptors.into_iter().next().expect("the rings"));
    let length = usize::try_from(rings.metadata().expect("a file").len()).expect("it fits memory");
    rings.write_all_at(&vec![0xff; length], 0).expect("the client may write its own rings");
    assert!(is_closed(&mut stream), "dismissed");

    assert_eq!(dev.ctl_ok(&["add", "n", "1"]), "1\n");
    let mut bystander = BufReader::new(bystander);
    wait_for_clients(&mut bystander, &[&bystanders["client"]]);
}

#[test]
fn too_many_connections_are_told_so() {
    let dev = Dev::start();
    // 256 clients (the default) and 16 more connections.
    let mut streams: Vec<_> = (0..272).map(|_| connect(&dev.socket())).collect();
    let mut last = BufReader::new(streams.pop().expect("the last one"));
    assert_eq!(ask(&mut last, b"{\"op\":\"converged\"}")["ok"], json!(true), "all of them are served");
    let mut refused = BufReader::new(connect(&dev.socket()));
    let mut answer = String::new();
    refused.read_line(&mut answer).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("a JSON line");
    assert_eq!(answer["code"], json!("too-many-clients"));
    assert!(is_closed(&mut refused));
}

/// Descriptors and mappings of the daemon.
fn held(daemon: &Dev) -> (usize, usize) {
    let process = std::path::PathBuf::from(format!("/proc/{}", daemon.pid()));
    let descriptors = std::fs::read_dir(process.join("fd")).expect("it runs").count();
    let maps = std::fs::read_to_string(process.join("maps")).expect("it runs");
    (descriptors, maps.lines().filter(|line| line.contains("memfd:")).count())
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind_and_can_not_flood_the_log() {
    const CLIENTS: usize = 1000;
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let daemon = Dev::start_logging_to(log.reopen().expect("the same file"));
    let before = held(&daemon);
    for index in 0..CLIENTS {
        let mut stream = connect(&daemon.socket());
        if index % 3 == 0 {
            // It goes before it has its reply.
            stream.write_all(b"{\"op\":\"attach\"}\n").expect("the daemon reads");
        } else {
            let (reply, _) = attach(&mut stream);
            assert_eq!(reply["ok"], true, "{index}: {reply}");
        }
    }
    let began = Instant::now();
    // What the start itself still held may go meanwhile.
    while held(&daemon).0 > before.0 || held(&daemon).1 > before.1 {
        assert!(began.elapsed() < PATIENCE, "{:?} are held, {before:?} before", held(&daemon));
        std::thread::yield_now();
    }
    let lines = std::fs::read_to_string(log.path()).expect("a log").lines().count();
    assert!(lines < CLIENTS / 4, "{lines} lines for {CLIENTS} clients");
}
