//! A client that writes garbage into its rings, or into its connection, loses both. Nobody else notices.

mod common;

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use common::{Writer, assert_exact, clients, connect};
use lattice_cluster::fault::Dice;
use lattice_cluster::{Cluster, ClusterSpec, Fabric, IdleChoice, admin, wait};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

const TIMEOUT: Duration = Duration::from_secs(20);

/// An attached connection, without the client library's manners.
struct Hostile {
    stream: UnixStream,
    rings: File,
    wakeups: Vec<File>,
}

impl Hostile {
    fn attach(socket: &Path) -> Hostile {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(b"{\"op\":\"attach\"}\n").unwrap();
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(65))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags).unwrap();
        assert!(received.bytes > 0);
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                descriptors.extend(more);
            }
        }
        let mut files = descriptors.into_iter().map(File::from);
        let rings = files.next().expect("the rings come with the reply's first byte");
        Hostile { stream, rings, wakeups: files.collect() }
    }

    /// Overwrites everything from `offset` on, and wakes the workers to look at it.
    fn scribble(&mut self, offset: u64, mut byte: impl FnMut() -> u8) {
        let length = self.rings.metadata().unwrap().len();
        let garbage: Vec<u8> = (offset..length).map(|_| byte()).collect();
        self.rings.write_all_at(&garbage, offset).unwrap();
        for mut wakeup in &self.wakeups {
            wakeup.write_all(&1u64.to_ne_bytes()).unwrap();
        }
    }

    /// Whether the daemon has closed the connection.
    fn wait_dismissed(mut self) {
        let mut rest = Vec::new();
        // Until the end of the stream, or the read timeout, which is an error. A reset is an end too.
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "still attached: {error}")
            }
        }
    }
}

fn clients_faulted(socket: &Path) -> u64 {
    admin::counters(socket).unwrap()["clients_faulted"]
}

#[test]
fn garbage_in_a_ring_costs_its_client_the_connection_and_nobody_else_anything() {
    for idle in [IdleChoice::Yield, IdleChoice::Sleep] {
        let spec = ClusterSpec { hosts: 2, fabric: Fabric::Loopback, idle, ..ClusterSpec::default() };
        let mut cluster = Cluster::start(&spec).unwrap();
        let socket = cluster.hosts()[0].socket();
        let clients = clients(&cluster);
        let mut writers: Vec<Writer> =
            clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), 51)).collect();
        let attached = admin::client_pids(&socket).unwrap().len();
        let mut dice = Dice::new(52);
        let mut hostile = 0;
        std::thread::scope(|scope| {
            // The others write all the while; a write that fails or waits too long fails the test.
            for writer in &mut writers {
                scope.spawn(|| writer.run_for(Duration::from_secs(2)));
            }
            // Everything, or all but the memfd's header, or all but the first lines of the first ring.
            for offset in [0, 64, 128, 256, 1024] {
                for ones in [false, true] {
                    let mut client = Hostile::attach(&socket);
                    client.scribble(offset, || if ones { 0xff } else { dice.bits() as u8 });
                    hostile += 1;
                    if offset <= 128 {
                        client.wait_dismissed();
                    }
                }
            }
        });
        wait::until("the hostile clients to be gone", TIMEOUT, || {
            let now = admin::client_pids(&socket)?.len();
            anyhow::ensure!(now == attached, "{now} attached, {attached} before {hostile} hostile ones");
            Ok(())
        })
        .unwrap();
        assert!(clients_faulted(&socket) >= 2, "{} of {hostile}", clients_faulted(&socket));
        assert_exact(&cluster, &clients, &writers);
        assert!(cluster.daemon(0).is_running());
    }
}

#[test]
fn garbage_at_the_socket_is_refused_and_nobody_else_notices() {
    let spec = ClusterSpec { hosts: 1, fabric: Fabric::Loopback, ..ClusterSpec::default() };
    let cluster = Cluster::start(&spec).unwrap();
    let socket = cluster.hosts()[0].socket();
    let client = connect(&socket);
    let mut dice = Dice::new(53);
    let random: Vec<u8> = (0..1_000).map(|_| dice.bits() as u8).collect();
    let giant = vec![b'x'; 1 << 20];
    let lines: [&[u8]; 6] = [b"\n", b"{}\n", b"{\"op\":\"no-such\"}\n", b"[[[[[[\n", &random, &giant];
    for line in lines {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        // The daemon may hang up in the middle of a line that is too long.
        let _ = stream.write_all(line).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(read.is_err() || text.is_empty() || text.contains("\"ok\":false"), "{text}");
    }
    client.counter("after").unwrap().add_wait(1, common::WRITE_TIMEOUT).unwrap();
    assert!(cluster.fingerprints().is_ok());
}
