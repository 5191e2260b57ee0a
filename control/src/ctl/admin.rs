//! Questions over the admin socket: a connection, a line, a line back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Deserialize;

use super::discover::Place;
use super::error::{CtlError, unreachable_socket};
use crate::protocol::{Reply, Request};

/// Time that the daemon has to answer: its own workers have a second.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer, at most; a status of 127 peers and 64 shards is some 40 KiB.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// A connection to the admin socket.
pub(super) struct Admin<'p> {
    place: &'p Place,
    stream: BufReader<UnixStream>,
}

impl<'p> Admin<'p> {
    /// Connects.
    pub fn connect(place: &'p Place) -> Result<Self, CtlError> {
        let stream = UnixStream::connect(&place.socket)
            .map_err(|source| unreachable_socket(place.socket.clone(), source))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(CtlError::Connection)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(CtlError::Connection)?;
        Ok(Self { place, stream: BufReader::new(stream) })
    }

    /// Asks one question.
    pub fn ask<T: for<'de> Deserialize<'de>>(&mut self, request: Request) -> Result<T, CtlError> {
        let mut line = serde_json::to_vec(&request).map_err(|error| CtlError::BadReply(error.into()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(|error| self.failed(error))?;
        line.clear();
        let read = (&mut self.stream).take(MAX_ANSWER_BYTES).read_until(b'\n', &mut line);
        read.map_err(|error| self.failed(error))?;
        if line.is_empty() {
            return Err(CtlError::Connection(io::ErrorKind::UnexpectedEof.into()));
        }
        match Reply::from_line(&line)? {
            Reply::Done(answer) => Ok(answer),
            Reply::Refused(refusal) => Err(CtlError::Refused(refusal)),
        }
    }

    fn failed(&self, error: io::Error) -> CtlError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                CtlError::NoAnswer { socket: self.place.socket.clone(), timeout: ANSWER_TIMEOUT }
            }
            _ => CtlError::Connection(error),
        }
    }
}
