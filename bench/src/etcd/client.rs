//! A client of one etcd member: put, read, watch, status.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::SendStream;

use super::grpc::{Answers, Channel};
use super::proto::{
    KeyValue, PutRequest, PutResponse, RangeRequest, RangeResponse, StatusRequest, StatusResponse,
    WatchCreateRequest, WatchRequest, WatchResponse,
};

/// What a member says of itself.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its id.
    pub member: u64,
    /// The id of the member that it takes for the leader; 0 if it knows none.
    pub leader: u64,
    /// How many changes its store has seen.
    pub revision: i64,
    /// Its software.
    pub version: String,
}

/// A connection to one member. Clones share it.
#[derive(Clone)]
pub struct EtcdClient {
    channel: Channel,
}

impl EtcdClient {
    /// Speaks to the member at the other end of a connected socket.
    ///
    /// # Errors
    /// If it does not speak HTTP/2.
    pub async fn open(stream: std::net::TcpStream) -> Result<EtcdClient> {
        Ok(EtcdClient { channel: Channel::open(stream).await? })
    }

    /// Writes. On return a majority has it on disk.
    ///
    /// # Errors
    /// If the connection is gone or the member refuses; the write may have happened.
    pub async fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let request = PutRequest { key: key.to_vec(), value: value.to_vec() };
        let answer: PutResponse = self.channel.call("/etcdserverpb.KV/Put", &request).await?;
        ensure!(answer.header.is_some(), "an answer without header");
        Ok(())
    }

    /// Reads what this member has, which may be old (`serializable`).
    ///
    /// # Errors
    /// If the connection is gone or the member refuses.
    pub async fn read(&self, key: &[u8]) -> Result<Option<KeyValue>> {
        let request = RangeRequest { key: key.to_vec(), serializable: true };
        let answer: RangeResponse = self.channel.call("/etcdserverpb.KV/Range", &request).await?;
        Ok(answer.kvs.into_iter().next())
    }

    /// Asks the member how it sees itself.
    ///
    /// # Errors
    /// If the connection is gone or the member refuses.
    pub async fn status(&self) -> Result<Status> {
        let path = "/etcdserverpb.Maintenance/Status";
        let answer: StatusResponse = self.channel.call(path, &StatusRequest {}).await?;
        let header = answer.header.context("an answer without header")?;
        Ok(Status {
            member: header.member_id,
            leader: answer.leader,
            revision: header.revision,
            version: answer.version,
        })
    }

    /// Follows one key from now on.
    ///
    /// # Errors
    /// If the connection is gone or the member refuses.
    pub async fn watch(&self, key: &[u8]) -> Result<Watch> {
        let create_request = Some(WatchCreateRequest { key: key.to_vec() });
        let request = WatchRequest { create_request };
        let (open, mut answers) = self.channel.stream("/etcdserverpb.Watch/Watch", &request).await?;
        let first: WatchResponse = answers.next().await?.context("the watch ended at once")?;
        ensure!(first.created && !first.canceled, "the watch was refused");
        Ok(Watch { _open: open, answers })
    }
}

/// A watch on one key. Ends when dropped.
pub struct Watch {
    /// Closing this side would end the watch.
    _open: SendStream<Bytes>,
    answers: Answers<WatchResponse>,
}

impl Watch {
    /// The values that were put, in order; at least one.
    ///
    /// # Errors
    /// If the connection is gone or the watch is over.
    pub async fn next(&mut self) -> Result<Vec<Vec<u8>>> {
        loop {
            let answer = self.answers.next().await?.context("the watch ended")?;
            ensure!(!answer.canceled, "the watch was cancelled");
            if !answer.events.is_empty() {
                let values = answer.events.into_iter().filter_map(|event| event.kv).map(|kv| kv.value);
                return Ok(values.collect());
            }
        }
    }
}
