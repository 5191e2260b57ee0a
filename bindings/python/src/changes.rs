//! Following changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lattice_client as client;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::client::Shared;
use crate::failure::{Failure, Outcome};
use crate::values::{duration, kind_name};

/// For so long a wait looks neither at signals nor whether the watcher was closed.
const SLICE: Duration = Duration::from_millis(50);

/// What a watcher is told.
#[pyclass(frozen, get_all, module = "latticed")]
pub struct Change {
    what: &'static str,
    key: Option<Py<PyBytes>>,
    kind: Option<String>,
    version: u64,
}

#[pymethods]
impl Change {
    fn __repr__(&self, py: Python<'_>) -> String {
        let key = self.key.as_ref().map(|key| String::from_utf8_lossy(key.as_bytes(py)).into_owned());
        format!("<Change: {}{}>", self.what, key.map(|key| format!(" {key:?}")).unwrap_or_default())
    }
}

impl Change {
    fn of(py: Python<'_>, change: client::Change) -> Change {
        let other = |what| Change { what, key: None, kind: None, version: 0 };
        match change {
            client::Change::Key { key, version } => Change {
                what: "key",
                key: Some(PyBytes::new(py, &key.key).unbind()),
                kind: Some(kind_name(key.kind)),
                version,
            },
            client::Change::Restarted => other("restarted"),
            // What later clients tell asks for a second look, too.
            _ => other("overrun"),
        }
    }
}

/// A watcher.
#[pyclass(frozen, module = "latticed")]
pub struct Changes {
    shared: Arc<Shared>,
    changes: Mutex<Option<client::Changes>>,
}

impl Changes {
    /// A watcher of a client's.
    pub fn new(shared: &Arc<Shared>, changes: client::Changes) -> Changes {
        Changes { shared: Arc::clone(shared), changes: Mutex::new(Some(changes)) }
    }

    /// One slice of a wait. `None`: closed.
    fn slice(&self, slice: Duration) -> client::Result<Option<Option<client::Change>>> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.as_mut().map(|changes| changes.next(slice)).transpose()
    }
}

#[pymethods]
impl Changes {
    #[pyo3(signature = (timeout = None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> Outcome<Option<Change>> {
        let (timeout, started) = (duration(timeout)?, Instant::now());
        loop {
            self.shared.open()?;
            let left = timeout.saturating_sub(started.elapsed());
            match py.detach(|| self.slice(left.min(SLICE)))? {
                None => return Err(Failure::Closed),
                Some(Some(change)) => return Ok(Some(Change::of(py, change))),
                Some(None) if left > SLICE => py.check_signals()?,
                Some(None) => return Ok(None),
            }
        }
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.changes.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Ends when the watcher or its client is closed.
    fn __next__(&self, py: Python<'_>) -> Outcome<Option<Change>> {
        match self.next(py, None) {
            Err(Failure::Closed) => Ok(None),
            result => result,
        }
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _exc_type: &Bound<'_, PyAny>,
        _exc_value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        self.close(py);
    }
}
