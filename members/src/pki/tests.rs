//! What is on disk after each command, and what is refused.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

const DAYS: u32 = 365;

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|node| format!("host-{node}")).collect()
}

fn made(count: usize) -> (TempDir, PathBuf, Authority) {
    let home = TempDir::new().expect("a temporary directory");
    let directory = home.path().join("cluster");
    let authority = Authority::create(&directory, "demo", &names(count), DAYS).expect("made");
    (home, directory, authority)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").mode() & 0o777
}

/// A moment of the last day counts as a day less.
fn assert_days(not_after_s: i64, days: u32) {
    let days = i64::from(days);
    assert!((days - 1..=days).contains(&days_left(not_after_s)), "{}", days_left(not_after_s));
}

#[test]
fn init_makes_an_authority_and_a_directory_for_each_node() {
    let (_home, directory, authority) = made(3);
    assert_eq!(authority.cluster(), "demo");
    assert_eq!((mode(&directory), mode(&directory.join("authority.pem"))), (0o700, 0o600));
    let nodes = authority.nodes().expect("listed");
    assert_eq!(nodes.len(), 3);
    for (node, entry) in (1..).zip(&nodes) {
        let loaded = Credentials::load(&entry.directory).expect("usable");
        assert_eq!(
            loaded.subject,
            Subject { cluster: "demo".into(), node, name: format!("host-{node}") },
            "{node}"
        );
        assert_eq!(loaded.not_after_s, entry.not_after_s);
        assert_days(loaded.not_after_s, DAYS);
        assert_eq!(mode(&entry.directory), 0o700);
        assert_eq!(mode(&entry.directory.join("node.pem")), 0o600);
    }
}

#[test]
fn a_directory_that_exists_stays_as_it_is() {
    let (_home, directory, _) = made(1);
    let before = std::fs::read(directory.join("authority.pem")).expect("read");
    assert!(matches!(Authority::create(&directory, "demo", &names(1), DAYS), Err(PkiError::Exists(_))));
    assert_eq!(std::fs::read(directory.join("authority.pem")).expect("read"), before);
}

#[test]
fn a_node_is_added_under_the_next_id_and_none_is_given_twice() {
    let (_home, _, authority) = made(2);
    assert_eq!(authority.add("late", None, DAYS).expect("added").subject.node, 3);
    assert_eq!(authority.add("far", Some(900), DAYS).expect("added").subject.node, 900);
    assert!(matches!(authority.add("other", Some(2), DAYS), Err(PkiError::Usage(_))));
    assert!(matches!(authority.add("late", None, DAYS), Err(PkiError::Exists(_))));
    for name in ["", "../up", "a b", "-x", "ca.pem", &"n".repeat(64)] {
        assert!(matches!(authority.add(name, None, DAYS), Err(PkiError::Usage(_))), "{name:?}");
    }
    for days in [0, 4000] {
        assert!(matches!(authority.add("days", None, days), Err(PkiError::Usage(_))), "{days}");
    }
    let ids: Vec<_> = authority.nodes().expect("listed").iter().map(|entry| entry.subject.node).collect();
    assert_eq!(ids, [1, 2, 3, 900]);
}

#[test]
fn a_renewed_certificate_is_another_for_the_same_node() {
    let (_home, directory, authority) = made(1);
    let file = directory.join("host-1/node.pem");
    let before = std::fs::read(&file).expect("read");
    let renewed = authority.renew("host-1", 10).expect("renewed");
    assert_ne!(std::fs::read(&file).expect("read"), before);
    assert_eq!((renewed.subject.node, mode(&file)), (1, 0o600));
    assert_days(renewed.not_after_s, 10);
    assert!(matches!(authority.renew("host-2", 10), Err(PkiError::Usage(_))));
}

#[test]
fn a_rotation_keeps_every_step_usable() {
    let (_home, directory, authority) = made(2);
    let authority = authority.rotate().expect("rotated");
    let load = |name: &str| Credentials::load(&directory.join(name));
    // Both authorities are trusted, and the certificates are the old one's still.
    assert_eq!(load("host-1").expect("usable").roots.len(), 2);
    assert!(matches!(authority.retire(), Err(PkiError::Usage(why)) if why.contains("host-1")));
    authority.renew("host-1", DAYS).expect("renewed");
    assert!(matches!(authority.retire(), Err(PkiError::Usage(why)) if why.contains("host-2")));
    authority.renew("host-2", DAYS).expect("renewed");
    authority.retire().expect("retired");
    assert_eq!(load("host-2").expect("usable").roots.len(), 1);
    assert_eq!(authority.add("host-3", None, DAYS).expect("added").subject.node, 3);
    assert!(load("host-3").is_ok());
}

#[test]
fn keys_that_others_can_read_and_files_that_do_not_fit_are_refused() {
    let (_home, directory, authority) = made(2);
    let (one, two) = (directory.join("host-1"), directory.join("host-2"));
    let file = one.join("node.pem");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("set");
    assert!(matches!(Credentials::load(&one), Err(PkiError::Open { mode: 0o640, .. })));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");

    let wrong = |what: &str| match Credentials::load(&one) {
        Err(PkiError::Content { what: found, .. }) => assert!(found.contains(what), "{found}"),
        other => panic!("{what}: {other:?}"),
    };
    let own = std::fs::read_to_string(&file).expect("read");
    let other = std::fs::read_to_string(two.join("node.pem")).expect("read");
    let split = |pem: &str| pem.find("-----BEGIN PRIVATE").expect("a key follows");
    let mixed = format!("{}{}", &own[..split(&own)], &other[split(&other)..]);
    std::fs::write(&file, mixed).expect("written");
    wrong("its key is not the key of its certificate");
    std::fs::write(&file, &own[..split(&own)]).expect("written");
    wrong("holds no private key");
    std::fs::write(&file, "hello").expect("written");
    wrong("holds no certificate");
    std::fs::write(&file, std::fs::read(directory.join("authority.pem")).expect("read")).expect("written");
    wrong("is not a node's certificate");
    std::fs::write(&file, &own).expect("written");
    Credentials::load(&one).expect("usable again");

    // A certificate of an authority that is not beside it.
    let authority = authority.rotate().expect("rotated");
    let old = std::fs::read(one.join("ca.pem")).expect("read");
    authority.renew("host-1", DAYS).expect("renewed");
    authority.renew("host-2", DAYS).expect("renewed");
    let text = String::from_utf8(old).expect("text");
    let second = text.rfind("-----BEGIN CERTIFICATE").expect("two of them");
    std::fs::write(one.join("ca.pem"), &text[second..]).expect("written");
    wrong("not by an authority in ca.pem");
    std::fs::write(one.join("ca.pem"), "").expect("written");
    wrong("holds no certificate of an authority");
}

/// A handshake between two nodes in memory: what the one that dials says of it, and the one that is dialled.
fn shake(client: &Credentials, server: &Credentials) -> (Option<String>, Option<String>) {
    let name = TLS_NAME.try_into().expect("a name");
    let config = client.client_config().expect("settings");
    let mut client = rustls::ClientConnection::new(config.into(), name).expect("made");
    let mut server =
        rustls::ServerConnection::new(server.server_config().expect("settings").into()).expect("made");
    let (mut client_says, mut server_says) = (None, None);
    let mut bytes = Vec::new();
    // A handshake has two flights, and one more for an alert.
    for _ in 0..4 {
        client.write_tls(&mut bytes).expect("written");
        server.read_tls(&mut std::mem::take(&mut bytes).as_slice()).expect("read");
        server_says = server_says.or(server.process_new_packets().err().map(|error| error.to_string()));
        server.write_tls(&mut bytes).expect("written");
        client.read_tls(&mut std::mem::take(&mut bytes).as_slice()).expect("read");
        client_says = client_says.or(client.process_new_packets().err().map(|error| error.to_string()));
    }
    let over = !client.is_handshaking() && !server.is_handshaking();
    assert_eq!(over, client_says.is_none() && server_says.is_none());
    (client_says, server_says)
}

#[test]
fn members_of_one_authority_believe_each_other_and_nobody_else() {
    let (_one, directory, authority) = made(2);
    let (_other, foreign, _) = made(2);
    let load = |directory: &Path| Credentials::load(directory).expect("usable");
    let (a, b) = (load(&directory.join("host-1")), load(&directory.join("host-2")));
    let stranger = load(&foreign.join("host-2"));
    assert_eq!(shake(&a, &b), (None, None));

    let says = |(client, server): (Option<String>, Option<String>), who: &str, what: &str| {
        let found = if who == "client" { client } else { server };
        assert!(found.as_deref().is_some_and(|text| text.contains(what)), "{who}: {found:?}");
    };
    says(shake(&stranger, &b), "client", "UnknownIssuer");
    says(shake(&stranger, &b), "server", "received fatal alert");
    // Between two authorities of whom one trusts the other.
    let both = Credentials { roots: stranger.roots.clone(), ..load(&directory.join("host-2")) };
    says(shake(&a, &both), "server", "UnknownIssuer");
    says(shake(&a, &both), "client", "received fatal alert");

    // While an authority is being replaced, each with the new trust believes whoever has the old or the new certificate.
    let authority = authority.rotate().expect("rotated");
    let old = load(&directory.join("host-1"));
    authority.renew("host-2", DAYS).expect("renewed");
    assert_eq!(shake(&old, &load(&directory.join("host-2"))), (None, None));
    assert_eq!(shake(&load(&directory.join("host-2")), &old), (None, None));
    says(shake(&a, &load(&directory.join("host-2"))), "client", "UnknownIssuer");
}

#[test]
fn a_certificate_whose_time_is_over_is_refused_on_both_sides() {
    let (_home, directory, authority) = made(2);
    authority.issue_expired("host-1").expect("issued");
    let load = |name: &str| Credentials::load(&directory.join(name)).expect("usable");
    let (expired, good) = (load("host-1"), load("host-2"));
    assert!(days_left(expired.not_after_s) < 0);
    let (client, server) = shake(&good, &expired);
    assert!(client.is_some_and(|text| text.contains("expired")) && server.is_some());
    let (client, server) = shake(&expired, &good);
    assert!(server.is_some_and(|text| text.contains("expired")), "{client:?}");
}
