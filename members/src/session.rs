//! One connection: from its handshake over the hellos to its last datagram.
//!
//! ```text
//!   dial ──> TLS ──> open stream ──> say hello ──> hear hello ──> judged ──> datagrams, letters ──> end
//!   accept ─> TLS ─> take stream ──> hear hello ─> judged ──> say hello ──> datagrams, letters ──> end
//!              │                                     │
//!              └ the certificates                    └ by the hub, which knows everybody: crate::judge
//! ```
//!
//! Each connection has a task of its own, which tells the hub what happens in [`Note`]s. Until it is let in it may do
//! nothing, and has [`HELLO_TIMEOUT`] for it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, Incoming, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::ask::{self, Question};
use crate::hello::{self, Hello, ReadError};
use crate::letter::{self, Letter};
use crate::pki::Subject;
use crate::refusal::{End, Refusal};

/// Time from the first packet to the end of the hellos.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// Letters that may wait to be written: a pair of nodes has two or three to say at a time.
const LETTERS: usize = 16;

/// What the tasks of connections tell the hub.
#[derive(Debug)]
pub(crate) enum Note {
    /// Somebody with a good certificate said hello: may it stay?
    Arrived(Box<Arrival>),
    /// A datagram of a session.
    Datagram { session: usize, node: u16, bytes: Bytes },
    /// A letter of a session.
    Letter { session: usize, node: u16, letter: Letter },
    /// A session that was let in is over.
    Ended { session: usize, node: u16, end: End },
    /// A dial that came to nothing, or a session that was not let in.
    Failed { address: SocketAddr, dialled: bool, end: End },
    /// The daemon wants the session with a node.
    Find { node: u16, found: oneshot::Sender<Option<Connection>> },
}

/// Where the task of a connection tells what happens.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    pub(crate) hub: mpsc::Sender<Note>,
    pub(crate) asked: mpsc::Sender<Question>,
}

/// A session that waits to be let in.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) hello: Hello,
    pub(crate) certificate: Subject,
    pub(crate) connection: Connection,
    /// The address that was dialled, if this node did.
    pub(crate) dialled: Option<SocketAddr>,
    /// Where letters to it go, once it is let in.
    pub(crate) letters: mpsc::Sender<Letter>,
    /// The hub's answer: this node's own hello, or why not.
    pub(crate) verdict: oneshot::Sender<Result<Hello, Refusal>>,
}

/// Dials an address and serves the session until it ends. `own` is what this node says of itself.
pub(crate) async fn dial(connecting: quinn::Connecting, address: SocketAddr, own: Hello, hands: Hands) {
    let shaken = async {
        let connection = connecting.await.map_err(|error| End::of(&error))?;
        let answered = async {
            let (mut send, mut recv) = connection.open_bi().await?;
            // An error here shows in the answer, which says more.
            let _ = send.write_all(&own.encode()).await;
            Ok::<_, ConnectionError>((hello::read(&mut recv).await, Streams { send, recv }))
        };
        let (read, streams) = answered.await.map_err(|error| End::of(&error))?;
        let hello = heard(&connection, read)?;
        let node = hello.node;
        let (_, letters) = introduce(&connection, hello, Some(address), &hands.hub).await?;
        Ok(Shaken { connection, node, streams, letters })
    };
    finish(shaken, address, true, &hands).await;
}

/// Takes a connection that somebody else made, and serves the session until it ends. `_permit` counts it as a handshake
/// until then.
pub(crate) async fn accept(incoming: Incoming, permit: OwnedSemaphorePermit, hands: Hands) {
    let address = incoming.remote_address();
    let shaken = async {
        let connection = incoming.await.map_err(|error| End::of(&error))?;
        let (mut send, mut recv) = connection.accept_bi().await.map_err(|error| End::of(&error))?;
        let hello = heard(&connection, hello::read(&mut recv).await)?;
        let node = hello.node;
        let (own, letters) = introduce(&connection, hello, None, &hands.hub).await?;
        // An error here ends the connection, which is noticed below.
        let _ = send.write_all(&own.encode()).await;
        drop(permit);
        Ok(Shaken { connection, node, streams: Streams { send, recv }, letters })
    };
    finish(shaken, address, false, &hands).await;
}

/// A session that was let in.
struct Shaken {
    connection: Connection,
    node: u16,
    streams: Streams,
    letters: mpsc::Receiver<Letter>,
}

/// Kept open: keys of sealed frames are handed over here.
struct Streams {
    send: SendStream,
    recv: RecvStream,
}

/// The other node's hello, or the end of the connection: with a reason if what came is none.
fn heard(connection: &Connection, read: Result<Hello, ReadError>) -> Result<Hello, End> {
    match read {
        Ok(hello) => Ok(hello),
        Err(ReadError::Refused(refusal)) => Err(refuse(connection, &refusal)),
        Err(ReadError::Ended(error)) => Err(match connection.close_reason() {
            Some(reason) => End::of(&reason),
            None => refuse(connection, &Refusal::Malformed(error.to_string())),
        }),
    }
}

/// Asks the hub whether the node may stay; its answer is this node's hello, and letters to be written.
async fn introduce(
    connection: &Connection,
    hello: Hello,
    dialled: Option<SocketAddr>,
    hub: &mpsc::Sender<Note>,
) -> Result<(Hello, mpsc::Receiver<Letter>), End> {
    let certificate = match certificate(connection) {
        Ok(certificate) => certificate,
        Err(refusal) => return Err(refuse(connection, &refusal)),
    };
    let (verdict, answer) = oneshot::channel();
    let (letters, to_write) = mpsc::channel(LETTERS);
    let arrival = Arrival { hello, certificate, connection: connection.clone(), dialled, letters, verdict };
    // An error of either channel: the hub has ended.
    let _ = hub.send(Note::Arrived(Box::new(arrival))).await;
    match answer.await.unwrap_or(Err(Refusal::Stopping)) {
        Ok(own) => Ok((own, to_write)),
        Err(refusal) => Err(refuse(connection, &refusal)),
    }
}

/// What the certificate says that the other side has shown, and whose signature has been checked.
fn certificate(connection: &Connection) -> Result<Subject, Refusal> {
    let shown =
        connection.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
    let first = shown.and_then(|shown| shown.into_iter().next());
    let certificate = first.ok_or_else(|| Refusal::NoNode("was not shown".to_owned()))?;
    Subject::of_certificate(&certificate).map_err(Refusal::NoNode)
}

fn refuse(connection: &Connection, refusal: &Refusal) -> End {
    let text = refusal.to_string();
    connection.close(refusal.code(), text.as_bytes());
    End {
        text: format!("refused: {text}"),
        is_quiet: refusal.is_quiet(),
        is_myself: *refusal == Refusal::Myself,
    }
}

/// Serves what was let in, tells the hub of what was not.
async fn finish(
    shaken: impl Future<Output = Result<Shaken, End>>,
    address: SocketAddr,
    dialled: bool,
    hands: &Hands,
) {
    let outcome = tokio::time::timeout(HELLO_TIMEOUT, shaken).await;
    let end = match outcome {
        Ok(Ok(shaken)) => return serve(shaken, hands).await,
        Ok(Err(end)) => end,
        Err(_) => End { text: "no answer".to_owned(), is_quiet: false, is_myself: false },
    };
    // An error: the hub has ended.
    let _ = hands.hub.send(Note::Failed { address, dialled, end }).await;
}

/// Hands datagrams and letters to the hub and questions to the daemon, and writes the hub's letters, until the connection ends.
async fn serve(shaken: Shaken, hands: &Hands) {
    let (Shaken { connection, node, mut streams, mut letters }, hub) = (shaken, &hands.hub);
    let session = connection.stable_id();
    let end = tokio::select! {
        end = datagrams(&connection, node, hub) => end,
        end = questions(&connection, node, &hands.asked) => end,
        refusal = letters_in(&mut streams.recv, session, node, hub) => refuse(&connection, &refusal),
        never = letters_out(&mut streams.send, &mut letters) => match never {},
    };
    // An error: the hub has ended.
    let _ = hands.hub.send(Note::Ended { session, node, end }).await;
}

async fn datagrams(connection: &Connection, node: u16, hub: &mpsc::Sender<Note>) -> End {
    let session = connection.stable_id();
    loop {
        match connection.read_datagram().await {
            // A full inbox loses it, as any network may.
            Ok(bytes) => drop(hub.try_send(Note::Datagram { session, node, bytes })),
            Err(error) => return End::of(&error),
        }
    }
}

async fn questions(connection: &Connection, node: u16, asked: &mpsc::Sender<Question>) -> End {
    loop {
        match ask::next(connection).await {
            // As many at a time as a peer may have streams.
            Ok(stream) => drop(tokio::spawn(ask::serve(node, stream, asked.clone()))),
            Err(error) => return End::of(&error),
        }
    }
}

/// Completes when something comes that is no letter.
async fn letters_in(recv: &mut RecvStream, session: usize, node: u16, hub: &mpsc::Sender<Note>) -> Refusal {
    loop {
        match letter::read(recv).await {
            // An error: the hub has ended.
            Ok(Some(letter)) => drop(hub.send(Note::Letter { session, node, letter }).await),
            // The connection's end says why.
            Ok(None) => std::future::pending().await,
            Err(refusal) => return refusal,
        }
    }
}

async fn letters_out(send: &mut SendStream, letters: &mut mpsc::Receiver<Letter>) -> Infallible {
    while let Some(letter) = letters.recv().await {
        // An error: the connection has ended, and says so.
        let _ = send.write_all(&letter.encode()).await;
    }
    std::future::pending().await
}
