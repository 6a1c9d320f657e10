//! Certificates and public keys: one list an organisation, no reload, and no way to read one back
//! whole. A gateway checks what it is given before it looks whether it has it.

use std::collections::BTreeSet;

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Client, Deleted, Error, connection::Ask, wire};
use crate::domain::certificate::{TEXT, organisation_of};

pub(super) const ENDPOINT: &[&str] = &["tyk", "certs"];

/// What became of adding a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    Done,
    /// It was there, perhaps with another chain or without the key.
    Exists,
}

impl Client {
    /// The ids of an organisation's certificates and public keys.
    pub async fn certificates(&self, organisation: &str) -> Result<BTreeSet<String>, Error> {
        let ask = Ask::read(ENDPOINT).with_organisation(organisation);
        let listed: wire::Certificates = self.ask(ask).await?.expect_ok()?.json().await?;
        // The list of one organisation may hold those of another whose name begins alike.
        let is_of_it = |id: &String| organisation_of(id) == organisation;
        let ids = listed.certs.unwrap_or_default();
        Ok(ids.into_iter().filter(is_of_it).collect())
    }

    /// Whether the gateway has a private key beside a certificate; `None` without the certificate.
    pub async fn has_private_key(&self, id: &str) -> Result<Option<bool>, Error> {
        let ask = Ask::read(ENDPOINT).with_id(id)?;
        let answer = self.ask(ask).await?;
        if answer.status == StatusCode::NOT_FOUND && answer.is_the_gateways() {
            return Ok(None);
        }
        let shown: wire::Certificate = answer.expect_ok()?.json().await?;
        Ok(Some(shown.has_private))
    }

    /// Adds what an object's body holds, under the id that the gateway makes of it.
    pub async fn add_certificate(&self, id: &str, body: &Value) -> Result<Added, Error> {
        let Some(text) = body.get(TEXT).and_then(Value::as_str) else {
            return Err(Error::Client(
                "the certificate's text is missing".to_owned(),
            ));
        };
        let ask = Ask::write(Method::POST, ENDPOINT)
            .with_organisation(organisation_of(id))
            .with_pem(Bytes::copy_from_slice(text.as_bytes()));
        let answer = self.ask(ask).await?;
        if answer.status == StatusCode::FORBIDDEN && answer.is_the_gateways() {
            if answer.message == format!("Certificate with {id} id already exists") {
                return Ok(Added::Exists);
            }
            return Err(match answer.error() {
                // Not about who asks, but about what was sent.
                Error::Forbidden { message } => Error::Refused {
                    status: 403,
                    message,
                },
                other => other,
            });
        }
        let added: wire::AddedCertificate = answer.expect_ok()?.json().await?;
        if added.id == id {
            Ok(Added::Done)
        } else {
            Err(Error::WrongKey {
                asked: id.to_owned(),
                made: added.id,
            })
        }
    }

    /// Puts a certificate in the place of the one that has its id. The gateway is asked to take it
    /// first: it refuses what it cannot use before it says that it has it, and then nothing is
    /// removed.
    pub async fn renew_certificate(&self, id: &str, body: &Value) -> Result<(), Error> {
        if self.add_certificate(id, body).await? == Added::Exists {
            self.delete_certificate(id).await?;
            self.add_certificate(id, body).await?;
        }
        Ok(())
    }

    /// The gateway says the same of one that it does not have.
    pub(super) async fn delete_certificate(&self, id: &str) -> Result<Deleted, Error> {
        let ask = Ask::write(Method::DELETE, ENDPOINT)
            .with_id(id)?
            .with_organisation(organisation_of(id));
        let said: wire::Envelope = self.ask(ask).await?.expect_ok()?.json().await?;
        if said.status == "ok" {
            Ok(Deleted::Done)
        } else {
            Err(Error::bad_answer("the deletion's status is not ok", true))
        }
    }
}
