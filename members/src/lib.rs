//! Who is in the cluster: certificates, sessions between all daemons, and who of them lives.
//!
//! ```text
//!   latticectl cluster ── pki: authority, nodes' certificates
//!                              │
//!   daemon A                   ▼                                      daemon B
//!   ┌─────────┐   QUIC, TLS 1.3, both sides show certificates   ┌─────────┐
//!   │ hub     │ ──hello: who, where, what must agree──────────> │ hub     │
//!   │  judge  │ <──────────────────────hello, or a refusal───── │  judge  │
//!   │  swim   │ <════════════ datagrams: who lives ═══════════> │  swim   │
//!   └─────────┘                                                 └─────────┘
//!        └── View: members, their addresses, how they are ──> workers' peers, status
//! ```
//!
//! A daemon knows a few addresses to begin with, its seeds; one that answers is enough. Over it SWIM tells who else is
//! there, and each daemon makes a session with every other one: what it believes of a node it has from that node itself,
//! under its certificate.
//!
//! | module | |
//! |---|---|
//! | [`pki`] | the cluster's authority, and the certificates of its nodes |
//! | [`swim`] | who lives |
//! | `hello`, `judge`, `refusal` | what nodes tell each other, who is let in, why not |
//! | `transport`, `session` | QUIC: settings and bounds, one connection's way |
//! | `ask` | what daemons ask each other over a session |
//! | `member` | one of the others, as the hub keeps it |
//! | `letter`, `pair` | keys of sealed frames: handed over in sessions, by pair of nodes |
//! | `hub`, `dials`, `watch` | everybody; whom to dial; certificates that are replaced |
//! | `view` | what is shown |
//!
//! What can go wrong: a peer is refused, or refuses this node: both logs and [`View::complaints`] say why, and it is tried
//! again, ever more rarely. Nobody answers: the same. A member is dead: it is shown as such and dialled on; nothing that
//! it did is forgotten. No seed answers at the start: the daemon serves its clients, and goes on dialling.
//!
//! This room knows no engine, worker or configuration file.

#![forbid(unsafe_code)]

mod ask;
mod dials;
mod hello;
mod hub;
mod judge;
mod letter;
mod member;
mod pair;
pub mod pki;
mod refusal;
mod session;
pub mod swim;
mod transport;
mod view;
mod watch;

pub use ask::{AskError, MAX_ANSWER_BYTES, MAX_QUESTION_BYTES, Question};
pub use refusal::Refusal;
pub use view::{MemberView, Pair, SealView, View};

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc};

use hello::{Hello, Sealing};
use hub::{Hub, Parts};
use pki::{Credentials, PkiError};
use swim::{Identity, Swim, Timing};

/// Members that a node may have, itself not among them.
pub const MAX_MEMBERS: usize = 127;

/// Time for telling everybody that this node stops.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(200);

/// What a node is told of itself and of the way to the others.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster's name.
    pub cluster: String,
    /// This node's id.
    pub node: u16,
    /// This node's name.
    pub name: String,
    /// Where its sessions are made; with port 0 any free one.
    pub control: SocketAddr,
    /// Where its frames go.
    pub data: IpAddr,
    /// UDP port of shard 0.
    pub base_port: u16,
    /// Number of shards.
    pub shards: u16,
    /// Version of frames.
    pub wire: u16,
    /// The epoch that it begins with: 48 bits.
    pub epoch: u64,
    /// Addresses to begin with. This node's own may be among them.
    pub seeds: Vec<SocketAddr>,
    /// Its certificate and the authorities that it trusts.
    pub directory: PathBuf,
    /// Frames have to be sealed; else they are where the other node wants it so.
    pub seal: bool,
    /// Time after which a key of sealed frames is replaced.
    pub key_life: Duration,
    /// Times of SWIM.
    pub timing: Timing,
    /// Random: tells this run from others, and decides whom to probe when.
    pub instance: u64,
}

/// Why a node could not take part. Nothing is open.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// The certificate or the authorities can't be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The certificate is another node's.
    #[error("{0}")]
    Subject(String),
    /// TLS refuses the certificate or the key.
    #[error("TLS: {0}")]
    Tls(String),
    /// The socket could not be opened.
    #[error("can't listen for sessions on UDP {address}: {source}")]
    Socket {
        /// Its address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// This node's part in the cluster, as the daemon holds it. [`Members::run`] does the work.
pub struct Members {
    shared: Arc<Shared>,
    endpoint: quinn::Endpoint,
    control: SocketAddr,
    instance: u64,
    /// The way to the hub.
    notes: mpsc::Sender<session::Note>,
    questions: tokio::sync::Mutex<mpsc::Receiver<Question>>,
}

struct Shared {
    view: Mutex<View>,
    pairs: Mutex<Vec<Pair>>,
    changed: Notify,
    reload: Notify,
    /// What the daemon has to say of keys; a few for each member.
    asked: Mutex<BTreeSet<Asked>>,
    is_asked: Notify,
}

/// What the daemon says of the keys of sealed frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    /// All workers open with the key of this number.
    Told { node: u16, key: u32 },
    /// The key for what is sent to it is worn.
    Worn { node: u16 },
    /// Its frames have a key that is not known.
    Unknown { node: u16 },
}

impl Asked {
    fn node(self) -> u16 {
        match self {
            Asked::Told { node, .. } | Asked::Worn { node } | Asked::Unknown { node } => node,
        }
    }
}

impl Members {
    /// Reads the certificates and opens the endpoint. The future is the hub: it does everything, and must be run on the
    /// same tokio runtime until the node leaves.
    ///
    /// # Errors
    /// [`MembersError`].
    pub fn open(options: Options) -> Result<(Self, impl Future<Output = ()> + Send + use<>), MembersError> {
        let credentials = Credentials::load(&options.directory)?;
        let mut own = Hello {
            cluster: options.cluster,
            node: options.node,
            name: options.name,
            instance: options.instance,
            run: unix_ms(),
            control: options.control,
            data: options.data,
            base_port: options.base_port,
            shards: options.shards,
            wire: options.wire,
            epoch: options.epoch,
            seal: if options.seal { Sealing::Required } else { Sealing::Offered },
            remembered_run: None,
        };
        hub::is_same_node(&credentials.subject, &own).map_err(MembersError::Subject)?;
        let client = transport::client_config(&credentials)?;
        let endpoint = transport::open(options.control, &credentials)?;
        own.control = endpoint
            .local_addr()
            .map_err(|source| MembersError::Socket { address: options.control, source })?;
        let shared = Arc::new(Shared {
            view: Mutex::default(),
            pairs: Mutex::default(),
            changed: Notify::new(),
            reload: Notify::new(),
            asked: Mutex::default(),
            is_asked: Notify::new(),
        });
        let identity = Identity { node: own.node, run: own.run, control: own.control };
        let (control, own_endpoint, own_shared) = (own.control, endpoint.clone(), Arc::clone(&shared));
        let (asked, questions) = mpsc::channel(ask::MAX_WAITING);
        let hub = Hub::new(Parts {
            swim: Swim::new(identity, &options.timing, options.instance, 0),
            own,
            seeds: options.seeds,
            endpoint,
            client,
            credentials,
            directory: options.directory,
            key_life: options.key_life,
            shared,
            asked,
            began: Instant::now(),
        });
        let members = Self {
            shared: own_shared,
            endpoint: own_endpoint,
            control,
            instance: options.instance,
            notes: hub.notes(),
            questions: tokio::sync::Mutex::new(questions),
        };
        Ok((members, hub.run()))
    }

    /// Where sessions with this node are made.
    #[must_use]
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// Which run of this node this is, as [`MemberView::run`] shows it elsewhere.
    #[must_use]
    pub fn run(&self) -> String {
        format!("{:016x}", self.instance)
    }

    /// What is known now.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Completes when a member came, went, moved or changed its state, or a key did, since the last call.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// The keys of frames to and from each member, as workers have to have them now.
    #[must_use]
    pub fn pairs(&self) -> Vec<Pair> {
        self.shared.pairs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All workers open with the key of this number: the member may seal with it.
    pub fn key_told(&self, node: u16, key: u32) {
        self.order(Asked::Told { node, key });
    }

    /// The key for what is sent to a member was used so much that it is to be replaced.
    pub fn key_worn(&self, node: u16) {
        self.order(Asked::Worn { node });
    }

    /// Frames of a member came with a key that is not known. It is asked for another one, if that lasts.
    pub fn key_unknown(&self, node: u16) {
        self.order(Asked::Unknown { node });
    }

    fn order(&self, asked: Asked) {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(asked);
        self.shared.is_asked.notify_one();
    }

    /// Reads the certificates again, without waiting until it is noticed that they have changed.
    pub fn reload(&self) {
        self.shared.reload.notify_one();
    }

    /// Ends all sessions with the reason that this node stops, and waits a moment until that has been sent.
    pub async fn leave(&self) {
        let refusal = Refusal::Stopping;
        self.endpoint.close(refusal.code(), refusal.to_string().as_bytes());
        // Over or not: peers that did not hear it notice the silence.
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

/// Unix time in milliseconds; a clock before 1970 counts as 1970.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
