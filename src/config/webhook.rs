//! `[webhook.NAME]`

use secrecy::SecretString;

use super::reader::{Field, Read, Section};
use crate::webhook::{Host, Scheme, Secrets};

/// An address at which a Git host may deliver, and how it proves itself there. One webhook may serve many
/// repositories.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub secrets: Secrets,
}

pub(super) fn read(section: &Section<'_>) -> Read<Webhook> {
    let host = section
        .required("host")
        .and_then(|field| field.parse(str::parse::<Host>));
    let scheme_field = section.field("scheme");
    let secrets_field = section.required("secrets");
    let secrets = secrets_field
        .as_ref()
        .map_err(|absent| *absent)
        .and_then(read_secrets);
    let scheme = match (host?, scheme_field) {
        (Host::GitHub, None) => Scheme::GitHubSha256,
        (Host::GitHub, Some(field)) => {
            return Err(field.problem(&"GitHub has one scheme only; leave this key out"));
        }
        (Host::GitLab, Some(field)) => field.parse(gitlab_scheme)?,
        (Host::GitLab, None) => {
            let hint = "is missing: \"signature\" for a signing token (GitLab 19 and later), \"token\" for a secret token";
            return Err(section.missing("scheme", &hint));
        }
    };
    let field = secrets_field?;
    let secrets = Secrets::new(scheme, &secrets?).map_err(|error| field.problem(&error))?;
    Ok(Webhook { secrets })
}

fn read_secrets(field: &Field<'_>) -> Read<Vec<SecretString>> {
    let secrets: Vec<Read<SecretString>> = field.items()?.iter().map(Field::secret).collect();
    secrets.into_iter().collect()
}

fn gitlab_scheme(text: &str) -> Result<Scheme, &'static str> {
    match text {
        "token" => Ok(Scheme::GitLabToken),
        "signature" => Ok(Scheme::GitLabSignature),
        _ => Err("must be \"token\" or \"signature\""),
    }
}
