//! Whom to dial when: every address that should have a session and has none, at once and then ever more rarely.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// First pause after a failure; doubles up to [`SLOWEST`].
const FASTEST: Duration = Duration::from_millis(100);
/// Longest pause: how long a member that comes back may wait for this node, should it not dial by itself.
const SLOWEST: Duration = Duration::from_millis(2_000);
/// Addresses at a time: all members and the seeds.
const MAX_TARGETS: usize = 256;

/// Times are since any fixed moment.
#[derive(Debug, Default)]
pub(crate) struct Dials(BTreeMap<SocketAddr, Dial>);

#[derive(Debug, Default)]
struct Dial {
    due: Duration,
    pause: Duration,
    under_way: bool,
    wanted: bool,
}

impl Dials {
    /// Which of the wanted addresses to dial now; they count as under way until [`Dials::over`]. What is not wanted any
    /// more is forgotten.
    pub(crate) fn due(
        &mut self,
        now: Duration,
        wanted: impl IntoIterator<Item = SocketAddr>,
    ) -> Vec<SocketAddr> {
        for address in wanted {
            if self.0.contains_key(&address) || self.0.len() < MAX_TARGETS {
                self.0.entry(address).or_default().wanted = true;
            }
        }
        self.0.retain(|_, dial| std::mem::take(&mut dial.wanted) || dial.under_way);
        let mut due = Vec::new();
        for (&address, dial) in self.0.iter_mut().filter(|(_, dial)| !dial.under_way && dial.due <= now) {
            dial.under_way = true;
            due.push(address);
        }
        due
    }

    /// A dial is over; it is tried again after a pause if it still is wanted.
    pub(crate) fn over(&mut self, now: Duration, address: SocketAddr) {
        if let Some(dial) = self.0.get_mut(&address) {
            dial.under_way = false;
            dial.pause = (dial.pause * 2).clamp(FASTEST, SLOWEST);
            dial.due = now + dial.pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_target_is_dialled_at_once_then_ever_more_rarely() {
        let target: SocketAddr = ([10, 0, 0, 1], 1).into();
        let mut dials = Dials::default();
        let mut at = Vec::new();
        for now in (0..8_000).step_by(50) {
            if !dials.due(ms(now), [target]).is_empty() {
                at.push(now);
                assert!(dials.due(ms(now), [target]).is_empty(), "one at a time");
                dials.over(ms(now), target);
            }
        }
        assert_eq!(at, [0, 100, 300, 700, 1_500, 3_100, 5_100, 7_100]);
        // Not wanted for a while: the next loss of the session is answered at once again.
        assert!(dials.due(ms(8_000), []).is_empty());
        assert_eq!(dials.due(ms(8_000), [target]), [target]);
    }

    #[test]
    fn there_is_a_most() {
        let mut dials = Dials::default();
        let many = (0..1_000).map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        assert_eq!(dials.due(ms(0), many).len(), MAX_TARGETS);
    }
}
