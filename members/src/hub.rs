//! The one task that knows everybody: lets sessions in, carries SWIM's datagrams, dials who is missing, shows the view.
//!
//! ```text
//!   endpoint ──accept──> ┌─────┐ <──Note── tasks of the connections (session.rs)
//!   certificates' files  │ hub │ ──datagrams──> sessions
//!   100 ms, SWIM's timers└─────┘ ──View──> status, workers' peers
//! ```
//!
//! It runs on the control thread and never waits but for these. Everything that it keeps is bounded: members by
//! [`MAX_MEMBERS`], its inbox, the dials, the complaints.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use quinn::{Connection, Endpoint, Incoming};
use tokio::sync::{Semaphore, mpsc};

use crate::ask::Question;
use crate::dials::Dials;
use crate::hello::{Hello, Sealing};
use crate::judge::{Known, judge};
use crate::letter::Letter;
use crate::member::{Member, Session};
use crate::pair::PairKeys;
use crate::pki::{Credentials, Subject};
use crate::refusal::{End, Refusal};
use crate::session::{self, Arrival, Hands, Note};
use crate::swim::{State, Swim};
use crate::transport::{self, Admission, Gate};
use crate::view::{Complaints, MemberView, Pair};
use crate::watch::Watch;
use crate::{Asked, MAX_MEMBERS, Shared, unix_ms};

/// Notes that may wait for the hub.
pub(crate) const INBOX: usize = 1_024;
/// Handshakes under way at a time, those that this node dials not among them.
const MAX_HANDSHAKES: usize = 64;
/// Period of looking whom to dial, and of showing round trips.
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// What complaints about this node's own files are filed under.
const OWN_FILES: &str = "certificates";

/// See the module's documentation.
pub(crate) struct Hub {
    own: Hello,
    seeds: Vec<SocketAddr>,
    endpoint: Endpoint,
    client: quinn::ClientConfig,
    certificate_not_after_s: i64,
    watch: Watch,
    swim: Swim,
    members: BTreeMap<u16, Member>,
    dials: Dials,
    gate: Gate,
    handshakes: Arc<Semaphore>,
    complaints: Complaints,
    bad_datagrams: u64,
    handshakes_ignored: u64,
    inbox: mpsc::Receiver<Note>,
    notes: mpsc::Sender<Note>,
    key_life: Duration,
    /// Where members' questions go.
    asked: mpsc::Sender<Question>,
    shared: Arc<Shared>,
    began: Instant,
}

/// What a hub begins with.
pub(crate) struct Parts {
    pub(crate) own: Hello,
    pub(crate) seeds: Vec<SocketAddr>,
    pub(crate) endpoint: Endpoint,
    pub(crate) client: quinn::ClientConfig,
    pub(crate) credentials: Credentials,
    pub(crate) directory: PathBuf,
    pub(crate) swim: Swim,
    pub(crate) key_life: Duration,
    pub(crate) shared: Arc<Shared>,
    pub(crate) asked: mpsc::Sender<Question>,
    pub(crate) began: Instant,
}

impl Hub {
    pub(crate) fn new(parts: Parts) -> Self {
        let (notes, inbox) = mpsc::channel(INBOX);
        Self {
            own: parts.own,
            seeds: parts.seeds,
            endpoint: parts.endpoint,
            client: parts.client,
            certificate_not_after_s: parts.credentials.not_after_s,
            watch: Watch::new(parts.directory),
            swim: parts.swim,
            members: BTreeMap::new(),
            dials: Dials::default(),
            gate: Gate::new(Instant::now()),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            complaints: Complaints::default(),
            bad_datagrams: 0,
            handshakes_ignored: 0,
            inbox,
            notes,
            key_life: parts.key_life,
            shared: parts.shared,
            asked: parts.asked,
            began: parts.began,
        }
    }

    /// What the task of a connection needs.
    fn hands(&self) -> Hands {
        Hands { hub: self.notes.clone(), asked: self.asked.clone() }
    }

    /// Where to tell it something.
    pub(crate) fn notes(&self) -> mpsc::Sender<Note> {
        self.notes.clone()
    }

    /// Runs until the task is dropped.
    pub(crate) async fn run(mut self) {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let endpoint = self.endpoint.clone();
        loop {
            let swim_due = Duration::from_nanos(self.swim.deadline_ns());
            let swim_due =
                tokio::time::Instant::from_std(self.began + swim_due.min(self.now() + HOUSEKEEPING));
            tokio::select! {
                // In this order: what came is heard before time is let pass, so that an answer that waited while this
                // process stood still comes before the blame for its absence.
                biased;
                Some(note) = self.inbox.recv() => self.attend(note),
                () = self.shared.reload.notified() => self.reload(),
                () = self.shared.is_asked.notified() => self.answer_daemon(),
                Some(incoming) = endpoint.accept() => self.admit(incoming),
                () = tokio::time::sleep_until(swim_due) => self.swim.tick(self.now_ns()),
                _ = housekeeping.tick() => self.keep_house(),
            }
            self.send_datagrams();
            self.take_states();
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    fn attend(&mut self, note: Note) {
        match note {
            Note::Arrived(arrival) => self.judge(*arrival),
            Note::Datagram { session, node, bytes } => self.hear(session, node, &bytes),
            Note::Letter { session, node, letter } => self.read(session, node, letter),
            Note::Ended { session, node, end } => self.part(session, node, &end),
            Note::Failed { address, dialled, end } => self.failed(address, dialled, &end),
            // An error: nobody wants to know any more.
            Note::Find { node, found } => drop(found.send(self.session_with(node))),
        }
    }

    /// Lets a session in, or says why not.
    fn judge(&mut self, arrival: Arrival) {
        let Arrival { hello, certificate, connection, dialled, letters, verdict } = arrival;
        let known: BTreeMap<u16, Known<'_>> =
            self.members.iter().map(|(&node, member)| (node, member.as_known())).collect();
        let judged = judge(&self.own, &known, &hello, &certificate, dialled.is_some());
        let outcome = judged.map(|()| self.own_hello(Some(hello.node)));
        let is_in = outcome.is_ok();
        // An error: the connection is gone, which its end would tell.
        if verdict.send(outcome).is_ok() && is_in {
            if let Some(address) = dialled {
                self.dials.over(self.now(), address);
            }
            let session =
                Session { connection, letters, dialled_here: dialled.is_some(), heard: Instant::now() };
            self.let_in(hello, session);
        }
    }

    fn session_with(&self, node: u16) -> Option<Connection> {
        self.members.get(&node)?.session.as_ref().map(|session| session.connection.clone())
    }

    fn let_in(&mut self, hello: Hello, session: Session) {
        let (node, identity, dialled_here) = (hello.node, hello.identity(), session.dialled_here);
        let address = session.connection.remote_address().to_string();
        self.complaints.clear(&address);
        self.complaints.clear(&hello.control.to_string());
        tracing::info!(node, name = hello.name, %address, dialled_here, "session with a member");
        let remembered = hello.remembered_run;
        // A dead one lives again when SWIM says so.
        let state = self.swim.state_of(node).unwrap_or(State::Alive);
        let (keys, since_ms) = (PairKeys::default(), unix_ms());
        let member = Member { hello, session: Some(session), keys, state, since_ms };
        let mut is_same_run = false;
        if let Some(before) = self.members.insert(node, member) {
            is_same_run = self.succeed(node, before);
        }
        self.begin_seals(node, is_same_run);
        if let Some(run) = remembered {
            self.swim.outlive(self.now_ns(), run);
        }
        self.swim.met(self.now_ns(), identity);
        self.show();
    }

    /// Keeps what stays true of a member that has a new session. Returns whether it is the same run of it.
    fn succeed(&mut self, node: u16, before: Member) -> bool {
        if let Some(session) = before.session {
            session.connection.close(Refusal::Already.code(), b"there is a newer session");
        }
        let Some(member) = self.members.get_mut(&node) else { return false };
        let is_same_run = before.hello.instance == member.hello.instance;
        member.keys = before.keys;
        if is_same_run && before.state == member.state {
            member.since_ms = before.since_ms;
        }
        if (&before.hello.name, before.hello.control) != (&member.hello.name, member.hello.control) {
            tracing::warn!(
                node,
                before = %format_args!("{} at {}", before.hello.name, before.hello.control),
                now = %format_args!("{} at {}", member.hello.name, member.hello.control),
                "a node id that was dead has come back elsewhere"
            );
        }
        is_same_run
    }

    /// Hands over keys in a session that has begun.
    fn begin_seals(&mut self, node: u16, is_same_run: bool) {
        let (own, now) = (self.own.seal, self.now());
        let Some(member) = self.members.get_mut(&node) else { return };
        let either = [own, member.hello.seal];
        let is_sealed = either.contains(&Sealing::Required) && !either.contains(&Sealing::Unable);
        let letter = member.keys.begin(now, is_sealed, is_same_run);
        member.write(letter);
    }

    /// A member has said something of keys.
    fn read(&mut self, session: usize, node: u16, letter: Letter) {
        let now = self.now();
        let Some(member) = self.members.get_mut(&node).filter(|member| member.is_session(session)) else {
            return;
        };
        let answer = member.keys.hear(now, letter);
        member.write(answer);
        self.show();
    }

    /// The daemon has said something of keys.
    fn answer_daemon(&mut self) {
        let asked = std::mem::take(&mut *self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.now();
        for asked in asked {
            let Some(member) = self.members.get_mut(&asked.node()) else { continue };
            let letter = match asked {
                Asked::Told { key, .. } => member.keys.told(key),
                Asked::Worn { .. } => member.keys.roll(now),
                Asked::Unknown { .. } => member.keys.ask_again(now),
            };
            member.write(letter);
        }
    }

    /// What this node says of itself, to `node` if it is known who will hear it.
    fn own_hello(&self, node: Option<u16>) -> Hello {
        let remembered = self.swim.known().find(|(identity, _)| Some(identity.node) == node);
        Hello {
            run: self.swim.identity().run,
            remembered_run: remembered.map(|(identity, _)| identity.run),
            ..self.own.clone()
        }
    }

    fn hear(&mut self, session: usize, node: u16, bytes: &[u8]) {
        let Some(current) = self.members.get_mut(&node).and_then(|member| member.session.as_mut()) else {
            return;
        };
        if current.connection.stable_id() != session {
            return;
        }
        current.heard = Instant::now();
        if let Err(error) = self.swim.receive(self.now_ns(), node, bytes) {
            self.bad_datagrams += 1;
            let about = format!("node {node}");
            if self.complaints.note(&about, &error.to_string(), self.now()) {
                tracing::warn!(node, %error, "datagram dropped");
            }
        }
    }

    /// A session is over. What was known of the member stays.
    fn part(&mut self, session: usize, node: u16, end: &End) {
        let Some(member) = self.members.get_mut(&node) else { return };
        if member.is_session(session) {
            member.session = None;
            tracing::info!(node, name = member.hello.name, reason = end.text, "session is over");
            self.show();
        }
    }

    fn failed(&mut self, address: SocketAddr, dialled: bool, end: &End) {
        if dialled {
            self.dials.over(self.now(), address);
        }
        if end.is_myself && dialled {
            self.seeds.retain(|seed| *seed != address);
        }
        if !end.is_quiet && self.complaints.note(&address.to_string(), &end.text, self.now()) {
            tracing::warn!(%address, dialled, reason = end.text, "no session");
        }
    }

    fn admit(&mut self, incoming: Incoming) {
        let under_way = MAX_HANDSHAKES - self.handshakes.available_permits();
        let admission = self.gate.admit(Instant::now(), under_way, incoming.remote_address_validated());
        match (admission, Arc::clone(&self.handshakes).try_acquire_owned()) {
            (Admission::Accept, Ok(permit)) => {
                tokio::spawn(session::accept(incoming, permit, self.hands()));
            }
            // An error: it has been asked already, and is let go.
            (Admission::Retry, _) => drop(incoming.retry()),
            _ => {
                self.handshakes_ignored += 1;
                incoming.ignore();
            }
        }
    }

    /// Dials who is missing, looks at the certificates' files, and shows what has changed.
    fn keep_house(&mut self) {
        if self.watch.has_changed(self.now()) {
            self.reload();
        }
        let connected: Vec<SocketAddr> = self
            .members
            .values()
            .filter(|member| member.session.is_some())
            .map(|m| m.hello.control)
            .collect();
        let of_members = self.members.values().map(|member| member.hello.control);
        let of_swim = self.swim.known().map(|(identity, _)| identity.control).take(MAX_MEMBERS);
        let wanted: Vec<SocketAddr> = of_members
            .chain(of_swim)
            .chain(self.seeds.iter().copied())
            .filter(|address| !connected.contains(address) && *address != self.own.control)
            .collect();
        for address in self.dials.due(self.now(), wanted) {
            self.dial(address);
        }
        let (now, life) = (self.now(), self.key_life);
        for member in self.members.values_mut().filter(|member| member.session.is_some()) {
            let letter = member.keys.tick(now, life);
            member.write(letter);
        }
        self.show();
    }

    fn dial(&mut self, address: SocketAddr) {
        let known = self.swim.known().find(|(identity, _)| identity.control == address);
        let own = self.own_hello(known.map(|(identity, _)| identity.node));
        match self.endpoint.connect_with(self.client.clone(), address, crate::pki::TLS_NAME) {
            Ok(connecting) => {
                tokio::spawn(session::dial(connecting, address, own, self.hands()));
            }
            Err(error) => {
                let end = End { text: error.to_string(), is_quiet: false, is_myself: false };
                self.failed(address, true, &end);
            }
        }
    }

    /// Reads the certificates again. New handshakes use them; sessions that are there stay. Files that are no good are
    /// reported, and what was there before stays in use.
    fn reload(&mut self) {
        let outcome = self.watch.load().map_err(|error| error.to_string()).and_then(|credentials| {
            is_same_node(&credentials.subject, &self.own)?;
            let settings = transport::server_config(&credentials)
                .and_then(|server| Ok((server, transport::client_config(&credentials)?)));
            settings.map(|settings| (settings, credentials)).map_err(|error| error.to_string())
        });
        match outcome {
            Ok(((server, client), credentials)) => {
                self.endpoint.set_server_config(Some(server));
                self.client = client;
                self.certificate_not_after_s = credentials.not_after_s;
                self.complaints.clear(OWN_FILES);
                let days_left = crate::pki::days_left(credentials.not_after_s);
                tracing::info!(days_left, "certificates read anew: new sessions use them");
            }
            Err(text) => {
                if self.complaints.note(OWN_FILES, &text, self.now()) {
                    tracing::warn!(reason = text, "certificates not read: those from before stay in use");
                }
            }
        }
        self.show();
    }

    fn send_datagrams(&mut self) {
        while let Some((identity, bytes)) = self.swim.next_packet() {
            let session = self.members.get(&identity.node).and_then(|member| member.session.as_ref());
            if let Some(session) = session {
                // Refused when the connection is over: its end is on its way here.
                let _ = session.connection.send_datagram(bytes);
            }
        }
    }

    /// Takes over from SWIM how members are.
    fn take_states(&mut self) {
        let mut is_news = false;
        for (identity, state) in self.swim.known() {
            let Some(member) = self.members.get_mut(&identity.node) else { continue };
            if member.state == state {
                continue;
            }
            let (name, before) = (&member.hello.name, member.state);
            match state {
                State::Suspect => tracing::info!(node = identity.node, name, "member is suspect"),
                State::Dead => tracing::warn!(node = identity.node, name, "member is dead; its state stays"),
                State::Alive => tracing::info!(node = identity.node, name, ?before, "member is alive"),
            }
            (member.state, member.since_ms) = (state, unix_ms());
            is_news = true;
        }
        if is_news {
            self.show();
        }
    }

    /// Publishes the view, and says so if it has changed.
    fn show(&mut self) {
        let now = self.now();
        let members: Vec<_> = self.members.values().map(|member| member.view(now)).collect();
        let pairs: Vec<Pair> = self.members.values().map(Member::pair).collect();
        let complaints = self.complaints.texts(self.now());
        let mut view = self.shared.view.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = view.members.iter().map(essence).ne(members.iter().map(essence));
        view.members = members;
        view.complaints = complaints;
        view.certificate_not_after_s = self.certificate_not_after_s;
        (view.bad_datagrams, view.handshakes_ignored) = (self.bad_datagrams, self.handshakes_ignored);
        drop(view);
        let before = {
            let mut shown = self.shared.pairs.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *shown, pairs.clone())
        };
        if is_news || before != pairs {
            self.shared.changed.notify_one();
        }
    }
}

/// What of a member others have to act upon.
fn essence(member: &MemberView) -> (u16, String, std::net::IpAddr, State, bool) {
    (member.node, member.name.clone(), member.address, member.state, member.connected)
}

/// Certificates of another node would have every peer refuse this one.
pub(crate) fn is_same_node(subject: &Subject, own: &Hello) -> Result<(), String> {
    if (&subject.cluster, subject.node, &subject.name) == (&own.cluster, own.node, &own.name) {
        return Ok(());
    }
    Err(format!(
        "the certificate is for {subject}, but this is node {} ({}) of cluster {}: cluster.name, node.id and node.name must be what it says",
        own.node, own.name, own.cluster
    ))
}
