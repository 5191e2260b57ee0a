//! Questions between members, over their session: one stream for each, a question, an answer, and its end.
//!
//! ```text
//!   asking ──question, end──> asked        a stream of the asking side's; the hello's stream stays as it is
//!          <──answer, end──── asked
//! ```
//!
//! This room carries bytes: what they mean is the daemon's business. Whoever asks has shown a certificate of the cluster. What
//! it can make this node do is bounded all the same: the length of questions and answers, how many streams a peer may have
//! open ([`crate::transport`]), how many questions wait to be taken, and how long one may take.
//!
//! What can go wrong: there is no session, the other side does not answer in time (one of an earlier version does not
//! know questions), or it breaks the stream off because it has too many. Each is an [`AskError`].

use std::time::Duration;

use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot};

use crate::Members;
use crate::session::Note;

/// Bytes of a question, at most.
pub const MAX_QUESTION_BYTES: usize = 64 << 10;
/// Bytes of an answer, at most.
pub const MAX_ANSWER_BYTES: usize = 2 << 20;
/// Questions that may wait for the daemon.
pub(crate) const MAX_WAITING: usize = 16;
/// Time that the daemon has for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Why a stream is broken off: the daemon did not answer.
const NOT_ANSWERED: quinn::VarInt = quinn::VarInt::from_u32(1);

/// A question of another member.
#[derive(Debug)]
pub struct Question {
    /// Who asks: its certificate says so.
    pub node: u16,
    /// What it asks.
    pub bytes: Vec<u8>,
    /// Where the answer goes. Dropped without one, the stream is broken off.
    pub answer: oneshot::Sender<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no such member, or no session with it.
    #[error("there is no session with node {0}: it is down, or can't be reached")]
    NoSession(u16),
    /// Nothing came in time.
    #[error("node {node} did not answer within {timeout:?}")]
    Timeout {
        /// The node.
        node: u16,
        /// How long was waited.
        timeout: Duration,
    },
    /// The stream or the session ended first.
    #[error("node {node} gave no answer: {reason}")]
    BrokenOff {
        /// The node.
        node: u16,
        /// What QUIC says.
        reason: String,
    },
    /// The question is longer than [`MAX_QUESTION_BYTES`].
    #[error("a question of {0} bytes is too long")]
    TooLong(usize),
}

impl Members {
    /// Asks a member, and waits for its answer at most so long.
    ///
    /// # Errors
    /// [`AskError`]. The member may have acted on the question all the same.
    pub async fn ask(&self, node: u16, question: &[u8], timeout: Duration) -> Result<Vec<u8>, AskError> {
        if question.len() > MAX_QUESTION_BYTES {
            return Err(AskError::TooLong(question.len()));
        }
        let (found, connection) = oneshot::channel();
        // An error of either channel: the hub has ended, and with it every session.
        let _ = self.notes.send(Note::Find { node, found }).await;
        let connection = connection.await.ok().flatten().ok_or(AskError::NoSession(node))?;
        match tokio::time::timeout(timeout, over(&connection, question)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(AskError::BrokenOff { node, reason }),
            Err(_) => Err(AskError::Timeout { node, timeout }),
        }
    }

    /// The next question of another member; `None`: the hub has ended. For one listener.
    pub async fn next_question(&self) -> Option<Question> {
        self.questions.lock().await.recv().await
    }
}

async fn over(connection: &Connection, question: &[u8]) -> Result<Vec<u8>, String> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| error.to_string())?;
    send.write_all(question).await.map_err(|error| error.to_string())?;
    // An error: it was ended already, which nobody did.
    let _ = send.finish();
    recv.read_to_end(MAX_ANSWER_BYTES).await.map_err(|error| error.to_string())
}

/// Takes the next stream that the other side opens.
pub(crate) async fn next(connection: &Connection) -> Result<(SendStream, RecvStream), ConnectionError> {
    connection.accept_bi().await
}

/// Reads a question, has the daemon answer it, and writes the answer.
pub(crate) async fn serve(
    node: u16,
    (mut send, mut recv): (SendStream, RecvStream),
    questions: mpsc::Sender<Question>,
) {
    let answered = async {
        let bytes = recv.read_to_end(MAX_QUESTION_BYTES).await.ok()?;
        let (answer, coming) = oneshot::channel();
        // Full: others are asking already, and this one is told at once.
        questions.try_send(Question { node, bytes, answer }).ok()?;
        coming.await.ok().filter(|answer| answer.len() <= MAX_ANSWER_BYTES)
    };
    let answer = tokio::select! {
        answer = tokio::time::timeout(ANSWER_WITHIN, answered) => answer.ok().flatten(),
        // The other side does not wait any more: its next question has this one's place.
        _ = send.stopped() => None,
    };
    match answer {
        // An error of these: the other side does not want it any more.
        Some(answer) => {
            let _ = send.write_all(&answer).await;
            let _ = send.finish();
        }
        None => drop(send.reset(NOT_ANSWERED)),
    }
}
