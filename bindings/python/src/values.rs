//! Arguments: bytes, timeouts, levels; and waiting that Ctrl-C can end.

use std::time::{Duration, Instant};

use lattice_client::{Ack, Error, Kind};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::PyString;

use crate::failure::{Failure, Outcome};

/// For so long a wait does not look at signals.
const SLICE: Duration = Duration::from_millis(50);

/// A key, a value or an element: the bytes of a `bytes`, or a `str` as UTF-8.
pub enum Bytes {
    /// Of a `bytes` or `bytearray`.
    Raw(PyBackedBytes),
    /// Of a `str`.
    Text(PyBackedStr),
}

impl Bytes {
    /// Takes the bytes of an argument.
    #[inline]
    pub fn of(argument: &Bound<'_, PyAny>) -> PyResult<Bytes> {
        if argument.is_instance_of::<PyString>() {
            return argument.extract().map(Bytes::Text);
        }
        argument.extract().map(Bytes::Raw).map_err(|_| {
            let name = argument.get_type().name().map(|name| name.to_string());
            PyTypeError::new_err(format!("bytes or str are wanted, not {}", name.unwrap_or_default()))
        })
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Bytes::Raw(bytes) => bytes,
            Bytes::Text(text) => text.as_bytes(),
        }
    }
}

/// A timeout in seconds; `None` never ends.
pub fn duration(seconds: Option<f64>) -> PyResult<Duration> {
    match seconds {
        None => Ok(Duration::MAX),
        Some(seconds) if seconds == f64::INFINITY => Ok(Duration::MAX),
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err(format!("{seconds} is no timeout in seconds"))),
    }
}

/// The level that a text names.
pub fn level(ack: &str) -> PyResult<Ack> {
    ack.parse().map_err(|error| PyValueError::new_err(format!("{error}")))
}

/// A kind's name, as `latticectl` has it.
pub fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::Counter => "counter".into(),
        Kind::FlagEnableWins => "flag-enable-wins".into(),
        Kind::FlagDisableWins => "flag-disable-wins".into(),
        Kind::Register => "register".into(),
        Kind::Set => "set".into(),
        other => format!("kind-{}", other.as_u8()),
    }
}

/// Waits without the interpreter, in slices, between which signals are heard. `wait` is called anew as long as it says that the
/// time is up.
pub fn wait<T: Send>(
    py: Python<'_>,
    timeout: Duration,
    mut wait: impl FnMut(Duration) -> Result<T, Error> + Send,
) -> Outcome<T> {
    let started = Instant::now();
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        match py.detach(|| wait(left.min(SLICE))) {
            Ok(done) => return Ok(done),
            Err(Error::Timeout { .. } | Error::NotReached { .. }) if left > SLICE => py.check_signals()?,
            Err(mut error) => {
                // The slice's time is nobody's business.
                if let Error::Timeout { waited, .. } | Error::NotReached { waited, .. } = &mut error {
                    *waited = started.elapsed();
                }
                return Err(Failure::Client(error));
            }
        }
    }
}
