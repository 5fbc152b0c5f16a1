//! The ledger, newest first.

use axum::extract::State;
use axum::response::Response;
use earmark_engine::records::EntryQuery;
use http::StatusCode;

use super::documented::{EntryListQuery, NoTenant};
use super::existing;
use crate::auth::{Reader, Tenant};
use crate::cursor;
use crate::error::{Code, Problem};
use crate::json::{PageQuery, PairsQuery};
use crate::reply::{EntriesReply, EntryReply, json};
use crate::state::Shared;

/// List entries, newest first.
///
/// A key that is bound to a user sees only entries of calls with that user.
#[utoipa::path(
    get, operation_id = "list_entries", path = "/v1/tenants/{tenant}/entries", tag = "usage", params(EntryListQuery),
    security(("key" = ["tenant"])),
    responses((status = 200, description = "A page of the ledger", body = EntriesReply), NoTenant)
)]
pub(crate) async fn list(
    reader: Reader,
    Tenant(tenant): Tenant,
    State(app): Shared,
    query: PairsQuery,
) -> Result<Response, Problem> {
    let mut page = PageQuery::read(query, ["user"])?;
    let asked = page.filters[0].take();
    let user = match (reader.user, asked) {
        (Some(bound), Some(asked)) if bound != asked => {
            let message = "this key is bound to another user";
            return Err(Problem::new(Code::ScopeMissing, message));
        }
        (Some(bound), _) => Some(bound),
        (None, asked) => asked,
    };
    let (before, count) = (page.place()?, page.count()?);
    let query = EntryQuery { tenant: tenant.clone(), user, before, count };
    let found = app.quota.records().entries(query).await.map_err(Problem::store)?;
    if found.entries.is_empty() {
        existing(&app, &tenant).await?;
    }
    let entries = found.entries.iter().map(EntryReply::of).collect();
    let next = found.next.as_ref().map(cursor::write);
    Ok(json(StatusCode::OK, &EntriesReply { entries, next }))
}
