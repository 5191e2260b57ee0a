//! `drain`: takes this host out of service, step by step, until it may be stopped.
//!
//! ```text
//!   announce ── --grace ──> refuse writes ── look until enough have everything ──> "it may be stopped"
//! ```
//!
//! Interrupted or timed out, it leaves the host drained as far as it was: asked again it goes on, `--undo` takes all back.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Outcome;
use super::admin::Admin;
use super::args::Drain;
use super::discover::Place;
use super::error::CtlError;
use super::output::Output;
use crate::protocol::{DrainPeer, DrainStep, Drained, Request};

/// Time for a step in which other hosts are asked.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(100);

/// `drain`.
pub(super) fn drain(place: &Place, how: &Drain, output: &Output) -> Result<Outcome, CtlError> {
    let mut admin = Admin::connect(place)?;
    if how.undo {
        let drained = step(&mut admin, DrainStep::Undo)?;
        let text = || "this host serves again\n".to_owned();
        return output.datum(|| json!(drained), text).map(|()| Outcome::Yes);
    }
    step(&mut admin, DrainStep::Announce)?;
    std::thread::sleep(how.grace);
    let began = Instant::now();
    let mut drained = step(&mut admin, DrainStep::Refuse)?;
    let mut keeps = false;
    while !is_done(&drained, how) && began.elapsed() < how.timeout {
        // Snapshots of what is not there yet would be of no use.
        if how.durable && !keeps && has_enough(&drained, how.majority, |peer| peer.lacks == 0) {
            keeps = true;
            step(&mut admin, DrainStep::Keep)?;
        }
        std::thread::sleep(LOOK.min(how.timeout.saturating_sub(began.elapsed())));
        drained = step(&mut admin, DrainStep::Look)?;
    }
    let done = is_done(&drained, how);
    output.datum(
        || json!({ "may_be_stopped": done, "peers": drained.peers }),
        || account(&drained, how, done),
    )?;
    Ok(if done { Outcome::Yes } else { Outcome::No })
}

fn step(admin: &mut Admin<'_>, step: DrainStep) -> Result<Drained, CtlError> {
    let read = |mut stream: &UnixStream, bytes: &mut [u8]| stream.read(bytes);
    admin.ask_with(Request::Drain { step }, STEP_TIMEOUT, read)
}

fn has_it(peer: &DrainPeer, durable: bool) -> bool {
    peer.lacks == 0 && !(durable && peer.lacks_durably > 0)
}

fn is_done(drained: &Drained, how: &Drain) -> bool {
    drained.refuses && has_enough(drained, how.majority, |peer| has_it(peer, how.durable))
}

/// Whether all members, or more than half of them with this host, have what they are to have.
fn has_enough(drained: &Drained, majority: bool, has: impl Fn(&DrainPeer) -> bool) -> bool {
    let (members, have) =
        (drained.peers.len() + 1, drained.peers.iter().filter(|peer| has(peer)).count() + 1);
    if majority { have * 2 > members } else { have == members }
}

fn account(drained: &Drained, how: &Drain, done: bool) -> String {
    let mut text = String::new();
    for peer in drained.peers.iter().filter(|peer| !has_it(peer, how.durable)) {
        let state = if peer.up { "up" } else { "down or unreachable" };
        let durably = match (how.durable, peer.lacks_durably) {
            (true, number @ 1..) => format!(", and would lose {number} in the worst restart"),
            _ => String::new(),
        };
        text.push_str(&format!(
            "node {} ({state}) lacks {} operations that this host has{durably}\n",
            peer.node, peer.lacks
        ));
    }
    text.push_str(match (done, drained.peers.is_empty()) {
        (true, true) => "it may be stopped: no member is waited for, there is none\n",
        (true, false) => "it may be stopped: what it has is on the other members\n",
        (false, _) => {
            "it is drained, but not everything is elsewhere: bring those hosts back and ask again, or --undo\n"
        }
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(node: u16, lacks: u64, lacks_durably: u64) -> DrainPeer {
        DrainPeer { node, up: lacks == 0, lacks, lacks_durably, asked: true }
    }

    fn how(majority: bool, durable: bool) -> Drain {
        let (grace, timeout) = (Duration::ZERO, Duration::ZERO);
        Drain { majority, durable, grace, timeout, undo: false }
    }

    #[test]
    fn it_may_be_stopped_when_as_many_as_were_asked_for_have_everything() {
        let drained = |peers| Drained { drains: true, refuses: true, peers };
        let two = drained(vec![peer(2, 0, 5), peer(3, 7, 9)]);
        assert!(is_done(&two, &how(true, false)) && !is_done(&two, &how(false, false)));
        assert!(!is_done(&two, &how(true, true)), "of two that have it, one would lose it");
        let alone = drained(Vec::new());
        assert!(
            is_done(&alone, &how(false, true))
                && account(&alone, &how(false, false), true).contains("may be stopped")
        );
        let one = drained(vec![peer(2, 0, 0)]);
        assert!(is_done(&one, &how(false, true)));
        assert!(!is_done(&Drained { refuses: false, ..one }, &how(false, false)), "it still takes writes");
        let said = account(&two, &how(false, true), false);
        assert!(said.contains("node 3 (down or unreachable) lacks 7") && said.contains("lose 9"), "{said}");
        assert!(said.contains("--undo"), "{said}");
    }
}
