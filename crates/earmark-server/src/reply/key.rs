//! API keys: without the key itself, except in the reply that makes it.

use earmark_engine::records::ApiKeyRecord;
use serde::Serialize;
use utoipa::ToSchema;

/// A key as it is listed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyReply {
    /// Its public id: also the dimension `key` of calls with a tenant key.
    id: String,
    /// `admin`, `service` or `tenant`.
    #[schema(example = "tenant")]
    kind: &'static str,
    /// The tenant that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// The user that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// From when on it is refused; may lie ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

/// A new key: the only time that the key itself is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewKeyReply {
    /// What to send as `Authorization: Bearer`.
    pub(crate) key: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub(crate) record: KeyReply,
}

/// Keys in order of making.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeysReply {
    pub(crate) keys: Vec<KeyReply>,
}

impl KeyReply {
    pub(crate) fn of(record: &ApiKeyRecord) -> Self {
        Self {
            id: record.id.clone(),
            kind: record.kind.as_str(),
            tenant: record.tenant.as_ref().map(ToString::to_string),
            user: record.user.clone(),
            name: record.name.clone(),
            created_at: record.created.to_string(),
            revoked_at: record.revoked.map(|at| at.to_string()),
        }
    }
}
