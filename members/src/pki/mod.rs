//! Who may be a member, and how a node proves it: a cluster's own certificate authority, and the certificates of its nodes.
//!
//! ```text
//!   latticectl cluster init DIR          on each host: security.directory
//!   DIR/                       0700      <name>/              0700
//!     authority.pem            0600        ca.pem     0644    certificates of the authorities that it trusts
//!     ca.pem                   0644        node.pem   0600    its certificate, then its private key
//!     <name>/  ───── copied to the host ────^
//! ```
//!
//! `authority.pem` is the certificate of the authority and its key: who has it can make members. It is of no use to a
//! daemon and stays off the hosts.
//!
//! A certificate says three things in its subject ([`Subject`]): the cluster (O), the node id (OU `node 3`) and the node's
//! name (CN). A daemon that claims anything else than its certificate says is refused ([`crate`]).
//!
//! **Rotation** never needs a moment in which some hosts trust each other and others do not:
//!
//! ```text
//!   renew          new certificates for nodes          copy each <name>/node.pem
//!   rotate         a new authority beside the old one  copy each <name>/ca.pem, everywhere; then renew, and copy node.pem;
//!   retire         the old one leaves ca.pem           copy each <name>/ca.pem, everywhere
//! ```
//!
//! Daemons see changed files within seconds, or at SIGHUP. Certificate and key are one file so that a rename replaces both
//! at once; a file that is no good is reported and what was there before stays in use.
//!
//! What can go wrong: see [`PkiError`]; nothing is half done after one, because each file is written beside its place and
//! renamed. A directory that exists is never made anew.

mod authority;
mod credentials;
mod error;
mod files;
mod subject;

pub use authority::{Authority, NodeEntry};
pub use credentials::{Credentials, days_left};
pub use error::PkiError;
pub use subject::{MAX_NODE_ID, Subject, is_name};

/// The name for which every node's certificate holds in TLS: who dials an address does not know yet which node answers.
pub const TLS_NAME: &str = "member.latticed";

/// Certificates of authorities: in the directory of `latticectl cluster` and in each node's.
const CA_FILE: &str = "ca.pem";
/// The authority's certificate and key.
const AUTHORITY_FILE: &str = "authority.pem";
/// A node's certificate and key.
const NODE_FILE: &str = "node.pem";

#[cfg(test)]
mod tests;
