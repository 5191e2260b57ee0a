//! What is wrong with a file, and where: problems are collected, never returned at the first.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// One mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1.
    pub line: usize,
    /// Full name of the key, such as `network.base_port` or `peers[1].address`; empty for a mistake of syntax.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.found, self.expected)
    }
}

/// Every mistake of a file, in the order of lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Name of the file, as it was given.
    pub origin: String,
    /// The mistakes.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{}:{}: {problem}", self.origin, problem.line)?;
        }
        let count = self.problems.len();
        write!(f, "{}: {count} error{}", self.origin, if count == 1 { "" } else { "s" })
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects problems while a file is read, and remembers on which line each key was, for checks across keys.
pub(super) struct Report {
    line_starts: Vec<usize>,
    lines: HashMap<String, usize>,
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn new(text: &str) -> Self {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect();
        Self { line_starts, lines: HashMap::new(), problems: Vec::new() }
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line_of(&self, span: &Range<usize>) -> usize {
        self.line_starts.partition_point(|&start| start <= span.start).max(1)
    }

    /// Notes where a key (or a section) stands.
    pub(super) fn place(&mut self, key: &str, line: usize) {
        self.lines.insert(key.to_owned(), line);
    }

    pub(super) fn problem(
        &mut self,
        line: usize,
        key: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.problems.push(Problem {
            line,
            key: key.to_owned(),
            found: found.into(),
            expected: expected.into(),
        });
    }

    /// A problem at a key that was noted with [`Report::place`]; at its section's or the first line if it was left out.
    pub(super) fn problem_at(&mut self, key: &str, found: impl Into<String>, expected: impl Into<String>) {
        let section = key.split_once('.').map_or(key, |(section, _)| section);
        let line = self.lines.get(key).or_else(|| self.lines.get(section)).copied().unwrap_or(1);
        self.problem(line, key, found, expected);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn into_result<T>(mut self, value: T, origin: &str) -> Result<T, ConfigErrors> {
        if self.problems.is_empty() {
            return Ok(value);
        }
        self.problems.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
        Err(ConfigErrors { origin: origin.to_owned(), problems: self.problems })
    }
}
