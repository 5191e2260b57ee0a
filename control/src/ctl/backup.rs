//! `backup`: the state of all shards, from the daemon's snapshots into a file.
//!
//! The daemon hands over open files; this process reads, checks and writes them, with the rights of whoever runs it. A file that
//! is there already is not touched, and what is not finished is taken away.

use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use lattice_storage::{BackupAbout, BackupFile, ShardCopy};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use super::admin::Admin;
use super::discover::Place;
use super::error::CtlError;
use super::output::Output;
use crate::protocol::{Backup, Request};

/// Longest that is waited for the daemon's answer: it gives up by itself before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(330);
/// Descriptors of one reply, at most: 64 shards' snapshots, and the records since.
const MAX_DESCRIPTORS: usize = 65;

/// `backup FILE`.
pub(super) fn backup(place: &Place, path: &Path, output: &Output) -> Result<(), CtlError> {
    // Before the daemon is asked for anything: the place may be taken.
    let file = BackupFile::create(path)?;
    let mut descriptors = Vec::new();
    let backup: Backup =
        Admin::connect(place)?.ask_with(Request::Backup, ANSWER_TIMEOUT, |stream, bytes| {
            receive(stream, bytes, &mut descriptors)
        })?;
    let about = BackupAbout {
        cluster: backup.cluster,
        cluster_tag: backup.cluster_tag,
        node: backup.node,
        shards: u16::try_from(backup.shards.len()).unwrap_or(u16::MAX),
        taken_unix_ms: backup.taken_unix_ms,
    };
    let mut descriptors = descriptors.into_iter().map(File::from);
    let mut writer = file.begin(about)?;
    let snapshots: Vec<File> = descriptors.by_ref().take(backup.shards.len()).collect();
    let (Some(mut records_of_all), true) = (descriptors.next(), snapshots.len() == backup.shards.len())
    else {
        return Err(CtlError::NoDescriptors);
    };
    std::io::Seek::rewind(&mut records_of_all).map_err(CtlError::Connection)?;
    for (shard, snapshot) in backup.shards.iter().zip(snapshots) {
        let mut records = Vec::new();
        let read = (&mut records_of_all).take(shard.records_bytes).read_to_end(&mut records);
        read.map_err(CtlError::Connection)?;
        writer.shard(&ShardCopy { shard: shard.shard, generation: shard.generation, snapshot, records })?;
    }
    let bytes = writer.finish()?;
    let shards = backup.shards.len();
    let datum = || json!({ "file": path, "shards": shards, "bytes": bytes });
    output.datum(datum, || format!("{}: {shards} shards, {bytes} bytes", path.display()))
}

/// Reads what is there, and keeps the descriptors that come with it.
fn receive(stream: &UnixStream, bytes: &mut [u8], kept: &mut Vec<OwnedFd>) -> std::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(bytes)];
    let received = recvmsg(stream.as_fd(), &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            kept.extend(descriptors);
        }
    }
    Ok(received.bytes)
}
