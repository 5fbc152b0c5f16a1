//! Who may do what: one extractor per scope, and nothing else decides it.
//!
//! | extractor | admin key | service key | tenant key |
//! |---|---|---|---|
//! | [`Admin`] | yes | 403 | 403 |
//! | [`Trusted`] | yes | yes | 403 |
//! | [`Reader`] | yes | yes | its own tenant, and its own user where it is bound to one |
//!
//! A tenant key on another tenant's path gets 403 whether or not that tenant exists. The
//! extractors run before path and body are looked at, so a refused caller learns nothing.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use earmark_core::{Note, TenantId};
use earmark_engine::records::ApiKeyKind;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::error::{Code, Problem};
use crate::keys::Principal;
use crate::state::App;

/// An admin key.
pub(crate) struct Admin(Arc<Principal>);

impl Admin {
    /// Who is named as the author of a change.
    pub(crate) fn author(&self) -> Note {
        Arc::clone(&self.0.id)
    }
}

/// An admin or service key.
pub(crate) struct Trusted;

/// Anyone who may read the tenant of the path.
pub(crate) struct Reader {
    /// The user that nothing else may be seen of.
    pub(crate) user: Option<String>,
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let principal = principal(&parts.headers, app)?;
        match principal.kind {
            ApiKeyKind::Admin => Ok(Self(principal)),
            ApiKeyKind::Service | ApiKeyKind::Tenant => Err(scope_missing("an admin key")),
        }
    }
}

impl FromRequestParts<Arc<App>> for Trusted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        match principal(&parts.headers, app)?.kind {
            ApiKeyKind::Admin | ApiKeyKind::Service => Ok(Self),
            ApiKeyKind::Tenant => Err(scope_missing("an admin or service key")),
        }
    }
}

impl FromRequestParts<Arc<App>> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let principal = principal(&parts.headers, app)?;
        if principal.kind != ApiKeyKind::Tenant {
            return Ok(Self { user: None });
        }
        let named = path_parameter(parts, app, "tenant").await?;
        match &principal.tenant {
            Some(own) if own.as_str() == named => Ok(Self { user: principal.user.clone() }),
            _ => Err(scope_missing("a key of this tenant")),
        }
    }
}

fn scope_missing(needed: &str) -> Problem {
    Problem::new(Code::ScopeMissing, format!("this needs {needed}"))
}

fn principal(headers: &HeaderMap, app: &App) -> Result<Arc<Principal>, Problem> {
    let key = bearer(headers)?
        .ok_or_else(|| Problem::new(Code::KeyInvalid, "send `Authorization: Bearer <key>`"))?;
    find(key, app)
}

/// Who sent a key.
pub(crate) fn find(key: &str, app: &App) -> Result<Arc<Principal>, Problem> {
    let unknown = || Problem::new(Code::KeyInvalid, "the key is unknown or revoked");
    app.keys.load().find(key).ok_or_else(unknown)
}

/// The key in `Authorization`, if there is one.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let wrong = || Problem::new(Code::KeyInvalid, "`Authorization` is `Bearer <key>`, once");
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(wrong());
    }
    let (scheme, key) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("bearer") || key.trim().is_empty() {
        return Err(wrong());
    }
    Ok(Some(key.trim()))
}

/// The tenant of the path.
pub(crate) struct Tenant(pub(crate) TenantId);

impl FromRequestParts<Arc<App>> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let text = path_parameter(parts, app, "tenant").await?;
        let tenant = TenantId::new(&text).map_err(|error| Problem::invalid("tenant", error))?;
        tracing::Span::current().record("tenant", tenant.as_str());
        Ok(Self(tenant))
    }
}

/// The tenant and one more name of the path, read by `FromStr`.
pub(crate) struct TenantAnd<T>(pub(crate) TenantId, pub(crate) T);

impl<T: PathName> FromRequestParts<Arc<App>> for TenantAnd<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Tenant(tenant) = Tenant::from_request_parts(parts, app).await?;
        let Named(name) = Named::from_request_parts(parts, app).await?;
        Ok(Self(tenant, name))
    }
}

/// One name of the path.
pub(crate) struct Named<T>(pub(crate) T);

/// Something that a path names.
pub(crate) trait PathName: std::str::FromStr<Err: std::fmt::Display> + Send {
    /// Its place in the route's template.
    const PARAMETER: &'static str;
}

impl PathName for earmark_core::HoldId {
    const PARAMETER: &'static str = "hold";
}

impl PathName for earmark_core::PlanName {
    const PARAMETER: &'static str = "plan";
}

impl<T: PathName> FromRequestParts<Arc<App>> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let text = path_parameter(parts, app, T::PARAMETER).await?;
        text.parse().map(Self).map_err(|error| Problem::invalid(T::PARAMETER, error))
    }
}

/// The id of a key, an event or an endpoint in the path: looked for, never parsed.
pub(crate) struct Id(pub(crate) String);

impl FromRequestParts<Arc<App>> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        path_parameter(parts, app, "id").await.map(Self)
    }
}

async fn path_parameter(parts: &mut Parts, app: &Arc<App>, name: &str) -> Result<String, Problem> {
    let unreadable = |_| Problem::new(Code::MalformedRequest, "the path is not UTF-8");
    let parameters = RawPathParams::from_request_parts(parts, app).await.map_err(unreadable)?;
    let value = parameters.iter().find(|(known, _)| *known == name);
    value
        .map(|(_, value)| value.to_owned())
        .ok_or_else(|| Problem::internal("a route without the parameter that it reads"))
}
