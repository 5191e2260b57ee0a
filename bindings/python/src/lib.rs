//! The extension module of the Python package `latticed`. Users read `python/latticed/_latticed.pyi`; this page is for those
//! who change it.
//!
//! ```text
//!   counter.get() ──> Counter (a Python object, frozen) ──> lattice_client::Counter::get     no lock, the interpreter kept
//!   counter.add_wait() ─> ticket, then waits in slices ───> Client::wait_with                the interpreter released
//!                                   └─ between two slices: did somebody press Ctrl-C?
//!   an error ──> Failure ──> a class of latticed._errors, with its attributes
//! ```
//!
//! Every object holds the client that it came from, and asks with each call whether it was closed: `Client.close` ends the
//! connection for all of them at once, whatever Python still refers to.
//!
//! What can go wrong: a wait that keeps the interpreter would stop every thread of the program, so nothing here waits, or takes a
//! lock that may be held for long, outside of `Python::detach`.

mod changes;
mod client;
mod failure;
mod handles;
mod levels;
mod set;
mod values;

use pyo3::prelude::*;

#[pymodule]
mod _latticed {
    #[pymodule_export]
    use super::changes::{Change, Changes};
    #[pymodule_export]
    use super::client::{Client, Health, connect, open_read_only};
    #[pymodule_export]
    use super::handles::{Counter, Flag, Register};
    #[pymodule_export]
    use super::levels::{Reached, Ticket};
    #[pymodule_export]
    use super::set::Set;

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
