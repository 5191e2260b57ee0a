//! `watch`: a key's value, then each change of it; or all keys with a prefix.
//!
//! A watcher that is too slow, or whose daemon restarts, misses changes; it then prints the values anew, so that the last
//! line about a key is always its value.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use lattice_client::{Change, Client, DaemonState, KeyInfo};
use serde_json::json;

use super::args::Watch;
use super::data::{self, Datum, kind_name};
use super::discover::Place;
use super::error::CtlError;
use super::output::{Output, json_bytes, text};

/// How often a quiet watcher looks whether the daemon is still there.
const LOOK: Duration = Duration::from_millis(500);

/// Watches until interrupted, or `--count` lines were printed.
pub(super) fn watch(place: &Place, watch: &Watch, output: &Output) -> Result<(), CtlError> {
    let client = data::open(place, false)?;
    let mut watcher = Watcher {
        client: &client,
        pattern: watch.key.as_bytes(),
        prefix: watch.prefix,
        output,
        remaining: watch.count,
        last: BTreeMap::new(),
        was_live: true,
    };
    // The cursor first, the values next: a change in between is printed twice rather than not at all.
    let mut changes = client.changes();
    watcher.read_all()?;
    while !watcher.is_done() {
        match changes.next(LOOK)? {
            Some(Change::Key { key, .. }) => watcher.key(&key)?,
            Some(Change::Overrun | Change::Restarted) => watcher.read_all()?,
            Some(_) | None => watcher.look_for_daemon(),
        }
    }
    Ok(())
}

struct Watcher<'a> {
    client: &'a Client,
    pattern: &'a [u8],
    prefix: bool,
    output: &'a Output,
    remaining: Option<u64>,
    /// What was printed last, by key and kind: a change that leaves the value as it is prints nothing.
    last: BTreeMap<(Vec<u8>, u8), Datum>,
    was_live: bool,
}

impl Watcher<'_> {
    fn is_done(&self) -> bool {
        self.remaining == Some(0)
    }

    fn matches(&self, key: &[u8]) -> bool {
        if self.prefix { key.starts_with(self.pattern) } else { key == self.pattern }
    }

    fn read_all(&mut self) -> Result<(), CtlError> {
        for key in self.client.keys(self.pattern) {
            self.key(&key)?;
        }
        Ok(())
    }

    fn key(&mut self, info: &KeyInfo) -> Result<(), CtlError> {
        if self.is_done() || !self.matches(&info.key) {
            return Ok(());
        }
        let value = match data::read(self.client, info.kind, &info.key) {
            Ok(value) => value,
            // It changes faster than it can be copied: its next change is on its way.
            Err(lattice_client::Error::Busy) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let place = (info.key.clone(), info.kind.as_u8());
        if self.last.get(&place) == Some(&value) {
            return Ok(());
        }
        self.print(info, &value)?;
        self.last.insert(place, value);
        self.remaining = self.remaining.map(|remaining| remaining - 1);
        Ok(())
    }

    fn print(&self, info: &KeyInfo, value: &Datum) -> Result<(), CtlError> {
        let kind = kind_name(info.kind);
        self.output.datum(
            || json!({ "key": json_bytes(&info.key), "kind": kind, "value": value.json() }),
            || {
                let value = match value {
                    Datum::Set(members) => {
                        format!(
                            "{{{}}}",
                            members.iter().map(|member| text(member)).collect::<Vec<_>>().join(", ")
                        )
                    }
                    other => other.plain(),
                };
                if self.prefix { format!("{} {value}", text(&info.key)) } else { value }
            },
        )
    }

    /// Says once that the daemon is gone, and once that it is back.
    fn look_for_daemon(&mut self) {
        let health = self.client.health();
        let live = health.state == DaemonState::Live;
        if live != self.was_live {
            let age = health.heartbeat_age.unwrap_or_default().as_secs_f64();
            match live {
                true => eprintln!("latticectl: the daemon is back"),
                false => eprintln!(
                    "latticectl: the daemon is gone (last heartbeat {age:.1} s ago); waiting for it to come back"
                ),
            }
            self.was_live = live;
        }
    }
}
