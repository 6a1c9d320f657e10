//! Notices as messages of Slack, Mattermost, Rocket.Chat and whatever else takes Slack's incoming
//! webhooks. The address is the secret.
//!
//! What people wrote is passed on as plain text: Slack's control characters are escaped, and a
//! name with an `@` calls nobody.

use std::fmt::Write as _;

use reqwest::header::HeaderMap;
use serde_json::json;
use url::Url;

use super::{
    Error, Place, Sender,
    send::{Post, secrets_of},
};
use crate::domain::notice::{News, Notice};

/// A channel.
pub struct Slack {
    sender: Sender,
    url: Url,
}

impl std::fmt::Debug for Slack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slack({})", self.url.host_str().unwrap_or_default())
    }
}

impl Slack {
    pub fn new(sender: Sender, url: Url) -> Self {
        Self { sender, url }
    }

    pub(super) async fn tell(&self, notice: &Notice, place: &Place) -> Result<(), Error> {
        let body = json!({
            "text": text(notice, place),
            "unfurl_links": false,
            "unfurl_media": false,
        });
        let post = Post {
            url: self.url.clone(),
            headers: HeaderMap::new(),
            content_type: "application/json",
            body: body.to_string().into_bytes(),
        };
        let sent = self.sender.post(post, &secrets_of(&self.url)).await;
        sent.map_err(|refusal| refusal.error)
    }
}

fn text(notice: &Notice, place: &Place) -> String {
    let sign = match notice.news {
        News::Failed | News::Repaired | News::Behind => ":red_circle:",
        News::Parked | News::Drift | News::Lagged => ":large_yellow_circle:",
        News::Recovered | News::Succeeded | News::Test => ":large_green_circle:",
    };
    let mut text = sign.to_owned();
    if let Some(stack) = &notice.stack {
        let _ = write!(text, " *{}*", plain(stack));
    }
    if let Some(target) = &notice.target {
        let _ = write!(text, " on {}", plain(target));
    }
    if let Some(revision) = &notice.revision {
        let _ = write!(text, " at {}", revision.short());
    }
    let _ = write!(text, "\n{}", plain(&notice.summary));
    for named in &notice.objects {
        let _ = write!(text, "\n• {}", plain(&named.object));
        if let Some(said) = &named.said {
            let _ = write!(text, ": {}", plain(said));
        }
    }
    if notice.unnamed > 0 {
        let _ = write!(text, "\n… and {} more", notice.unnamed);
    }
    if let Some(next) = &notice.next {
        let _ = write!(text, "\n`{}`", plain(next));
    }
    if let Some(link) = notice.run.as_ref().and_then(|run| place.of_run(run)) {
        let _ = write!(text, "\n{link}");
    }
    text
}

/// Text that is only text.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            // A letter without width: it reads the same, and is no mention.
            '@' => plain.push_str("@\u{200b}"),
            '`' => plain.push('\''),
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_neither_calls_anybody_nor_formats_anything() {
        let cases = [
            ("a & b", "a &amp; b"),
            ("<!channel>", "&lt;!channel&gt;"),
            (
                "<https://evil.example|here>",
                "&lt;https://evil.example|here&gt;",
            ),
            ("@here @all", "@\u{200b}here @\u{200b}all"),
            ("`rm`", "'rm'"),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), expected);
        }
    }
}
