//! Data on standard output: for people, or as JSON lines.
//!
//! Keys, elements and register values are bytes. As text, what is not UTF-8 or would disturb a terminal is escaped as in
//! a Rust byte string; in JSON, bytes that are not UTF-8 are the object `{"hex":"…"}` instead of a string.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::error::CtlError;

/// Standard output, in one of two forms.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints one datum: as JSON, or as the text that `plain` makes.
    pub fn datum(
        &self,
        json: impl FnOnce() -> Value,
        plain: impl FnOnce() -> String,
    ) -> Result<(), CtlError> {
        let line = if self.json { json().to_string() } else { plain() };
        if line.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match writeln!(out, "{}", line.trim_end_matches('\n')).and_then(|()| out.flush()) {
            // Who reads has enough (`latticectl watch … | head`): nothing is wrong.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            outcome => outcome.map_err(CtlError::Output),
        }
    }
}

/// Bytes as text for a terminal.
pub(super) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// Bytes as JSON.
pub(super) fn json_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => {
            let hex = bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
                // Writing to a string does not fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            json!({ "hex": hex })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_whole_and_harmless() {
        assert_eq!(text("größe".as_bytes()), "größe");
        assert_eq!(text(b"a\x1b[2J"), "a\\x1b[2J");
        assert_eq!(text(b"\xff\x00"), "\\xff\\x00");
        assert_eq!(json_bytes(b"a\x1b"), json!("a\u{1b}"));
        assert_eq!(json_bytes(b"\xff\x0a"), json!({ "hex": "ff0a" }));
    }
}
