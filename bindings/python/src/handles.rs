//! Handles of counters, flags and registers.

use std::sync::Arc;

use lattice_client as client;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::client::Shared;
use crate::failure::Outcome;
use crate::levels::{Reached, Ticket, awaited, enqueued};
use crate::values::Bytes;

/// A sum that every host may add to and subtract from.
#[pyclass(frozen, module = "latticed")]
pub struct Counter {
    pub shared: Arc<Shared>,
    pub counter: client::Counter,
}

#[pymethods]
impl Counter {
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.counter.key())
    }

    fn get(&self) -> Outcome<i64> {
        self.shared.open()?;
        Ok(self.counter.get()?)
    }

    #[pyo3(signature = (amount = 1))]
    fn add(&self, amount: i64) -> Outcome<Ticket> {
        enqueued(&self.shared, || self.counter.add(amount))
    }

    #[pyo3(signature = (amount = 1, *, timeout = Some(1.0), ack = "local"), text_signature = "($self, amount=1, *, timeout=1.0, ack='local')")]
    fn add_wait(&self, py: Python<'_>, amount: i64, timeout: Option<f64>, ack: &str) -> Outcome<Reached> {
        awaited(py, &self.shared, timeout, ack, || self.counter.add(amount))
    }

    fn __repr__(&self) -> String {
        format!("<Counter {:?}>", String::from_utf8_lossy(self.counter.key()))
    }
}

/// A switch.
#[pyclass(frozen, module = "latticed")]
pub struct Flag {
    pub shared: Arc<Shared>,
    pub flag: client::Flag,
}

#[pymethods]
impl Flag {
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.flag.key())
    }

    fn get(&self) -> Outcome<bool> {
        self.shared.open()?;
        Ok(self.flag.get()?)
    }

    fn enable(&self) -> Outcome<Ticket> {
        enqueued(&self.shared, || self.flag.enable())
    }

    #[pyo3(signature = (*, timeout = Some(1.0), ack = "local"), text_signature = "($self, *, timeout=1.0, ack='local')")]
    fn enable_wait(&self, py: Python<'_>, timeout: Option<f64>, ack: &str) -> Outcome<Reached> {
        awaited(py, &self.shared, timeout, ack, || self.flag.enable())
    }

    fn disable(&self) -> Outcome<Ticket> {
        enqueued(&self.shared, || self.flag.disable())
    }

    #[pyo3(signature = (*, timeout = Some(1.0), ack = "local"), text_signature = "($self, *, timeout=1.0, ack='local')")]
    fn disable_wait(&self, py: Python<'_>, timeout: Option<f64>, ack: &str) -> Outcome<Reached> {
        awaited(py, &self.shared, timeout, ack, || self.flag.disable())
    }

    fn __repr__(&self) -> String {
        format!("<Flag {:?}>", String::from_utf8_lossy(self.flag.key()))
    }
}

/// The bytes of the last writer.
#[pyclass(frozen, module = "latticed")]
pub struct Register {
    pub shared: Arc<Shared>,
    pub register: client::Register,
}

#[pymethods]
impl Register {
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.register.key())
    }

    fn get<'py>(&self, py: Python<'py>) -> Outcome<Option<Bound<'py, PyBytes>>> {
        self.shared.open()?;
        Ok(self.register.get()?.map(|bytes| PyBytes::new(py, &bytes)))
    }

    fn set(&self, value: &Bound<'_, PyAny>) -> Outcome<Ticket> {
        let value = Bytes::of(value)?;
        enqueued(&self.shared, || self.register.set(value.as_ref()))
    }

    #[pyo3(signature = (value, *, timeout = Some(1.0), ack = "local"), text_signature = "($self, value, *, timeout=1.0, ack='local')")]
    fn set_wait(&self, value: &Bound<'_, PyAny>, timeout: Option<f64>, ack: &str) -> Outcome<Reached> {
        let bytes = Bytes::of(value)?;
        awaited(value.py(), &self.shared, timeout, ack, || self.register.set(bytes.as_ref()))
    }

    fn __repr__(&self) -> String {
        format!("<Register {:?}>", String::from_utf8_lossy(self.register.key()))
    }
}
