//! A password, and certificates of an authority that nobody else knows.
//!
//! Lives here: making them, as files, and a client that trusts them. Never here: how a server is told of them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::super::HANG;
use super::process::folder;

/// Files that say who someone is. Their certificate is for a server on loopback and for a client alike.
pub struct Access {
    folder: TempDir,
}

impl Access {
    /// The one who has the password.
    pub const USER: &str = "relay";
    /// Without anything that a configuration file would have to quote.
    pub const PASSWORD: &str = "open-sesame+1%2f";

    /// Makes a new authority, and a certificate that it has signed.
    pub fn new() -> Access {
        let access = Access { folder: folder() };
        let key = || KeyPair::generate().expect("a key");
        let (authority_key, own_key) = (key(), key());
        let mut authority = named("an authority of tests", &[]);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).expect("a certificate");
        let own = named("a test", &["127.0.0.1", "localhost"]);
        let own = own.signed_by(&own_key, &Issuer::new(authority, authority_key)).expect("a certificate");
        for (path, content) in [
            (access.authority(), root.pem()),
            (access.certificate(), own.pem()),
            (access.key(), own_key.serialize_pem()),
            (access.password_file(), format!("{}\n", Access::PASSWORD)),
        ] {
            fs::write(path, content).expect("a file in a temporary folder");
        }
        access
    }

    /// The certificate to trust.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The certificate to show.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// The key of the certificate to show.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// A file with the password.
    pub fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// How a client speaks TLS to a server that shows this certificate.
    pub fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(certificate_in(&self.authority())).expect("a certificate");
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that the provider has")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// A connection to a server that shows this certificate; the handshake comes with its first bytes.
    pub fn connect(&self, to: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::from(to.ip());
        let session = ClientConnection::new(Arc::new(self.client()), name).expect("a session");
        let stream = TcpStream::connect(to).expect("a server that listens");
        stream.set_read_timeout(Some(HANG)).expect("a socket option");
        StreamOwned::new(session, stream)
    }
}

fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut parameters = CertificateParams::new(hosts).expect("names of hosts");
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

fn certificate_in(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}
