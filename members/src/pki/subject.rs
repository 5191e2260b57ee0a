//! The three things that a node's certificate says, and where in it they stand.

use std::fmt;

use rcgen::{DistinguishedName, DnType};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Largest node id; the one above it means "any node" in a frame.
pub const MAX_NODE_ID: u16 = 65_534;
/// Bytes of a name, at most.
const MAX_NAME_BYTES: usize = 63;
/// What stands before the node id in the certificate's organizational unit.
const NODE_PREFIX: &str = "node ";

/// Whose certificate it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The cluster's name (O).
    pub cluster: String,
    /// The node's id (OU).
    pub node: u16,
    /// The node's name (CN).
    pub name: String,
}

impl Subject {
    /// As it stands in a certificate.
    pub(super) fn to_distinguished_name(&self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, self.cluster.as_str());
        name.push(DnType::OrganizationalUnitName, format!("{NODE_PREFIX}{}", self.node));
        name.push(DnType::CommonName, self.name.as_str());
        name
    }

    /// Reads it from a certificate, whose signature somebody else has checked or will check.
    ///
    /// # Errors
    /// What the certificate lacks, for a message.
    pub fn of_certificate(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| format!("is no certificate ({error})"))?;
        Self::of_name(certificate.subject())
    }

    fn of_name(name: &X509Name<'_>) -> Result<Self, String> {
        let cluster = only(name.iter_organization()).filter(|text| is_name(text));
        let node = only(name.iter_organizational_unit())
            .and_then(|text| text.strip_prefix(NODE_PREFIX)?.parse().ok())
            .filter(|node| (1..=MAX_NODE_ID).contains(node));
        let own = only(name.iter_common_name()).filter(|text| is_name(text));
        match (cluster, node, own) {
            (Some(cluster), Some(node), Some(name)) => {
                Ok(Subject { cluster: cluster.to_owned(), node, name: name.to_owned() })
            }
            _ => {
                Err(format!("is not a node's certificate: its subject is {name:?}", name = name.to_string()))
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} ({}) of cluster {}", self.node, self.name, self.cluster)
    }
}

/// The text of an attribute that stands there once.
fn only<'n, 'a: 'n>(mut attributes: impl Iterator<Item = &'n AttributeTypeAndValue<'a>>) -> Option<&'n str> {
    let text = attributes.next()?.as_str().ok()?;
    attributes.next().is_none().then_some(text)
}

/// Whether a text can be the name of a node or a cluster: 1 to 63 letters, digits, `.`, `_` or `-`, the first a letter or
/// a digit, so that it is a file name as well.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}
