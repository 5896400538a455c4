//! Whom a connection trusts, and why it does not trust somebody.
//!
//! Nothing is parsed until a connection is to be made.

use std::path::Path;

use rustls::CertificateError;
use ureq::tls::{Certificate, PemItem, parse_pem};

use crate::base::files;

/// The largest file of certificates, bytes.
const BYTES_MAX: u64 = 8 << 20;

/// The authorities of a file in PEM, which take the place of the built-in ones; `None` where no file
/// is named.
///
/// # Errors
/// A file that cannot be read, or holds no certificate.
pub(super) fn authorities(
    file: Option<&Path>,
) -> Result<Option<Vec<Certificate<'static>>>, String> {
    let Some(path) = file else { return Ok(None) };
    let pem = files::read_bounded(path, BYTES_MAX)
        .map_err(|error| format!("`SSL_CERT_FILE`: {error}: {}", error.source))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(_) => return Err("`SSL_CERT_FILE` names a file that is not PEM".into()),
        }
    }
    match found.is_empty() {
        true => Err("`SSL_CERT_FILE` names a file without certificates".into()),
        false => Ok(Some(found)),
    }
}

/// Why a connection was not made, without a name of it.
pub(super) fn in_words(error: &rustls::Error) -> String {
    let why = match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => "nobody whom we trust signed its certificate",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet"
            }
            _ => "its certificate is not valid",
        },
        rustls::Error::AlertReceived(_) => "it ended the handshake",
        _ => "it does not speak TLS as it should",
    };
    format!("no secure connection: {why}")
}
