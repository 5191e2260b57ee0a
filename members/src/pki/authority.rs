//! The authority of a cluster and its directory: `latticectl cluster …`.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    AUTHORITY_FILE, CA_FILE, MAX_NODE_ID, NODE_FILE, PkiError, Subject, TLS_NAME, credentials, files, is_name,
};

/// How far a certificate reaches into the past: hosts' clocks differ.
const BACKDATED: Duration = Duration::hours(1);
/// Time of an authority's own certificate.
const AUTHORITY_DAYS: u32 = 3650;
/// Days that a node's certificate may be asked to hold for: no longer than its authority's.
const MAX_NODE_DAYS: u32 = AUTHORITY_DAYS;
/// Nodes that one `init` makes, at most.
const MAX_NODES: u16 = 128;

/// The authority of one cluster, opened from its directory.
pub struct Authority {
    directory: PathBuf,
    cluster: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A node that has a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// What its certificate says.
    pub subject: Subject,
    /// End of its time, Unix seconds.
    pub not_after_s: i64,
    /// What goes to the host.
    pub directory: PathBuf,
}

impl Authority {
    /// Makes the directory, an authority in it, and the certificates of nodes 1, 2, … with these names.
    ///
    /// # Errors
    /// [`PkiError`]. A directory that was there is untouched; one that was begun stays, for a look.
    pub fn create(directory: &Path, cluster: &str, names: &[String], days: u32) -> Result<Self, PkiError> {
        check_name("cluster", cluster)?;
        check_days(days)?;
        for (index, name) in names.iter().enumerate() {
            check_name("node", name)?;
            if names[..index].contains(name) {
                return Err(PkiError::Usage(format!("two nodes are named {name}")));
            }
        }
        if names.len() > usize::from(MAX_NODES) {
            return Err(PkiError::Usage(format!(
                "at most {MAX_NODES} nodes at a time; add the others later"
            )));
        }
        files::make_directory(directory)?;
        let (certificate, authority) = new_authority(cluster)?;
        files::write(&directory.join(CA_FILE), &certificate, files::PUBLIC)?;
        files::write(&directory.join(AUTHORITY_FILE), &authority, files::PRIVATE)?;
        let opened = Self::open(directory)?;
        for (node, name) in (1..).zip(names) {
            opened.add(name, Some(node), days)?;
        }
        Ok(opened)
    }

    /// Opens a directory that [`Authority::create`] made.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn open(directory: &Path) -> Result<Self, PkiError> {
        let path = directory.join(AUTHORITY_FILE);
        let pem = files::read_private(&path)?;
        let text = String::from_utf8_lossy(&pem);
        let certificate = CertificateDer::from_pem_slice(&pem)
            .map_err(|error| PkiError::content(&path, format!("holds no certificate ({error})")))?;
        let cluster = cluster_of(&certificate).map_err(|what| PkiError::content(&path, what))?;
        let wrong = |error: rcgen::Error| PkiError::content(&path, error.to_string());
        let key = text.find("-----BEGIN PRIVATE KEY-----").map_or("", |at| &text[at..]);
        let key = KeyPair::from_pem(key).map_err(wrong)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(wrong)?;
        Ok(Self { directory: directory.to_owned(), cluster, issuer })
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Makes a certificate for one more node; without an id it gets the next free one.
    ///
    /// # Errors
    /// [`PkiError`]: the name or the id is taken, among others. Nothing was changed.
    pub fn add(&self, name: &str, node: Option<u16>, days: u32) -> Result<NodeEntry, PkiError> {
        check_name("node", name)?;
        check_days(days)?;
        let nodes = self.nodes()?;
        let highest = nodes.iter().map(|entry| entry.subject.node).max().unwrap_or(0);
        let node = node.unwrap_or(highest.saturating_add(1));
        if !(1..=MAX_NODE_ID).contains(&node) {
            return Err(PkiError::Usage(format!("node id {node}: expected 1 to {MAX_NODE_ID}")));
        }
        if let Some(other) = nodes.iter().find(|entry| entry.subject.node == node) {
            return Err(PkiError::Usage(format!(
                "node id {node} belongs to {}; choose another id, or renew that one",
                other.subject.name
            )));
        }
        let subject = Subject { cluster: self.cluster.clone(), node, name: name.to_owned() };
        let directory = self.directory.join(name);
        files::make_directory(&directory)?;
        self.copy_trust(&directory)?;
        self.issue(subject, &directory, days)
    }

    /// Makes a new key and certificate for a node, by the present authority.
    ///
    /// # Errors
    /// [`PkiError`]: there is no such node, among others.
    pub fn renew(&self, name: &str, days: u32) -> Result<NodeEntry, PkiError> {
        check_days(days)?;
        let nodes = self.nodes()?;
        let Some(entry) = nodes.into_iter().find(|entry| entry.subject.name == name) else {
            return Err(PkiError::Usage(format!(
                "no node is named {name} in {}; `cluster list` shows them",
                self.directory.display()
            )));
        };
        self.issue(entry.subject, &entry.directory, days)
    }

    /// Makes a new authority. From now on it signs; nodes trust it and all before it, once their `ca.pem` are copied.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn rotate(self) -> Result<Self, PkiError> {
        let path = self.directory.join(CA_FILE);
        let trusted = files::read(&path)?;
        let (certificate, authority) = new_authority(&self.cluster)?;
        let bundle = format!("{certificate}{}", String::from_utf8_lossy(&trusted));
        // Trust comes first: what nobody has signed with does no harm in it.
        files::write(&path, &bundle, files::PUBLIC)?;
        files::write(&self.directory.join(AUTHORITY_FILE), &authority, files::PRIVATE)?;
        let next = Self::open(&self.directory)?;
        next.copy_trust_everywhere()?;
        Ok(next)
    }

    /// Ends the trust in all authorities but the present one.
    ///
    /// # Errors
    /// [`PkiError`]: a node's certificate is by another authority still, and would be refused; renew it first.
    pub fn retire(&self) -> Result<(), PkiError> {
        let path = self.directory.join(AUTHORITY_FILE);
        let authority = files::read_private(&path)?;
        let certificate = CertificateDer::from_pem_slice(&authority)
            .map_err(|error| PkiError::content(&path, error.to_string()))?;
        for entry in self.nodes()? {
            let path = entry.directory.join(NODE_FILE);
            if !is_signed_by(&path, &certificate)? {
                return Err(PkiError::Usage(format!(
                    "{} has a certificate of an older authority: renew it (and copy it to its host) first",
                    entry.subject
                )));
            }
        }
        let text = String::from_utf8_lossy(&authority);
        let end = text.find("-----BEGIN PRIVATE KEY-----").unwrap_or(text.len());
        files::write(&self.directory.join(CA_FILE), &text[..end], files::PUBLIC)?;
        self.copy_trust_everywhere()
    }

    /// The nodes that have certificates here, by id.
    ///
    /// # Errors
    /// [`PkiError`]: a node's directory can't be read.
    pub fn nodes(&self) -> Result<Vec<NodeEntry>, PkiError> {
        let listed = std::fs::read_dir(&self.directory).map_err(PkiError::file("list", &self.directory))?;
        let mut nodes = Vec::new();
        for entry in listed {
            let directory = entry.map_err(PkiError::file("list", &self.directory))?.path();
            let path = directory.join(NODE_FILE);
            if !path.is_file() {
                continue;
            }
            let certificate = node_certificate(&path)?;
            let wrong = |what: String| PkiError::content(&path, what);
            nodes.push(NodeEntry {
                subject: Subject::of_certificate(&certificate).map_err(wrong)?,
                not_after_s: credentials::not_after_s(&certificate).map_err(wrong)?,
                directory,
            });
        }
        nodes.sort_by_key(|entry| entry.subject.node);
        Ok(nodes)
    }

    fn issue(&self, subject: Subject, directory: &Path, days: u32) -> Result<NodeEntry, PkiError> {
        self.issue_for(subject, directory, validity(days))
    }

    /// Replaces a node's certificate by one whose time is over: for tests, which can't wait for it.
    #[doc(hidden)]
    pub fn issue_expired(&self, name: &str) -> Result<NodeEntry, PkiError> {
        let nodes = self.nodes()?;
        let Some(entry) = nodes.into_iter().find(|entry| entry.subject.name == name) else {
            return Err(PkiError::Usage(format!("no node is named {name}")));
        };
        let mut params = validity(1);
        (params.not_before, params.not_after) =
            (params.not_before - Duration::DAY, params.not_before - Duration::MINUTE);
        self.issue_for(entry.subject, &entry.directory, params)
    }

    fn issue_for(
        &self,
        subject: Subject,
        directory: &Path,
        mut params: CertificateParams,
    ) -> Result<NodeEntry, PkiError> {
        let failed = |source| PkiError::Make { name: subject.name.clone(), source };
        let key = KeyPair::generate().map_err(failed)?;
        params.distinguished_name = subject.to_distinguished_name();
        params.subject_alt_names = vec![SanType::DnsName(TLS_NAME.try_into().map_err(failed)?)];
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let both = format!("{}{}", certificate.pem(), key.serialize_pem());
        files::write(&directory.join(NODE_FILE), &both, files::PRIVATE)?;
        let not_after_s = params.not_after.unix_timestamp();
        Ok(NodeEntry { subject, not_after_s, directory: directory.to_owned() })
    }

    fn copy_trust(&self, directory: &Path) -> Result<(), PkiError> {
        let bundle = files::read(&self.directory.join(CA_FILE))?;
        files::write(&directory.join(CA_FILE), &String::from_utf8_lossy(&bundle), files::PUBLIC)
    }

    fn copy_trust_everywhere(&self) -> Result<(), PkiError> {
        self.nodes()?.iter().try_for_each(|entry| self.copy_trust(&entry.directory))
    }
}

/// A new authority: its certificate, and the same with its key.
fn new_authority(cluster: &str) -> Result<(String, String), PkiError> {
    let failed = |source| PkiError::Make { name: format!("the authority of {cluster}"), source };
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = validity(AUTHORITY_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::OrganizationName, cluster);
    // Each authority has a name of its own: peers say "unknown issuer" of a foreign one, and not "bad signature".
    let mark = params
        .key_identifier(&key)
        .iter()
        .take(4)
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    params.distinguished_name.push(DnType::CommonName, format!("latticed authority {mark} of {cluster}"));
    let certificate = params.self_signed(&key).map_err(failed)?.pem();
    let both = format!("{certificate}{}", key.serialize_pem());
    Ok((certificate, both))
}

fn validity(days: u32) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::days(i64::from(days));
    params
}

fn cluster_of(certificate: &[u8]) -> Result<String, String> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|error| format!("is no certificate ({error})"))?;
    let name = certificate.subject().iter_organization().next().and_then(|name| name.as_str().ok());
    name.filter(|name| is_name(name)).map(str::to_owned).ok_or("names no cluster".to_owned())
}

fn node_certificate(path: &Path) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(&files::read_private(path)?)
        .map_err(|error| PkiError::content(path, format!("holds no certificate ({error})")))
}

/// Whether the certificate of a node was signed with the key of this authority.
fn is_signed_by(path: &Path, authority: &CertificateDer<'_>) -> Result<bool, PkiError> {
    credentials::is_by(&node_certificate(path)?, authority).map_err(|what| PkiError::content(path, what))
}

fn check_name(whose: &str, name: &str) -> Result<(), PkiError> {
    if is_name(name) && ![CA_FILE, AUTHORITY_FILE].contains(&name) {
        return Ok(());
    }
    Err(PkiError::Usage(format!(
        "{name:?} can't be the name of a {whose}: expected 1 to 63 letters, digits, `.`, `_` or `-`, the first a letter or a digit"
    )))
}

fn check_days(days: u32) -> Result<(), PkiError> {
    if (1..=MAX_NODE_DAYS).contains(&days) {
        return Ok(());
    }
    Err(PkiError::Usage(format!("{days} days: expected 1 to {MAX_NODE_DAYS}")))
}
