//! The keys between this node and one other: who draws which when, and when it is used.
//!
//! ```text
//!   session begins, key old, worn, or not known there
//!          │ draw
//!          ▼                   Taken of that number
//!       offered ── Key ──> … ──────────────────────> seals: workers seal with it
//!   Key of the other node ──> opens: workers open with it ── all told ──> Taken
//! ```
//!
//! Only the last key that was drawn can be taken: one that was offered before it is forgotten. A key is used until the next one
//! is taken, whatever becomes of the session meanwhile; only another run of the other node ends it, which has none of the keys.

use std::time::Duration;

use lattice_seal::Secret;

use crate::letter::Letter;

/// Shortest time between two keys that the other node asks for.
const DRAW_PAUSE: Duration = Duration::from_secs(1);
/// Shortest time between two askings.
const ASK_PAUSE: Duration = Duration::from_secs(5);
/// Time for frames of an old key to arrive, before a key that is not known is worth asking.
const SETTLE: Duration = Duration::from_secs(2);

/// Times are since any fixed moment.
#[derive(Debug, Default)]
pub(crate) struct PairKeys {
    /// Frames between the two are sealed.
    pub(crate) is_sealed: bool,
    offered: Option<(Secret, Duration)>,
    seals: Option<(Secret, Duration)>,
    opens: Option<(Secret, Duration)>,
    asked: Option<Duration>,
    /// Keys that were taken after the first.
    pub(crate) rolls: u64,
}

impl PairKeys {
    /// A session has begun. Returns what is to be said in it.
    pub(crate) fn begin(&mut self, now: Duration, is_sealed: bool, is_same_run: bool) -> Option<Letter> {
        if !is_same_run || !is_sealed {
            *self = Self { rolls: self.rolls, ..Self::default() };
        }
        self.is_sealed = is_sealed;
        self.draw(now)
    }

    /// Draws a key and offers it.
    fn draw(&mut self, now: Duration) -> Option<Letter> {
        if !self.is_sealed {
            return None;
        }
        match Secret::draw() {
            Ok(secret) => {
                self.offered = Some((secret.clone(), now));
                Some(Letter::Key(secret))
            }
            Err(error) => {
                tracing::error!(%error, "no key for sealed frames");
                None
            }
        }
    }

    /// The other node has said something. Returns the answer.
    pub(crate) fn hear(&mut self, now: Duration, letter: Letter) -> Option<Letter> {
        match letter {
            // Answered when all workers have it.
            Letter::Key(secret) => self.opens = Some((secret, now)),
            Letter::Taken(id) => {
                if let Some((secret, _)) = self.offered.take_if(|(secret, _)| secret.id() == id) {
                    self.rolls += u64::from(self.seals.is_some());
                    self.seals = Some((secret, now));
                }
            }
            Letter::Again => {
                let last = self.offered.as_ref().or(self.seals.as_ref()).map(|(_, at)| *at);
                if last.is_none_or(|at| now.saturating_sub(at) >= DRAW_PAUSE) {
                    return self.draw(now);
                }
            }
        }
        None
    }

    /// Time has passed: a key that is as old as `life`, or that was offered so long ago without an answer, is replaced.
    pub(crate) fn tick(&mut self, now: Duration, life: Duration) -> Option<Letter> {
        let newest = self.offered.as_ref().or(self.seals.as_ref()).map(|(_, at)| *at);
        // None at all: the operating system gave no random bytes.
        let pause = if newest.is_some() { life } else { Duration::ZERO };
        (now.saturating_sub(newest.unwrap_or_default()) >= pause).then(|| self.draw(now))?
    }

    /// The key for what is sent is worn.
    pub(crate) fn roll(&mut self, now: Duration) -> Option<Letter> {
        if self.offered.is_some() { None } else { self.draw(now) }
    }

    /// Frames came with a key that is not known.
    pub(crate) fn ask_again(&mut self, now: Duration) -> Option<Letter> {
        let since = |at: Option<Duration>| at.map_or(Duration::MAX, |at| now.saturating_sub(at));
        let is_time = since(self.asked) >= ASK_PAUSE && since(self.opens().map(|(_, at)| at)) >= SETTLE;
        (self.is_sealed && is_time).then(|| {
            self.asked = Some(now);
            Letter::Again
        })
    }

    /// All workers open with the key of this number.
    pub(crate) fn told(&self, id: u32) -> Option<Letter> {
        self.opens().filter(|(secret, _)| secret.id() == id).map(|_| Letter::Taken(id))
    }

    /// What the other node seals with, and since when that is known.
    pub(crate) fn opens(&self) -> Option<(&Secret, Duration)> {
        self.opens.as_ref().map(|(secret, at)| (secret, *at))
    }

    /// What to seal with, and since when.
    pub(crate) fn seals(&self) -> Option<(&Secret, Duration)> {
        self.seals.as_ref().map(|(secret, at)| (secret, *at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(600);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn key_of(letter: Option<Letter>) -> Secret {
        match letter {
            Some(Letter::Key(secret)) => secret,
            other => panic!("no key: {other:?}"),
        }
    }

    /// Two nodes, and what one says to the other until both are silent; workers are told at once.
    fn settle(now: Duration, a: &mut PairKeys, b: &mut PairKeys, said: Option<Letter>) {
        let mut letters: Vec<(bool, Letter)> = said.into_iter().map(|letter| (true, letter)).collect();
        while let Some((to_b, letter)) = letters.pop() {
            let hearer = if to_b { &mut *b } else { &mut *a };
            let told = match &letter {
                Letter::Key(secret) => Some(secret.id()),
                _ => None,
            };
            letters.extend(hearer.hear(now, letter).map(|answer| (!to_b, answer)));
            letters.extend(told.and_then(|id| hearer.told(id)).map(|answer| (!to_b, answer)));
        }
    }

    fn pair() -> (PairKeys, PairKeys) {
        let (mut a, mut b) = (PairKeys::default(), PairKeys::default());
        let said = a.begin(s(0), true, false);
        settle(s(0), &mut a, &mut b, said);
        let said = b.begin(s(0), true, true);
        settle(s(0), &mut b, &mut a, said);
        (a, b)
    }

    fn ids(of: &PairKeys) -> [Option<u32>; 2] {
        [of.seals().map(|(key, _)| key.id()), of.opens().map(|(key, _)| key.id())]
    }

    #[test]
    fn each_way_has_a_key_of_its_own_and_both_ends_agree() {
        let (a, b) = pair();
        let [a_seals, a_opens] = ids(&a);
        assert_eq!(ids(&b), [a_opens, a_seals]);
        assert!(a_seals.is_some() && a_seals != a_opens);
    }

    #[test]
    fn a_key_is_used_when_it_was_taken_and_not_before() {
        let mut a = PairKeys::default();
        let first = key_of(a.begin(s(0), true, false));
        assert_eq!(a.seals(), None);
        assert_eq!(a.hear(s(1), Letter::Taken(first.id() ^ 1)), None);
        assert_eq!(a.seals(), None, "not that one");
        a.hear(s(1), Letter::Taken(first.id()));
        assert_eq!(a.seals(), Some((&first, s(1))));
        // The next one; meanwhile the first stays in use. An answer to one that was offered before is none.
        let second = key_of(a.begin(s(2), true, true));
        let third = key_of(a.begin(s(3), true, true));
        a.hear(s(4), Letter::Taken(second.id()));
        assert_eq!(a.seals(), Some((&first, s(1))));
        a.hear(s(4), Letter::Taken(third.id()));
        assert_eq!((a.seals(), a.rolls), (Some((&third, s(4))), 1));
    }

    #[test]
    fn another_run_has_none_of_the_keys() {
        let (mut a, _) = pair();
        a.begin(s(1), true, true);
        assert!(a.seals().is_some() && a.opens().is_some());
        a.begin(s(2), true, false);
        assert_eq!((a.seals(), a.opens()), (None, None));
        assert_eq!(a.begin(s(3), false, true), None, "nothing is sealed between these");
        assert_eq!(a.tick(s(9_999), LIFE), None);
    }

    #[test]
    fn keys_are_rolled_by_age_by_wear_and_when_they_are_not_known() {
        let (mut a, mut b) = pair();
        let before = ids(&a);
        assert_eq!(a.tick(s(599), LIFE), None);
        let said = a.tick(s(600), LIFE);
        assert_eq!(a.tick(s(601), LIFE), None, "it is offered");
        assert_eq!(a.roll(s(601)), None, "it is offered");
        settle(s(601), &mut a, &mut b, said);
        assert_ne!(ids(&a)[0], before[0]);
        assert_eq!(ids(&a)[1], before[1]);
        let said = a.roll(s(700));
        assert!(said.is_some());
        settle(s(700), &mut a, &mut b, said);
        assert_eq!(ids(&b)[1], ids(&a)[0]);

        assert_eq!(b.ask_again(s(701)), None, "old frames may still be under way");
        let said = b.ask_again(s(703));
        assert_eq!(said, Some(Letter::Again));
        assert_eq!(b.ask_again(s(704)), None);
        let before = ids(&a);
        settle(s(703), &mut b, &mut a, said);
        assert_ne!(ids(&a)[0], before[0]);
        assert_eq!(ids(&b)[1], ids(&a)[0]);
        assert_eq!(a.hear(s(703), Letter::Again), None, "whoever asks often gets no more");
        assert_eq!(a.rolls, 3);
    }
}
