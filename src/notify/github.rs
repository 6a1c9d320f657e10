//! Commit statuses at GitHub: `POST /repos/OWNER/NAME/statuses/SHA`. A later status of a context
//! replaces the earlier one; a commit takes 1,000 of a context.

use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::Url;

use super::{
    Error, Place, Sender, context,
    send::{Post, secret_header},
};
use crate::{
    domain::notice::{Mark, MarkState, shortened},
    webhook::RepositoryName,
};

/// The longest description that GitHub takes, in characters.
const LONGEST_DESCRIPTION: usize = 140;

/// A repository at GitHub, or at a GitHub Enterprise Server.
#[derive(Debug)]
pub struct GitHub {
    sender: Sender,
    /// The address of the REST API.
    api: Url,
    full_name: RepositoryName,
    token: SecretString,
}

impl GitHub {
    pub fn new(sender: Sender, api: Url, full_name: RepositoryName, token: SecretString) -> Self {
        Self {
            sender,
            api,
            full_name,
            token,
        }
    }

    pub(super) async fn mark(&self, mark: &Mark, place: &Place) -> Result<(), Error> {
        let mut body = json!({
            "state": state(mark.state),
            "context": context(mark),
            "description": shortened(&mark.description, LONGEST_DESCRIPTION),
        });
        if let Some(link) = place.of_mark(mark) {
            body["target_url"] = json!(link);
        }
        let token = self.token.expose_secret();
        let mut headers = HeaderMap::new();
        headers.insert(
            "accept",
            HeaderValue::from_static("application/vnd.github+json"),
        );
        headers.insert(
            "x-github-api-version",
            HeaderValue::from_static("2022-11-28"),
        );
        if let Some(value) = secret_header(&format!("Bearer {token}")) {
            headers.insert("authorization", value);
        }
        let mut url = self.api.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        // The name's parts and the revision are letters that an address takes as they are.
        url.set_path(&format!(
            "{base}/repos/{}/statuses/{}",
            self.full_name, mark.revision
        ));
        let post = Post {
            url,
            headers,
            content_type: "application/json",
            body: body.to_string().into_bytes(),
        };
        let sent = self.sender.post(post, &[token.to_owned()]).await;
        sent.map_err(|refusal| refusal.error)
    }
}

fn state(state: MarkState) -> &'static str {
    match state {
        MarkState::Queued | MarkState::Applying | MarkState::Waiting => "pending",
        MarkState::InStep => "success",
        MarkState::Failed => "failure",
    }
}
