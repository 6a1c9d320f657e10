//! `[certificate.NAME]`: a certificate that manifests refer to by its name, with its private key.

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    reader::{Field, Read, Section},
    source::Source,
};
use crate::domain::certificate::{self, Content};

/// Where a certificate and its key are. Files are read anew whenever they are needed, so that a
/// renewed certificate needs no restart.
#[derive(Clone, Debug)]
pub struct Certificate {
    certificate: Source,
    /// `None`: none, or in the same file.
    private_key: Option<Source>,
}

impl Certificate {
    /// Both, as PEM, as they are now; or why they cannot be read.
    pub fn text(&self) -> Result<SecretString, String> {
        let mut text = self.certificate.text()?;
        if let Some(private_key) = &self.private_key {
            let private_key = private_key.text()?;
            let joined = format!("{}\n{}", text.expose_secret(), private_key.expose_secret());
            text = joined.into();
        }
        Ok(text)
    }
}

pub(super) fn read(section: &Section<'_>) -> Read<Certificate> {
    let certificate = section
        .required("certificate")
        .and_then(|field| field.source());
    let private_key = section.optional("private_key", Field::source);
    let certificate = Certificate {
        certificate: certificate?,
        private_key: private_key?,
    };
    let text = certificate
        .text()
        .map_err(|error| section.problem(&error))?;
    let parsed = certificate::Certificate::parse(text.expose_secret())
        .map_err(|problem| section.problem(&problem.message))?;
    if parsed.content != Content::PublicKey
        && certificate.private_key.is_some()
        && !parsed.has_private_key
    {
        return Err(section.problem(&"private_key holds no private key in PEM"));
    }
    Ok(certificate)
}
