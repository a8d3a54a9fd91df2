//! TLS towards endpoints.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::config::Section;
use crate::registry::Protocol;

/// How to speak TLS to endpoints: whom to trust, as whom to appear. Built once, when the configuration is read.
#[derive(Clone)]
pub struct Tls {
    /// Kept to tell whether a reload changed anything.
    pem: [Option<Vec<u8>>; 3],
    /// The name that the certificate must bear; unset, the host of the registration.
    pub server_name: Option<ServerName<'static>>,
    with_http2: Arc<ClientConfig>,
    with_http1: Arc<ClientConfig>,
    with_either: Arc<ClientConfig>,
}

/// Why TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key is not PEM.
    #[error("it holds no usable PEM {0}: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    /// The system's certificate authorities cannot be read.
    #[error("no certificate authority was found on this system; name one with `ca`")]
    NoSystemRoots,
    /// The parts don't fit together.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

impl Tls {
    /// Reads `tls: {enabled, ca, cert, key, server_name}`; `ca`, `cert` and `key` are paths of PEM files, and any key
    /// but `enabled: false` asks for TLS. `None` if nothing does, or if it cannot be used, which is then an error.
    pub fn read(section: &mut Section<'_>) -> Option<Tls> {
        section.section("tls", |tls| {
            let ca = file(tls, "ca");
            let cert = file(tls, "cert");
            let key = file(tls, "key");
            let name = tls.optional("server_name").and_then(|name| {
                ServerName::try_from(name.clone())
                    .map_err(|_| tls.error("server_name", format!("`{name}` is neither a host name nor an IP address")))
                    .ok()
            });
            match (cert.is_some(), key.is_some()) {
                (true, false) => tls.error("cert", "a certificate needs its `key`"),
                (false, true) => tls.error("key", "a key needs its `cert`"),
                _ => {}
            }
            let wanted = ca.is_some() || cert.is_some() || name.is_some();
            if !tls.boolean("enabled", wanted) {
                return None;
            }
            Tls::new(ca, cert, key, name).map_err(|error| tls.error("", error.to_string())).ok()
        })
    }

    /// TLS by the contents of PEM files: authorities to trust (unset: the system's), and a client certificate with its
    /// key.
    ///
    /// # Errors
    ///
    /// If a part is no PEM, the system has no authorities, or the key does not fit the certificate.
    pub fn new(
        ca: Option<Vec<u8>>,
        cert: Option<Vec<u8>>,
        key: Option<Vec<u8>>,
        server_name: Option<ServerName<'static>>,
    ) -> Result<Tls, TlsError> {
        let mut roots = RootCertStore::empty();
        match &ca {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    roots.add(certificate.map_err(|e| TlsError::Pem("certificate", e))?)?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        if roots.is_empty() {
            return Err(TlsError::NoSystemRoots);
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let client = match (&cert, &key) {
            (Some(cert), Some(key)) => {
                let chain = CertificateDer::pem_slice_iter(cert)
                    .collect::<Result<_, _>>()
                    .map_err(|e| TlsError::Pem("certificate", e))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| TlsError::Pem("key", e))?;
                builder.with_client_auth_cert(chain, key)?
            }
            _ => builder.with_no_client_auth(),
        };
        let offering = |protocols: &[&[u8]]| {
            let mut client = client.clone();
            client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(client)
        };
        Ok(Tls {
            pem: [ca, cert, key],
            server_name,
            with_http2: offering(&[b"h2"]),
            with_http1: offering(&[b"http/1.1"]),
            with_either: offering(&[b"h2", b"http/1.1"]),
        })
    }

    /// TLS that trusts the system's authorities. They are read from disk once in a process.
    ///
    /// # Errors
    ///
    /// If there are none.
    pub fn system() -> Result<&'static Tls, TlsError> {
        static SYSTEM: OnceLock<Tls> = OnceLock::new();
        match SYSTEM.get() {
            Some(tls) => Ok(tls),
            None => Tls::new(None, None, None, None).map(|tls| SYSTEM.get_or_init(|| tls)),
        }
    }

    /// The settings that offer the one protocol which is wanted, or leave the choice to the endpoint.
    pub(super) fn client(&self, protocol: Option<Protocol>) -> Arc<ClientConfig> {
        match protocol {
            Some(Protocol::Http2) => self.with_http2.clone(),
            Some(Protocol::Http1) => self.with_http1.clone(),
            None => self.with_either.clone(),
        }
    }
}

fn file(tls: &mut Section<'_>, key: &str) -> Option<Vec<u8>> {
    let path = tls.optional(key)?;
    std::fs::read(&path)
        .map_err(|error| tls.error(key, format!("cannot read `{path}`: {error}; name a readable PEM file")))
        .ok()
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem && self.server_name == other.server_name
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}
