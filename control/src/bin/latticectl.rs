//! The command-line tool. Everything is in the library, so that tests reach it.

fn main() -> std::process::ExitCode {
    lattice_control::ctl::latticectl()
}
