//! gRPC over one HTTP/2 connection: calls with one answer, and streams of answers.
//!
//! ```text
//!   POST /etcdserverpb.KV/Put          headers
//!   0 | length u32 BE | message        data: one or more frames, cut anywhere
//!   grpc-status, grpc-message          trailers; or in the headers, if there is no answer at all
//! ```
//!
//! Thin on purpose: what the client costs is counted as etcd's. Calls of clones share the connection, as gRPC clients do.
//! An abandoned call (its future was dropped) is cancelled at the server, which may have carried it out all the same.

use std::marker::PhantomData;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use prost::Message;

/// Room that the server may fill before it must wait for this side, in bytes.
const WINDOW_BYTES: u32 = 1 << 20;
/// Compression flag and length.
const PREFIX_BYTES: usize = 5;
/// Longer answers are an error: nothing that is asked for here comes near.
const MAX_MESSAGE_BYTES: usize = 1 << 22;

/// A connection to one server.
#[derive(Clone)]
pub struct Channel {
    sender: SendRequest<Bytes>,
    authority: String,
}

impl Channel {
    /// Speaks HTTP/2 over a connected socket, served by a task of the current runtime.
    ///
    /// # Errors
    /// If the server does not speak HTTP/2.
    pub async fn open(stream: std::net::TcpStream) -> Result<Channel> {
        let authority = stream.peer_addr()?.to_string();
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(stream)
            .await
            .context("no HTTP/2")?;
        // Its end is seen by every call that is still under way.
        tokio::spawn(connection);
        Ok(Channel { sender, authority })
    }

    /// Asks, and waits for the one answer.
    ///
    /// # Errors
    /// If the connection is gone or the server refuses, with its reason.
    pub async fn call<A: Message + Default>(&self, path: &str, question: &impl Message) -> Result<A> {
        let (mut sending, mut answers) = self.start::<A>(path).await?;
        sending.send_data(framed(question), true)?;
        let answer = answers.next().await?.context("no answer")?;
        ensure!(answers.next().await?.is_none(), "more than one answer");
        Ok(answer)
    }

    /// Begins a stream with its first message. It ends when the result is dropped.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn stream<A: Message + Default>(
        &self,
        path: &str,
        first: &impl Message,
    ) -> Result<(SendStream<Bytes>, Answers<A>)> {
        let (mut sending, answers) = self.start(path).await?;
        sending.send_data(framed(first), false)?;
        Ok((sending, answers))
    }

    async fn start<A>(&self, path: &str) -> Result<(SendStream<Bytes>, Answers<A>)> {
        let request = Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, sending) = sender.send_request(request, false)?;
        Ok((sending, Answers { source: Source::Head(response), buffer: BytesMut::new(), kind: PhantomData }))
    }
}

/// The server's side of a call.
pub struct Answers<A> {
    source: Source,
    buffer: BytesMut,
    kind: PhantomData<A>,
}

/// A server may keep its headers back until it has something to say.
enum Source {
    Head(ResponseFuture),
    Body(RecvStream),
}

impl<A: Message + Default> Answers<A> {
    /// The next answer; `None` at the end.
    ///
    /// # Errors
    /// If the connection is gone or the server refuses, with its reason.
    pub async fn next(&mut self) -> Result<Option<A>> {
        loop {
            if let Some(message) = cut_message(&mut self.buffer)? {
                return Ok(Some(A::decode(message)?));
            }
            let body = match &mut self.source {
                Source::Body(body) => body,
                Source::Head(response) => {
                    let (head, body) = response.await?.into_parts();
                    ensure!(head.status.is_success(), "HTTP status {}", head.status);
                    check_status(&head.headers)?;
                    self.source = Source::Body(body);
                    continue;
                }
            };
            match body.data().await {
                Some(data) => {
                    let data = data?;
                    body.flow_control().release_capacity(data.len())?;
                    self.buffer.extend_from_slice(&data);
                }
                None => {
                    ensure!(self.buffer.is_empty(), "the answer ends within a message");
                    if let Some(trailers) = body.trailers().await? {
                        check_status(&trailers)?;
                    }
                    return Ok(None);
                }
            }
        }
    }
}

/// Fails if the headers or trailers say that the call did.
fn check_status(headers: &HeaderMap) -> Result<()> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => bail!("refused ({code}): {}", text("grpc-message").unwrap_or("no reason given")),
    }
}

fn framed(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + len);
    bytes.put_u8(0);
    bytes.put_u32(len as u32);
    // There is room for it: that is all that could fail.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}

/// The first message of `buffer`, if it is there whole.
fn cut_message(buffer: &mut BytesMut) -> Result<Option<Bytes>> {
    let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    ensure!(prefix[0] == 0, "a compressed answer");
    let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    ensure!(len <= MAX_MESSAGE_BYTES, "an answer of {len} bytes");
    if buffer.len() < PREFIX_BYTES + len {
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    Ok(Some(buffer.split_to(len).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::proto::PutRequest;

    #[test]
    fn messages_are_found_wherever_the_frames_were_cut() {
        let messages: Vec<PutRequest> = (0..3)
            .map(|number| PutRequest { key: vec![b'k'; number * 7 + 1], value: vec![number as u8; number] })
            .collect();
        let whole: Vec<u8> = messages.iter().flat_map(framed).collect();
        for cut_bytes in 1..whole.len() {
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            for frame in whole.chunks(cut_bytes) {
                buffer.extend_from_slice(frame);
                while let Some(message) = cut_message(&mut buffer).unwrap() {
                    found.push(PutRequest::decode(message).unwrap());
                }
            }
            assert_eq!(found, messages, "cut every {cut_bytes} bytes");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn compressed_and_endless_answers_are_errors() {
        assert!(cut_message(&mut BytesMut::from(&b"\x01\0\0\0\0"[..])).is_err());
        assert!(cut_message(&mut BytesMut::from(&b"\0\xff\0\0\0"[..])).is_err());
        assert!(cut_message(&mut BytesMut::from(&b"\0\0\0\0"[..])).unwrap().is_none());
    }

    #[test]
    fn a_refusal_is_an_error_with_the_servers_words() {
        let mut headers = HeaderMap::new();
        assert!(check_status(&headers).is_ok());
        headers.insert("grpc-status", "0".parse().unwrap());
        assert!(check_status(&headers).is_ok());
        headers.insert("grpc-status", "14".parse().unwrap());
        headers.insert("grpc-message", "etcdserver: leader changed".parse().unwrap());
        let error = check_status(&headers).unwrap_err().to_string();
        assert!(error.contains("14") && error.contains("leader changed"), "{error}");
    }
}
