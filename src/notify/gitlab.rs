//! Commit statuses at GitLab: `POST /projects/ID/statuses/SHA`, and to read them
//! `GET /projects/ID/repository/commits/SHA/statuses`.
//!
//! A status there is a machine: `pending`, then `running`, then an end, after which the next one
//! begins a new status of the same name. A step that it does not know, also one to the state it
//! has, is a 400, and then nothing of the request is kept, not even the description.

use reqwest::{StatusCode, header::HeaderMap};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::{
    Error, Place, Sender, Trace, context,
    send::{Post, Refusal, secret_header},
};
use crate::{
    domain::{
        notice::{Mark, MarkState, shortened},
        revision::Revision,
    },
    webhook::RepositoryName,
};

/// The longest description that GitLab takes, in characters.
const LONGEST_DESCRIPTION: usize = 255;

/// A project at a GitLab.
#[derive(Debug)]
pub struct GitLab {
    sender: Sender,
    /// The address of the REST API.
    api: Url,
    full_name: RepositoryName,
    token: SecretString,
}

impl GitLab {
    pub fn new(sender: Sender, api: Url, full_name: RepositoryName, token: SecretString) -> Self {
        Self {
            sender,
            api,
            full_name,
            token,
        }
    }

    pub(super) async fn mark(&self, mark: &Mark, branch: &str, place: &Place) -> Result<(), Error> {
        let state = match mark.state {
            MarkState::Queued | MarkState::Waiting => "pending",
            MarkState::Applying => "running",
            MarkState::InStep => "success",
            MarkState::Failed => "failed",
        };
        let sent = self.post(mark, state, branch, place).await;
        let Err(refusal) = sent else {
            return Ok(());
        };
        if !is_known_already(&refusal) {
            return Err(refusal.error);
        }
        if mark.state != MarkState::Waiting {
            return Ok(());
        }
        // It shows as queued or running, with that description. What waits for a person must show
        // as waiting, so that status is ended, and one with its own description begun.
        match self.post(mark, "canceled", branch, place).await {
            Err(refusal) if !is_known_already(&refusal) => Err(refusal.error),
            _ => match self.post(mark, state, branch, place).await {
                Err(refusal) if !is_known_already(&refusal) => Err(refusal.error),
                _ => Ok(()),
            },
        }
    }

    async fn post(
        &self,
        mark: &Mark,
        state: &str,
        branch: &str,
        place: &Place,
    ) -> Result<(), Refusal> {
        let mut body = json!({
            "state": state,
            "name": context(&mark.stack),
            "ref": branch,
            "description": shortened(&mark.description, LONGEST_DESCRIPTION),
        });
        if let Some(link) = place.of_mark(mark) {
            body["target_url"] = json!(link);
        }
        let post = Post {
            url: self.url(&format!("statuses/{}", mark.revision)),
            headers: self.headers(),
            content_type: "application/json",
            body: body.to_string().into_bytes(),
        };
        self.sender.post(post, &self.secrets()).await
    }

    pub(super) async fn trace(
        &self,
        stack: &str,
        revision: &Revision,
    ) -> Result<Option<Trace>, Error> {
        let mut url = self.url(&format!("repository/commits/{revision}/statuses"));
        let context = context(stack);
        url.query_pairs_mut()
            .append_pair("name", &context)
            .append_pair("per_page", "100");
        let secrets = self.secrets();
        let page = self.sender.get(url, self.headers(), &secrets).await?;
        let page: Value = serde_json::from_slice(&page).unwrap_or_default();
        let id = |status: &&Value| status.get("id").and_then(Value::as_i64);
        let last = page
            .as_array()
            .into_iter()
            .flatten()
            .filter(|status| status.get("name").and_then(Value::as_str) == Some(&context))
            .max_by_key(id);
        Ok(last.and_then(|last| Trace::read(last.get("target_url")?.as_str()?)))
    }

    fn url(&self, rest: &str) -> Url {
        let mut url = self.api.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        let project = self.full_name.as_str().replace('/', "%2F");
        url.set_path(&format!("{base}/projects/{project}/{rest}"));
        url
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(value) = secret_header(self.token.expose_secret()) {
            headers.insert("private-token", value);
        }
        headers
    }

    fn secrets(&self) -> [String; 1] {
        [self.token.expose_secret().to_owned()]
    }
}

/// Whether the status cannot take this step because it stands there already, or further on.
fn is_known_already(refusal: &Refusal) -> bool {
    refusal.status == StatusCode::BAD_REQUEST
        && String::from_utf8_lossy(&refusal.body).contains("Cannot transition status")
}
