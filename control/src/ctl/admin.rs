//! Questions over the admin socket: a connection, a line, a line back.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Deserialize;

use super::discover::Place;
use super::error::{CtlError, unreachable_socket};
use crate::protocol::{Reply, Request};

/// Time that the daemon has to answer: its own workers have a second.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer, at most; a status of 127 peers and 64 shards is some 40 KiB.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// A connection to the admin socket.
pub(super) struct Admin<'p> {
    place: &'p Place,
    stream: UnixStream,
}

impl<'p> Admin<'p> {
    /// Connects.
    pub fn connect(place: &'p Place) -> Result<Self, CtlError> {
        let stream = UnixStream::connect(&place.socket)
            .map_err(|source| unreachable_socket(place.socket.clone(), source))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(CtlError::Connection)?;
        Ok(Self { place, stream })
    }

    /// Asks one question.
    pub fn ask<T: for<'de> Deserialize<'de>>(&mut self, request: Request) -> Result<T, CtlError> {
        self.ask_with(request, ANSWER_TIMEOUT, |mut stream, bytes| stream.read(bytes))
    }

    /// Asks one question whose answer may take so long, and is read by `read`, because it brings more than bytes.
    pub fn ask_with<T: for<'de> Deserialize<'de>>(
        &mut self,
        request: Request,
        timeout: Duration,
        mut read: impl FnMut(&UnixStream, &mut [u8]) -> io::Result<usize>,
    ) -> Result<T, CtlError> {
        let mut line = serde_json::to_vec(&request).map_err(|error| CtlError::BadReply(error.into()))?;
        line.push(b'\n');
        self.stream.set_read_timeout(Some(timeout)).map_err(CtlError::Connection)?;
        self.stream.write_all(&line).map_err(|error| self.failed(error, timeout))?;
        line.clear();
        let mut bytes = [0; 4096];
        while !line.ends_with(b"\n") {
            let count = match read(&self.stream, &mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(|error| self.failed(error, timeout))?,
            };
            if count == 0 || line.len() > MAX_ANSWER_BYTES {
                return Err(CtlError::Connection(io::ErrorKind::UnexpectedEof.into()));
            }
            line.extend_from_slice(&bytes[..count]);
        }
        match Reply::from_line(&line)? {
            Reply::Done(answer) => Ok(answer),
            Reply::Refused(refusal) => Err(CtlError::Refused(refusal)),
        }
    }

    fn failed(&self, error: io::Error, timeout: Duration) -> CtlError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                CtlError::NoAnswer { socket: self.place.socket.clone(), timeout }
            }
            _ => CtlError::Connection(error),
        }
    }
}
