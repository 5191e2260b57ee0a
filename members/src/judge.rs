//! Who is let in: the rules, as a function of what is known. What each may claim, and who was there first.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::MAX_MEMBERS;
use crate::hello::{Hello, Sealing};
use crate::pki::Subject;
use crate::refusal::Refusal;

/// What is known of a member when another session claims to be it.
#[derive(Clone, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) hello: &'a Hello,
    /// Nobody takes it for dead.
    pub(crate) lives: bool,
    /// Its session, if it has one that was heard lately: whether this node dialled it.
    pub(crate) dialled_here: Option<bool>,
}

/// Judges a session whose certificate has been checked. `dialled_here`: this node dialled it.
pub(crate) fn judge(
    own: &Hello,
    known: &BTreeMap<u16, Known<'_>>,
    hello: &Hello,
    certificate: &Subject,
    dialled_here: bool,
) -> Result<(), Refusal> {
    is_entitled(own, hello, certificate)?;
    agrees(own, hello)?;
    if let Some(present) = known.get(&hello.node) {
        same_node(own, present, hello, dialled_here)?;
    } else if known.len() >= MAX_MEMBERS {
        return Err(Refusal::Full(MAX_MEMBERS));
    }
    let other = known.values().find(|other| {
        other.hello.node != hello.node
            && other.lives
            && (other.hello.data == hello.data || other.hello.control == hello.control)
    });
    match other {
        Some(other) => Err(Refusal::Address { address: hello.data, node: other.hello.node }),
        None => Ok(()),
    }
}

/// It is who it says that it is, and somebody else than this node.
fn is_entitled(own: &Hello, hello: &Hello, certificate: &Subject) -> Result<(), Refusal> {
    if certificate.cluster != own.cluster || hello.cluster != own.cluster {
        let theirs = if hello.cluster == own.cluster { &certificate.cluster } else { &hello.cluster };
        return Err(Refusal::Cluster { theirs: theirs.clone(), ours: own.cluster.clone() });
    }
    let claimed = Subject { cluster: hello.cluster.clone(), node: hello.node, name: hello.name.clone() };
    if claimed != *certificate {
        return Err(Refusal::Certificate { certificate: certificate.clone(), claimed });
    }
    if hello.node == own.node {
        return Err(if hello.instance == own.instance {
            Refusal::Myself
        } else {
            Refusal::OwnId { node: own.node, name: own.name.clone(), address: own.control }
        });
    }
    Ok(())
}

/// What must be the same everywhere is.
fn agrees(own: &Hello, hello: &Hello) -> Result<(), Refusal> {
    let family = |hello: &Hello| if hello.data.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned();
    let settings = [
        ("number of shards (cluster.shards)", hello.shards.to_string(), own.shards.to_string()),
        ("port of shard 0 (network.base_port)", hello.base_port.to_string(), own.base_port.to_string()),
        ("version of frames", hello.wire.to_string(), own.wire.to_string()),
        ("address family", family(hello), family(own)),
    ];
    if let Some((setting, theirs, ours)) = settings.into_iter().find(|(_, theirs, ours)| theirs != ours) {
        return Err(Refusal::Setting { setting, theirs, ours });
    }
    match (own.seal, hello.seal) {
        (Sealing::Required, Sealing::Unable) => Err(Refusal::Unsealed),
        _ => Ok(()),
    }
}

/// A second session of a node that is known: a restart, a move, another way to the same process, or an impostor.
fn same_node(own: &Hello, present: &Known<'_>, hello: &Hello, dialled_here: bool) -> Result<(), Refusal> {
    let place = |hello: &Hello| -> (String, SocketAddr, std::net::IpAddr) {
        (hello.name.clone(), hello.control, hello.data)
    };
    if place(present.hello) != place(hello) && present.lives {
        return Err(Refusal::Duplicate {
            node: hello.node,
            name: present.hello.name.clone(),
            address: present.hello.control,
        });
    }
    // Two that dial each other at once both keep the session that the lower node id dialled.
    let lower_dialled = |dialled_here: bool| dialled_here == (own.node < hello.node);
    match present.dialled_here {
        Some(kept) if present.hello.instance == hello.instance => {
            if lower_dialled(kept) && !lower_dialled(dialled_here) { Err(Refusal::Already) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hello::tests::hello;

    fn subject(hello: &Hello) -> Subject {
        Subject { cluster: hello.cluster.clone(), node: hello.node, name: hello.name.clone() }
    }

    /// Judges `hello` at node 2, which may know one member.
    fn at_two(known: Option<Known<'_>>, hello: &Hello, dialled_here: bool) -> Result<(), Refusal> {
        let known = known.into_iter().map(|known| (known.hello.node, known)).collect();
        judge(&self::hello(2), &known, hello, &subject(hello), dialled_here)
    }

    #[test]
    fn a_stranger_with_a_certificate_of_its_own_is_let_in() {
        assert_eq!(at_two(None, &hello(3), false), Ok(()));
        assert_eq!(at_two(None, &hello(3), true), Ok(()));
    }

    #[test]
    fn the_certificate_says_who_it_is() {
        for claimed in [Hello { node: 4, ..hello(3) }, Hello { name: "host-4".to_owned(), ..hello(3) }] {
            let outcome = judge(&hello(2), &BTreeMap::new(), &claimed, &subject(&hello(3)), false);
            assert!(matches!(outcome, Err(Refusal::Certificate { .. })), "{outcome:?}");
        }
        let other = Hello { cluster: "other".to_owned(), ..hello(3) };
        let outcome = judge(&hello(2), &BTreeMap::new(), &other, &subject(&other), false);
        assert!(matches!(outcome, Err(Refusal::Cluster { theirs, .. }) if theirs == "other"));
        let outcome = judge(&hello(2), &BTreeMap::new(), &hello(3), &subject(&other), false);
        assert!(matches!(outcome, Err(Refusal::Cluster { theirs, .. }) if theirs == "other"));
    }

    #[test]
    fn this_nodes_own_id_is_taken() {
        assert_eq!(at_two(None, &hello(2), true), Err(Refusal::Myself));
        let impostor = Hello { instance: 1, ..hello(2) };
        assert!(matches!(at_two(None, &impostor, true), Err(Refusal::OwnId { node: 2, .. })));
    }

    #[test]
    fn what_must_agree_must() {
        for other in [
            Hello { shards: 8, ..hello(3) },
            Hello { base_port: 1, ..hello(3) },
            Hello { wire: 9, ..hello(3) },
            Hello { data: "fd00::3".parse().expect("an address"), ..hello(3) },
        ] {
            assert!(matches!(at_two(None, &other, false), Err(Refusal::Setting { .. })), "{other:?}");
        }
    }

    #[test]
    fn who_can_not_seal_stays_out_where_it_has_to() {
        let at = |own: Sealing, theirs: Sealing| {
            let own = Hello { seal: own, ..hello(2) };
            let theirs = Hello { seal: theirs, ..hello(3) };
            judge(&own, &BTreeMap::new(), &theirs, &subject(&theirs), false)
        };
        assert_eq!(at(Sealing::Required, Sealing::Unable), Err(Refusal::Unsealed));
        assert_eq!(at(Sealing::Required, Sealing::Offered), Ok(()));
        assert_eq!(at(Sealing::Offered, Sealing::Unable), Ok(()));
        assert_eq!(at(Sealing::Offered, Sealing::Required), Ok(()));
    }

    #[test]
    fn an_id_belongs_to_one_place_as_long_as_it_lives() {
        let there = hello(3);
        let elsewhere = hello(9).control;
        for other in [
            Hello { name: "imposter".to_owned(), instance: 5, ..hello(3) },
            Hello { control: elsewhere, instance: 5, ..hello(3) },
            Hello { data: elsewhere.ip(), instance: 5, ..hello(3) },
        ] {
            let known = |lives| Some(Known { hello: &there, lives, dialled_here: Some(true) });
            assert!(matches!(at_two(known(true), &other, false), Err(Refusal::Duplicate { node: 3, .. })));
            assert_eq!(at_two(known(false), &other, false), Ok(()), "its place is free once it is dead");
        }
        // A restart at the same place is welcome at once, whatever the old session looks like.
        let restarted = Hello { instance: 5, ..hello(3) };
        for dialled_here in [None, Some(true), Some(false)] {
            let known = Known { hello: &there, lives: true, dialled_here };
            assert_eq!(at_two(Some(known), &restarted, false), Ok(()));
        }
    }

    #[test]
    fn two_nodes_do_not_share_an_address() {
        let there = hello(3);
        let other = Hello { data: there.data, ..hello(4) };
        let known = |lives| Some(Known { hello: &there, lives, dialled_here: None });
        assert!(matches!(at_two(known(true), &other, false), Err(Refusal::Address { node: 3, .. })));
        assert_eq!(at_two(known(false), &other, false), Ok(()));
    }

    #[test]
    fn of_two_sessions_at_once_both_sides_keep_the_same() {
        // (node, who dialled the one that is kept, who dialled the new one) -> whether the new one is taken
        let takes = |own: u16, other: u16, kept_by: u16, new_by: u16| {
            let (own_hello, there) = (hello(own), hello(other));
            let known = Known { hello: &there, lives: true, dialled_here: Some(kept_by == own) };
            let known = BTreeMap::from([(other, known)]);
            judge(&own_hello, &known, &there, &subject(&there), new_by == own).is_ok()
        };
        for (own, other) in [(2, 3), (3, 2)] {
            assert!(!takes(own, other, 2, 3), "the lower one's is there and stays");
            assert!(takes(own, other, 3, 2), "the lower one's replaces the other");
            assert!(
                takes(own, other, 2, 2) && takes(own, other, 3, 3),
                "dialled again: the old one is gone there"
            );
        }
    }

    #[test]
    fn there_is_a_most() {
        let hellos: Vec<_> = (0..MAX_MEMBERS)
            .map(|n| Hello {
                node: 1_000 + n as u16,
                data: std::net::IpAddr::from([10, 1, (n >> 8) as u8, n as u8]),
                control: SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 7390)),
                ..hello(3)
            })
            .collect();
        let known: BTreeMap<_, _> = hellos
            .iter()
            .map(|hello| (hello.node, Known { hello, lives: true, dialled_here: None }))
            .collect();
        assert!(matches!(
            judge(&hello(2), &known, &hello(3), &subject(&hello(3)), false),
            Err(Refusal::Full(_))
        ));
        let again = hellos[0].clone();
        assert_eq!(judge(&hello(2), &known, &again, &subject(&again), false), Ok(()));
    }
}
