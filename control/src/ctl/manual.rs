//! `completions` and `man`: made from the command lines themselves, so that they can't say anything else.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use super::error::CtlError;

/// `completions`: a script for a shell, on standard output.
pub(super) fn completions(shell: Shell) -> Result<(), CtlError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "latticectl", &mut script);
    io::stdout().lock().write_all(&script).map_err(CtlError::Output)
}

/// `man`: a page for each command in section 1, and one for the daemon in section 8.
pub(super) fn pages(directory: &Path) -> Result<(), CtlError> {
    let mut latticed = Vec::new();
    let made = clap_mangen::generate_to(Cli::command(), directory)
        .and_then(|()| clap_mangen::Man::new(crate::cli::command()).section("8").render(&mut latticed))
        .and_then(|()| fs::write(directory.join("latticed.8"), latticed));
    made.map_err(|source| CtlError::Write { path: directory.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command() {
        let directory = tempfile::TempDir::new().expect("a directory");
        pages(directory.path()).expect("written");
        let has = |name: &str, word: &str| {
            let page = fs::read_to_string(directory.path().join(name)).expect(name);
            assert!(page.contains(".SH NAME") && page.contains(word), "{name}: {page}");
        };
        has("latticectl.1", "LATTICED_SOCKET");
        has("latticed.8", "latticed");
        for verb in Cli::command().get_subcommands().filter(|verb| verb.get_name() != "help") {
            has(&format!("latticectl-{}.1", verb.get_name()), verb.get_name());
        }
        let missing = pages(&directory.path().join("missing")).expect_err("there is no such directory");
        assert!(missing.to_string().contains("missing"), "{missing}");
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "latticectl", &mut script);
            let script = String::from_utf8(script).expect("text");
            assert!(["converged", "reload", "members"].iter().all(|verb| script.contains(verb)), "{shell}");
        }
    }
}
