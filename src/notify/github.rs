//! Commit statuses at GitHub: `POST /repos/OWNER/NAME/statuses/SHA`. A later status of a context
//! replaces the earlier one; a commit takes 1,000 of a context. The last ones of all contexts are
//! read with `GET /repos/OWNER/NAME/commits/SHA/status`.

use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::{
    Error, Place, Sender, Trace, context,
    send::{Post, secret_header},
};
use crate::{
    domain::{
        notice::{Mark, MarkState, shortened},
        revision::Revision,
    },
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
            "context": context(&mark.stack),
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
        let sent = self.sender.post(post, &self.secrets()).await;
        sent.map_err(|refusal| refusal.error)
    }

    pub(super) async fn trace(
        &self,
        stack: &str,
        revision: &Revision,
    ) -> Result<Option<Trace>, Error> {
        let mut url = self.url(&format!("commits/{revision}/status"));
        url.set_query(Some("per_page=100"));
        let secrets = self.secrets();
        let page = self.sender.get(url, self.headers(), &secrets).await?;
        let page: Value = serde_json::from_slice(&page).unwrap_or_default();
        let statuses = page.get("statuses").and_then(Value::as_array);
        let context = context(stack);
        let is_ours = |status: &&Value| {
            let named = status.get("context").and_then(Value::as_str);
            // GitHub finds contexts without regard to case.
            named.is_some_and(|named| named.eq_ignore_ascii_case(&context))
        };
        let last = statuses.and_then(|statuses| statuses.iter().find(is_ours));
        Ok(last.and_then(|last| Trace::read(last.get("target_url")?.as_str()?)))
    }

    /// The name's parts and revisions are letters that an address takes as they are.
    fn url(&self, rest: &str) -> Url {
        let mut url = self.api.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/repos/{}/{rest}", self.full_name));
        url
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            "accept",
            HeaderValue::from_static("application/vnd.github+json"),
        );
        headers.insert(
            "x-github-api-version",
            HeaderValue::from_static("2022-11-28"),
        );
        let token = self.token.expose_secret();
        if let Some(value) = secret_header(&format!("Bearer {token}")) {
            headers.insert("authorization", value);
        }
        headers
    }

    fn secrets(&self) -> [String; 1] {
        [self.token.expose_secret().to_owned()]
    }
}

fn state(state: MarkState) -> &'static str {
    match state {
        MarkState::Queued | MarkState::Applying | MarkState::Waiting => "pending",
        MarkState::InStep => "success",
        MarkState::Failed => "failure",
    }
}
