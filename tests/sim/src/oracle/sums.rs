//! The sums that a counter can show.

use super::history::{History, OpId};
use super::replica::KeyState;

/// More different sums than this are not listed; then only their least and greatest count.
const MAX_SUMS: usize = 4_096;

/// What a counter may show.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sums {
    /// One of these, ascending: one if all that is known of the key is covered.
    These(Vec<i128>),
    /// Anything between, both ends included.
    Between(i128, i128),
}

impl Sums {
    /// Each actor stands at its last record in V, or at one of its later records in U.
    pub(super) fn reachable(history: &History, key: &KeyState) -> Self {
        let value = |id: OpId| history.operation(id).value();
        let mut base = 0;
        // Per actor that has something ahead: what it stands at, and may stand at.
        let mut choices: Vec<(OpId, Vec<i128>)> = Vec::new();
        for &(actor, newest) in &key.newest {
            let ahead =
                key.ahead.iter().filter(|&&id| id > newest && history.operation(id).dot.actor == actor);
            let later: Vec<i128> = ahead.map(|&id| value(id)).collect();
            if later.is_empty() {
                base += value(newest);
            } else {
                choices.push((newest, std::iter::once(value(newest)).chain(later).collect()));
            }
        }
        for &id in &key.ahead {
            let actor = history.operation(id).dot.actor;
            if key.newest.iter().any(|(own, _)| *own == actor) {
                continue;
            }
            match choices.iter_mut().find(|(other, _)| history.operation(*other).dot.actor == actor) {
                Some((_, values)) => values.push(value(id)),
                None => choices.push((id, vec![0, value(id)])),
            }
        }
        Self::of(base, choices.into_iter().map(|(_, values)| values))
    }

    fn of(base: i128, choices: impl Iterator<Item = Vec<i128>>) -> Self {
        let mut sums = Self::These(vec![base]);
        for mut values in choices {
            values.sort_unstable();
            values.dedup();
            sums = match sums {
                Self::These(sums) if sums.len() * values.len() <= MAX_SUMS => {
                    let mut next: Vec<i128> =
                        sums.iter().flat_map(|sum| values.iter().map(move |value| sum + value)).collect();
                    next.sort_unstable();
                    next.dedup();
                    Self::These(next)
                }
                sums => {
                    let (least, most) = sums.ends();
                    let (first, last) = (values.first().copied(), values.last().copied());
                    Self::Between(least + first.unwrap_or(0), most + last.unwrap_or(0))
                }
            };
        }
        sums
    }

    fn ends(&self) -> (i128, i128) {
        match self {
            Self::These(sums) => (sums.first().copied().unwrap_or(0), sums.last().copied().unwrap_or(0)),
            Self::Between(least, most) => (*least, *most),
        }
    }

    /// Whether a reader may see this: the nearest i64 of such a sum.
    pub(super) fn allow(&self, shown: i64) -> bool {
        match self {
            Self::These(sums) => sums.iter().any(|&sum| nearest(sum) == shown),
            Self::Between(least, most) => (nearest(*least)..=nearest(*most)).contains(&shown),
        }
    }

    /// The only sum, if there is only one.
    pub(super) fn only(&self) -> Option<i128> {
        match self {
            Self::These(sums) if sums.len() == 1 => sums.first().copied(),
            _ => None,
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::These(sums) if sums.len() <= 16 => {
                let sums: Vec<String> = sums.iter().map(i128::to_string).collect();
                sums.join(" or ")
            }
            sums => {
                let (least, most) = sums.ends();
                format!("a sum from {least} to {most}")
            }
        }
    }
}

/// The i64 that stands for a sum.
pub(super) fn nearest(sum: i128) -> i64 {
    sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}
