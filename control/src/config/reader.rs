//! Reads one table of the document, key by key: types and ranges are checked here, and what nobody asked for is an error.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Report;

/// Similarity (Jaro-Winkler, 0 to 1) from which a known key is offered in place of an unknown one.
const SUGGESTION_SIMILARITY: f64 = 0.8;

/// One table (`[network]`, or one of `[[peers]]`) and the keys asked of it so far.
pub(super) struct Section<'a, 'r> {
    /// `network`, or `peers[1]`; empty for the document itself.
    path: String,
    table: Option<&'a DeTable<'a>>,
    line: usize,
    known: Vec<&'static str>,
    /// Keys that can't be, and were reported with the reason.
    reported: Vec<&'static str>,
    report: &'r mut Report,
}

impl<'a, 'r> Section<'a, 'r> {
    /// A section at `line`; without a table every key is absent.
    pub(super) fn new(
        path: &str,
        table: Option<&'a DeTable<'a>>,
        line: usize,
        report: &'r mut Report,
    ) -> Self {
        if !path.is_empty() && table.is_some() {
            report.place(path, line);
        }
        Self { path: path.to_owned(), table, line, known: Vec::new(), reported: Vec::new(), report }
    }

    fn full_name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key, if it is there. From now on the key is a known one.
    fn value(&mut self, key: &'static str) -> Option<(&'a DeValue<'a>, usize)> {
        self.known.push(key);
        let (name, value) = self.table?.iter().find(|(name, _)| name.get_ref() == key)?;
        let line = self.report.line_of(&name.span());
        let full_name = self.full_name(key);
        self.report.place(&full_name, line);
        Some((value.get_ref(), line))
    }

    fn wrong(&mut self, key: &str, line: usize, found: String, expected: &str) {
        let name = self.full_name(key);
        self.report.problem(line, &name, found, format!("expected {expected}"));
    }

    /// Reports that a key without a default is missing.
    fn missing(&mut self, key: &str, expected: &str) {
        let (line, name) = (self.line, self.full_name(key));
        self.report.problem(line, &name, "is missing", format!("expected {expected}"));
    }

    /// An integer within a range.
    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let (value, line) = self.value(key)?;
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        match integer(value) {
            Some(number) if u64::try_from(number).is_ok_and(|number| range.contains(&number)) => {
                u64::try_from(number).ok()
            }
            _ => {
                self.wrong(key, line, describe(value), &expected);
                None
            }
        }
    }

    /// An integer that is a power of two, within a range.
    pub(super) fn power_of_two(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let (value, line) = self.value(key)?;
        let number = integer(value).and_then(|number| u64::try_from(number).ok());
        if number.is_some_and(|number| range.contains(&number) && number.is_power_of_two()) {
            return number;
        }
        let expected = format!("a power of two from {} to {}", range.start(), range.end());
        self.wrong(key, line, describe(value), &expected);
        None
    }

    /// A truth value.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let (value, line) = self.value(key)?;
        if value.as_bool().is_none() {
            self.wrong(key, line, describe(value), "true or false");
        }
        value.as_bool()
    }

    /// A string for which `accept` gives a value.
    pub(super) fn string<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        accept: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let (value, line) = self.value(key)?;
        let accepted = value.as_str().and_then(accept);
        if accepted.is_none() {
            self.wrong(key, line, describe(value), expected);
        }
        accepted
    }

    /// One word of a list.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        let (value, line) = self.value(key)?;
        let word = value.as_str();
        if let Some((_, choice)) = choices.iter().find(|(name, _)| Some(*name) == word) {
            return Some(*choice);
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let mut expected = format!("one of {}", names.join(", "));
        if let Some(near) = word.and_then(|word| nearest(word, choices.iter().map(|(name, _)| *name))) {
            expected.push_str(&format!("; did you mean \"{near}\"?"));
        }
        self.wrong(key, line, describe(value), &expected);
        None
    }

    /// An IP address that a host can have and that means the same on every other.
    pub(super) fn address(&mut self, key: &'static str, expected: &str) -> Option<IpAddr> {
        self.string(key, expected, |text| text.parse().ok().filter(is_reachable))
    }

    /// Whether the section is in the file.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// A list of addresses of hosts, each with a port or without; at most `max`.
    pub(super) fn addresses(
        &mut self,
        key: &'static str,
        default_port: u16,
        max: usize,
    ) -> Option<Vec<SocketAddr>> {
        let (value, line) = self.value(key)?;
        let expected = format!(
            "a list of at most {max} addresses of hosts, each with a port or without, such as [\"10.77.0.1\", \"[fd00::2]:7390\"]"
        );
        let address = |text: &str| {
            let bare = text.parse().ok().map(|address| SocketAddr::new(address, default_port));
            let with_port = || text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
            bare.or_else(with_port).filter(|address| is_reachable(&address.ip()))
        };
        let items = value.as_array().map(|items| {
            items.iter().map(|item| item.get_ref().as_str().and_then(address)).collect::<Option<Vec<_>>>()
        });
        match items {
            Some(Some(addresses)) if addresses.len() <= max => Some(addresses),
            Some(None) => {
                self.wrong(key, line, "holds an item that is no address".to_owned(), &expected);
                None
            }
            Some(Some(addresses)) => {
                self.wrong(key, line, format!("is a list of {}", addresses.len()), &expected);
                None
            }
            None => {
                self.wrong(key, line, describe(value), &expected);
                None
            }
        }
    }

    /// A list of strings for each of which `accept` gives a value; at most `max`.
    pub(super) fn strings<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        max: usize,
        accept: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (value, line) = self.value(key)?;
        let Some(items) = value.as_array() else {
            self.wrong(key, line, describe(value), expected);
            return None;
        };
        if items.len() > max {
            self.wrong(key, line, format!("is a list of {}", items.len()), &format!("at most {max}"));
            return None;
        }
        let mut accepted = Vec::with_capacity(items.len());
        for item in items.iter() {
            let Some(item_accepted) = item.get_ref().as_str().and_then(&accept) else {
                let line = self.report.line_of(&item.span());
                self.wrong(key, line, format!("holds an item that {}", describe(item.get_ref())), expected);
                return None;
            };
            accepted.push(item_accepted);
        }
        Some(accepted)
    }

    /// A key that one might look for and that can't be: told with the reason.
    pub(super) fn not_offered(&mut self, key: &'static str, found: &str, expected: &str) {
        let there = self.table.and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key));
        if let Some((name, _)) = there {
            let (line, name) = (self.report.line_of(&name.span()), self.full_name(key));
            self.report.problem(line, &name, found, expected);
            self.reported.push(key);
        }
    }

    /// A list of integers within a range, at least one and at most `max`.
    pub(super) fn integers(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        max: usize,
    ) -> Option<Vec<u64>> {
        let (value, line) = self.value(key)?;
        let expected =
            format!("a list of 1 to {max} different integers from {} to {}", range.start(), range.end());
        let Some(items) = value.as_array() else {
            self.wrong(key, line, describe(value), &expected);
            return None;
        };
        let mut numbers = Vec::with_capacity(items.len().min(max));
        for item in items.iter() {
            let number = integer(item.get_ref()).and_then(|number| u64::try_from(number).ok());
            let line = self.report.line_of(&item.span());
            match number {
                Some(number) if range.contains(&number) && !numbers.contains(&number) => numbers.push(number),
                Some(number) if numbers.contains(&number) => {
                    self.wrong(key, line, format!("names {number} twice"), &expected);
                    return None;
                }
                _ => {
                    self.wrong(
                        key,
                        line,
                        format!("holds an item that {}", describe(item.get_ref())),
                        &expected,
                    );
                    return None;
                }
            }
        }
        if numbers.is_empty() || numbers.len() > max {
            self.wrong(key, line, format!("is a list of {}", numbers.len()), &expected);
            return None;
        }
        Some(numbers)
    }

    /// Reads a key that has no default with `read`, and reports it when it is not there at all.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let present = self.table.is_some_and(|table| table.iter().any(|(name, _)| name.get_ref() == key));
        let value = read(self);
        if !present {
            self.missing(key, expected);
        }
        value
    }

    /// Opens the table under a key; a key that holds something else is reported.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a, '_> {
        let name = self.full_name(key);
        let Some((value, line)) = self.value(key) else {
            return Section::new(&name, None, self.line, self.report);
        };
        let table = value.as_table();
        if table.is_none() {
            self.wrong(key, line, describe(value), &format!("a table: a line [{name}] and its keys below"));
        }
        Section::new(&name, table, line, self.report)
    }

    /// Reads each table of an array of tables (`[[key]]`) with `read`.
    pub(super) fn tables(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'a, '_>)) {
        let Some((value, line)) = self.value(key) else { return };
        let expected = format!("tables, each a line [[{key}]] and its keys below");
        let Some(items) = value.as_array() else {
            self.wrong(key, line, describe(value), &expected);
            return;
        };
        for (index, item) in items.iter().enumerate() {
            let line = self.report.line_of(&Spanned::span(item));
            match item.get_ref().as_table() {
                Some(table) => {
                    let mut section =
                        Section::new(&format!("{key}[{index}]"), Some(table), line, self.report);
                    read(&mut section);
                    section.finish();
                }
                None => self.wrong(key, line, describe(item.get_ref()), &expected),
            }
        }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        for (name, _) in table
            .iter()
            .filter(|(name, _)| !self.known.iter().chain(&self.reported).any(|known| name.get_ref() == known))
        {
            let key = name.get_ref();
            // Quoted as TOML would have it, when it is no bare key: it may hold anything.
            let is_bare =
                !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
            let full_name = if is_bare { self.full_name(key) } else { self.full_name(&format!("{key:?}")) };
            let line = self.report.line_of(&name.span());
            let expected = match nearest(key, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            self.report.problem(line, &full_name, "there is no such key", expected);
        }
    }
}

/// The integer of a value, in any of TOML's notations; `None` also beyond 64 bits.
fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Whether peers can be told this address. A link-local one names no link, so other hosts can't use it; an IPv4 address in
/// an IPv6 one (`::ffff:10.0.0.1`) is not what is on the wire.
fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.octets()[0] == 0 || v4.is_broadcast() || v4.is_multicast()),
        IpAddr::V6(v6) => {
            !(v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || v6.to_ipv4_mapped().is_some())
        }
    }
}

/// What a value is, for a message.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("is {text:?}"),
        // What was no number all the same stands there as it was written.
        DeValue::Integer(number) => format!("is {}", number.to_string().escape_debug()),
        DeValue::Float(number) => format!("is {}", number.to_string().escape_debug()),
        DeValue::Boolean(yes) => format!("is {yes}"),
        DeValue::Datetime(_) => "is a date".to_owned(),
        DeValue::Array(_) => "is a list".to_owned(),
        DeValue::Table(_) => "is a table".to_owned(),
    }
}

/// The known name nearest to a mistyped one, if any is near.
fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(similarity, _)| *similarity >= SUGGESTION_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
