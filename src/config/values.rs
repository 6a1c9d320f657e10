//! Values that several sections take.

use std::{borrow::Borrow, fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The name of a section: short, lower case, fit for a URL, a label and a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 63 lower-case letters, digits and -, and does not begin with -")]
pub struct InvalidName;

impl Name {
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_valid =
            (1..=63).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(is_plain);
        if is_valid {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidName)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So that a map of sections can be asked with a `&str`.
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// `"90s"`, `"3m"`, `"1h"`, `"7d"`, within the bounds that make sense for the key.
pub(super) fn duration(
    shortest: Duration,
    longest: Duration,
) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |text| {
        let (digits, seconds_per_unit) = match text.split_at_checked(text.len().saturating_sub(1)) {
            Some((digits, "s")) => (digits, 1),
            Some((digits, "m")) => (digits, 60),
            Some((digits, "h")) => (digits, 3600),
            Some((digits, "d")) => (digits, 24 * 3600),
            _ => ("", 0),
        };
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            return Err(
                "a duration is a whole number and a unit: \"90s\", \"3m\", \"1h\", \"7d\""
                    .to_owned(),
            );
        }
        // A number too large to be counted is too long for every key.
        let seconds = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(seconds_per_unit));
        let duration = seconds.map_or(Duration::MAX, Duration::from_secs);
        if duration < shortest {
            Err(format!("must be {} or more", for_people(shortest)))
        } else if duration > longest {
            Err(format!("must be {} or less", for_people(longest)))
        } else {
            Ok(duration)
        }
    }
}

/// The parser's words do not repeat the URL, which may hold a password; neither do ours.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "must not hold a user or password; credentials are given by reference".to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a ? or # part".to_owned());
    }
    Ok(url)
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

fn for_people(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}
