//! Attaching to sockets that are not, or not quite, a latticed.

mod fake;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use fake::{FakeDaemon, State, send_with_descriptors};
use lattice_client::{Client, ClientOptions, Error};

/// Connects to a socket on which `serve` answers the first client.
fn connect_to(serve: impl FnOnce(UnixStream) + Send) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0u8; 64];
            assert!(stream.read(&mut request).unwrap() > 0);
            serve(stream);
        });
        let options = ClientOptions::new().connect_timeout(Duration::from_millis(200));
        Client::connect_with(&socket, options).expect_err("an error")
    })
}

#[test]
fn a_refusal_carries_the_daemons_words() {
    let error = connect_to(|mut stream| {
        stream.write_all(b"{\"ok\":false,\"error\":\"not on the list\",\"code\":\"forbidden\"}\n").unwrap();
    });
    assert!(matches!(&error, Error::Attach { code, .. } if code == "forbidden"), "{error}");
    assert!(error.to_string().contains("not on the list"));
}

#[test]
fn other_servers_are_recognised_as_such() {
    let error = connect_to(|mut stream| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    let error = connect_to(drop);
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    // Endless without a newline: given up at the limit, not collected for ever.
    let error = connect_to(|mut stream| while stream.write_all(&[b'x'; 4096]).is_ok() {});
    assert!(matches!(&error, Error::Protocol(text) if text.contains("65536")), "{error}");
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_time() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let error = connect_to(move |stream| {
        // Holds the connection until the client has given up.
        let _ = wait.recv_timeout(Duration::from_millis(400));
        drop(stream);
    });
    drop(done);
    assert!(matches!(&error, Error::Protocol(text) if text.contains("no reply within")), "{error}");
}

#[test]
fn a_reply_without_usable_descriptors_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start(dir.path(), 1, State::default());
    let line = format!("{{\"ok\":true,\"segment\":{:?},\"workers\":1,\"shards\":4}}\n", daemon.segment);
    let error = connect_to(|mut stream| stream.write_all(line.as_bytes()).unwrap());
    assert!(matches!(&error, Error::Protocol(text) if text.contains("no ring descriptor")), "{error}");
    let file = File::open("/dev/null").unwrap();
    let error = connect_to(|stream| send_with_descriptors(&stream, line.as_bytes(), &[file.as_fd()]));
    assert!(matches!(&error, Error::Protocol(text) if text.contains("rings")), "{error}");
    let nowhere = "{\"ok\":true,\"segment\":\"/nowhere/segment\",\"workers\":1,\"shards\":4}\n";
    let error = connect_to(|stream| send_with_descriptors(&stream, nowhere.as_bytes(), &[file.as_fd()]));
    assert!(matches!(error, Error::Open { .. }), "{error}");
}

#[test]
fn a_reply_in_pieces_is_put_together() {
    let error = connect_to(|mut stream| {
        for byte in b"{\"ok\":false,\"code\":\"slow\"}\n" {
            stream.write_all(&[*byte]).unwrap();
        }
    });
    assert!(matches!(&error, Error::Attach { code, .. } if code == "slow"), "{error}");
}
