//! The first thing that two nodes tell each other in a session: who they are, and what must agree.
//!
//! ```text
//!   dialling ──Hello──>                the first bidirectional stream, which stays open for what later versions say over
//!            <──Hello── dialled        it (keys of sealed frames: letter.rs); or the connection is closed with a Refusal
//!
//!   offset  bytes
//!   0       4      "LTCM"
//!   4       2      version of the control protocol, big-endian
//!   6       2      length of what follows, big-endian, at most 4096
//!   8       ...    the hello as a JSON object; fields that are not known are ignored, so that later versions may say more
//! ```

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::pki::is_name;
use crate::refusal::Refusal;
use crate::swim::Identity;

/// Version of the control protocol.
pub const VERSION: u16 = 1;
const MAGIC: [u8; 4] = *b"LTCM";
/// Bytes before the object.
const HEAD_BYTES: usize = 8;
/// Bytes of the object, at most.
const MAX_BODY_BYTES: usize = 4_096;

/// What a node can do, and wants, about the seals of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sealing {
    /// It can't: a version from before frames were sealed.
    #[default]
    Unable,
    /// It seals what goes to and comes from whoever requires it.
    Offered,
    /// It takes no frames without a seal, and sends none.
    Required,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its cluster.
    pub cluster: String,
    /// Its node id.
    pub node: u16,
    /// Its name.
    pub name: String,
    /// Drawn at its start: tells a restart from another way to the same process.
    pub instance: u64,
    /// Its name in SWIM is (node, run).
    pub run: u64,
    /// Where sessions with it are made.
    pub control: SocketAddr,
    /// Where its frames go.
    pub data: IpAddr,
    /// UDP port of its shard 0.
    pub base_port: u16,
    /// Its number of shards.
    pub shards: u16,
    /// Version of its frames.
    pub wire: u16,
    /// The epoch that it began with: 48 bits.
    pub epoch: u64,
    /// What it wants about seals.
    #[serde(default)]
    pub seal: Sealing,
    /// The latest run of the other node that this one remembers.
    #[serde(default)]
    pub remembered_run: Option<u64>,
}

impl Hello {
    /// Its name in SWIM.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { node: self.node, run: self.run, control: self.control }
    }

    /// The bytes on the stream.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // A struct of numbers and texts can't fail to be written.
        let body = serde_json::to_vec(self).unwrap_or_default();
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
        [&MAGIC[..], &VERSION.to_be_bytes(), &length.to_be_bytes(), &body].concat()
    }
}

/// Reads a hello from a stream.
pub(crate) async fn read(stream: &mut quinn::RecvStream) -> Result<Hello, ReadError> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let mut body = vec![0; body_length(&head)?];
    stream.read_exact(&mut body).await?;
    Ok(decode(&body)?)
}

/// Why no hello came.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// Something came that is none.
    Refused(Refusal),
    /// The connection ended, or the stream did.
    Ended(quinn::ReadExactError),
}

impl From<Refusal> for ReadError {
    fn from(refusal: Refusal) -> Self {
        ReadError::Refused(refusal)
    }
}

impl From<quinn::ReadExactError> for ReadError {
    fn from(error: quinn::ReadExactError) -> Self {
        ReadError::Ended(error)
    }
}

/// Checks the head, and says how long the body is.
fn body_length(head: &[u8; HEAD_BYTES]) -> Result<usize, Refusal> {
    let [m0, m1, m2, m3, v0, v1, l0, l1] = *head;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(Refusal::Malformed("it does not begin as a hello".to_owned()));
    }
    let theirs = u16::from_be_bytes([v0, v1]);
    if theirs != VERSION {
        return Err(Refusal::Version { theirs });
    }
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if length > MAX_BODY_BYTES {
        return Err(Refusal::Malformed(format!("a hello of {length} bytes")));
    }
    Ok(length)
}

fn decode(body: &[u8]) -> Result<Hello, Refusal> {
    let hello: Hello = serde_json::from_slice(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
    // Names are printed and compared; an address that can't be dialled would be dialled for ever.
    if !is_name(&hello.cluster) || !is_name(&hello.name) {
        return Err(Refusal::Malformed("it has no name that could be one".to_owned()));
    }
    if hello.control.port() == 0 || hello.control.ip().is_unspecified() || hello.data.is_unspecified() {
        return Err(Refusal::Malformed("it has no address that could be one".to_owned()));
    }
    Ok(hello)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hello(node: u16) -> Hello {
        let address = IpAddr::from([10, 0, 0, node as u8]);
        Hello {
            cluster: "demo".to_owned(),
            node,
            name: format!("host-{node}"),
            instance: u64::from(node) * 1_000,
            run: 1,
            control: SocketAddr::new(address, 7390),
            data: address,
            base_port: 7400,
            shards: 4,
            wire: 3,
            epoch: 77,
            seal: Sealing::Offered,
            remembered_run: None,
        }
    }

    fn parse(bytes: &[u8]) -> Result<Hello, Refusal> {
        let (head, body) = bytes.split_first_chunk().expect("a head");
        let length = body_length(head)?;
        assert_eq!(body.len(), length);
        decode(body)
    }

    #[test]
    fn what_is_said_is_understood() {
        let said = Hello { remembered_run: Some(u64::MAX), ..hello(7) };
        assert_eq!(parse(&said.encode()), Ok(said));
    }

    #[test]
    fn a_later_version_may_say_more_within_this_one() {
        let mut object = serde_json::to_value(hello(7)).expect("an object");
        object["sealing"] = serde_json::json!(["aes-128-gcm"]);
        object.as_object_mut().expect("an object").remove("remembered_run");
        assert_eq!(decode(&serde_json::to_vec(&object).expect("text")), Ok(hello(7)));
        // And an earlier one less.
        object.as_object_mut().expect("an object").remove("seal");
        let unable = Hello { seal: Sealing::Unable, ..hello(7) };
        assert_eq!(decode(&serde_json::to_vec(&object).expect("text")), Ok(unable));
    }

    #[test]
    fn what_is_no_hello_is_refused_before_it_is_read() {
        let good = hello(7).encode();
        for (at, byte, expected) in [(0, b'X', "begin"), (5, 9, "version"), (6, 0xFF, "bytes")] {
            let mut bad = good.clone();
            bad[at] = byte;
            let head = bad.first_chunk().expect("a head");
            let refusal = body_length(head).expect_err("refused").to_string();
            assert!(refusal.contains(expected), "{refusal}");
        }
        let body = &good[HEAD_BYTES..];
        assert!(matches!(decode(&body[..body.len() - 1]), Err(Refusal::Malformed(_))));
        let text = std::str::from_utf8(body).expect("text");
        for (from, to) in
            [("host-7", "a\\u001bb"), ("demo", ""), ("10.0.0.7:7390", "10.0.0.7:0"), (":7,", ":70000,")]
        {
            assert!(text.contains(from), "{text}");
            let bad = text.replacen(from, to, 1);
            assert!(matches!(decode(bad.as_bytes()), Err(Refusal::Malformed(_))), "{bad}");
        }
    }
}
