//! Whom to trust: the system's certificates, or those of a file.
//!
//! Lives here: the one configuration of TLS that every client gets. Never here: a protocol above it.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::error::{Doing, Error};
use super::files;
use crate::config::services::Login;

/// How we speak TLS to a server that shows a certificate.
pub(super) fn client(login: &Login) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .doing("setting up TLS")?
        .with_root_certificates(roots(login.authority.as_deref())?);
    match (&login.certificate, &login.key) {
        (Some(chain), Some(key)) => builder
            .with_client_auth_cert(certificates(chain)?, private_key(key)?)
            .doing("our own certificate"),
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// How we speak TLS to clients, with our own certificate.
pub(super) fn server(login: &Login) -> Result<ServerConfig, Error> {
    let (Some(chain), Some(key)) = (&login.certificate, &login.key) else {
        return Err(Error::new("setting up TLS", "a listener needs certificate_file and key_file"));
    };
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .doing("setting up TLS")?
        .with_no_client_auth()
        .with_single_cert(certificates(chain)?, private_key(key)?)
        .doing("our own certificate")
}

fn roots(authority: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let trusted = match authority {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(trusted);
    if roots.is_empty() {
        return Err(Error::new("setting up TLS", "no certificates to trust: name some with ca_file="));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text =
        files::contents(path).map_err(|error| Error::new("reading certificates", in_file(path, &error)))?;
    let all = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    all.map_err(|error| Error::new("reading certificates", in_file(path, &error)))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = files::contents(path).map_err(|error| Error::new("reading the key", in_file(path, &error)))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| Error::new("reading the key", in_file(path, &error)))
}

fn in_file(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}
