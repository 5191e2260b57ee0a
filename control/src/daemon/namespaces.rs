//! The rules of namespaces, from the configuration to the workers.
//!
//! ```text
//!   [keys], [[namespaces]] ── users and groups looked up ──> Namespaces ──> every worker: Command::SetNamespaces
//! ```
//!
//! What can go wrong: a user or group that this host does not know. A start with such a list is refused, and so is a reload,
//! before anything of the file is applied.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lattice_rights::AccountError;
use lattice_worker::{Command, Namespaces, Rule, Writers};

use super::workers::Workers;
use crate::config::{Config, DEFAULT_NAMESPACE, Namespace, Principal, Undeclared, WriteList};
use crate::protocol;

/// Pause before a worker whose queue was full is told again.
const RETRY: Duration = Duration::from_millis(2);
/// Longest that is waited until all workers have taken up a table and counted their keys.
const TAKEN_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two looks whether they have.
const LOOK: Duration = Duration::from_micros(200);

/// A list that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("namespaces[{index}].write: {source}; expected users and groups of this host, by name or by number")]
pub struct BadList {
    index: usize,
    source: AccountError,
}

/// The table of a configuration.
///
/// # Errors
/// [`BadList`].
pub fn table(config: &Config, workers: u16) -> Result<Namespaces, BadList> {
    let (mut default, mut declared) = (Rule::default(), Vec::new());
    for (index, namespace) in config.namespaces.iter().enumerate() {
        let rule = rule(namespace).map_err(|source| BadList { index, source })?;
        if namespace.name == DEFAULT_NAMESPACE { default = rule } else { declared.push(rule) }
    }
    Ok(Namespaces::new(default, declared, config.keys.undeclared == Undeclared::Refuse, workers))
}

fn rule(namespace: &Namespace) -> Result<Rule, AccountError> {
    Ok(Rule {
        name: namespace.name.clone(),
        kind: namespace.only_kind(),
        max_keys: namespace.max_keys,
        writers: namespace.write.as_ref().map(writers).transpose()?,
    })
}

fn writers(list: &WriteList) -> Result<Writers, AccountError> {
    let mut writers = Writers::default();
    for principal in &list.0 {
        match principal {
            Principal::User(name) => writers.uids.push(lattice_rights::user(name)?.uid),
            Principal::Group(name) => writers.gids.push(lattice_rights::group(name)?.gid),
        }
    }
    Ok(writers)
}

/// The table that the workers have.
#[derive(Debug)]
pub struct InForce(Mutex<Arc<Namespaces>>);

impl InForce {
    /// At the start, before the workers have been told.
    pub fn new(namespaces: Arc<Namespaces>) -> Self {
        Self(Mutex::new(namespaces))
    }

    /// It.
    pub fn get(&self) -> Arc<Namespaces> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives all workers another one, however long their queues are. One caller at a time, or workers would differ.
    pub async fn set(&self, workers: &Workers, namespaces: Namespaces) {
        let namespaces = Arc::new(namespaces);
        tell(workers, &namespaces).await;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = namespaces;
    }
}

/// Gives all workers a table. When this returns they go by it, unless one of them stands still.
pub async fn tell(workers: &Workers, namespaces: &Arc<Namespaces>) {
    for worker in 0..workers.count() {
        while !workers.send(worker, Command::SetNamespaces { namespaces: Arc::clone(namespaces) }) {
            tokio::time::sleep(RETRY).await;
        }
    }
    let deadline = Instant::now() + TAKEN_UP_TIMEOUT;
    while !namespaces.is_counted() && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
}

/// The rules as the status has them: as the file says them, with the keys that there are.
pub fn status(config: &Config, in_force: &Namespaces) -> Vec<protocol::Namespace> {
    let said = |name: &str| config.namespaces.iter().find(|namespace| namespace.name == name);
    let shown = |(rule, keys): (&Rule, u64)| {
        let name = if rule.name.is_empty() { DEFAULT_NAMESPACE } else { &rule.name };
        let said = said(name);
        protocol::Namespace {
            name: name.to_owned(),
            kind: said.and_then(Namespace::only_kind).map(|kind| kind_name(kind).to_owned()),
            keys,
            max_keys: rule.max_keys,
            write: said.and_then(|namespace| namespace.write.as_ref()).map(ToString::to_string),
        }
    };
    let is_said =
        |namespace: &protocol::Namespace| said(&namespace.name).is_some() || in_force.refuses_undeclared();
    in_force.usage().map(shown).filter(is_said).collect()
}

fn kind_name(kind: lattice_crdt::Kind) -> &'static str {
    use lattice_crdt::Kind;
    match kind {
        Kind::Counter => "counter",
        Kind::FlagEnableWins => "flag-enable-wins",
        Kind::FlagDisableWins => "flag-disable-wins",
        Kind::Register => "register",
        Kind::Set => "set",
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

    #[test]
    fn users_and_groups_are_looked_up() {
        let lines = "[[namespaces]]\nname = \"a\"\nkind = \"flag\"\nwins = \"disable\"\nmax_keys = 5\nwrite = [\"user:root\", \"group:7\"]\n\
                     [[namespaces]]\nname = \"*\"\nwrite = []\n[keys]\nundeclared = \"refuse\"";
        let config = config(lines);
        let table = table(&config, 1).expect("root is everywhere");
        assert!(table.refuses_undeclared());
        let rules: Vec<&Rule> = table.usage().map(|(rule, _)| rule).collect();
        assert_eq!(rules[0].writers, Some(Writers::default()));
        assert_eq!((rules[1].kind, rules[1].max_keys), (Some(lattice_crdt::Kind::FlagDisableWins), Some(5)));
        assert_eq!(rules[1].writers, Some(Writers { uids: vec![0], gids: vec![7] }));
        let status = status(&config, &table);
        let shown: Vec<_> =
            status.iter().map(|n| (n.name.as_str(), n.kind.as_deref(), n.write.as_deref())).collect();
        assert_eq!(
            shown,
            [("*", None, Some("nobody")), ("a", Some("flag-disable-wins"), Some("user:root, group:7"))]
        );
    }

    #[test]
    fn who_is_not_known_here_is_named() {
        let config = config("[[namespaces]]\nname = \"a\"\nwrite = [\"group:root\", \"user:no-such-user\"]");
        let told = table(&config, 1).expect_err("nobody has that name").to_string();
        assert!(
            told.starts_with("namespaces[0].write: there is no user `no-such-user` on this host; expected"),
            "{told}"
        );
    }
}
