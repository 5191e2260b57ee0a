//! Why a namespace refuses a write: the client's library knows the sort of rule, the daemon's status which one it is.

use lattice_client::Refusal;

use super::output::text;
use crate::protocol::{Namespace, Status};

/// The rule that refused a write to a key, and where it is written; `None` for refusals that no rule makes.
pub(super) fn explain(status: &Status, key: &[u8], refusal: Refusal) -> Option<String> {
    let (front, namespace) = rule_of(status, key);
    let place = place(status, namespace);
    Some(match refusal {
        Refusal::AccessDenied => {
            let who = namespace.and_then(|namespace| namespace.write.as_deref()).unwrap_or("nobody");
            let uid = rustix::process::geteuid().as_raw();
            format!("only {who} may write to `{}`, and this is user {uid} ({place}: write)", text(key))
        }
        Refusal::OtherKindDeclared => {
            let kind = namespace.and_then(|namespace| namespace.kind.as_deref()).unwrap_or("another kind");
            format!("`{}` can only be a {kind} ({place}: kind, wins)", text(key))
        }
        Refusal::Undeclared => format!(
            "`{}` is of no declared namespace, and those are refused ({}: keys.undeclared); declare {front}",
            text(key),
            file(status)
        ),
        Refusal::NamespaceFull => {
            let max_keys = namespace.and_then(|namespace| namespace.max_keys).unwrap_or_default();
            format!(
                "there is no room for `{}`: its namespace may have {max_keys} keys on this host ({place}: max_keys)",
                text(key)
            )
        }
        _ => return None,
    })
}

/// What stands before the key's first `/`, for a message, and the rule that holds for it.
fn rule_of<'s>(status: &'s Status, key: &[u8]) -> (String, Option<&'s Namespace>) {
    let front = key.iter().position(|byte| *byte == b'/').and_then(|end| key.get(..end));
    let named = |name: &[u8]| status.namespaces.iter().find(|namespace| namespace.name.as_bytes() == name);
    let shown = front.map_or_else(
        || "a namespace, and write to its keys".to_owned(),
        |front| format!("`{}`", text(front)),
    );
    (shown, front.and_then(named).or_else(|| named(b"*")))
}

fn file(status: &Status) -> String {
    status
        .config_file
        .as_ref()
        .map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string())
}

fn place(status: &Status, namespace: Option<&Namespace>) -> String {
    let name = namespace.map_or("*", |namespace| &namespace.name);
    format!("{}: [[namespaces]] {name:?}", file(status))
}
