//! Where NATS is, taken apart so that its password stays out of what the client logs.

use async_nats::{ConnectOptions, ServerAddr};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Error;

pub(super) struct Address {
    /// Without credentials.
    pub servers: Vec<ServerAddr>,
    pub credentials: Credentials,
}

#[derive(PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    Token(String),
    Password { user: String, password: String },
}

impl Address {
    pub fn parse(list: &SecretString) -> Result<Self, Error> {
        let mut servers = Vec::new();
        let mut credentials = None;
        for url in list.expose_secret().split(',').map(str::trim) {
            if url.is_empty() {
                continue;
            }
            let (server, given) = parse_one(url)?;
            if *credentials.get_or_insert_with(|| given.clone()) != given {
                return Err(Error::Options(
                    "every URL of its address must have the same user and password",
                ));
            }
            servers.push(server);
        }
        let credentials =
            credentials.ok_or(Error::Options("its address is empty: give a nats:// URL"))?;
        Ok(Self {
            servers,
            credentials,
        })
    }
}

impl Credentials {
    pub fn apply(self, options: ConnectOptions) -> ConnectOptions {
        match self {
            Self::None => options,
            Self::Token(token) => options.token(token),
            Self::Password { user, password } => options.user_and_password(user, password),
        }
    }
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Token(token) => Self::Token(token.clone()),
            Self::Password { user, password } => Self::Password {
                user: user.clone(),
                password: password.clone(),
            },
        }
    }
}

fn parse_one(text: &str) -> Result<(ServerAddr, Credentials), Error> {
    const NOT_A_URL: Error =
        Error::Options("its address must be of the form nats://host:4222 or tls://host:4222");
    let mut url: Url = text.parse().map_err(|_| NOT_A_URL)?;
    if !matches!(url.scheme(), "nats" | "tls") || url.host_str().is_none_or(str::is_empty) {
        return Err(NOT_A_URL);
    }
    let user = percent_decoded(url.username())?;
    let password = url.password().map(percent_decoded).transpose()?;
    let credentials = match (user.is_empty(), password) {
        (true, None) => Credentials::None,
        (false, None) => Credentials::Token(user),
        (_, Some(password)) => Credentials::Password { user, password },
    };
    url.set_username("").map_err(|()| NOT_A_URL)?;
    url.set_password(None).map_err(|()| NOT_A_URL)?;
    let server = ServerAddr::from_url(url).map_err(|_| NOT_A_URL)?;
    Ok((server, credentials))
}

fn percent_decoded(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail
            .first_chunk::<2>()
            .filter(|_| first == b'%')
            .and_then(|digits| {
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).ok()?;
                Some(byte[0])
            });
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).map_err(|_| {
        Error::Options("the user and password of its address must be UTF-8 when decoded")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, Error> {
        Address::parse(&text.into())
    }

    #[test]
    fn credentials_leave_the_url_before_anything_can_log_it() {
        let address = parse("nats://me:p%40ss+%25@one:4222, tls://me:p%40ss+%25@two").ok();
        let address = address.expect("both URLs are good");
        assert!(
            address.credentials
                == Credentials::Password {
                    user: "me".to_owned(),
                    password: "p@ss+%".to_owned()
                }
        );
        assert_eq!(address.servers.len(), 2);
        assert!(!format!("{:?}", address.servers).contains("ss+"));
    }

    #[test]
    fn a_user_without_a_password_is_a_token() {
        let address = parse("nats://secret@one").ok();
        assert!(address.is_some_and(|a| a.credentials == Credentials::Token("secret".to_owned())));
    }

    #[test]
    fn a_bad_address_is_refused_without_being_shown() {
        for bad in [
            "",
            " , ",
            "one:4222",
            "http://hunter2@one",
            "nats://",
            "nats://hunter2@one,nats://two",
            "nats://u:hunter2@one:notaport",
            "nats://u:%ff@one",
        ] {
            let error = parse(bad).err();
            let error = error.unwrap_or_else(|| panic!("{bad:?} is refused"));
            assert!(!error.is_transient());
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
