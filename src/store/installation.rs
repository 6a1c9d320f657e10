//! The installation's key: made once for the embedded mode, given by reference otherwise. The
//! database keeps a fingerprint, so that a wrong key is noticed before it masks anything; the key
//! itself never gets there.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretBox};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{
    Store,
    db::{blocking, file_error, lock_folder},
    error::{Error, Result},
};
use crate::domain::audit::checkpoint::SigningKey;

/// The key's file in the folder of the embedded mode.
pub const KEY_FILE: &str = "secret.key";

/// The key that signs the history's checkpoints, in the folder of the embedded mode.
pub const SIGNING_KEY_FILE: &str = "audit.key";

/// 32 secret bytes that mask and seal for one installation. Never printed.
pub type InstallationKey = SecretBox<[u8; 32]>;

impl Store {
    /// The key in `dir/secret.key`: 64 hex digits in a file that only its owner may read. It is
    /// made when neither the file nor anything that was masked with it is there.
    pub async fn installation_key_embedded(&self, dir: &Path) -> Result<InstallationKey> {
        let known = self.key_fingerprint().await?.is_some();
        let folder = dir.to_owned();
        let key = blocking(move || {
            let _lock = lock_folder(&folder)?;
            let path = folder.join(KEY_FILE);
            match read_key(&path)? {
                Some(key) => Ok(key),
                None if known => Err(Error::KeyMissing { path }),
                None => make_key(&folder, &path),
            }
        })
        .await?;
        self.check_key(key.expose_secret()).await?;
        Ok(key)
    }

    /// The key in `dir/audit.key` that signs the history's checkpoints; it is made when it is not
    /// there, under a name of its own.
    pub async fn signing_key_embedded(&self, dir: &Path) -> Result<SigningKey> {
        let folder = dir.to_owned();
        blocking(move || {
            let _lock = lock_folder(&folder)?;
            let path = folder.join(SIGNING_KEY_FILE);
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let mut name = [0; 6];
                    aws_lc_rs::rand::fill(&mut name)
                        .map_err(|error| file_error(&path, io::Error::other(error)))?;
                    let name = format!("lockstep/{}", hex::encode(name));
                    let key = new_signing_key(&name, &path)?;
                    write_key(&folder, &path, &key.secret_text())?;
                    return Ok(key);
                }
                Err(error) => return Err(file_error(&path, error)),
            };
            refuse_exposed(&path)?;
            text.trim()
                .parse()
                .map_err(|source| Error::SigningKey { path, source })
        })
        .await
    }

    /// Records the key's fingerprint the first time, and compares it ever after.
    pub async fn check_key(&self, key: &[u8; 32]) -> Result<()> {
        let given = fingerprint(key);
        if self.key_fingerprint().await?.is_none() {
            let mut tx = self.begin().await?;
            on_tx!(&mut tx, |connection| {
                sqlx::query(
                    "insert into installation (id, key_fingerprint) values (1, $1) \
                     on conflict (id) do nothing",
                )
                .bind(&given)
                .execute(connection)
                .await?;
            });
            tx.commit().await?;
        }
        // Read again: another process may have been first.
        let known = self.key_fingerprint().await?.unwrap_or_default();
        if bool::from(known.as_bytes().ct_eq(given.as_bytes())) {
            Ok(())
        } else {
            Err(Error::KeyDiffers)
        }
    }

    async fn key_fingerprint(&self) -> Result<Option<String>> {
        Ok(on_pool!(self, |pool| {
            sqlx::query_scalar("select key_fingerprint from installation where id = 1")
                .fetch_optional(pool)
                .await?
        }))
    }
}

fn fingerprint(key: &[u8; 32]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(b"lockstep: fingerprint of the installation's key");
    hex::encode(mac.finalize().into_bytes())
}

fn read_key(path: &Path) -> Result<Option<InstallationKey>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => SecretBox::new(Box::new(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error(path, error)),
    };
    refuse_exposed(path)?;
    let mut key = Box::new([0; 32]);
    hex::decode_to_slice(text.expose_secret().trim_end(), key.as_mut_slice()).map_err(|_| {
        Error::KeyMalformed {
            path: path.to_owned(),
        }
    })?;
    Ok(Some(SecretBox::new(key)))
}

#[cfg(unix)]
fn refuse_exposed(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)
        .map_err(|error| file_error(path, error))?
        .permissions()
        .mode();
    let open_to_others = mode & 0o077;
    if open_to_others != 0 {
        return Err(Error::KeyExposed {
            path: path.to_owned(),
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_exposed(_path: &Path) -> Result<()> {
    Ok(())
}

/// Writes the key beside its place and moves it there when it is whole and on the disk: a crash
/// leaves a key or none.
fn make_key(folder: &Path, path: &Path) -> Result<InstallationKey> {
    let mut key = Box::new([0; 32]);
    aws_lc_rs::rand::fill(key.as_mut_slice())
        .map_err(|error| file_error(path, io::Error::other(error)))?;
    write_key(folder, path, &hex::encode(key.as_slice()))?;
    Ok(SecretBox::new(key))
}

fn write_key(folder: &Path, path: &Path, text: &str) -> Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    write_private(&unfinished, text).map_err(|error| file_error(&unfinished, error))?;
    fs::rename(&unfinished, path).map_err(|error| file_error(path, error))?;
    #[cfg(unix)]
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| file_error(folder, error))?;
    Ok(())
}

/// Makes a key that signs checkpoints. The path is for what is said when that fails.
pub fn new_signing_key(name: &str, path: &Path) -> Result<SigningKey> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|error| file_error(path, io::Error::other(error)))?;
    SigningKey::from_seed(name, seed).map_err(|source| Error::SigningKey {
        path: path.to_owned(),
        source,
    })
}

/// Makes a key for checkpoints in a file that only its owner may read. A file that is there stays.
pub fn keygen(name: &str, path: &Path) -> Result<SigningKey> {
    let key = new_signing_key(name, path)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || -> io::Result<()> {
        let mut file = options.open(path)?;
        writeln!(file, "{}", key.secret_text())?;
        file.sync_all()
    };
    write().map_err(|error| file_error(path, error))?;
    Ok(key)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}
