//! The few messages of etcd's v3 API that the comparison needs, by hand: field numbers as in etcd's `rpc.proto` and `kv.proto`.
//!
//! A crate generated from the whole API would need `protoc` on every machine that builds this workspace. Fields that nothing
//! here reads are left out: protobuf skips what it does not know.

use prost::Message;

/// In every answer.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseHeader {
    /// The member that answered.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// How many changes its store has seen.
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

/// `/etcdserverpb.KV/Put`.
#[derive(Clone, PartialEq, Message)]
pub struct PutRequest {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Its new value.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// The answer to a [`PutRequest`]: the write is committed by a majority.
#[derive(Clone, PartialEq, Message)]
pub struct PutResponse {
    /// The revision is the write's own.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}

/// `/etcdserverpb.KV/Range`: one key.
#[derive(Clone, PartialEq, Message)]
pub struct RangeRequest {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// True: the member answers from what it has. False: it asks the leader first whether that is the newest.
    #[prost(bool, tag = "7")]
    pub serializable: bool,
}

/// The answer to a [`RangeRequest`].
#[derive(Clone, PartialEq, Message)]
pub struct RangeResponse {
    /// The key, if it is there.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
}

/// A key as it is stored.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// How often it was put.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// Its value.
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
}

/// `/etcdserverpb.Watch/Watch`: what a client sends on the stream.
#[derive(Clone, PartialEq, Message)]
pub struct WatchRequest {
    /// Watch this (a field of a oneof, which is the same on the wire).
    #[prost(message, optional, tag = "1")]
    pub create_request: Option<WatchCreateRequest>,
}

/// What to watch.
#[derive(Clone, PartialEq, Message)]
pub struct WatchCreateRequest {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}

/// What the member sends on the stream.
#[derive(Clone, PartialEq, Message)]
pub struct WatchResponse {
    /// The watch is there; what is put from now on is reported.
    #[prost(bool, tag = "3")]
    pub created: bool,
    /// The watch is over.
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// What was put, in order.
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}

/// One change.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// The key after it.
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
}

/// `/etcdserverpb.Maintenance/Status`.
#[derive(Clone, PartialEq, Message)]
pub struct StatusRequest {}

/// How a member sees itself and its leader.
#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    /// The member, and its store's revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Its software.
    #[prost(string, tag = "2")]
    pub version: String,
    /// The member that it takes for the leader; 0 if it knows none.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_bytes_that_etcd_expects() {
        let put = PutRequest { key: b"k".to_vec(), value: b"v".to_vec() };
        assert_eq!(put.encode_to_vec(), b"\x0a\x01k\x12\x01v");
        let range = RangeRequest { key: b"k".to_vec(), serializable: true };
        assert_eq!(range.encode_to_vec(), b"\x0a\x01k\x38\x01");
        let watch = WatchRequest { create_request: Some(WatchCreateRequest { key: b"k".to_vec() }) };
        assert_eq!(watch.encode_to_vec(), b"\x0a\x03\x0a\x01k");
    }

    #[test]
    fn unknown_fields_of_an_answer_are_skipped() {
        // header {cluster_id 1: 5, member_id 2: 7, revision 3: 9, raft_term 4: 2}, version "3.4", dbSize 3: 1, leader 4: 7.
        let bytes = b"\x0a\x08\x08\x05\x10\x07\x18\x09\x20\x02\x12\x033.4\x18\x01\x20\x07";
        let status = StatusResponse::decode(&bytes[..]).unwrap();
        assert_eq!(status.header, Some(ResponseHeader { member_id: 7, revision: 9 }));
        assert_eq!((status.version.as_str(), status.leader), ("3.4", 7));
    }
}
