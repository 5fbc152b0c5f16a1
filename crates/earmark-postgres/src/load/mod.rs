//! Loading: what accounts still need, by key, for all of them in one round trip.
//!
//! ```text
//! Wants ── arrays of keys ──▶ Asked ── statements on their way ──▶ Answers ──▶ offered
//! ```

pub(crate) mod sql;

use std::collections::BTreeMap;

use earmark_core::bounds::DUE_HOLDS_PER_ROUND;
use earmark_core::{
    Account, CombinationKey, CounterKey, HoldId, KeyTarget, Loaded, Need, TenantId, TimestampMs,
};
use earmark_store::StoreError;
use earmark_store::rows::read;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::error::unavailable;
use crate::pipeline::{Sent, send};
use crate::rows::{
    counter_row, dimensions_in_key, dimensions_long, get, grant_row, hold_row, key_row, tenant_row,
    text,
};
use crate::session::Session;

/// What accounts of one bucket need, as columns.
#[derive(Default)]
pub(crate) struct Wants {
    bucket: i16,
    clock_ms: Option<i64>,
    /// Tenants' own rows with their live grants.
    tenants: Vec<String>,
    due: (Vec<String>, Vec<i64>, Vec<String>, Vec<i64>),
    holds: [Vec<String>; 2],
    keys: [Vec<String>; 2],
    all_open_holds: Vec<String>,
    counters: [Vec<String>; 4],
    all_counters: Vec<String>,
    idle_counters: Vec<String>,
    grants: [Vec<String>; 2],
    combinations: [Vec<String>; 3],
}

impl Wants {
    /// Nothing yet. With a clock for tests, or `None` for the server's.
    pub(crate) fn new(bucket: i16, clock_ms: Option<i64>) -> Self {
        Self { bucket, clock_ms, ..Self::default() }
    }

    /// Adds a tenant's own row.
    pub(crate) fn add_tenant(&mut self, tenant: &TenantId) {
        self.tenants.push(tenant.to_string());
    }

    /// Adds what an account does not have yet.
    pub(crate) fn add(&mut self, account: &Account, need: &Need) {
        let tenant = account.id.as_str();
        for key in need.keys.iter().filter(|key| account.key(key) == Loaded::NotLoaded) {
            push(&mut self.keys, [tenant, key.as_str()]);
        }
        for id in need.holds.iter().filter(|id| account.hold(**id) == Loaded::NotLoaded) {
            push(&mut self.holds, [tenant, &id.to_string()]);
        }
        if need.due {
            let (after, after_id) = account.due_through();
            self.due.0.push(tenant.to_owned());
            self.due.1.push(after.0);
            self.due.2.push(after_id.to_string());
            self.due.3.push(i64::try_from(DUE_HOLDS_PER_ROUND).unwrap_or(i64::MAX));
        }
        for key in need.counters.iter().filter(|key| account.counter(key) == Loaded::NotLoaded) {
            self.add_counter(tenant, key);
        }
        for id in need.grants.iter().filter(|id| account.grant(**id) == Loaded::NotLoaded) {
            push(&mut self.grants, [tenant, &id.to_string()]);
        }
        for CombinationKey { limit, window } in &need.combinations {
            push(&mut self.combinations, [tenant, limit.as_str(), &window.to_string()]);
        }
        let whole = [
            (need.idle_counters, &mut self.idle_counters),
            (need.all_counters, &mut self.all_counters),
            (need.all_open_holds, &mut self.all_open_holds),
        ];
        for (_, tenants) in whole.into_iter().filter(|(is_needed, _)| *is_needed) {
            tenants.push(tenant.to_owned());
        }
    }

    fn add_counter(&mut self, tenant: &str, key: &CounterKey) {
        let dimensions = dimensions_in_key(&key.dimensions);
        let window = key.window.to_string();
        push(&mut self.counters, [tenant, key.limit.as_str(), &dimensions, &window]);
    }

    /// Sends the statements that have something to look for.
    pub(crate) async fn ask<'a>(&'a self, session: &'a Session) -> Asked<'a> {
        let found: Vec<&(dyn ToSql + Sync)> = vec![
            &self.bucket,
            &self.clock_ms,
            &self.due.0,
            &self.due.1,
            &self.due.2,
            &self.due.3,
            &self.holds[0],
            &self.holds[1],
            &self.keys[0],
            &self.keys[1],
            &self.all_open_holds,
        ];
        let holds = !(self.due.0.is_empty()
            && self.holds[0].is_empty()
            && self.keys[0].is_empty()
            && self.all_open_holds.is_empty());
        let one = |tenants: &'a Vec<String>| -> Vec<&'a (dyn ToSql + Sync)> {
            vec![&self.bucket, tenants]
        };
        let tenants = !self.tenants.is_empty();
        Asked {
            tenants: ask_if(tenants, session, sql::TENANTS, one(&self.tenants)).await,
            live_grants: ask_if(tenants, session, sql::LIVE_GRANTS, one(&self.tenants)).await,
            holds: ask_if(holds, session, sql::HOLDS, found.clone()).await,
            counters: [
                ask_if(holds, session, sql::LEG_COUNTERS, found.clone()).await,
                self.ask_by(session, sql::COUNTERS, &self.counters).await,
                ask_if(
                    !self.all_counters.is_empty(),
                    session,
                    sql::ALL_COUNTERS,
                    one(&self.all_counters),
                )
                .await,
                ask_if(
                    !self.idle_counters.is_empty(),
                    session,
                    sql::IDLE_COUNTERS,
                    vec![&self.bucket, &self.clock_ms, &self.idle_counters],
                )
                .await,
            ],
            grants: [
                ask_if(holds, session, sql::LEG_GRANTS, found).await,
                self.ask_by(session, sql::GRANTS, &self.grants).await,
            ],
            keys: self.ask_by(session, sql::KEYS, &self.keys).await,
            combinations: self.ask_by(session, sql::COMBINATIONS, &self.combinations).await,
        }
    }

    async fn ask_by<'a, const N: usize>(
        &'a self,
        session: &'a Session,
        sql: &'static str,
        columns: &'a [Vec<String>; N],
    ) -> Rows<'a> {
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&self.bucket];
        params.extend(columns.iter().map(|column| column as &(dyn ToSql + Sync)));
        ask_if(!columns[0].is_empty(), session, sql, params).await
    }
}

fn push<const N: usize>(columns: &mut [Vec<String>; N], values: [&str; N]) {
    for (column, value) in columns.iter_mut().zip(values) {
        column.push(value.to_owned());
    }
}

/// Rows on their way; `None` when nothing was asked.
type Rows<'a> = Option<Sent<'a, Vec<Row>>>;

async fn ask_if<'a>(
    is_needed: bool,
    session: &'a Session,
    sql: &'static str,
    params: Vec<&'a (dyn ToSql + Sync)>,
) -> Rows<'a> {
    if !is_needed {
        return None;
    }
    let statement = session.prepared(sql);
    Some(send(async move { session.client.query(&statement, &params).await }).await)
}

/// Statements that were sent.
pub(crate) struct Asked<'a> {
    tenants: Rows<'a>,
    live_grants: Rows<'a>,
    holds: Rows<'a>,
    counters: [Rows<'a>; 4],
    grants: [Rows<'a>; 2],
    keys: Rows<'a>,
    combinations: Rows<'a>,
}

async fn rows(sent: Rows<'_>) -> Result<Vec<Row>, StoreError> {
    match sent {
        Some(sent) => sent.answer().await.map_err(unavailable),
        None => Ok(Vec::new()),
    }
}

/// What was found.
pub(crate) struct Answers {
    /// Tenants' own rows, also of those that are busy.
    pub(crate) tenants: Vec<Row>,
    live_grants: Vec<Row>,
    holds: Vec<Row>,
    counters: Vec<Row>,
    grants: Vec<Row>,
    keys: Vec<Row>,
    combinations: Vec<Row>,
}

impl Asked<'_> {
    /// Waits for all answers.
    pub(crate) async fn answers(self) -> Result<Answers, StoreError> {
        let mut answers = Answers {
            tenants: rows(self.tenants).await?,
            live_grants: rows(self.live_grants).await?,
            holds: rows(self.holds).await?,
            counters: Vec::new(),
            grants: Vec::new(),
            keys: Vec::new(),
            combinations: Vec::new(),
        };
        for sent in self.counters {
            answers.counters.extend(rows(sent).await?);
        }
        for sent in self.grants {
            answers.grants.extend(rows(sent).await?);
        }
        answers.keys = rows(self.keys).await?;
        answers.combinations = rows(self.combinations).await?;
        Ok(answers)
    }
}

/// Accounts by tenant, with what each needs.
pub(crate) type Accounts<'a> = BTreeMap<TenantId, (&'a mut Account, Need)>;

impl Answers {
    /// Offers a tenant's own row to its account, or that there is none.
    pub(crate) fn offer_tenants(&self, accounts: &mut Accounts<'_>) -> Result<(), StoreError> {
        for row in &self.tenants {
            if let Some((account, _)) = accounts.get_mut(text(row, 0)?) {
                account.offer_tenant(Some(tenant_row(row, 1)?));
            }
        }
        for row in &self.live_grants {
            if let Some((account, _)) = accounts.get_mut(text(row, 0)?) {
                let grant = grant_row(row, 1)?;
                account.offer_grant(grant.id, Some(grant));
            }
        }
        for (account, _) in accounts.values_mut() {
            account.offer_tenant(None);
            if account.tenant().present().is_some() {
                account.offered_live_grants();
            }
        }
        Ok(())
    }

    /// Offers all other rows, and of what was named and not found that it is not there. Returns
    /// the counters of legs that the statements could not find by themselves.
    pub(crate) fn offer(
        &self,
        accounts: &mut Accounts<'_>,
        now: TimestampMs,
    ) -> Result<Vec<(TenantId, CounterKey)>, StoreError> {
        self.offer_counters(accounts)?;
        for row in &self.grants {
            if let Some((account, _)) = accounts.get_mut(text(row, 0)?) {
                let grant = grant_row(row, 1)?;
                account.offer_grant(grant.id, Some(grant));
            }
        }
        for row in &self.combinations {
            if let Some((account, _)) = accounts.get_mut(text(row, 0)?) {
                let (limit, window) = (read(text(row, 1)?)?, read(text(row, 2)?)?);
                account.offer_combination(CombinationKey { limit, window }, get(row, 3)?);
            }
        }
        for row in &self.keys {
            if let Some((account, _)) = accounts.get_mut(text(row, 0)?) {
                account.offer_key(read(text(row, 1)?)?, Some(key_row(row, 2)?));
            }
        }
        let mut late = Vec::new();
        let due = self.offer_holds(accounts, &mut late)?;
        for (tenant, (account, need)) in accounts {
            if account.tenant().present().is_some() {
                offer_absent(account, need);
                offer_whole(account, need, due.get(tenant), now);
            }
        }
        Ok(late)
    }

    fn offer_counters(&self, accounts: &mut Accounts<'_>) -> Result<(), StoreError> {
        for row in &self.counters {
            if let Some((account, _)) = accounts.get_mut(text(row, 0)?) {
                let (key, counter) = counter_row(row, 1)?;
                account.offer_counter(key, Some(counter));
            }
        }
        Ok(())
    }

    /// Offers holds, and of their legs what is not there; by tenant, the due ones among them.
    fn offer_holds(
        &self,
        accounts: &mut Accounts<'_>,
        late: &mut Vec<(TenantId, CounterKey)>,
    ) -> Result<BTreeMap<TenantId, Due>, StoreError> {
        let mut due: BTreeMap<TenantId, Due> = BTreeMap::new();
        for row in &self.holds {
            let Some((account, _)) = accounts.get_mut(text(row, 0)?) else { continue };
            let hold = hold_row(row, 2)?;
            for key in hold.counter_keys() {
                if account.counter(key) == Loaded::NotLoaded {
                    match dimensions_long(&key.dimensions) {
                        Some(_) => late.push((account.id.clone(), key.clone())),
                        None => account.offer_counter(key.clone(), None),
                    }
                }
            }
            for id in hold.grant_ids() {
                account.offer_grant(id, None);
            }
            if get(row, 1)? {
                let due = due.entry(account.id.clone()).or_default();
                due.count += 1;
                due.last = due.last.max(Some((hold.expires, hold.id)));
            }
            account.offer_hold(hold.id, Some(hold));
        }
        Ok(due)
    }
}

/// Due holds of one tenant that were found because they are.
#[derive(Default)]
struct Due {
    count: usize,
    last: Option<(TimestampMs, HoldId)>,
}

/// What was named and not found is not there.
fn offer_absent(account: &mut Account, need: &Need) {
    for key in &need.keys {
        account.offer_key(key.clone(), None);
        if let Loaded::Present(row) = account.key(key)
            && let KeyTarget::Hold(id) = row.target
        {
            account.offer_hold(id, None);
        }
    }
    for id in &need.holds {
        account.offer_hold(*id, None);
    }
    for key in &need.counters {
        account.offer_counter(key.clone(), None);
    }
    for id in &need.grants {
        account.offer_grant(*id, None);
    }
    for key in &need.combinations {
        account.offer_combination(key.clone(), 0);
    }
}

/// What is here now as a whole.
fn offer_whole(account: &mut Account, need: &Need, due: Option<&Due>, now: TimestampMs) {
    if need.due {
        let through = match due {
            Some(Due { count, last: Some(last) }) if *count >= DUE_HOLDS_PER_ROUND => *last,
            _ => (account.due_time(now), HoldId::MAX),
        };
        account.offered_due_through(through);
    }
    if need.idle_counters {
        account.offered_idle_counters();
    }
    if need.all_counters {
        account.offered_all_counters();
    }
    if need.all_open_holds {
        account.offered_all_open_holds();
    }
}

/// Loads what accounts need, in one round trip, or two where dimensions are too long for a key.
pub(crate) async fn load(
    session: &Session,
    wants: Wants,
    mut accounts: Accounts<'_>,
    now: TimestampMs,
) -> Result<(), StoreError> {
    let late = wants.ask(session).await.answers().await?.offer(&mut accounts, now)?;
    load_late(session, wants.bucket, &mut accounts, late).await
}

/// Loads the counters of legs whose dimensions no statement could find by themselves.
pub(crate) async fn load_late(
    session: &Session,
    bucket: i16,
    accounts: &mut Accounts<'_>,
    late: Vec<(TenantId, CounterKey)>,
) -> Result<(), StoreError> {
    if late.is_empty() {
        return Ok(());
    }
    let mut wants = Wants::new(bucket, None);
    for (tenant, key) in &late {
        wants.add_counter(tenant.as_str(), key);
    }
    wants.ask(session).await.answers().await?.offer_counters(accounts)?;
    for (tenant, key) in late {
        if let Some((account, _)) = accounts.get_mut(&tenant) {
            account.offer_counter(key, None);
        }
    }
    Ok(())
}
