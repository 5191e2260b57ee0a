//! Whole nodes in one process, over QUIC on loopback: each with an address, certificates and a task of its own.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use tempfile::TempDir;
use tokio::task::AbortHandle;

use super::*;
use crate::pki::Authority;
use crate::session::Note;
use crate::swim::State;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at a view.
const LOOK: Duration = Duration::from_millis(5);
const DAYS: u32 = 30;

/// A directory of certificates, and the loopback addresses of one test: 127.`net`.0.`node`.
struct Place {
    home: TempDir,
    authority: Authority,
    net: u8,
}

impl Place {
    fn new(net: u8, nodes: usize) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let names: Vec<_> = (1..=nodes).map(|node| format!("host-{node}")).collect();
        let authority = Authority::create(&home.path().join("pki"), "demo", &names, DAYS).expect("made");
        Self { home, authority, net }
    }

    fn directory(&self, node: u16) -> PathBuf {
        self.home.path().join(format!("pki/host-{node}"))
    }

    fn address(&self, node: u16) -> SocketAddr {
        (Ipv4Addr::new(127, self.net, 0, node as u8), 7390).into()
    }

    fn options(&self, node: u16, seed: u16) -> Options {
        Options {
            cluster: "demo".to_owned(),
            node,
            name: format!("host-{node}"),
            control: self.address(node),
            data: self.address(node).ip(),
            base_port: 7400,
            shards: 4,
            wire: 3,
            epoch: 5,
            seeds: vec![self.address(seed)],
            directory: self.directory(node),
            seal: true,
            key_life: Duration::from_secs(600),
            timing: Timing::LAN,
            instance: rand::random_instance(),
        }
    }

    fn start(&self, node: u16, seed: u16) -> Node {
        Node::start(self.options(node, seed))
    }
}

mod rand {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Another number each time; the tests need no more of it.
    pub fn random_instance() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }
}

struct Node {
    members: Members,
    hub: AbortHandle,
}

impl Node {
    fn start(options: Options) -> Self {
        let (members, hub) = Members::open(options).expect("opened");
        Self { members, hub: tokio::spawn(hub).abort_handle() }
    }

    fn state(&self, node: u16) -> Option<State> {
        self.members.view().members.iter().find(|member| member.node == node).map(|member| member.state)
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&View) -> bool) {
        let began = Instant::now();
        while !is_so(&self.members.view()) {
            assert!(began.elapsed() < PATIENCE, "{what}: {:?}", self.members.view());
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn until_alive(&self, nodes: &[u16]) {
        let is_alive = |view: &View, node: &u16| {
            view.members.iter().any(|m| m.node == *node && m.connected && m.state == State::Alive)
        };
        self.until("all alive", |view| nodes.iter().all(|node| is_alive(view, node))).await;
    }

    async fn until_complaint(&self, text: &str) {
        self.until(text, |view| view.complaints.iter().any(|complaint| complaint.contains(text))).await;
    }

    /// Ends without a word, as a killed process does.
    async fn kill(self) {
        let endpoint = self.members.endpoint.clone();
        // Packets of the dying endpoint go nowhere from here on.
        endpoint.rebind(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound")).expect("rebound");
        self.hub.abort();
        let control = self.members.control();
        self.members.leave().await;
        drop((endpoint, self.members));
        let began = Instant::now();
        while UdpSocket::bind(control).is_err() {
            assert!(began.elapsed() < PATIENCE, "its address is not free");
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[tokio::test]
async fn three_join_by_one_seed_and_a_killed_one_is_dead_within_two_seconds() {
    let place = Place::new(101, 3);
    let a = place.start(1, 1);
    let b = place.start(2, 1);
    let c = place.start(3, 1);
    a.until_alive(&[2, 3]).await;
    b.until_alive(&[1, 3]).await;
    c.until_alive(&[1, 2]).await;
    let view = b.members.view();
    assert_eq!(view.complaints, [] as [&str; 0]);
    let seen = view.members.iter().find(|member| member.node == 3).expect("it is there");
    assert_eq!((seen.name.as_str(), seen.address), ("host-3", place.address(3).ip()));
    assert!(seen.rtt_us.is_some_and(|rtt| rtt > 0) && seen.epoch == "000000000005");

    c.kill().await;
    let began = Instant::now();
    a.until("its death", |_| a.state(3) == Some(State::Dead) && b.state(3) == Some(State::Dead)).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_millis(2_500), "{took:?}");
    assert_eq!(a.state(2), Some(State::Alive));

    // It comes back at its place, as another process.
    let c = place.start(3, 2);
    c.until_alive(&[1, 2]).await;
    a.until_alive(&[2, 3]).await;
}

#[tokio::test]
async fn a_node_that_stops_in_order_says_so() {
    let place = Place::new(102, 2);
    let (a, b) = (place.start(1, 1), place.start(2, 1));
    a.until_alive(&[2]).await;
    b.members.leave().await;
    b.hub.abort();
    a.until("the end of the session", |view| view.members.iter().all(|member| !member.connected)).await;
    assert_eq!(a.members.view().complaints, [] as [&str; 0]);
}

#[tokio::test]
async fn who_has_no_good_certificate_is_refused_and_both_sides_say_why() {
    let place = Place::new(103, 3);
    let a = place.start(1, 1);
    // Another authority.
    let foreign = Place::new(103, 2);
    let stranger = Node::start(Options { directory: foreign.directory(2), ..place.options(2, 1) });
    stranger.until_complaint("its certificate is refused: it is not by an authority").await;
    a.until_complaint("it refused this node's certificate: it is not by an authority").await;
    // One that the stranger would believe, because it has the right authority's certificate too, and nobody else.
    let both = TempDir::new().expect("a temporary directory");
    for (file, from) in [("node.pem", foreign.directory(2)), ("ca.pem", place.directory(2))] {
        std::fs::copy(from.join(file), both.path().join(file)).expect("copied");
    }
    let bundle = |directory: PathBuf| std::fs::read_to_string(directory.join("ca.pem")).expect("read");
    std::fs::write(both.path().join("ca.pem"), bundle(place.directory(2)) + &bundle(foreign.directory(2)))
        .expect("written");
    stranger.kill().await;
    let stranger = Node::start(Options { directory: both.path().to_owned(), ..place.options(2, 1) });
    stranger.until_complaint("it refused this node's certificate: it is not by an authority").await;
    a.until_complaint("its certificate is refused: it is not by an authority").await;
    // One whose time is over.
    place.authority.issue_expired("host-3").expect("issued");
    let expired = place.start(3, 1);
    expired.until_complaint("it refused this node's certificate: its time is over").await;
    a.until_complaint("its certificate is refused: its time is over").await;
    assert_eq!(a.members.view().members, []);
}

#[tokio::test]
async fn a_node_can_be_nobody_but_whom_its_certificate_names() {
    let place = Place::new(104, 3);
    let a = place.start(1, 1);
    // An honest daemon notices it by itself.
    let wrong = Options { node: 3, ..place.options(2, 1) };
    let error = Members::open(wrong).err().expect("refused");
    assert!(error.to_string().contains("the certificate is for node 2"), "{error}");
    // A dishonest one is refused.
    let credentials = Credentials::load(&place.directory(2)).expect("usable");
    let (mut notes, end) = lie(&place, &credentials, |own| own.node = 3).await;
    assert!(end.text.contains("its certificate is for node 2 (host-2)"), "{}", end.text);
    a.until_complaint("it says that it is node 3").await;
    assert!(notes.try_recv().is_err());
    // As is one of another cluster, or with other settings.
    let (_, end) = lie(&place, &credentials, |own| own.cluster = "other".to_owned()).await;
    assert!(end.text.contains("it is of cluster other, this node of demo"), "{}", end.text);
    let (_, end) = lie(&place, &credentials, |own| own.shards = 64).await;
    assert!(end.text.contains("cluster.shards"), "{}", end.text);
    assert_eq!(a.members.view().members, []);
}

/// Dials node 1 with the certificate of node 2 and a hello of one's own making; says how it ended.
async fn lie(
    place: &Place,
    credentials: &Credentials,
    change: impl FnOnce(&mut Hello),
) -> (tokio::sync::mpsc::Receiver<Note>, refusal::End) {
    let (address, control) = (place.address(1), place.address(2));
    let mut own = Hello { node: 2, name: "host-2".to_owned(), ..crate::hello::tests::hello(2) };
    (own.control, own.data) = (control, control.ip());
    change(&mut own);
    let endpoint =
        transport::open((Ipv4Addr::new(127, place.net, 0, 99), 0).into(), credentials).expect("opened");
    let client = transport::client_config(credentials).expect("settings");
    let connecting = endpoint.connect_with(client, address, pki::TLS_NAME).expect("dialled");
    let (hub, mut notes) = tokio::sync::mpsc::channel(4);
    let (asked, _) = tokio::sync::mpsc::channel(1);
    tokio::spawn(session::dial(connecting, address, own, session::Hands { hub, asked }));
    match notes.recv().await {
        Some(Note::Failed { end, .. }) => (notes, end),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_daemons_with_one_id_that_come_by_different_seeds_are_both_told() {
    let place = Place::new(112, 3);
    let (a, b) = (place.start(1, 1), place.start(2, 1));
    a.until_alive(&[2]).await;
    b.until_alive(&[1]).await;
    // Each seed hears of one of them first.
    let copy = |address: u16, seed| {
        let (control, data) = (place.address(address), place.address(address).ip());
        Node::start(Options { control, data, ..place.options(3, seed) })
    };
    let (first, second) = (copy(7, 1), copy(8, 2));
    // Whichever it is that each of the others holds for node 3, all of them say that there are two.
    for node in [&a, &b, &first, &second] {
        node.until("it to be told", |view| {
            view.complaints.iter().any(|said| {
                said.contains("node id 3 is host-3 at") || said.contains("node id 3 of this node")
            })
        })
        .await;
    }
    assert_eq!((a.state(2), b.state(1)), (Some(State::Alive), Some(State::Alive)));
}

#[tokio::test]
async fn a_member_answers_what_another_one_asks() {
    let place = Place::new(110, 3);
    let (a, b) = (place.start(1, 1), place.start(2, 1));
    a.until_alive(&[2]).await;
    b.until_alive(&[1]).await;
    let asking = a.members.ask(2, b"how are you?", PATIENCE);
    let answering = async {
        let question = b.members.next_question().await.expect("a question");
        assert_eq!((question.node, &question.bytes[..]), (1, &b"how are you?"[..]));
        question.answer.send(vec![7; MAX_ANSWER_BYTES]).expect("it is waited for");
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.map(|answer| answer.len()), Ok(MAX_ANSWER_BYTES));
    // The other way over the same session.
    let (answer, ()) = tokio::join!(b.members.ask(1, b"", PATIENCE), async {
        let question = a.members.next_question().await.expect("a question");
        question.answer.send(Vec::new()).expect("it is waited for");
    });
    assert_eq!(answer, Ok(Vec::new()));
}

#[tokio::test]
async fn whoever_gets_no_answer_is_told_why() {
    let place = Place::new(111, 3);
    let (a, b) = (place.start(1, 1), place.start(2, 1));
    a.until_alive(&[2]).await;
    assert_eq!(a.members.ask(3, b"?", PATIENCE).await, Err(AskError::NoSession(3)));
    let long = vec![0; MAX_QUESTION_BYTES + 1];
    assert_eq!(a.members.ask(2, &long, PATIENCE).await, Err(AskError::TooLong(long.len())));
    let short = Duration::from_millis(50);
    let late = a.members.ask(2, b"?", short).await;
    assert_eq!(late, Err(AskError::Timeout { node: 2, timeout: short }));
    // Dropped without an answer, and one that is too long.
    drop(b.members.next_question().await.expect("the question before"));
    let too_long = vec![0; MAX_ANSWER_BYTES + 1];
    for answer in [None, Some(too_long)] {
        let (outcome, ()) = tokio::join!(a.members.ask(2, b"?", PATIENCE), async {
            let question = b.members.next_question().await.expect("a question");
            if let Some(answer) = answer {
                question.answer.send(answer).expect("it is waited for");
            }
        });
        assert!(matches!(outcome, Err(AskError::BrokenOff { node: 2, .. })), "{outcome:?}");
    }
    // As many as may wait, of a member that never takes one. The stream of each is broken off, and the session lives on.
    let mut asked = tokio::task::JoinSet::new();
    let members = Arc::new(a.members);
    for _ in 0..64 {
        let members = Arc::clone(&members);
        asked.spawn(async move { members.ask(2, b"?", Duration::from_millis(300)).await });
    }
    while let Some(outcome) = asked.join_next().await {
        assert!(outcome.expect("it ended").is_err());
    }
    assert!(members.view().members.iter().any(|member| member.node == 2 && member.connected));
}

#[tokio::test]
async fn of_two_daemons_with_one_id_the_second_is_refused_loudly() {
    let place = Place::new(105, 3);
    let a = place.start(1, 1);
    let b = place.start(2, 1);
    a.until_alive(&[2]).await;
    // A copy of host-2's files on another host.
    let copy = Node::start(Options {
        control: place.address(7),
        data: place.address(7).ip(),
        ..place.options(2, 1)
    });
    copy.until_complaint("node id 2 is host-2 at").await;
    a.until_complaint("node id 2 is host-2 at").await;
    assert_eq!(a.state(2), Some(State::Alive));
    // And against the first itself.
    let credentials = Credentials::load(&place.directory(1)).expect("usable");
    let (_, end) = lie(&place, &credentials, |own| (own.node, own.name) = (1, "host-1".to_owned())).await;
    assert!(end.text.contains("it has the node id 1 of this node"), "{}", end.text);
    b.until_alive(&[1]).await;
    let view = a.members.view();
    assert_eq!(view.members.len(), 1);
    assert_eq!(view.members[0].control, place.address(2));
}

#[tokio::test]
async fn certificates_and_authority_are_replaced_while_all_goes_on() {
    let place = Place::new(106, 4);
    let pki = place.home.path().join("pki");
    let (a, b) = (place.start(1, 1), place.start(2, 1));
    a.until_alive(&[2]).await;
    let before = a.members.view().certificate_not_after_s;

    let authority = Authority::open(&pki).expect("opened").rotate().expect("rotated");
    for node in [&a, &b] {
        node.members.reload();
    }
    // A new node with a certificate of the new authority joins those who still show the old one's.
    authority.renew("host-3", DAYS).expect("renewed");
    let c = place.start(3, 1);
    c.until_alive(&[1, 2]).await;
    for name in ["host-1", "host-2", "host-4"] {
        authority.renew(name, DAYS + 1).expect("renewed");
    }
    authority.retire().expect("retired");
    // Nobody asks for it: the files are seen to be new.
    for node in [&a, &b] {
        node.until("new certificates", |view| view.certificate_not_after_s > before).await;
    }
    c.members.reload();
    let d = place.start(4, 2);
    d.until_alive(&[1, 2, 3]).await;
    for node in [&a, &b, &c, &d] {
        assert_eq!(node.members.view().complaints, [] as [&str; 0]);
        assert!(node.members.view().members.iter().all(|member| member.state == State::Alive));
    }
}

#[tokio::test]
async fn files_that_are_no_good_are_reported_and_those_before_stay_in_use() {
    let place = Place::new(107, 2);
    let a = place.start(1, 1);
    let file = place.directory(1).join("node.pem");
    let good = std::fs::read(&file).expect("read");
    replace(&file, b"hello");
    a.until_complaint("holds no certificate").await;
    let b = place.start(2, 1);
    b.until_alive(&[1]).await;
    // Another node's certificate would have every peer refuse this one.
    replace(&file, &std::fs::read(place.directory(2).join("node.pem")).expect("read"));
    a.until_complaint("the certificate is for node 2").await;
    replace(&file, &good);
    a.until("no complaint", |view| view.complaints.is_empty()).await;
}

/// Replaces what is in a file and leaves its mode.
fn replace(file: &Path, content: &[u8]) {
    std::fs::write(file, content).expect("written");
}

#[tokio::test]
async fn garbage_and_silence_change_nothing() {
    let place = Place::new(108, 3);
    let (a, b) = (place.start(1, 1), place.start(2, 1));
    a.until_alive(&[2]).await;
    let noise = UdpSocket::bind((Ipv4Addr::new(127, place.net, 0, 50), 0)).expect("bound");
    let mut byte = 1u8;
    for length in (0..1_400).cycle().take(20_000) {
        byte = byte.wrapping_mul(73).wrapping_add(length as u8);
        // As the first packet of a QUIC connection would begin, every other time.
        let mut packet = vec![byte; length];
        if length > 5 && length % 2 == 0 {
            packet[..5].copy_from_slice(&[0xC0, 0, 0, 0, 1]);
        }
        // Refused when the buffers are full: that is the point.
        let _ = noise.send_to(&packet, place.address(1));
        if length % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    // A member's certificate, and then nothing: it is let go after a while.
    let credentials = Credentials::load(&place.directory(3)).expect("usable");
    let endpoint =
        transport::open((Ipv4Addr::new(127, place.net, 0, 60), 0).into(), &credentials).expect("opened");
    let client = transport::client_config(&credentials).expect("settings");
    let connecting = endpoint.connect_with(client, place.address(1), pki::TLS_NAME).expect("dialled");
    let connection = connecting.await.expect("its certificate is good");
    let _stream = connection.open_bi().await.expect("a stream");
    let began = Instant::now();
    connection.closed().await;
    assert!(began.elapsed() < session::HELLO_TIMEOUT * 2);
    a.until_complaint("no answer").await;
    b.until_alive(&[1]).await;
    assert_eq!(a.members.view().members.len(), 1);
}

#[tokio::test]
async fn a_dozen_that_start_at_once_end_with_one_session_each() {
    let place = Place::new(109, 12);
    // Everybody's seed is the next one: all dial each other at once.
    let nodes: Vec<Node> = (1..=12).map(|node| place.start(node, node % 12 + 1)).collect();
    for (node, own) in nodes.iter().zip(1..) {
        let others: Vec<u16> = (1..=12).filter(|other| *other != own).collect();
        node.until_alive(&others).await;
    }
    for node in &nodes {
        assert_eq!(node.members.view().complaints, [] as [&str; 0]);
    }
}

/// Does what a daemon does about keys, until both of the pair have what the other has. Returns it, as the first has it.
async fn until_sealed(a: &Node, b: &Node, is_good: impl Fn(&Pair) -> bool) -> Pair {
    let pair_of = |node: &Node| {
        let pair = node.members.pairs().into_iter().next();
        if let Some((pair, key)) = pair.as_ref().and_then(|pair| Some((pair, pair.opens.as_ref()?))) {
            node.members.key_told(pair.node, key.id());
        }
        pair
    };
    let began = Instant::now();
    loop {
        if let (Some(at_a), Some(at_b)) = (pair_of(a), pair_of(b))
            && at_a.seals.is_some()
            && at_b.seals.is_some()
            && (&at_a.seals, &at_a.opens) == (&at_b.opens, &at_b.seals)
            && is_good(&at_a)
        {
            return at_a;
        }
        assert!(began.elapsed() < PATIENCE, "{:?} {:?}", a.members.pairs(), b.members.pairs());
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test]
async fn each_pair_has_keys_that_are_new_after_a_restart_and_rolled_when_worn_or_old() {
    let place = Place::new(110, 2);
    let a = Node::start(Options { key_life: Duration::from_secs(1), ..place.options(1, 1) });
    let b = place.start(2, 1);
    let first = until_sealed(&a, &b, |pair| pair.is_sealed).await;
    assert_ne!(first.seals, first.opens);
    // By age at one, by wear at the other.
    b.members.key_worn(1);
    let second = until_sealed(&a, &b, |pair| pair.seals != first.seals && pair.opens != first.opens).await;
    assert!(a.members.view().members[0].seal.rolls > 0);

    b.kill().await;
    assert!(a.members.pairs()[0].seals.is_some(), "death takes no key away");
    let b = place.start(2, 1);
    let third = until_sealed(&a, &b, |pair| pair.instance != second.instance).await;
    let before = [&first.seals, &first.opens, &second.seals, &second.opens];
    assert!(!before.contains(&&third.seals) && !before.contains(&&third.opens));
}

#[tokio::test]
async fn who_does_not_insist_seals_for_those_who_do_and_for_nobody_else() {
    let place = Place::new(111, 3);
    let without = |node| Options { seal: false, ..place.options(node, 1) };
    let (a, b) = (Node::start(without(1)), place.start(2, 1));
    until_sealed(&a, &b, |pair| pair.is_sealed).await;
    let c = Node::start(without(3));
    c.until_alive(&[1, 2]).await;
    let pairs = c.members.pairs();
    assert_eq!(
        pairs.iter().map(|pair| (pair.node, pair.is_sealed)).collect::<Vec<_>>(),
        [(1, false), (2, true)]
    );
    assert_eq!((&pairs[0].opens, &pairs[0].seals), (&None, &None));
}

#[tokio::test]
async fn an_earlier_version_that_can_not_seal_is_refused_where_seals_are_required() {
    let place = Place::new(112, 2);
    let a = place.start(1, 1);
    let credentials = Credentials::load(&place.directory(2)).expect("usable");
    let (_, end) = lie(&place, &credentials, |own| own.seal = Sealing::Unable).await;
    assert!(end.text.contains("does not seal its frames"), "{}", end.text);
    a.until_complaint("does not seal its frames").await;
}
