//! Tickets, and how far writes have got.

use std::sync::Arc;

use lattice_client as client;
use pyo3::prelude::*;

use crate::client::Shared;
use crate::failure::Outcome;
use crate::values::{duration, level, wait};

/// How far a write has got.
#[pyclass(frozen, get_all, eq, hash, module = "latticed")]
#[derive(PartialEq, Hash)]
pub struct Reached {
    local: bool,
    logged: bool,
    durable: bool,
    majority: bool,
    all: bool,
    peers: u16,
    durable_on: u16,
    members: u16,
    text: String,
}

impl From<client::Reached> for Reached {
    fn from(reached: client::Reached) -> Self {
        Reached {
            local: reached.local,
            logged: reached.logged,
            durable: reached.durable,
            majority: reached.majority,
            all: reached.all,
            peers: reached.peers,
            durable_on: reached.durable_on,
            members: reached.members,
            text: reached.to_string(),
        }
    }
}

#[pymethods]
impl Reached {
    fn __str__(&self) -> &str {
        &self.text
    }

    fn __repr__(&self) -> String {
        format!("<Reached: {}>", self.text)
    }
}

/// A receipt for an enqueued write.
#[pyclass(frozen, module = "latticed")]
pub struct Ticket {
    pub shared: Arc<Shared>,
    pub ticket: client::Ticket,
}

#[pymethods]
impl Ticket {
    fn is_applied(&self) -> Outcome<bool> {
        Ok(self.shared.open()?.poll(self.ticket)?)
    }

    #[pyo3(signature = (timeout = Some(1.0), ack = "local"), text_signature = "($self, timeout=1.0, ack='local')")]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>, ack: &str) -> Outcome<Reached> {
        let (client, ack) = (self.shared.open()?, level(ack)?);
        let reached = wait(py, duration(timeout)?, |slice| client.wait_with(self.ticket, ack, slice))?;
        Ok(reached.into())
    }

    fn __repr__(&self) -> String {
        format!("<Ticket {:?}>", self.ticket.to_words())
    }
}

/// What every write by handle does: enqueue, and hand out the receipt.
pub fn enqueued(
    shared: &Arc<Shared>,
    write: impl FnOnce() -> client::Result<client::Ticket>,
) -> Outcome<Ticket> {
    shared.open()?;
    Ok(Ticket { shared: Arc::clone(shared), ticket: write()? })
}

/// What every write does that waits: if the level can never be reached, nothing is enqueued.
pub fn awaited(
    py: Python<'_>,
    shared: &Shared,
    timeout: Option<f64>,
    ack: &str,
    write: impl FnOnce() -> client::Result<client::Ticket>,
) -> Outcome<Reached> {
    let (client, timeout, ack) = (shared.open()?, duration(timeout)?, level(ack)?);
    py.detach(|| client.check_possible(ack, timeout))?;
    let ticket = write()?;
    Ok(wait(py, timeout, |slice| client.wait_with(ticket, ack, slice))?.into())
}
