//! One request, and whether it was taken. Says in a sentence what went wrong, and whether trying
//! again may help.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, HeaderValue, RETRY_AFTER},
    redirect, retry,
};
use url::Url;

use super::Options;
use crate::domain::notice::{line, shortened};

/// The longest part of an answer that is passed on, in characters.
const LONGEST_ANSWER: usize = 120;

/// The longest page that is read, in bytes: a hundred statuses of a commit.
const LONGEST_PAGE: usize = 1024 * 1024;

/// Shorter parts of an address are no secrets.
const SHORTEST_SECRET: usize = 8;

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It may be taken later, and not before `after` where the receiver said so.
    #[error("{said}")]
    Passing {
        said: String,
        after: Option<Duration>,
    },
    /// It will not be taken as it is.
    #[error("{said}")]
    Lasting { said: String },
}

/// Whoever holds it may send.
#[derive(Debug, Clone)]
pub struct Sender {
    http: reqwest::Client,
    options: Options,
}

/// A request to be posted. It has no `Debug`: address and headers may be secrets.
pub(super) struct Post {
    pub url: Url,
    pub headers: HeaderMap,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

/// An answer that is not a success.
pub(super) struct Refusal {
    pub status: StatusCode,
    pub body: Bytes,
    /// What comes of it, unless the client knows better.
    pub error: Error,
}

impl Sender {
    pub fn new(options: Options) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .pool_max_idle_per_host(1)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .user_agent(concat!("lockstep/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, options })
    }

    /// Reads what an address answers with a success.
    pub(super) async fn get(
        &self,
        url: Url,
        headers: HeaderMap,
        secrets: &[String],
    ) -> Result<Bytes, Error> {
        let request = self.http.get(url).headers(headers);
        let response = request
            .send()
            .await
            .map_err(|error| self.broken(&error).error)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let longest = if status.is_success() {
            LONGEST_PAGE
        } else {
            self.options.longest_answer
        };
        let body = read(response, longest).await;
        if status.is_success() {
            Ok(body)
        } else {
            Err(refused(status, &headers, &body, secrets))
        }
    }

    /// Posts it. `secrets` are kept out of what is said about the answer.
    pub(super) async fn post(&self, post: Post, secrets: &[String]) -> Result<(), Refusal> {
        let Post {
            url,
            headers,
            content_type,
            body,
        } = post;
        let request = self
            .http
            .post(url)
            .headers(headers)
            .header("content-type", content_type)
            .body(body);
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        if response.status().is_success() {
            return Ok(());
        }
        let status = response.status();
        let headers = response.headers().clone();
        let body = read(response, self.options.longest_answer).await;
        let error = refused(status, &headers, &body, secrets);
        Err(Refusal {
            status,
            body,
            error,
        })
    }

    /// The library's own words would repeat the address, which may be a secret.
    fn broken(&self, error: &reqwest::Error) -> Refusal {
        let said = if error.is_timeout() {
            format!("no answer within {:?}", self.options.timeout)
        } else if error.is_connect() {
            "no connection: is the address right, and does something listen there?".to_owned()
        } else {
            "the connection broke".to_owned()
        };
        Refusal {
            status: StatusCode::default(),
            body: Bytes::new(),
            error: Error::Passing { said, after: None },
        }
    }
}

/// As much of an answer as is wanted; a broken one is read as far as it came.
async fn read(mut response: Response, longest: usize) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let left = longest - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(left)]);
        if chunk.len() >= left {
            break;
        }
    }
    body.freeze()
}

/// A header value that `Debug` does not show.
pub(super) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The parts of an address by which it may be a secret.
pub(super) fn secrets_of(url: &Url) -> Vec<String> {
    let segments = url.path_segments().into_iter().flatten();
    let pairs = url.query_pairs().map(|(_, value)| value.into_owned());
    segments
        .map(str::to_owned)
        .chain(pairs)
        .chain(url.query().map(str::to_owned))
        .filter(|part| part.len() >= SHORTEST_SECRET)
        .collect()
}

fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8], secrets: &[String]) -> Error {
    let said = said(body, secrets);
    let said = match said.as_str() {
        "" => format!("it answered {}", status.as_u16()),
        said => format!("it answered {}: {said}", status.as_u16()),
    };
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    // GitHub refuses with 403 for a while, too.
    let is_limited = status == StatusCode::FORBIDDEN
        && (after.is_some() || header("x-ratelimit-remaining") == Some("0"));
    let passes = is_limited
        || status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::CONFLICT
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
        );
    if passes {
        Error::Passing { said, after }
    } else if status.is_redirection() {
        let said = format!("{said} (redirects are not followed: configure the address itself)");
        Error::Lasting { said }
    } else {
        Error::Lasting { said }
    }
}

/// What an answer says, in a few words. A receiver may echo what it was sent.
fn said(body: &[u8], secrets: &[String]) -> String {
    let message = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|answer| Some(answer.get("message")?.as_str()?.to_owned()));
    let mut text = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    for secret in secrets {
        text = text.replace(secret.as_str(), "(secret)");
    }
    if text.trim_start().starts_with('<') {
        return "a page of HTML or XML".to_owned();
    }
    shortened(&line(&text), LONGEST_ANSWER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_in_few_words_and_without_secrets() {
        let secrets = ["T0KEN-PLANTED".to_owned()];
        let cases: [(&str, &str); 6] = [
            ("", ""),
            ("no_service\n", "no_service"),
            (
                r#"{"message": "Bad credentials", "url": "x"}"#,
                "Bad credentials",
            ),
            ("you sent Bearer T0KEN-PLANTED", "you sent Bearer (secret)"),
            ("<html>T0KEN-PLANTED", "a page of HTML or XML"),
            ("a\u{1b}[31m\nb", "a [31m b"),
        ];
        for (answer, expected) in cases {
            assert_eq!(said(answer.as_bytes(), &secrets), expected);
        }
        assert_eq!(said(&[b'x'; 5_000], &secrets).chars().count(), 120);
    }

    #[test]
    fn what_passes_is_told_from_what_lasts() {
        let plain = HeaderMap::new();
        let mut limited = HeaderMap::new();
        limited.insert("x-ratelimit-remaining", HeaderValue::from_static("0"));
        let mut waiting = HeaderMap::new();
        waiting.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let cases = [
            (500, &plain, true),
            (503, &plain, true),
            (429, &plain, true),
            (408, &plain, true),
            (409, &plain, true),
            (403, &limited, true),
            (403, &waiting, true),
            (403, &plain, false),
            (400, &plain, false),
            (401, &plain, false),
            (404, &plain, false),
            (410, &plain, false),
            (422, &plain, false),
            (302, &plain, false),
        ];
        for (status, headers, passes) in cases {
            let error = refused(StatusCode::from_u16(status).unwrap(), headers, b"", &[]);
            assert_eq!(matches!(error, Error::Passing { .. }), passes, "{status}");
        }
        let error = refused(StatusCode::TOO_MANY_REQUESTS, &waiting, b"", &[]);
        let after = Some(Duration::from_secs(7));
        assert!(matches!(error, Error::Passing { after: found, .. } if found == after));
    }
}
