//! The daemon. Everything is in the library, so that tests reach it.

fn main() -> std::process::ExitCode {
    lattice_control::cli::latticed()
}
