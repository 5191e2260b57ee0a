//! Handles of sets.

use std::sync::Arc;

use lattice_client as client;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList};

use crate::client::Shared;
use crate::failure::Outcome;
use crate::levels::{Reached, Ticket, awaited, enqueued};
use crate::values::Bytes;

/// A set of elements.
#[pyclass(frozen, module = "latticed")]
pub struct Set {
    pub shared: Arc<Shared>,
    pub set: client::Set,
}

#[pymethods]
impl Set {
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.set.key())
    }

    fn __contains__(&self, element: &Bound<'_, PyAny>) -> Outcome<bool> {
        self.shared.open()?;
        Ok(self.set.contains(Bytes::of(element)?.as_ref())?)
    }

    fn __len__(&self) -> Outcome<usize> {
        self.shared.open()?;
        Ok(usize::try_from(self.set.len()?).unwrap_or(usize::MAX))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyIterator>> {
        Ok(self.members(py)?.try_iter()?)
    }

    fn members<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyList>> {
        self.shared.open()?;
        // A large set takes a while.
        let members = py.detach(|| self.set.members())?;
        Ok(PyList::new(py, members.iter().map(|element| PyBytes::new(py, element)))?)
    }

    fn insert(&self, element: &Bound<'_, PyAny>) -> Outcome<Ticket> {
        let element = Bytes::of(element)?;
        enqueued(&self.shared, || self.set.insert(element.as_ref()))
    }

    #[pyo3(signature = (element, *, timeout = Some(1.0), ack = "local"), text_signature = "($self, element, *, timeout=1.0, ack='local')")]
    fn insert_wait(&self, element: &Bound<'_, PyAny>, timeout: Option<f64>, ack: &str) -> Outcome<Reached> {
        let bytes = Bytes::of(element)?;
        awaited(element.py(), &self.shared, timeout, ack, || self.set.insert(bytes.as_ref()))
    }

    fn remove(&self, element: &Bound<'_, PyAny>) -> Outcome<Ticket> {
        let element = Bytes::of(element)?;
        enqueued(&self.shared, || self.set.remove(element.as_ref()))
    }

    #[pyo3(signature = (element, *, timeout = Some(1.0), ack = "local"), text_signature = "($self, element, *, timeout=1.0, ack='local')")]
    fn remove_wait(&self, element: &Bound<'_, PyAny>, timeout: Option<f64>, ack: &str) -> Outcome<Reached> {
        let bytes = Bytes::of(element)?;
        awaited(element.py(), &self.shared, timeout, ack, || self.set.remove(bytes.as_ref()))
    }

    fn clear(&self) -> Outcome<Ticket> {
        enqueued(&self.shared, || self.set.clear())
    }

    #[pyo3(signature = (*, timeout = Some(1.0), ack = "local"), text_signature = "($self, *, timeout=1.0, ack='local')")]
    fn clear_wait(&self, py: Python<'_>, timeout: Option<f64>, ack: &str) -> Outcome<Reached> {
        awaited(py, &self.shared, timeout, ack, || self.set.clear())
    }

    fn __repr__(&self) -> String {
        format!("<Set {:?}>", String::from_utf8_lossy(self.set.key()))
    }
}
