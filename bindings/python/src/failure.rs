//! Errors of the client as exceptions of the package.

use lattice_client::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::levels::Reached;

/// What a call fails with.
pub enum Failure {
    /// The client's error.
    Client(Error),
    /// The client was closed.
    Closed,
    /// An exception of Python itself: a bad argument, a signal's.
    Python(PyErr),
}

/// What a call returns.
pub type Outcome<T> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Client(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Failure::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        Python::attach(|py| match failure {
            Failure::Python(error) => error,
            Failure::Closed => {
                let text = "the client is closed; nothing was done; connect anew";
                made(py, "ClosedError", text, |_| Ok(()))
            }
            Failure::Client(error) => made(py, class_of(&error), &error.to_string(), |exception| {
                exception.setattr("nothing_happened", error.nothing_happened())?;
                exception.setattr("is_temporary", error.is_temporary())?;
                match &error {
                    Error::NotReached { reached, .. } | Error::AckUnknown { reached, .. } => {
                        exception.setattr("reached", Reached::from(*reached))
                    }
                    Error::WritesRefused { count: writes, .. } | Error::OutcomeUnknown { writes } => {
                        exception.setattr("writes", *writes)
                    }
                    _ => Ok(()),
                }
            }),
        })
    }
}

/// An exception of the package, or the one that came of making it.
fn made(
    py: Python<'_>,
    class: &str,
    text: &str,
    complete: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>,
) -> PyErr {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let make = || -> PyResult<PyErr> {
        let errors = ERRORS.get_or_try_init(py, || py.import("latticed._errors").map(Bound::unbind))?;
        let exception = errors.bind(py).getattr(class)?.call1((text,))?;
        complete(&exception)?;
        Ok(PyErr::from_value(exception))
    };
    make().unwrap_or_else(|error| error)
}

fn class_of(error: &Error) -> &'static str {
    match error {
        Error::Connect { .. } => "ConnectError",
        Error::Attach { .. } => "AttachError",
        Error::Protocol(_) => "ProtocolError",
        Error::Open { .. } => "OpenError",
        Error::BadKey { .. } => "BadKeyError",
        Error::TooLarge { .. } => "TooLargeError",
        Error::KindMismatch { .. } => "KindMismatchError",
        Error::RingFull { .. } => "RingFullError",
        Error::ReadOnly => "ReadOnlyError",
        Error::DaemonStale { .. } => "DaemonStaleError",
        Error::DaemonClosed { .. } => "DaemonClosedError",
        Error::Refused(_) => "RefusedError",
        Error::WritesRefused { .. } => "WritesRefusedError",
        Error::Timeout { .. } => "WaitTimeoutError",
        Error::OutcomeUnknown { .. } => "OutcomeUnknownError",
        Error::AckImpossible { .. } => "AckImpossibleError",
        Error::NotReached { .. } => "NotReachedError",
        Error::AckUnknown { .. } => "AckUnknownError",
        Error::OutcomeForgotten => "OutcomeForgottenError",
        Error::Busy => "BusyError",
        Error::Corrupt => "CorruptError",
        Error::System { .. } => "SystemCallError",
        _ => "LatticedError",
    }
}
