//! The checked-in counts: `bench/instructions.toml`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

const PREAMBLE: &str = "\
# Instructions that each operation takes, as callgrind counts them. `make test` fails when one takes 5 % more.
# Written by:  cargo run --release -p lattice-instructions -- bless --why \"what makes it dearer, or cheaper\"
# What the operations are: bench/instructions/src/operations/mod.rs
";

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of the compiler that the counts are of.
    pub rustc: String,
    /// By name.
    pub operations: BTreeMap<String, Entry>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Instructions per operation.
    pub count: f64,
    /// Why it is so many: what the last change of the count was made for.
    pub why: String,
}

impl Record {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is not there, or not what this program writes.
    pub fn read(file: &Path) -> anyhow::Result<Record> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        toml::from_str(&text).with_context(|| file.display().to_string())
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        std::fs::write(file, self.text()).with_context(|| file.display().to_string())
    }

    fn text(&self) -> String {
        let mut text = format!("{PREAMBLE}\nrustc = {}\n", quoted(&self.rustc));
        for (name, entry) in &self.operations {
            // Writing to a String can't fail.
            let _ = write!(
                text,
                "\n[operations.{name}]\ncount = {:.1}\nwhy = {}\n",
                entry.count,
                quoted(&entry.why)
            );
        }
        text
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let entry = Entry { count: 120.5, why: "a \"reason\" \\ with signs".into() };
        let record =
            Record { rustc: "1.95.0".into(), operations: [("read_counter".to_owned(), entry)].into() };
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("instructions.toml");
        record.write(&file).unwrap();
        assert_eq!(Record::read(&file).unwrap(), record);
    }
}
