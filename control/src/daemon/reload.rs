//! The configuration file, read again while the daemon runs: by SIGHUP, or `latticectl reload`.
//!
//! ```text
//!   file ──> Config::load ── any mistake ──> refused, nothing changed
//!               │
//!               └── compared with what runs, key by key ──┬── live ──> applied at once, all of them
//!                                                         └── else ──> listed, with old and new value: needs a restart
//! ```
//!
//! Live are `log.filter`, the rules of namespaces (`[keys]`, `[[namespaces]]`), for all clients, and `limits.max_clients`, `submission_slots` and `completion_slots` for those who connect from
//! then on. A file is compared with what holds, not with the file before: what needs a restart is listed each time until
//! there was one. What can go wrong: workers made room for clients at the start, so `limits.max_clients` can't go beyond what
//! it was then; and where `LATTICED_LOG` is set, that filter stays.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::{Daemon, namespaces};
use crate::config::Config;
use crate::protocol::{Change, Refusal, Reloaded, codes};

/// Sets the filter of the log.
type SetFilter = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// How the log's filter is changed.
#[derive(Clone)]
pub struct LogControl(Arc<SetFilter>);

impl LogControl {
    /// By a function, which says what is wrong with a filter that it does not take.
    pub fn new(set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(set))
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogControl")
    }
}

/// Limits of clients that hold at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// `limits.max_clients`.
    pub max_clients: usize,
    /// `limits.submission_slots`.
    pub submission_slots: u32,
    /// `limits.completion_slots`.
    pub completion_slots: u32,
}

/// What of the configuration holds at present.
#[derive(Debug)]
pub struct Live {
    file: Option<PathBuf>,
    /// That of the start, with what was applied since.
    running: Mutex<Config>,
    /// `limits.max_clients` at the start: what workers have room for.
    most_clients: usize,
    log: Option<LogControl>,
    /// One reload at a time: all workers get the same rules last.
    reloading: tokio::sync::Mutex<()>,
}

impl Live {
    /// At the start.
    pub fn new(file: Option<PathBuf>, config: &Config, log: Option<LogControl>) -> Self {
        let most_clients = config.limits.max_clients;
        let reloading = tokio::sync::Mutex::default();
        Self { file, running: Mutex::new(config.clone()), most_clients, log, reloading }
    }

    fn running(&self) -> MutexGuard<'_, Config> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that is read again.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What holds.
    pub fn config(&self) -> Config {
        self.running().clone()
    }

    /// Limits of clients.
    pub fn limits(&self) -> ClientLimits {
        let limits = &self.running().limits;
        ClientLimits {
            max_clients: limits.max_clients,
            submission_slots: limits.submission_slots,
            completion_slots: limits.completion_slots,
        }
    }

    /// Applies what can be applied of a valid configuration.
    fn apply(&self, new: &Config) -> Reloaded {
        let mut running = self.running();
        let mut next = running.clone();
        next.limits.submission_slots = new.limits.submission_slots;
        next.limits.completion_slots = new.limits.completion_slots;
        next.keys = new.keys;
        next.namespaces = new.namespaces.clone();
        if new.limits.max_clients <= self.most_clients {
            next.limits.max_clients = new.limits.max_clients;
        }
        if let Some(log) = self.log.as_ref().filter(|_| new.log != running.log) {
            match (log.0)(&new.log.filter) {
                Ok(()) => next.log = new.log.clone(),
                Err(error) => tracing::warn!(%error, "the log's filter stays as it was"),
            }
        }
        let applied = changes(&running, &next);
        let needs_restart = changes(&next, new);
        *running = next;
        Reloaded { file: self.file.clone().unwrap_or_default(), applied, needs_restart }
    }
}

/// Reads the file again. Certificates too, which lie in files of their own: whatever becomes of the configuration.
///
/// # Errors
/// [`Refusal`]: there is no file, or it has mistakes. Nothing of the configuration was changed.
pub async fn reload(daemon: &Daemon) -> Result<Reloaded, Refusal> {
    if let Some(members) = &daemon.members {
        members.reload();
    }
    let refused = |error: String| Refusal::new(codes::BAD_CONFIG, error);
    let file = daemon.live.file.as_ref().ok_or_else(|| {
        refused(
            "this daemon was started without a configuration file (--dev): there is nothing to read"
                .to_owned(),
        )
    })?;
    let _alone = daemon.live.reloading.lock().await;
    let new = Config::load(file).map_err(|error| refused(format!("{error}\nnothing was changed")))?;
    // Also where the file is as it was: users and groups may not be.
    let rules = namespaces::table(&new, daemon.workers.count())
        .map_err(|error| refused(format!("{}: {error}; nothing was changed", file.display())))?;
    daemon.namespaces.set(&daemon.workers, rules).await;
    let reloaded = daemon.live.apply(&new);
    for Change { key, old, new } in &reloaded.applied {
        tracing::info!(key, old, new, "configuration: applied");
    }
    for Change { key, old, new } in &reloaded.needs_restart {
        tracing::warn!(key, old, new, "configuration: needs a restart");
    }
    Ok(reloaded)
}

/// SIGHUP: as `latticectl reload`, told to the log.
pub async fn on_hangup(daemon: &Daemon) {
    match reload(daemon).await {
        Ok(reloaded) if reloaded.applied.is_empty() && reloaded.needs_restart.is_empty() => {
            tracing::info!("SIGHUP: the configuration is as it was");
        }
        Ok(_) => {}
        Err(refusal) => tracing::warn!("SIGHUP: {}", refusal.error),
    }
}

/// The keys in which two configurations differ.
fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let (mut old, mut new) = (keys(old), keys(new));
    let names: std::collections::BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
    let change = |key: String| Change { old: old.remove(&key), new: new.remove(&key), key };
    names.into_iter().map(change).filter(|change| change.old != change.new).collect()
}

/// Every key of a configuration, by its full name, with its value as TOML writes it.
fn keys(config: &Config) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    // Only maps with keys that are no strings can't be made; there are none.
    flatten(String::new(), &serde_json::to_value(config).unwrap_or_default(), &mut keys);
    keys
}

fn flatten(name: String, value: &Value, keys: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(name, value, keys);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (at, item) in items.iter().enumerate() {
                flatten(format!("{name}[{at}]"), item, keys);
            }
        }
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        value => {
            keys.insert(name, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(lines: &str) -> Config {
        let text =
            format!("[cluster]\nname = \"c\"\n[node]\nid = 1\n[network]\naddress = \"10.77.0.1\"\n{lines}\n");
        Config::parse(&text, "test").expect("valid")
    }

    fn shown(changes: &[Change]) -> Vec<String> {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        changes.iter().map(|c| format!("{} {} {}", c.key, value(&c.old), value(&c.new))).collect()
    }

    #[test]
    fn live_keys_are_applied_and_the_others_listed_until_a_restart() {
        let filters = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&filters);
        let log = LogControl::new(move |filter| {
            seen.lock().expect("not poisoned").push(filter.to_owned());
            Ok(())
        });
        let live = Live::new(None, &config(""), Some(log));
        let new = config(
            "[keys]\nundeclared = \"refuse\"\n[[namespaces]]\nname = \"a\"\nwrite = []\n[limits]\nmax_clients = 7\nsubmission_slots = 64\nmax_keys = 9\n[log]\nfilter = \"warn\"\n[workers]\nidle = \"busy\"\n\
             [[peers]]\nid = 2\naddress = \"10.77.0.2\"",
        );
        let reloaded = live.apply(&new);
        assert_eq!(
            shown(&reloaded.applied),
            [
                "keys.undeclared \"default\" \"refuse\"",
                "limits.max_clients 256 7",
                "limits.submission_slots 1024 64",
                "log.filter \"info\" \"warn\"",
                "namespaces[0].name - \"a\"",
                "namespaces[0].write - \"nobody\""
            ]
        );
        let waiting = [
            "limits.max_keys 65536 9",
            "peers[0].address - \"10.77.0.2\"",
            "peers[0].id - 2",
            "workers.idle \"yield\" \"busy\"",
        ];
        assert_eq!(shown(&reloaded.needs_restart), waiting);
        assert_eq!(
            live.limits(),
            ClientLimits { max_clients: 7, submission_slots: 64, completion_slots: 256 }
        );
        assert_eq!(*filters.lock().expect("not poisoned"), ["warn"]);
        let again = live.apply(&new);
        assert_eq!(
            (shown(&again.applied), shown(&again.needs_restart)),
            (vec![], waiting.map(str::to_owned).into())
        );
        let back = live.apply(&config(""));
        assert_eq!((back.applied.len(), back.needs_restart.len()), (6, 0));
    }

    #[test]
    fn keys_are_named_as_the_file_names_them() {
        let reference = include_str!("../../../config/latticed.toml");
        let keys = keys(&Config::parse(reference, "reference").expect("valid"));
        assert!(keys.len() > 40, "{keys:?}");
        for name in keys.keys() {
            let (section, key) = name.rsplit_once('.').expect("a section");
            let section = reference.split(&format!("\n[{section}]")).nth(1).expect(name);
            let section = section.split("\n[").next().unwrap_or_default();
            // What has no default is there as an example, in a comment.
            let is_key = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} = "));
            assert!(section.lines().any(is_key), "{name}");
        }
    }

    #[test]
    fn what_has_no_room_or_is_fixed_needs_a_restart() {
        let live = Live::new(None, &config(""), None);
        let reloaded = live.apply(&config("[limits]\nmax_clients = 257\n[log]\nfilter = \"debug\""));
        assert_eq!(reloaded.applied, []);
        assert_eq!(
            shown(&reloaded.needs_restart),
            ["limits.max_clients 256 257", "log.filter \"info\" \"debug\""]
        );
        let refuses = LogControl::new(|_| Err("no".to_owned()));
        let live = Live::new(None, &config(""), Some(refuses));
        let reloaded = live.apply(&config("[log]\nfilter = \"debug\""));
        assert_eq!((reloaded.applied.len(), reloaded.needs_restart.len()), (0, 1));
    }
}
