//! Where a repository is: an address on a Git host or a folder of this machine. A location
//! never holds a credential, so it can be shown anywhere.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use url::{Host, Url};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Http { url: Url },
    Local { path: PathBuf },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error("a repository's address must not be empty")]
    Empty,
    #[error("a repository's address must not contain control characters")]
    Control,
    #[error("the address holds a user name or a password; put the token into `token`")]
    Credentials,
    #[error("{0}:// is not supported; use the repository's https:// address and a token")]
    Scheme(String),
    #[error("an SSH address is not supported; use the repository's https:// address and a token")]
    Ssh,
    #[error("file:// is not supported; write the folder's path, like /srv/config or ./config")]
    File,
    #[error(
        "plain http:// is allowed to this machine only (localhost, 127.0.0.1, [::1]); use https://"
    )]
    PlainHttp,
    #[error("the address must end with the repository's path, without `?` or `#`")]
    Query,
    #[error("this is neither an https:// address nor a path that starts with / or ./")]
    Unclear,
    #[error("the address cannot be read: {0}")]
    Url(url::ParseError),
}

impl Location {
    /// Reads `https://host/path`, `http://` to this machine, `/absolute` or `./relative`.
    ///
    /// No message repeats the text, because a mistaken text may hold a token.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if text.trim().is_empty() {
            return Err(LocationError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(LocationError::Control);
        }
        if text.starts_with('/')
            || ["./", "../"].iter().any(|start| text.starts_with(start))
            || [".", ".."].contains(&text)
        {
            return Ok(Self::Local { path: text.into() });
        }
        let Some((scheme, _)) = text.split_once("://") else {
            // `git@host:path`, the short form of SSH.
            let is_ssh = text
                .split_once(':')
                .is_some_and(|(host, _)| host.contains('@') && !host.contains('/'));
            return Err(if is_ssh {
                LocationError::Ssh
            } else {
                LocationError::Unclear
            });
        };
        match scheme.to_ascii_lowercase().as_str() {
            "https" | "http" => http(text),
            "ssh" | "git+ssh" | "ssh+git" => Err(LocationError::Ssh),
            "file" => Err(LocationError::File),
            other
                if other
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) =>
            {
                Err(LocationError::Scheme(other.chars().take(20).collect()))
            }
            _ => Err(LocationError::Unclear),
        }
    }
}

impl std::str::FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url } => f.write_str(url.as_str()),
            Self::Local { path } => write!(f, "{}", path.display()),
        }
    }
}

fn http(text: &str) -> Result<Location, LocationError> {
    let url = Url::parse(text).map_err(LocationError::Url)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(LocationError::Credentials);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(LocationError::Query);
    }
    let is_this_machine = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback() && address != Ipv4Addr::UNSPECIFIED,
        Some(Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
        None => false,
    };
    if url.scheme() == "http" && !is_this_machine {
        return Err(LocationError::PlainHttp);
    }
    Ok(Location::Http { url })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_folders_are_told_apart() {
        for (text, shown) in [
            (
                "https://github.com/acme/apis.git",
                "https://github.com/acme/apis.git",
            ),
            (
                "HTTPS://GitHub.com/acme/apis",
                "https://github.com/acme/apis",
            ),
            (
                "http://127.0.0.1:8080/apis.git",
                "http://127.0.0.1:8080/apis.git",
            ),
            ("http://localhost/apis", "http://localhost/apis"),
            ("http://[::1]:9/apis", "http://[::1]:9/apis"),
        ] {
            let location = Location::parse(text).unwrap();
            assert!(matches!(location, Location::Http { .. }), "{text}");
            assert_eq!(location.to_string(), shown);
        }
        for text in ["/srv/apis", "./apis", "../apis", ".", ".."] {
            let location = Location::parse(text).unwrap();
            assert_eq!(location, Location::Local { path: text.into() });
        }
    }

    #[test]
    fn everything_else_is_refused_and_the_message_says_what_to_do() {
        for (text, expect) in [
            ("", "must not be empty"),
            (
                "https://me:secret@github.com/a",
                "put the token into `token`",
            ),
            (
                "https://ghp_secret@github.com/a",
                "put the token into `token`",
            ),
            ("https://github.com/a?token=secret", "without `?`"),
            ("http://github.com/a", "use https://"),
            ("http://10.0.0.1/a", "use https://"),
            ("http://localhost.evil.example/a", "use https://"),
            ("http://127.0.0.1.evil.example/a", "use https://"),
            ("ssh://git@github.com/a", "SSH"),
            ("ssh://-oProxyCommand=x/a", "SSH"),
            ("git@github.com:acme/secret", "SSH"),
            ("git://github.com/a", "git:// is not supported"),
            ("ext::sh -c secret", "neither"),
            ("file:///srv/a", "write the folder's path"),
            ("apis", "neither"),
            ("-upload-pack=x", "neither"),
            ("https://", "cannot be read"),
            ("https://host/a\nb", "control"),
        ] {
            let message = Location::parse(text).unwrap_err().to_string();
            assert!(message.contains(expect), "{text}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
