//! What the hub shows of itself, to the status and to whoever keeps the workers' peers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lattice_seal::Secret;
use serde::{Deserialize, Serialize};

use crate::swim::State;

/// Reasons kept at a time; the one that was last given longest ago goes for a new one.
const MAX_COMPLAINTS: usize = 32;
/// How long a reason is shown after it was last given.
const COMPLAINT_TIME: Duration = Duration::from_secs(60);
/// How often one that does not change is logged.
const COMPLAINT_LOG_PERIOD: Duration = Duration::from_secs(30);

/// Lines that are logged at most in a window of time.
const MAX_LINES_PER_WINDOW: u32 = 40;
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// A member, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its node id.
    pub node: u16,
    /// Its name.
    pub name: String,
    /// Where its frames go.
    pub address: IpAddr,
    /// Where sessions with it are made.
    pub control: SocketAddr,
    /// How it is.
    pub state: State,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Whether there is a session with it.
    pub connected: bool,
    /// Round trip of the session, microseconds; smoothed, with the time that the control threads take.
    pub rtt_us: Option<u64>,
    /// The epoch that it began with, hexadecimal.
    pub epoch: String,
    /// Which run of it this is, hexadecimal: another one after each start.
    #[serde(default)]
    pub run: String,
    /// How its frames are sealed.
    #[serde(default)]
    pub seal: SealView,
}

/// The seals of frames to and from a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealView {
    /// They are sealed.
    pub sealed: bool,
    /// Age of the key for what is sent to it, seconds; absent: it has none yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sends_key_age_s: Option<u64>,
    /// Age of the key for what comes from it, seconds; absent: there is none yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receives_key_age_s: Option<u64>,
    /// Keys for what is sent to it that took the place of another one.
    pub rolls: u64,
}

/// Keys of frames to and from a member, as workers have to have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The member's node id.
    pub node: u16,
    /// Its run: another one has none of the keys before.
    pub instance: u64,
    /// Frames to and from it have to be sealed.
    pub is_sealed: bool,
    /// What it seals with.
    pub opens: Option<Secret>,
    /// What to seal with.
    pub seals: Option<Secret>,
}

/// Everything about the membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// All nodes that this one ever had a session with in this run, by id; the dead ones too.
    pub members: Vec<MemberView>,
    /// What is wrong: who was refused, or refused this node, and why; certificates that could not be read.
    pub complaints: Vec<String>,
    /// End of the time of this node's certificate, Unix seconds.
    pub certificate_not_after_s: i64,
    /// Datagrams that were dropped: malformed, or another node's.
    pub bad_datagrams: u64,
    /// Handshakes that were turned away without an answer: too many at once.
    pub handshakes_ignored: u64,
}

/// Reasons, each with when it was given and logged. Whoever can reach the port can provoke them, so they are bounded
/// in memory and in the log.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    known: BTreeMap<String, Complaint>,
    /// Begin of the present period of counting lines, and how many it had.
    window: (Duration, u32),
}

#[derive(Debug)]
struct Complaint {
    text: String,
    given: Duration,
    logged: Duration,
}

impl Complaints {
    /// Notes what is wrong with `about` (an address, mostly). True: it is to be logged.
    pub(crate) fn note(&mut self, about: &str, text: &str, now: Duration) -> bool {
        if let Some(known) = self.known.get_mut(about) {
            let again = known.text == text && now.saturating_sub(known.logged) < COMPLAINT_LOG_PERIOD;
            known.given = now;
            if !again {
                (known.text, known.logged) = (text.to_owned(), now);
            }
            return !again && self.may_log(now);
        }
        if self.known.len() >= MAX_COMPLAINTS {
            let oldest =
                self.known.iter().min_by_key(|(_, known)| known.given).map(|(about, _)| about.clone());
            self.known.remove(&oldest.unwrap_or_default());
        }
        self.known.insert(about.to_owned(), Complaint { text: text.to_owned(), given: now, logged: now });
        self.may_log(now)
    }

    /// At most so many lines in a time, whoever provokes them.
    fn may_log(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.window.0) >= LOG_WINDOW {
            self.window = (now, 0);
        }
        self.window.1 += 1;
        self.window.1 <= MAX_LINES_PER_WINDOW
    }

    /// It is well again.
    pub(crate) fn clear(&mut self, about: &str) {
        self.known.remove(about);
    }

    /// What was said lately.
    pub(crate) fn texts(&mut self, now: Duration) -> Vec<String> {
        self.known.retain(|_, known| now.saturating_sub(known.given) < COMPLAINT_TIME);
        self.known.iter().map(|(about, known)| format!("{about}: {}", known.text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_when_it_is_new_and_now_and_then() {
        let mut complaints = Complaints::default();
        let at = Duration::from_secs;
        assert!(complaints.note("a", "expired", at(0)));
        assert!(!complaints.note("a", "expired", at(1)));
        assert!(complaints.note("a", "unknown", at(2)));
        assert!(!complaints.note("a", "unknown", at(31)));
        assert!(complaints.note("a", "unknown", at(33)));
        assert_eq!(complaints.texts(at(80)), ["a: unknown"]);
        assert_eq!(complaints.texts(at(93)), [] as [&str; 0]);
        assert!(complaints.note("a", "unknown", at(94)));
        complaints.clear("a");
        assert_eq!(complaints.texts(at(94)), [] as [&str; 0]);
    }

    #[test]
    fn whoever_gives_many_reasons_fills_no_memory() {
        let mut complaints = Complaints::default();
        let note = |n| complaints.note(&format!("10.0.0.{n}"), "no", Duration::from_millis(n));
        assert_eq!((0..1_000).map(note).filter(|logged| *logged).count(), 40);
        let texts = complaints.texts(Duration::from_secs(1));
        assert_eq!(texts.len(), MAX_COMPLAINTS);
        assert!(texts.contains(&"10.0.0.999: no".to_owned()));
    }
}
