//! The admin socket of a daemon, as `latticectl` speaks it: one JSON object per line, a question and its answer.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks one question over a connection of its own. Fails when there is no answer or it is not `"ok": true`.
pub fn ask(socket: &Path, operation: &str) -> Result<Value> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("can't connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    writeln!(stream, "{}", json!({ "op": operation }))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).with_context(|| format!("no answer to `{operation}`"))?;
    let answer: Value =
        serde_json::from_str(&line).with_context(|| format!("the answer is not JSON: {line:?}"))?;
    if answer["ok"] != json!(true) {
        bail!("`{operation}` was refused: {line}");
    }
    Ok(answer)
}

/// The state of a daemon at one moment, in the parts that the harness judges by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// For each shard: digests of its canonical state and of its version vector, as printed. Two daemons with equal
    /// lists have the same keys with the same values, and have seen the same operations.
    pub shards: Vec<(String, String)>,
    /// The actor (node and epoch) that its own operations carry.
    pub actor: String,
}

/// Asks a daemon for its [`Fingerprint`].
pub fn fingerprint(socket: &Path) -> Result<Fingerprint> {
    let status = ask(socket, "status")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
    let shards = status["shards"].as_array().context("`status` names no shards")?;
    Ok(Fingerprint {
        shards: shards
            .iter()
            .map(|shard| (text(&shard["state_digest"]), text(&shard["vector_digest"])))
            .collect(),
        actor: text(&status["actor"]),
    })
}

/// Whether a daemon has so many peers, and holds all of them up.
pub fn all_peers_up(socket: &Path, count: usize) -> Result<bool> {
    let status = ask(socket, "status")?;
    let peers = status["peers"].as_array().context("`status` names no peers")?;
    Ok(peers.len() == count && peers.iter().all(|peer| peer["up"] == json!(true)))
}

/// How a daemon takes the member of that id to be: `alive`, `suspect` or `dead`; `None` while it has not met it.
pub fn member_state(socket: &Path, node: u16) -> Result<Option<String>> {
    let status = ask(socket, "status")?;
    let peers = status["peers"].as_array().context("`status` names no peers")?;
    let peer = peers.iter().find(|peer| peer["node"] == json!(node));
    Ok(peer.and_then(|peer| peer["member"]["state"].as_str()).map(str::to_owned))
}

/// What a daemon says is wrong.
pub fn degraded(socket: &Path) -> Result<Vec<String>> {
    let status = ask(socket, "status")?;
    let reasons = status["degraded"].as_array().context("`status` has no `degraded`")?;
    Ok(reasons.iter().filter_map(|reason| reason.as_str().map(str::to_owned)).collect())
}

/// The processes that are attached to a daemon as clients.
pub fn client_pids(socket: &Path) -> Result<Vec<i32>> {
    let status = ask(socket, "status")?;
    let clients = status["clients"].as_array().context("`status` names no clients")?;
    Ok(clients.iter().filter_map(|client| client["pid"].as_i64()).map(|pid| pid as i32).collect())
}

/// The daemon's counters, summed over its workers.
pub fn counters(socket: &Path) -> Result<BTreeMap<String, u64>> {
    let status = ask(socket, "status")?;
    let counters = status["counters"].as_object().context("`status` has no counters")?;
    Ok(counters.iter().filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect())
}

/// Whether a daemon holds one of its peers up.
pub fn is_peer_up(socket: &Path, node: u16) -> Result<bool> {
    let status = ask(socket, "status")?;
    let peers = status["peers"].as_array().context("`status` names no peers")?;
    let peer = peers.iter().find(|peer| peer["node"] == json!(node));
    Ok(peer.with_context(|| format!("node {node} is not among the peers"))?["up"] == json!(true))
}
