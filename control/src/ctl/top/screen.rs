//! The screen of `top`.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Paragraph, Row, Table};

use super::rates::Rates;
use crate::protocol::{Peer, Status};

/// Draws a look and what happened since the one before.
pub(super) fn draw(frame: &mut Frame<'_>, status: &Status, rates: &Rates) {
    let head = head(status, rates);
    let rows = |count: usize| u16::try_from(count + 2).unwrap_or(u16::MAX);
    let parts = [
        Constraint::Length(u16::try_from(head.height()).unwrap_or(u16::MAX)),
        Constraint::Length(rows(rates.workers.len())),
        Constraint::Min(0),
        Constraint::Length(1),
    ];
    let [head_area, workers_area, peers_area, foot_area] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(Paragraph::new(head), head_area);
    frame.render_widget(workers(rates), workers_area);
    frame.render_widget(peers(&status.peers), peers_area);
    frame.render_widget(Line::from("q ends; latticectl status has more").dim(), foot_area);
}

fn head(status: &Status, rates: &Rates) -> Text<'static> {
    let ready = match status.ready.ok {
        true => "ready".green(),
        false => "NOT READY".red().bold(),
    };
    let keys: u64 = status.shards.iter().map(|shard| shard.keys).sum();
    let mut lines = vec![
        Line::from(vec![
            format!("{} (node {}) of cluster {}: ", status.name, status.node, status.cluster).into(),
            ready,
            format!(
                ", {}, port {}, up {}, {keys} keys, {} clients",
                if status.converged { "converged" } else { "not converged" },
                status.port,
                time(Duration::from_millis(status.uptime_ms)),
                status.clients.len()
            )
            .into(),
        ]),
        Line::from(match rates.acknowledged {
            Some((median, p99)) => {
                format!("sent until acknowledged: p50 <= {}, p99 <= {}", bound(median), bound(p99))
            }
            None => "sent until acknowledged: nothing was".to_owned(),
        }),
    ];
    let not_ready = status.ready.conditions.iter().filter(|condition| !condition.ok);
    lines.extend(
        not_ready.map(|condition| Line::from(format!("! {}: {}", condition.name, condition.reason)).red()),
    );
    lines.extend(status.degraded.iter().map(|reason| Line::from(format!("! {reason}")).yellow()));
    lines.push(Line::default());
    Text::from(lines)
}

fn workers(rates: &Rates) -> Table<'static> {
    let names = [
        "worker",
        "busy",
        "writes/s",
        "merges/s",
        "frames in/s",
        "out/s",
        "again/s",
        "dropped/s",
        "ring slots",
    ];
    let rows = rates.workers.iter().map(|worker| {
        let Rated { bad, cells } = Rated::of(worker);
        Row::new(cells).style(if bad { Style::new().fg(Color::Yellow) } else { Style::new() })
    });
    let widths = [7, 6, 11, 11, 12, 11, 9, 10, 10].map(Constraint::Length);
    Table::new(rows, widths).header(Row::new(names).bold())
}

struct Rated {
    bad: bool,
    cells: [String; 9],
}

impl Rated {
    fn of(worker: &super::rates::WorkerRates) -> Self {
        let cells = [
            worker.worker.to_string(),
            format!("{:.0} %", worker.duty * 100.0),
            count(worker.operations),
            count(worker.merged),
            count(worker.received),
            count(worker.sent),
            count(worker.again),
            count(worker.dropped),
            worker.ring_slots.to_string(),
        ];
        Self { bad: worker.dropped >= 1.0 || worker.again >= 100.0, cells }
    }
}

fn peers(peers: &[Peer]) -> Table<'static> {
    let rows = peers.iter().map(|peer| {
        let (state, color) = match (peer.up, peer.converged) {
            (false, _) => ("down", Color::Red),
            (true, false) => ("up, differs", Color::Yellow),
            (true, true) => ("up, equal", Color::Green),
        };
        let cells = [
            peer.node.to_string(),
            peer.address.to_string(),
            state.to_owned(),
            count(peer.acked_lag_seqs as f64),
            format!("{:.1} s", peer.acked_lag_ms as f64 / 1e3),
            format!("{} µs", peer.rtt_us),
        ];
        Row::new(cells).style(Style::new().fg(color))
    });
    let widths = [7, 40, 12, 11, 9, 12].map(Constraint::Length);
    Table::new(rows, widths)
        .header(Row::new(["peer", "address", "state", "lag", "lag since", "round trip"]).bold())
}

/// A number in four digits or so.
fn count(value: f64) -> String {
    match value {
        value if value >= 1e9 => format!("{:.2} G", value / 1e9),
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 1e4 => format!("{:.1} k", value / 1e3),
        value => format!("{value:.0}"),
    }
}

/// A bound of a histogram; the last has none.
fn bound(bound: Duration) -> String {
    match bound.as_micros() {
        _ if bound == Duration::from_nanos(u64::MAX) => "more than 268 ms".to_owned(),
        micros if micros < 10_000 => format!("{micros} µs"),
        micros => format!("{} ms", micros / 1000),
    }
}

fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::top::rates::tests::look;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::Instant;

    fn lines(width: u16, height: u16) -> Vec<String> {
        let began = Instant::now();
        let now = look(
            began + Duration::from_secs(1),
            &[(0, "ops_applied", 1_234_567), (1, "ack_latency_le_16384_ns", 9)],
        );
        let rates = Rates::between(&look(began, &[]), &now);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| draw(frame, &now.status, &rates)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    #[test]
    fn a_screen_says_who_how_much_and_what_is_wrong() {
        let lines = lines(110, 16);
        let expected = [
            "host-a (node 1) of cluster demo: NOT READY, not converged, port udp, up 61 s, 0 keys, 0 clients",
            "sent until acknowledged: p50 <= 16 µs, p99 <= 16 µs",
            "! synced: a state sync is coming in for shard 2",
            "! worker 1: unpinned: name cores",
            "",
            "worker  busy   writes/s    merges/s    frames in/s  out/s       again/s   dropped/s  ring slots",
            "0       0 %    1.23 M      0           0            0           0         0          0",
            "1       0 %    0           0           0            0           0         0          0",
            "",
            "peer    address                                  state        lag         lag since round trip",
            "2       10.77.0.2                                up, equal    0           0.0 s     48 µs",
            "3       10.77.0.3                                down         512         4.2 s     0 µs",
        ];
        assert_eq!(lines[..12], expected);
        assert_eq!(lines[15], "q ends; latticectl status has more");
    }

    #[test]
    fn a_terminal_that_is_too_small_is_drawn_to_all_the_same() {
        for (width, height) in [(1, 1), (20, 3), (80, 5)] {
            assert_eq!(lines(width, height).len(), usize::from(height));
        }
    }

    #[test]
    fn numbers_are_short() {
        let counts = [0.4, 9_999.0, 12_345.0, 5_240_000.0, 2e9].map(count);
        assert_eq!(counts, ["0", "9999", "12.3 k", "5.24 M", "2.00 G"]);
        let times = [119, 120, 7_200, 172_800].map(|seconds| time(Duration::from_secs(seconds)));
        assert_eq!(times, ["119 s", "2 min", "2 h", "2 d"]);
        assert_eq!(bound(Duration::from_nanos(u64::MAX)), "more than 268 ms");
    }
}
