//! What a daemon proves itself with, and whom it believes: the files of `security.directory`, read and checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CA_FILE, NODE_FILE, PkiError, Subject, files};

/// Authorities that a node may trust at a time: a rotation needs two.
const MAX_AUTHORITIES: usize = 8;
/// What both sides speak inside TLS.
const ALPN: &[u8] = b"latticed/1";
/// A day in seconds.
const DAY_S: i64 = 86_400;

/// The certificate and key of a node, and the authorities that it trusts.
#[derive(Debug)]
pub struct Credentials {
    /// What the certificate says.
    pub subject: Subject,
    /// End of the certificate's time, Unix seconds.
    pub not_after_s: i64,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) roots: Arc<RootCertStore>,
}

impl Credentials {
    /// Reads a node's directory. That the certificate holds is found by each peer, and expiry by the clock.
    ///
    /// # Errors
    /// [`PkiError`]: a file is absent, open to others, or not what it should be.
    pub fn load(directory: &Path) -> Result<Self, PkiError> {
        let path = directory.join(CA_FILE);
        let authorities = authorities(&path)?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| PkiError::content(&path, error.to_string()))?;
        }
        let path = directory.join(NODE_FILE);
        let pem = files::read_private(&path)?;
        let certificate = CertificateDer::from_pem_slice(&pem)
            .map_err(|error| PkiError::content(&path, format!("holds no certificate ({error})")))?;
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|error| PkiError::content(&path, format!("holds no private key ({error})")))?;
        let subject = Subject::of_certificate(&certificate).map_err(|what| PkiError::content(&path, what))?;
        let not_after_s = not_after_s(&certificate).map_err(|what| PkiError::content(&path, what))?;
        let credentials = Self { subject, not_after_s, certificate, key, roots: Arc::new(roots) };
        credentials.check(&path, &authorities)?;
        Ok(credentials)
    }

    /// The files that [`Credentials::load`] reads.
    #[must_use]
    pub fn files(directory: &Path) -> [PathBuf; 2] {
        [directory.join(CA_FILE), directory.join(NODE_FILE)]
    }

    /// Checks now what would else be found at the first handshake: key and certificate belong together, and this
    /// node's own authorities made the certificate. One whose time is over is for the peers to refuse: a clock may be
    /// wrong on this host.
    fn check(&self, path: &Path, authorities: &[CertificateDer<'_>]) -> Result<(), PkiError> {
        let provider = rustls::crypto::ring::default_provider();
        let signer = provider
            .key_provider
            .load_private_key(self.key.clone_key())
            .map_err(|error| PkiError::content(path, format!("its key can't be used ({error})")))?;
        rustls::sign::CertifiedKey::new(vec![self.certificate.clone()], signer)
            .keys_match()
            .map_err(|_| PkiError::content(path, "its key is not the key of its certificate"))?;
        if authorities.iter().any(|authority| is_by(&self.certificate, authority) == Ok(true)) {
            return Ok(());
        }
        let what = format!("its certificate is not by an authority in {CA_FILE} beside it; copy both files");
        Err(PkiError::content(path, what))
    }

    /// Settings of the side that is dialled: peers must show a certificate by an authority that is trusted here.
    ///
    /// # Errors
    /// What rustls refused, for a message.
    pub fn server_config(&self) -> Result<ServerConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&provider))
                .build()
                .map_err(|error| error.to_string())?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Nothing is resumed: each handshake shows certificates, which may have been replaced meanwhile.
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Settings of the side that dials.
    ///
    /// # Errors
    /// What rustls refused, for a message.
    pub fn client_config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// Reads the authorities that are trusted.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let pem = files::read(path)?;
    let mut authorities = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        if authorities.len() == MAX_AUTHORITIES {
            return Err(PkiError::content(path, format!("holds more than {MAX_AUTHORITIES} certificates")));
        }
        authorities.push(certificate.map_err(|error| PkiError::content(path, error.to_string()))?);
    }
    if authorities.is_empty() {
        return Err(PkiError::content(path, "holds no certificate of an authority"));
    }
    Ok(authorities)
}

/// Whether this authority signed a certificate, whatever its time says.
pub(super) fn is_by(certificate: &[u8], authority: &[u8]) -> Result<bool, String> {
    let parse = |der| {
        X509Certificate::from_der(der)
            .map(|(_, certificate)| certificate)
            .map_err(|error| format!("is no certificate ({error})"))
    };
    let (certificate, authority) = (parse(certificate)?, parse(authority)?);
    Ok(certificate.verify_signature(Some(authority.public_key())).is_ok())
}

/// End of a certificate's time, Unix seconds.
pub(super) fn not_after_s(certificate: &[u8]) -> Result<i64, String> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|error| format!("is no certificate ({error})"))?;
    Ok(certificate.validity().not_after.timestamp())
}

/// Whole days from now until a moment; negative when it is over.
#[must_use]
pub fn days_left(not_after_s: i64) -> i64 {
    (not_after_s - time::OffsetDateTime::now_utc().unix_timestamp()).div_euclid(DAY_S)
}
