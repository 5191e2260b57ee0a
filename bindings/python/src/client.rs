//! The client: opening, closing, what is not of one key's handle.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lattice_client as client;
use lattice_client::{ByKey, ClientOptions, DaemonState, ReadPolicy};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::changes::Changes;
use crate::failure::{Failure, Outcome};
use crate::handles::{Counter, Flag, Register};
use crate::levels::Reached;
use crate::set::Set;
use crate::values::{Bytes, duration, kind_name, level, wait};

/// What a client and everything that came from it have in common.
pub struct Shared {
    client: client::Client,
    by_key: OnceLock<ByKey>,
    closed: AtomicBool,
}

impl Shared {
    fn new(client: client::Client) -> Arc<Shared> {
        Arc::new(Shared { client, by_key: OnceLock::new(), closed: AtomicBool::new(false) })
    }

    /// The client, unless it was closed.
    #[inline]
    pub fn open(&self) -> Outcome<&client::Client> {
        // Relaxed: a thread that closes and one that calls at the same moment have no order to keep.
        if self.closed.load(Ordering::Relaxed) { Err(Failure::Closed) } else { Ok(&self.client) }
    }

    fn by_key(&self) -> Outcome<&ByKey> {
        let client = self.open()?;
        Ok(self.by_key.get_or_init(|| client.by_key()))
    }
}

fn options(fresh: bool, connect_timeout: f64, reattach_interval: f64) -> PyResult<ClientOptions> {
    Ok(ClientOptions::new()
        .read_policy(if fresh { ReadPolicy::Fresh } else { ReadPolicy::LastKnown })
        .connect_timeout(duration(Some(connect_timeout))?)
        .reattach_interval(duration(Some(reattach_interval))?))
}

/// Attaches to the daemon behind a Unix socket.
#[pyfunction]
#[pyo3(signature = (socket, *, fresh = false, connect_timeout = 2.0, reattach_interval = 0.02))]
pub fn connect(
    py: Python<'_>,
    socket: PathBuf,
    fresh: bool,
    connect_timeout: f64,
    reattach_interval: f64,
) -> Outcome<Client> {
    let options = options(fresh, connect_timeout, reattach_interval)?;
    let client = py.detach(|| client::Client::connect_with(socket, options))?;
    Ok(Client { shared: Shared::new(client) })
}

/// Maps a segment without speaking to its daemon.
#[pyfunction]
#[pyo3(signature = (segment, *, fresh = false, reattach_interval = 0.02))]
pub fn open_read_only(segment: PathBuf, fresh: bool, reattach_interval: f64) -> Outcome<Client> {
    let options = options(fresh, 0.0, reattach_interval)?;
    Ok(Client { shared: Shared::new(client::Client::open_read_only_with(segment, options)?) })
}

/// The way to one daemon.
#[pyclass(frozen, module = "latticed")]
pub struct Client {
    shared: Arc<Shared>,
}

#[pymethods]
impl Client {
    fn counter(&self, key: &Bound<'_, PyAny>) -> Outcome<Counter> {
        let counter = self.shared.open()?.counter(Bytes::of(key)?)?;
        Ok(Counter { shared: Arc::clone(&self.shared), counter })
    }

    #[pyo3(signature = (key, *, wins = "enable"))]
    fn flag(&self, key: &Bound<'_, PyAny>, wins: &str) -> Outcome<Flag> {
        let (client, key) = (self.shared.open()?, Bytes::of(key)?);
        let flag = if enable_wins(wins)? { client.flag(key)? } else { client.flag_disable_wins(key)? };
        Ok(Flag { shared: Arc::clone(&self.shared), flag })
    }

    fn register(&self, key: &Bound<'_, PyAny>) -> Outcome<Register> {
        let register = self.shared.open()?.register(Bytes::of(key)?)?;
        Ok(Register { shared: Arc::clone(&self.shared), register })
    }

    fn set(&self, key: &Bound<'_, PyAny>) -> Outcome<Set> {
        let set = self.shared.open()?.set(Bytes::of(key)?)?;
        Ok(Set { shared: Arc::clone(&self.shared), set })
    }

    fn read_counter(&self, key: &Bound<'_, PyAny>) -> Outcome<i64> {
        Ok(self.shared.by_key()?.counter(Bytes::of(key)?)?)
    }

    #[pyo3(signature = (key, *, wins = "enable"))]
    fn read_flag(&self, key: &Bound<'_, PyAny>, wins: &str) -> Outcome<bool> {
        let (by_key, key) = (self.shared.by_key()?, Bytes::of(key)?);
        Ok(if enable_wins(wins)? { by_key.flag(key)? } else { by_key.flag_disable_wins(key)? })
    }

    fn read_register<'py>(&self, key: &Bound<'py, PyAny>) -> Outcome<Option<Bound<'py, PyBytes>>> {
        let mut bytes = Vec::new();
        let is_set = self.shared.by_key()?.register_into(Bytes::of(key)?, &mut bytes)?;
        Ok(is_set.then(|| PyBytes::new(key.py(), &bytes)))
    }

    fn read_set_contains(&self, key: &Bound<'_, PyAny>, element: &Bound<'_, PyAny>) -> Outcome<bool> {
        Ok(self.shared.by_key()?.set_contains(Bytes::of(key)?, Bytes::of(element)?.as_ref())?)
    }

    fn read_set_len(&self, key: &Bound<'_, PyAny>) -> Outcome<u64> {
        Ok(self.shared.by_key()?.set_len(Bytes::of(key)?)?)
    }

    #[pyo3(signature = (timeout = Some(1.0), ack = None), text_signature = "($self, timeout=1.0, ack=None)")]
    fn barrier(&self, py: Python<'_>, timeout: Option<f64>, ack: Option<&str>) -> Outcome<Option<Reached>> {
        let (client, timeout) = (self.shared.open()?, duration(timeout)?);
        match ack {
            None => wait(py, timeout, |slice| client.barrier(slice)).map(|()| None),
            Some(ack) => {
                let ack = level(ack)?;
                let reached = wait(py, timeout, |slice| client.barrier_with(ack, slice))?;
                Ok(Some(reached.into()))
            }
        }
    }

    #[pyo3(signature = (prefix = None))]
    fn keys<'py>(
        &self,
        py: Python<'py>,
        prefix: Option<&Bound<'py, PyAny>>,
    ) -> Outcome<Vec<(Bound<'py, PyBytes>, String)>> {
        let client = self.shared.open()?;
        let prefix = prefix.map(Bytes::of).transpose()?;
        let prefix = prefix.as_ref().map_or(&[][..], AsRef::as_ref);
        let found = py.detach(|| client.keys(prefix));
        Ok(found.into_iter().map(|key| (PyBytes::new(py, &key.key), kind_name(key.kind))).collect())
    }

    fn changes(&self) -> Outcome<Changes> {
        Ok(Changes::new(&self.shared, self.shared.open()?.changes()))
    }

    fn health(&self, py: Python<'_>) -> Outcome<Health> {
        let client = self.shared.open()?;
        Ok(py.detach(|| client.health()).into())
    }

    #[pyo3(signature = (timeout = Some(1.0)), text_signature = "($self, timeout=1.0)")]
    fn reconnect(&self, py: Python<'_>, timeout: Option<f64>) -> Outcome<()> {
        let (client, timeout) = (self.shared.open()?, duration(timeout)?);
        let started = std::time::Instant::now();
        loop {
            let left = timeout.saturating_sub(started.elapsed());
            let slice = left.min(Duration::from_millis(50));
            match py.detach(|| client.reconnect(slice)) {
                Err(client::Error::DaemonClosed { .. }) if left > slice => py.check_signals()?,
                result => return Ok(result?),
            }
        }
    }

    fn close(&self, py: Python<'_>) {
        // Relaxed: as in `open`.
        self.shared.closed.store(true, Ordering::Relaxed);
        py.detach(|| self.shared.client.disconnect());
    }

    #[getter]
    fn closed(&self) -> bool {
        self.shared.open().is_err()
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

    fn __repr__(&self) -> String {
        let state = if self.closed() { ", closed" } else { "" };
        format!("<latticed.{:?}{state}>", self.shared.client)
    }
}

fn enable_wins(wins: &str) -> PyResult<bool> {
    match wins {
        "enable" => Ok(true),
        "disable" => Ok(false),
        _ => {
            Err(pyo3::exceptions::PyValueError::new_err(format!("`{wins}` wins nothing: enable or disable")))
        }
    }
}

/// How the daemon is.
#[pyclass(frozen, get_all, module = "latticed")]
pub struct Health {
    state: &'static str,
    heartbeat_age: Option<f64>,
    heartbeat_timeout: f64,
    is_writable: bool,
    pid: u32,
    node: u16,
    node_name: String,
    incarnation: u64,
    attachments: u64,
}

impl From<client::Health> for Health {
    fn from(health: client::Health) -> Self {
        Health {
            state: match health.state {
                DaemonState::Live => "live",
                DaemonState::Stale => "stale",
                DaemonState::Dead => "dead",
                DaemonState::Closed => "closed",
            },
            heartbeat_age: health.heartbeat_age.map(|age| age.as_secs_f64()),
            heartbeat_timeout: health.heartbeat_timeout.as_secs_f64(),
            is_writable: health.is_writable,
            pid: health.pid,
            node: health.node,
            node_name: health.node_name,
            incarnation: health.incarnation,
            attachments: health.attachments,
        }
    }
}

#[pymethods]
impl Health {
    fn __repr__(&self) -> String {
        format!("<Health: {} (node {}, {})>", self.state, self.node, self.node_name)
    }
}
