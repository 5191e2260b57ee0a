//! Reading and writing keys.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use lattice_client::{Client, DaemonState, Error, Flag, Kind};
use serde_json::{Value, json};

use super::admin::Admin;
use super::args::{Read, Verb, Wait, Wins};
use super::discover::Place;
use super::error::CtlError;
use super::output::{Output, json_bytes, text};
use super::rules;
use crate::protocol::{Request, Status};

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Datum {
    Counter(i64),
    Flag(bool),
    Register(Option<Vec<u8>>),
    /// Sorted.
    Set(Vec<Vec<u8>>),
    /// Of a kind that this version does not know.
    Unknown,
}

impl Datum {
    /// For a terminal: one line, or one line per member.
    pub fn plain(&self) -> String {
        match self {
            Datum::Counter(value) => value.to_string(),
            Datum::Flag(value) => (if *value { "on" } else { "off" }).to_owned(),
            Datum::Register(Some(value)) => text(value),
            Datum::Register(None) => "(not set)".to_owned(),
            Datum::Set(members) => members.iter().map(|member| text(member)).collect::<Vec<_>>().join("\n"),
            Datum::Unknown => "(of a kind that this latticectl does not know)".to_owned(),
        }
    }

    /// As JSON: number, boolean, string or null, or list.
    pub fn json(&self) -> Value {
        match self {
            Datum::Counter(value) => json!(value),
            Datum::Flag(value) => json!(value),
            Datum::Register(value) => value.as_deref().map_or(Value::Null, json_bytes),
            Datum::Set(members) => members.iter().map(|member| json_bytes(member)).collect(),
            Datum::Unknown => Value::Null,
        }
    }
}

/// The name of a kind in JSON and messages.
pub(super) fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::Counter => "counter".to_owned(),
        Kind::FlagEnableWins => "flag-enable-wins".to_owned(),
        Kind::FlagDisableWins => "flag-disable-wins".to_owned(),
        Kind::Register => "register".to_owned(),
        Kind::Set => "set".to_owned(),
        other => other.to_string(),
    }
}

/// Reads a key of a known kind.
pub(super) fn read(client: &Client, kind: Kind, key: &[u8]) -> Result<Datum, Error> {
    Ok(match kind {
        Kind::Counter => Datum::Counter(client.counter(key)?.get()?),
        Kind::FlagEnableWins => Datum::Flag(client.flag(key)?.get()?),
        Kind::FlagDisableWins => Datum::Flag(client.flag_disable_wins(key)?.get()?),
        Kind::Register => Datum::Register(client.register(key)?.get()?),
        Kind::Set => {
            let mut members = client.set(key)?.members()?;
            members.sort_unstable();
            Datum::Set(members)
        }
        _ => Datum::Unknown,
    })
}

/// Opens the state for reading. A daemon that is not alive is an error, or with `--stale` a warning.
pub(super) fn open(place: &Place, stale_is_fine: bool) -> Result<Client, CtlError> {
    let client = Client::open_read_only(place.segment()).map_err(|error| unreadable(place, error))?;
    let health = client.health();
    let state = match health.state {
        DaemonState::Live => return Ok(client),
        DaemonState::Stale => "is silent",
        DaemonState::Dead => "is dead",
        DaemonState::Closed => "has stopped",
    };
    let error = CtlError::Stale { directory: place.directory().to_owned(), state, age: health.heartbeat_age };
    if !stale_is_fine {
        return Err(error);
    }
    eprintln!("latticectl: {error}");
    Ok(client)
}

/// A segment that can't be opened: most often because no daemon ever ran there.
fn unreadable(place: &Place, error: Error) -> CtlError {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    match error {
        Error::Open { path, source: lattice_segment::OpenError::Io { source, .. } } => match source.kind() {
            NotFound => CtlError::NotRunning { socket: place.socket.clone(), source },
            PermissionDenied => CtlError::Denied { path, source },
            _ => CtlError::Connection(source),
        },
        error => CtlError::Client(error),
    }
}

/// Why attaching failed: a daemon that accepted the connection but never answered is most likely standing still.
fn unattached(place: &Place, error: Error) -> CtlError {
    match (&error, open(place, false)) {
        (Error::Protocol(_), Err(stale @ CtlError::Stale { .. })) => stale,
        _ => error.into(),
    }
}

/// The kinds with which a key exists on this host: one, unless nodes made it with different kinds at the same time.
fn kinds_of(client: &Client, key: &[u8]) -> Vec<Kind> {
    client.keys(key).into_iter().filter(|found| found.key == key).map(|found| found.kind).collect()
}

/// `get`: the value of a key; of every kind that it has, each then named.
pub(super) fn get(place: &Place, key: &OsStr, how: &Read, output: &Output) -> Result<(), CtlError> {
    let (client, key) = (open(place, how.stale)?, key.as_bytes());
    let kinds = kinds_of(&client, key);
    if kinds.is_empty() {
        return Err(CtlError::NoSuchKey(key.to_owned()));
    }
    let several = kinds.len() > 1;
    for kind in kinds {
        let value = read(&client, kind, key)?;
        let name = kind_name(kind);
        let plain = || if several { format!("{name}: {}", value.plain()) } else { value.plain() };
        output.datum(|| json!({ "key": json_bytes(key), "kind": name, "value": value.json() }), plain)?;
    }
    Ok(())
}

/// `members`: a set's members, sorted.
pub(super) fn members(place: &Place, key: &OsStr, how: &Read, output: &Output) -> Result<(), CtlError> {
    let (client, key) = (open(place, how.stale)?, key.as_bytes());
    let kinds = kinds_of(&client, key);
    match kinds.first() {
        None => return Err(CtlError::NoSuchKey(key.to_owned())),
        Some(&found) if !kinds.contains(&Kind::Set) => {
            let hint = "`latticectl get` prints the value of any key";
            return Err(CtlError::OtherKind { key: key.to_owned(), found, wanted: "set", hint });
        }
        Some(_) => {}
    }
    let members = read(&client, Kind::Set, key)?;
    output.datum(|| members.json(), || members.plain())
}

/// `keys`: all keys with a prefix, sorted.
pub(super) fn keys(
    place: &Place,
    prefix: Option<&OsStr>,
    how: &Read,
    output: &Output,
) -> Result<(), CtlError> {
    let client = open(place, how.stale)?;
    for found in client.keys(prefix.map(OsStr::as_bytes).unwrap_or_default()) {
        let name = kind_name(found.kind);
        output.datum(
            || json!({ "key": json_bytes(&found.key), "kind": name }),
            || format!("{:<17} {}", name, text(&found.key)),
        )?;
    }
    Ok(())
}

/// The commands that write: each waits until its write has got as far as was asked, to this host's readers at least.
pub(super) fn write(place: &Place, verb: &Verb, output: &Output) -> Result<(), CtlError> {
    let client = Client::connect(&place.socket).map_err(|error| unattached(place, error))?;
    let outcome = match verb {
        Verb::Add { key, amount, wait } => return add(place, &client, key.as_bytes(), *amount, wait, output),
        Verb::Enable { key, wins, wait } => {
            flag(&client, key, *wins).and_then(|flag| flag.enable_with(wait.ack, wait.timeout))
        }
        Verb::Disable { key, wins, wait } => {
            flag(&client, key, *wins).and_then(|flag| flag.disable_with(wait.ack, wait.timeout))
        }
        Verb::Set { key, value, wait } => client
            .register(key.as_bytes())
            .and_then(|it| it.set_with(value.as_bytes(), wait.ack, wait.timeout)),
        Verb::Insert { key, element, wait } => client
            .set(key.as_bytes())
            .and_then(|set| set.insert_with(element.as_bytes(), wait.ack, wait.timeout)),
        Verb::Remove { key, element, wait } => client
            .set(key.as_bytes())
            .and_then(|set| set.remove_with(element.as_bytes(), wait.ack, wait.timeout)),
        // The other commands do not come here.
        _ => return Ok(()),
    };
    outcome.map(drop).map_err(|error| explain(place, verb, error))
}

fn add(
    place: &Place,
    client: &Client,
    key: &[u8],
    amount: i64,
    wait: &Wait,
    output: &Output,
) -> Result<(), CtlError> {
    let added = client.counter(key).and_then(|counter| {
        counter.add_with(amount, wait.ack, wait.timeout)?;
        counter.get()
    });
    let value = added.map_err(|error| refused_by(place, key, "counter", error))?;
    let json = || json!({ "key": json_bytes(key), "kind": "counter", "value": value });
    output.datum(json, || value.to_string())
}

/// Opens a flag with the rule asked for, or else the one that it has; a new one is enable-wins.
fn flag(client: &Client, key: &OsString, wins: Option<Wins>) -> Result<Flag, Error> {
    let key = key.as_bytes();
    match wins {
        Some(Wins::Enable) => client.flag(key),
        Some(Wins::Disable) => client.flag_disable_wins(key),
        None if kinds_of(client, key) == [Kind::FlagDisableWins] => client.flag_disable_wins(key),
        None => client.flag(key),
    }
}

/// Adds to a refusal the rule, and to a mismatch of kinds what the command works on.
fn explain(place: &Place, verb: &Verb, error: Error) -> CtlError {
    match verb {
        Verb::Enable { key, .. } | Verb::Disable { key, .. } => {
            refused_by(place, key.as_bytes(), "flag", error)
        }
        Verb::Set { key, .. } => refused_by(place, key.as_bytes(), "register", error),
        Verb::Insert { key, .. } | Verb::Remove { key, .. } => {
            refused_by(place, key.as_bytes(), "set", error)
        }
        _ => error.into(),
    }
}

fn refused_by(place: &Place, key: &[u8], wanted: &'static str, error: Error) -> CtlError {
    match error {
        Error::Refused(refusal) => {
            // A daemon that says no more than that is believed too.
            let status = Admin::connect(place).and_then(|mut admin| admin.ask::<Status>(Request::Status));
            match status.ok().and_then(|status| rules::explain(&status, key, refusal)) {
                Some(rule) => CtlError::Rule(rule),
                None => error.into(),
            }
        }
        error => with_hint(key, wanted, error),
    }
}

fn with_hint(key: &[u8], wanted: &'static str, error: Error) -> CtlError {
    let Error::KindMismatch { found, .. } = error else { return error.into() };
    let hint = match found {
        Kind::Counter => "`latticectl add` writes to it",
        Kind::FlagEnableWins => "`latticectl enable` and `disable` write to it, with --wins enable",
        Kind::FlagDisableWins => "`latticectl enable` and `disable` write to it, with --wins disable",
        Kind::Register => "`latticectl set` writes to it",
        Kind::Set => "`latticectl insert` and `remove` write to it",
        _ => "this latticectl does not know its kind",
    };
    CtlError::OtherKind { key: key.to_owned(), found, wanted, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_in_both_forms() {
        let cases = [
            (Datum::Counter(-3), "-3", json!(-3)),
            (Datum::Flag(true), "on", json!(true)),
            (Datum::Flag(false), "off", json!(false)),
            (Datum::Register(Some(b"v 1".to_vec())), "v 1", json!("v 1")),
            (Datum::Register(None), "(not set)", Value::Null),
            (Datum::Set(vec![b"a".to_vec(), b"\xff".to_vec()]), "a\n\\xff", json!(["a", { "hex": "ff" }])),
            (Datum::Set(Vec::new()), "", json!([])),
        ];
        for (datum, plain, json) in cases {
            assert_eq!((datum.plain().as_str(), datum.json()), (plain, json));
        }
    }

    #[test]
    fn a_wrong_kind_is_answered_with_the_command_that_fits() {
        let error = Error::KindMismatch { wanted: Kind::Counter, found: Kind::Set };
        let message = with_hint(b"k", "counter", error).to_string();
        assert_eq!(message, "`k` is a set, not a counter; `latticectl insert` and `remove` write to it");
    }
}
