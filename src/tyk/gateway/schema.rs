//! The JSON Schema that a gateway holds OAS documents against, as it serves it at `/tyk/schema`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jsonschema::Validator;
use reqwest::StatusCode;
use serde_json::Value;

use super::{Client, Error, connection::Ask, wire};

/// The versions of OpenAPI that have a schema of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    Three0,
    Three1,
}

impl Generation {
    /// That of a document.
    pub fn of(document: &Value) -> Option<Self> {
        let version = document.get("openapi")?.as_str()?;
        if version.starts_with("3.0.") {
            Some(Self::Three0)
        } else if version.starts_with("3.1.") {
            Some(Self::Three1)
        } else {
            None
        }
    }

    fn query(self) -> &'static str {
        match self {
            Self::Three0 => "oasVersion=3.0",
            Self::Three1 => "oasVersion=3.1",
        }
    }
}

pub struct Schema(Validator);

impl Schema {
    /// Of each of the first things that it does not allow: where it stands, and a sentence without
    /// what stands there.
    pub fn objections(&self, document: &Value) -> Vec<(String, String)> {
        const MOST: usize = 5;
        let errors = self.0.iter_errors(document).take(MOST);
        errors
            .map(|error| {
                let said = error.masked_with("what stands there").to_string();
                (error.instance_path().to_string(), said)
            })
            .collect()
    }
}

/// What a gateway served; nothing where it has no schema that can be used.
#[derive(Default)]
pub(super) struct Schemas(Mutex<BTreeMap<Of, Option<Arc<Schema>>>>);

/// The gateway's version, and that of OpenAPI.
type Of = (String, Generation);

impl std::fmt::Debug for Schemas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Schemas")
    }
}

impl Client {
    /// The schema of the gateway's version, read once as long as the version stays.
    pub async fn schema(
        &self,
        version: &str,
        generation: Generation,
    ) -> Result<Option<Arc<Schema>>, Error> {
        let key = (version.to_owned(), generation);
        let schemas = || {
            self.schemas
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(known) = schemas().get(&key) {
            return Ok(known.clone());
        }
        let ask = Ask::read(&["tyk", "schema"]).with_query(generation.query());
        let answer = self.ask(ask).await?;
        let made = if answer.status == StatusCode::NOT_FOUND {
            None
        } else {
            let served: wire::Schema = answer.expect_ok()?.json().await?;
            let made = tokio::task::spawn_blocking(move || make(&served.schema));
            made.await.expect("reading a schema does not panic")
        };
        schemas().insert(key, made.clone());
        Ok(made)
    }
}

/// Formats are left to the gateway: which of them count is not the same everywhere.
fn make(schema: &Value) -> Option<Arc<Schema>> {
    let made = jsonschema::options()
        .should_validate_formats(false)
        .build(schema);
    match made {
        Ok(validator) => Some(Arc::new(Schema(validator))),
        Err(error) => {
            tracing::warn!("the gateway's schema of OAS documents cannot be used: {error}");
            None
        }
    }
}
