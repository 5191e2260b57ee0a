//! A member as the hub keeps it: who it is, its session, the keys between the two.

use std::time::{Duration, Instant};

use quinn::Connection;
use tokio::sync::mpsc;

use crate::hello::Hello;
use crate::judge::Known;
use crate::letter::Letter;
use crate::pair::PairKeys;
use crate::refusal::Refusal;
use crate::swim::State;
use crate::view::{MemberView, Pair, SealView};

/// Silence of a session after which another one of the same process is believed instead.
const SESSION_SILENCE: Duration = Duration::from_millis(1_000);

/// A node that this one had a session with.
pub(crate) struct Member {
    pub(crate) hello: Hello,
    pub(crate) session: Option<Session>,
    pub(crate) keys: PairKeys,
    pub(crate) state: State,
    pub(crate) since_ms: u64,
}

pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) letters: mpsc::Sender<Letter>,
    pub(crate) dialled_here: bool,
    pub(crate) heard: Instant,
}

impl Member {
    pub(crate) fn is_session(&self, session: usize) -> bool {
        self.session.as_ref().is_some_and(|current| current.connection.stable_id() == session)
    }

    /// Says something in the session. One that takes no letters is ended, and begins anew with other keys.
    pub(crate) fn write(&self, letter: Option<Letter>) {
        let (Some(letter), Some(session)) = (letter, &self.session) else { return };
        if session.letters.try_send(letter).is_err() {
            session.connection.close(Refusal::Silent.code(), b"it reads no letters");
        }
    }

    pub(crate) fn pair(&self) -> Pair {
        Pair {
            node: self.hello.node,
            instance: self.hello.instance,
            is_sealed: self.keys.is_sealed,
            opens: self.keys.opens().map(|(secret, _)| secret.clone()),
            seals: self.keys.seals().map(|(secret, _)| secret.clone()),
        }
    }

    pub(crate) fn as_known(&self) -> Known<'_> {
        let fresh = self.session.as_ref().filter(|session| session.heard.elapsed() < SESSION_SILENCE);
        Known {
            hello: &self.hello,
            lives: self.state != State::Dead,
            dialled_here: fresh.map(|session| session.dialled_here),
        }
    }

    pub(crate) fn view(&self, now: Duration) -> MemberView {
        let age_s = |at: Duration| now.saturating_sub(at).as_secs();
        let rtt = |session: &Session| u64::try_from(session.connection.rtt().as_micros()).unwrap_or(u64::MAX);
        MemberView {
            node: self.hello.node,
            name: self.hello.name.clone(),
            address: self.hello.data,
            control: self.hello.control,
            state: self.state,
            since_ms: self.since_ms,
            connected: self.session.is_some(),
            rtt_us: self.session.as_ref().map(rtt),
            epoch: format!("{:012x}", self.hello.epoch),
            run: format!("{:016x}", self.hello.instance),
            seal: SealView {
                sealed: self.keys.is_sealed,
                sends_key_age_s: self.keys.seals().map(|(_, at)| age_s(at)),
                receives_key_age_s: self.keys.opens().map(|(_, at)| age_s(at)),
                rolls: self.keys.rolls,
            },
        }
    }
}
