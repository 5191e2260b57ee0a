//! `why`: who made a key what it is.
//!
//! ```text
//!   live (set, shard 2)
//!     node 1  a10b0c0d0e0f:17           insert a
//!     node 3  b10b0c0d0e0f:4            insert a
//!     node 2  c10b0c0d0e0f:9            wrote last here; nothing of it stands
//! ```

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;

use super::admin::Admin;
use super::discover::Place;
use super::error::CtlError;
use super::output::{Output, text};
use crate::protocol::{By, Bytes, Did, Request, Why, WhyKind};

/// `why`.
pub(super) fn why(
    place: &Place,
    key: &OsStr,
    element: Option<&OsStr>,
    output: &Output,
) -> Result<(), CtlError> {
    let bytes = |text: &OsStr| Bytes(text.as_bytes().to_vec());
    let request = Request::Why { key: bytes(key), element: element.map(bytes) };
    let answer: Why = Admin::connect(place)?.ask(request)?;
    if answer.kinds.is_empty() {
        return Err(CtlError::NoSuchKey(answer.key.0));
    }
    output.datum(|| json!(answer), || account(&answer))
}

fn account(why: &Why) -> String {
    let mut account = String::new();
    for kind in &why.kinds {
        // Writing to a string does not fail, here and below.
        let _ = writeln!(account, "{} ({}, shard {})", text(&why.key.0), kind.kind, why.shard);
        for part in &kind.standing {
            line(&mut account, &part.by, &did(&part.did));
        }
        if !kind.whole {
            let _ = writeln!(account, "  and more: --element shows those of one element of a set");
        }
        without_trace(&mut account, kind);
    }
    account
}

/// Those of whose operations nothing stands; unless not all that stands is known.
fn without_trace(account: &mut String, kind: &WhyKind) {
    let standing: BTreeSet<_> = kind.standing.iter().map(|part| (part.by.node, &part.by.epoch)).collect();
    for last in kind.last.iter().filter(|last| kind.whole && !standing.contains(&(last.node, &last.epoch))) {
        line(account, last, "its last write here; nothing of it stands");
    }
}

fn line(account: &mut String, by: &By, what: &str) {
    let seq = if by.seq == 0 { "?".to_owned() } else { by.seq.to_string() };
    let _ = writeln!(account, "  node {:<5} {:<24} {what}", by.node, format!("{}:{seq}", by.epoch));
}

fn did(did: &Did) -> String {
    match did {
        Did::Add { increments, decrements } => format!("added {increments} and took {decrements}, in all"),
        Did::Set { value, unix_ns } => format!("set at {} to {}", utc(*unix_ns), text(&value.0)),
        Did::Enable => "enable".to_owned(),
        Did::Disable => "disable".to_owned(),
        Did::Insert { element } => format!("insert {}", text(&element.0)),
        Did::PreRemoved { element } => {
            format!("{} was removed here before this insert came: it never shows", text(&element.0))
        }
    }
}

/// Unix time as a date and a time of day, to milliseconds.
fn utc(unix_ns: u64) -> String {
    let (days, ns) = (unix_ns / 86_400_000_000_000, unix_ns % 86_400_000_000_000);
    let (year, month, day) = civil(days);
    let (ms, s) = (ns / 1_000_000 % 1_000, ns / 1_000_000_000);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", s / 3_600, s / 60 % 60, s % 60)
}

/// The date of a day since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", for days that are not
/// negative).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::WhyPart;

    #[test]
    fn times_are_dates() {
        for (unix_ns, date) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789_000_000, "2000-02-29T12:34:56.789Z"),
            (1_700_000_000_000_999_999, "2023-11-14T22:13:20.000Z"),
            (u64::MAX, "2554-07-21T23:34:33.709Z"),
        ] {
            assert_eq!(utc(unix_ns), date);
        }
    }

    #[test]
    fn whose_traces_are_gone_is_named() {
        let by = |node, seq| By { node, epoch: "ab".to_owned(), seq };
        let insert = Did::Insert { element: b"x"[..].into() };
        let kind = WhyKind {
            kind: "set".to_owned(),
            standing: vec![WhyPart { by: by(1, 7), did: insert }],
            last: vec![by(1, 9), by(2, 3)],
            whole: true,
        };
        let why = Why { key: b"k"[..].into(), shard: 3, kinds: vec![kind.clone()] };
        let shown = account(&why);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 3, "{shown}");
        assert!(
            lines[0] == "k (set, shard 3)" && lines[1].ends_with("ab:7                     insert x"),
            "{shown}"
        );
        assert!(lines[2].contains("node 2") && lines[2].contains("nothing of it stands"), "{shown}");
        let cut = Why { kinds: vec![WhyKind { whole: false, ..kind }], ..why };
        assert!(account(&cut).contains("and more") && !account(&cut).contains("node 2"));
    }
}
