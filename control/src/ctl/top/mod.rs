//! `top`: what the daemon does, second by second, on the whole terminal.
//!
//! ```text
//!   segment (counters of each worker) ──┐
//!                                       ├──> Look ──┬──> Rates::between ──> screen::draw
//!   admin socket (status) ──────────────┘    Look ──┘
//! ```
//!
//! Rates come from the counters in the segment, which nobody is disturbed by; peers and health from the daemon's status. Keys:
//! `q`, Escape or Ctrl-C ends it. What can go wrong: the daemon stops; `top` then ends and says so, as any command would.

mod rates;
mod screen;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use lattice_segment::Reader;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::admin::Admin;
use super::discover::Place;
use super::error::CtlError;
use crate::protocol::{Request, Status};
use rates::{Look, Rates};

/// The shortest pause between two looks, whatever was asked for: nobody reads faster, and each is a question to the daemon.
const MIN_PERIOD: Duration = Duration::from_millis(100);
/// The longest, so that no sum of times overflows.
const MAX_PERIOD: Duration = Duration::from_secs(86_400);

/// Shows the daemon until a key ends it.
pub(super) fn top(place: &Place, period: Duration) -> Result<(), CtlError> {
    if !std::io::stdout().is_terminal() {
        return Err(CtlError::NoTerminal);
    }
    let period = period.clamp(MIN_PERIOD, MAX_PERIOD);
    // Before the terminal is taken, so that a daemon that is not there is told on the ordinary screen.
    let mut before = look(place)?;
    let mut terminal = ratatui::try_init().map_err(CtlError::Output)?;
    let outcome = (|| -> Result<(), CtlError> {
        loop {
            let now = look(place)?;
            let rates = Rates::between(&before, &now);
            terminal.draw(|frame| screen::draw(frame, &now.status, &rates)).map_err(CtlError::Output)?;
            before = now;
            if wait_for_end(period)? {
                return Ok(());
            }
        }
    })();
    ratatui::restore();
    outcome
}

fn look(place: &Place) -> Result<Look, CtlError> {
    let status: Status = Admin::connect(place)?.ask(Request::Status)?;
    // Anew each time: a daemon that was restarted has another segment.
    let reader = Reader::open(&status.segment).map_err(|error| CtlError::Denied {
        path: status.segment.clone(),
        source: std::io::Error::other(error),
    })?;
    Ok(Look { at: Instant::now(), counters: reader.counters(), status })
}

/// Waits for a period, or for the key that ends it: true.
fn wait_for_end(period: Duration) -> Result<bool, CtlError> {
    let until = Instant::now() + period;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if !event::poll(left).map_err(CtlError::Output)? {
            return Ok(false);
        }
        match event::read().map_err(CtlError::Output)? {
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                let interrupted =
                    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
            // Drawn anew at once.
            Event::Resize(..) => return Ok(false),
            _ => {}
        }
    }
}
