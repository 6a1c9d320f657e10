//! Why a request was refused. A rejection never holds anything of the request: no text of it can reach a
//! log, a metric or an answer this way.

/// `status` and `code` are for the answer, `label` for our own counters and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the content type is not one that this webhook takes")]
    UnsupportedContentType,
    #[error("the request carries no signature")]
    MissingSignature,
    #[error("the signature is not right")]
    BadSignature,
    #[error("the signature is right, but of another time")]
    StaleSignature,
    #[error("the signature is right, but the request cannot be read: {0}")]
    Malformed(Malformation),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    #[error("no usable delivery id in the headers")]
    DeliveryId,
    #[error("nothing says which event this is")]
    EventName,
    #[error("the form has not exactly one field `payload`")]
    Form,
    #[error("the JSON is not what the event promises (line {line}, column {column})")]
    Json { line: usize, column: usize },
    #[error("the ref is not a valid branch or tag")]
    Ref,
    #[error("a commit id is not a full lower-case id")]
    Revision,
    #[error("the repository's name is not valid")]
    RepositoryName,
}

impl Rejection {
    pub fn status(&self) -> u16 {
        match self {
            Self::UnsupportedContentType => 415,
            Self::MissingSignature | Self::BadSignature | Self::StaleSignature => 401,
            Self::Malformed(_) => 400,
        }
    }

    /// One constant for every failed authentication: whoever probes learns nothing from the answer.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedContentType => "unsupported_content_type",
            Self::MissingSignature | Self::BadSignature | Self::StaleSignature => "unauthorized",
            Self::Malformed(_) => "malformed",
        }
    }

    /// A closed set, so that it can be a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::UnsupportedContentType => "unsupported_content_type",
            Self::MissingSignature => "missing_signature",
            Self::BadSignature => "bad_signature",
            Self::StaleSignature => "stale_signature",
            Self::Malformed(malformation) => match malformation {
                Malformation::DeliveryId => "malformed_delivery_id",
                Malformation::EventName => "malformed_event_name",
                Malformation::Form => "malformed_form",
                Malformation::Json { .. } => "malformed_json",
                Malformation::Ref => "malformed_ref",
                Malformation::Revision => "malformed_revision",
                Malformation::RepositoryName => "malformed_repository_name",
            },
        }
    }
}
