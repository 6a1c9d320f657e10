//! Reads the secrets that a stack's manifests refer to, as they are now. They live as long as the
//! look, run or check that asked for them, in memory, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    app::{App, Stack},
    config::{SecretSource, VaultField},
    domain::reference::Secrets,
};

/// The values of all these secrets; or, of each that cannot be had, its name, where it should come
/// from, and why.
pub async fn read(
    app: &App,
    stack: &Stack,
    names: BTreeSet<String>,
) -> Result<Secrets, Vec<String>> {
    if names.is_empty() {
        return Ok(Secrets::default());
    }
    let sources = stack.secrets.clone();
    let (mut read, in_vault) = tokio::task::spawn_blocking(move || {
        let mut read: BTreeMap<String, Result<SecretString, String>> = BTreeMap::new();
        let mut in_vault: Vec<(String, VaultField)> = Vec::new();
        for name in names {
            let value = match sources.get(&name) {
                Some(SecretSource::Here(source)) => source.secret(),
                Some(SecretSource::NotSet { variable }) => Err(format!("{variable} is not set")),
                Some(SecretSource::Vault(field)) => {
                    in_vault.push((name, field.clone()));
                    continue;
                }
                // Its reference would have been refused.
                None => Err("is not in the configuration".to_owned()),
            };
            read.insert(name, value);
        }
        (read, in_vault)
    })
    .await
    .expect("reading secrets does not panic");
    read.extend(read_in_vault(app, in_vault).await);

    let mut problems = Vec::new();
    let mut values = Vec::new();
    for (name, value) in read {
        match value {
            Ok(value) => values.push((name, value)),
            Err(why) => problems.push(format!(
                "the secret {name} of the stack {} cannot be read: {why}",
                stack.name
            )),
        }
    }
    if problems.is_empty() {
        Ok(values.into_iter().collect())
    } else {
        Err(problems)
    }
}

/// Asks once for each place, however many fields of it are needed.
async fn read_in_vault(
    app: &App,
    wanted: Vec<(String, VaultField)>,
) -> BTreeMap<String, Result<SecretString, String>> {
    let mut places: BTreeMap<(String, String), Vec<(String, VaultField)>> = BTreeMap::new();
    for (name, field) in wanted {
        let place = (field.mount.clone(), field.path.clone());
        places.entry(place).or_default().push((name, field));
    }
    let mut read = BTreeMap::new();
    // What concerns all of them is not waited for again and again.
    let mut end: Option<String> = None;
    for ((mount, path), fields) in places {
        let answer = match (&app.vault, &end) {
            (None, _) => Err("the configuration has no [vault] section".to_owned()),
            (Some(_), Some(why)) => Err(why.clone()),
            (Some(vault), None) => vault.read(&mount, &path).await.map_err(|error| {
                if error.concerns_all() {
                    end = Some(error.to_string());
                }
                error.to_string()
            }),
        };
        for (name, field) in fields {
            let value = match &answer {
                Err(why) => Err(why.clone()),
                Ok(answer) => match answer.get(&field.field) {
                    None => Err("it has no such field".to_owned()),
                    Some(Err(why)) => Err(format!("the field {why}")),
                    Some(Ok(value)) if value.expose_secret().trim().is_empty() => {
                        Err("the field is empty".to_owned())
                    }
                    Some(Ok(value)) => Ok(value.clone()),
                },
            };
            let value = value.map_err(|why| format!("from Vault at {field}: {why}"));
            read.insert(name, value);
        }
    }
    read
}
