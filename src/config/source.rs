//! Where a secret is that is read whenever it is needed, so that a new one needs no restart.

use std::{fmt, path::PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::reader::read_secret_file;

#[derive(Clone, Debug)]
pub enum Source {
    /// Read anew each time.
    File(PathBuf),
    /// From the environment, which does not change.
    Given(SecretString),
}

impl Source {
    /// What it says now, or why it cannot be read.
    pub fn text(&self) -> Result<SecretString, String> {
        match self {
            Self::File(path) => read_secret_file(path)
                .map(SecretString::from)
                .map_err(|error| format!("cannot be read from {}: {error}", path.display())),
            Self::Given(text) => Ok(text.clone()),
        }
    }

    /// The same without line breaks at its end, which editors leave behind and no secret has.
    pub fn secret(&self) -> Result<SecretString, String> {
        let text = self.text()?;
        let text = text.expose_secret().trim_end_matches(['\n', '\r']);
        if text.trim().is_empty() {
            return Err(match self {
                Self::File(path) => format!("cannot be empty, and {} is", path.display()),
                Self::Given(_) => "cannot be empty, and its environment variable is".to_owned(),
            });
        }
        Ok(text.into())
    }
}

/// Where the value of a secret is that manifests refer to.
#[derive(Clone, Debug)]
pub enum SecretSource {
    Here(Source),
    /// A variable that is not set: only what needs the secret has to wait for it.
    NotSet {
        variable: String,
    },
    Vault(VaultField),
}

/// A field of a secret in Vault's key-value store, version 2: `mount/path#field`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VaultField {
    pub mount: String,
    pub path: String,
    pub field: String,
}

impl VaultField {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str =
            "is written \"mount/path#field\", such as \"secret/shop/database#password\"";
        let (place, field) = text.rsplit_once('#').ok_or(FORM)?;
        let (mount, path) = place.split_once('/').ok_or(FORM)?;
        let is_segment = |segment: &str| !matches!(segment, "" | "." | "..");
        let is_place = is_segment(mount) && path.split('/').all(is_segment);
        let is_plain = |text: &str| !text.contains(['?', '#']) && !text.contains(char::is_control);
        if !is_place || field.is_empty() || !is_plain(place) || !is_plain(field) {
            return Err(FORM);
        }
        Ok(Self {
            mount: mount.to_owned(),
            path: path.to_owned(),
            field: field.to_owned(),
        })
    }
}

impl fmt::Display for VaultField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.mount, self.path, self.field)
    }
}
