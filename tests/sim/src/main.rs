//! The simulator's command line; everything is in the library.

fn main() -> std::process::ExitCode {
    lattice_sim::cli::main()
}
