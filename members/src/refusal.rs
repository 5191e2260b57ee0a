//! Why a session is not made. The side that refuses logs it and closes the connection with code and text, which the other
//! side logs: whoever looks at either host sees the reason.

use std::net::{IpAddr, SocketAddr};

use quinn::{ConnectionError, VarInt};

use crate::hello::VERSION;
use crate::pki::Subject;

/// Bytes of a reason that is taken from a peer.
const MAX_TEXT_BYTES: usize = 300;

/// A reason to have no session, for the other node to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another version of the control protocol.
    #[error("it speaks version {theirs} of the control protocol, this node {VERSION}: upgrade the older one")]
    Version {
        /// The other one's.
        theirs: u16,
    },
    /// What came is no hello.
    #[error("what it says is no hello: {0}")]
    Malformed(String),
    /// No hello came.
    #[error("it said nothing for too long")]
    Silent,
    /// It is of another cluster.
    #[error("it is of cluster {theirs}, this node of {ours}")]
    Cluster {
        /// The other one's.
        theirs: String,
        /// This node's.
        ours: String,
    },
    /// Its certificate is another node's.
    #[error(
        "its certificate is for {certificate}, but it says that it is {claimed}: give it its own certificate (security.directory)"
    )]
    Certificate {
        /// Whose certificate it shows.
        certificate: Subject,
        /// Who it says that it is.
        claimed: Subject,
    },
    /// Its certificate names no node.
    #[error("its certificate {0}")]
    NoNode(String),
    /// It has this node's own id.
    #[error(
        "it has the node id {node} of this node ({name} at {address}): every node needs an id of its own"
    )]
    OwnId {
        /// The id.
        node: u16,
        /// This node's name.
        name: String,
        /// This node's address.
        address: SocketAddr,
    },
    /// It is this very process: a seed that names this node.
    #[error("it is this node itself")]
    Myself,
    /// Another node with this id lives.
    #[error(
        "node id {node} is {name} at {address}, which lives: every node needs an id and a name of its own (if it was replaced, stop the old one)"
    )]
    Duplicate {
        /// The id.
        node: u16,
        /// The name of the one that was there first.
        name: String,
        /// Its address.
        address: SocketAddr,
    },
    /// Another node with this data address lives.
    #[error("its address {address} is also said to be node {node}'s, which lives")]
    Address {
        /// The address.
        address: IpAddr,
        /// The node that was there first.
        node: u16,
    },
    /// A setting differs that must be the same everywhere.
    #[error("its {setting} is {theirs}, this node's {ours}: they must be the same on every node")]
    Setting {
        /// Which.
        setting: &'static str,
        /// The other one's.
        theirs: String,
        /// This node's.
        ours: String,
    },
    /// It can't seal its frames, and this node takes no others.
    #[error(
        "it is of a version that does not seal its frames, and this node takes no others: upgrade it, or set security.seal = false here until that is done"
    )]
    Unsealed,
    /// There is no room for one more member.
    #[error("there are {0} members already, the most that there can be")]
    Full(usize),
    /// There is a session between the two already, and it is the one to keep.
    #[error("there is a session already")]
    Already,
    /// This node ends.
    #[error("it is stopping")]
    Stopping,
}

impl Refusal {
    /// The code that the connection is closed with: part of the protocol, never given another meaning.
    pub(crate) fn code(&self) -> VarInt {
        VarInt::from_u32(match self {
            Refusal::Stopping => 0,
            Refusal::Version { .. } => 1,
            Refusal::Malformed(_) => 2,
            Refusal::Silent => 3,
            Refusal::Cluster { .. } => 4,
            Refusal::Certificate { .. } => 5,
            Refusal::NoNode(_) => 6,
            Refusal::OwnId { .. } => 7,
            Refusal::Myself => 8,
            Refusal::Duplicate { .. } => 9,
            Refusal::Address { .. } => 10,
            Refusal::Setting { .. } => 11,
            Refusal::Full(_) => 12,
            Refusal::Already => 13,
            Refusal::Unsealed => 14,
        })
    }

    /// Whether it is a matter of course, of which nobody needs to be told.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self, Refusal::Myself | Refusal::Already | Refusal::Stopping)
    }
}

/// How a connection ended, for people; and whether it is a matter of course.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) text: String,
    pub(crate) is_quiet: bool,
    /// This node dialled itself.
    pub(crate) is_myself: bool,
}

impl End {
    pub(crate) fn of(error: &ConnectionError) -> Self {
        let loud = |text: String| End { text, is_quiet: false, is_myself: false };
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let code = close.error_code;
                let text = String::from_utf8_lossy(&close.reason[..close.reason.len().min(MAX_TEXT_BYTES)]);
                End {
                    text: format!("it refused this node: {}", text.escape_debug()),
                    is_quiet: [Refusal::Myself, Refusal::Already, Refusal::Stopping]
                        .iter()
                        .any(|quiet| quiet.code() == code),
                    is_myself: code == Refusal::Myself.code(),
                }
            }
            ConnectionError::ConnectionClosed(close) => loud(match alert(u64::from(close.error_code)) {
                Some(meaning) => format!("it refused this node's certificate: {meaning}"),
                None => format!("it ended the connection: {close}"),
            }),
            ConnectionError::TransportError(error) => loud(match alert(u64::from(error.code)) {
                Some(_) => format!("its certificate is refused: {}", explain(&error.reason)),
                None => format!("the connection failed: {error}"),
            }),
            ConnectionError::TimedOut => loud("no answer".to_owned()),
            error => End { text: error.to_string(), is_quiet: true, is_myself: false },
        }
    }
}

/// What a TLS alert in a QUIC error code (RFC 9001, 4.8) says, if it is one.
fn alert(code: u64) -> Option<&'static str> {
    Some(match u8::try_from(code.checked_sub(0x100)?).ok()? {
        42 => "bad certificate",
        43 => "not the sort of certificate that it takes",
        44 => "it was revoked",
        45 => "its time is over or has not begun (are both clocks right?)",
        46 => "unknown",
        48 => "it is not by an authority that the other node trusts",
        51 => "its signature does not hold",
        116 => "none was shown",
        _ => "TLS failed",
    })
}

/// What rustls says of a certificate, in this project's words where it has some.
fn explain(reason: &str) -> String {
    let meaning = [
        ("UnknownIssuer", "it is not by an authority that this node trusts (ca.pem in security.directory)"),
        ("Expired", "its time is over (renew it; are both clocks right?)"),
        ("expired", "its time is over (renew it; are both clocks right?)"),
        ("NotValidYet", "its time has not begun (are both clocks right?)"),
        ("no certificates", "none was shown"),
    ];
    match meaning.iter().find(|(word, _)| reason.contains(word)) {
        Some((_, meaning)) => (*meaning).to_owned(),
        None => reason.escape_debug().take(MAX_TEXT_BYTES).collect(),
    }
}
