//! What is not here yet: lists, history, pruning, erasing and events. One place, so that it is
//! taken away in one go: each function stands for the one of the same name in the module to be.

use earmark_store::StoreError;

type Answer<T> = Result<T, StoreError>;

fn not_here<T>() -> Answer<T> {
    Err(StoreError::Unavailable("not here yet".into()))
}

macro_rules! absent {
    ($($name:ident($($kind:ty),*) -> $answer:ty;)*) => {
        $(pub(crate) async fn $name(_: &Session, $(_: $kind),*) -> Answer<$answer> {
            not_here()
        })*
    };
}

pub(crate) mod read {
    use super::{Answer, not_here};
    use crate::load::sql::clock;
    use crate::rows::{api_key_row, columns, time};
    use crate::session::Session;
    use earmark_core::{TenantId, TimestampMs};
    use earmark_store::records::{
        ApiKeyRecord, Books, DuePage, EntryPage, EntryQuery, HoldPage, HoldQuery, HourlyQuery,
        TenantPage, TenantQuery,
    };

    pub(crate) async fn now(session: &Session, clock_ms: Option<i64>) -> Answer<TimestampMs> {
        let sql = concat!("SELECT ", clock!(1));
        let times = session.select(sql, &[&clock_ms], |row| time(row, 0)).await?;
        times.first().copied().map_or_else(not_here, Ok)
    }

    pub(crate) async fn api_keys(
        session: &Session,
        tenant: Option<&TenantId>,
    ) -> Answer<Vec<ApiKeyRecord>> {
        let sql = concat!(
            "SELECT ",
            columns!(api_key),
            " FROM api_key WHERE $1::text IS NULL OR tenant_id = $1 ORDER BY created_ms, key_id"
        );
        session.select(sql, &[&tenant.map(TenantId::as_str)], api_key_row).await
    }

    absent! {
        tenants(&TenantQuery) -> TenantPage;
        holds(&HoldQuery) -> HoldPage;
        entries(&EntryQuery) -> EntryPage;
        due_tenants(Option<&TenantId>, usize, Option<i64>) -> DuePage;
        books(&TenantId) -> Option<Books>;
        hourly(&HourlyQuery) -> Vec<(TimestampMs, i64)>;
        newest_change() -> Option<TimestampMs>;
        erasing() -> Vec<TenantId>;
    }
}

pub(crate) mod prune {
    use super::{Answer, not_here};
    use crate::session::Session;
    use earmark_store::records::{Prune, Pruned};

    absent! { step(&Prune) -> Pruned; }
}

pub(crate) mod erase {
    use super::{Answer, not_here};
    use crate::session::Session;
    use earmark_core::TenantId;

    absent! { step(&TenantId) -> bool; }
}

pub(crate) mod outbox {
    use super::{Answer, not_here};
    use crate::session::Session;
    use earmark_store::outbox::{
        AttemptEnd, ClaimQuery, Claims, DeliveryCounts, EndpointChange, EventPage, EventQuery,
        Resent, WebhookEndpoint,
    };

    absent! {
        add_endpoint(&WebhookEndpoint, usize) -> bool;
        endpoints() -> Vec<WebhookEndpoint>;
        change_endpoint(&str, EndpointChange, Option<i64>) -> Option<WebhookEndpoint>;
        remove_endpoint(&str) -> bool;
        events(&EventQuery) -> EventPage;
        resend(&str, Option<&str>, Option<i64>) -> Option<Resent>;
        claim(&ClaimQuery, Option<i64>) -> Claims;
        end(AttemptEnd, Option<i64>) -> ();
        prune(i64, usize, Option<i64>) -> usize;
        counts() -> DeliveryCounts;
    }
}
