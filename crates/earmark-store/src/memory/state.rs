//! The rows of a memory store, and the writes that change them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use earmark_core::bounds::TTL_MS_MAX;
use earmark_core::{
    Account, CombinationKey, Counter, CounterKey, Entry, EntryId, Event, Grant, GrantId, Hold,
    HoldId, IdempotencyKey, KeyRow, KeyTarget, LimitIdentity, LimitName, MeterName, Need, PlanName,
    Retention, Tenant, TenantId, TenantStatus, TimestampMs,
};

use super::outbox::OutboxRows;
use super::through;
use crate::document::{ConfigDocument, PlanDocument};
use crate::records::{
    ApiKeyRecord, Books, EntryPage, EntryPlace, EntryQuery, HOUR_MS, HoldPage, HoldQuery,
    HoldStateFilter, HourlyQuery,
};
use crate::retention::{KEY_EXTRA_MS, Opening, OpeningKey, Openings, fold_entry, opening_entry};
use crate::seam::{Config, ConfigChange, StoreError};

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) tenants: BTreeMap<TenantId, TenantRows>,
    pub(super) batches: BTreeSet<u128>,
    pub(super) api_keys: BTreeMap<String, ApiKeyRecord>,
    pub(super) outbox: OutboxRows,
    pub(super) config_version: i64,
    document: ConfigDocument,
    /// Version of each plan and whether it is retired.
    plans: BTreeMap<PlanName, (i64, bool)>,
    identities: BTreeMap<LimitName, LimitIdentity>,
}

#[derive(Debug, Clone)]
pub(super) struct TenantRows {
    pub(super) tenant: Tenant,
    counters: BTreeMap<CounterKey, Counter>,
    holds: BTreeMap<HoldId, Hold>,
    grants: BTreeMap<GrantId, Grant>,
    keys: BTreeMap<IdempotencyKey, KeyRow>,
    combinations: BTreeMap<CombinationKey, i64>,
    entries: Vec<Entry>,
    /// The tenant's number when a counter was last changed.
    changed: BTreeMap<CounterKey, i64>,
    /// Usage by meter and hour.
    usage: BTreeMap<(MeterName, i64), i64>,
    openings: Openings,
    /// The last entry that was folded into openings, and when it was made.
    opened: Option<(EntryId, TimestampMs)>,
}

/// One row written.
#[derive(Debug, Clone)]
pub(super) enum Write {
    Tenant(TenantId, Box<Tenant>),
    Counter(TenantId, CounterKey, Option<Box<Counter>>),
    Hold(TenantId, Box<Hold>),
    Grant(TenantId, Box<Grant>),
    Key(TenantId, IdempotencyKey, Box<KeyRow>),
    Combination(TenantId, CombinationKey, i64),
    Entry(TenantId, Box<Entry>),
    Event(TenantId, Box<Event>),
    Batch(u128),
    Config(Box<ConfigChange>),
    ApiKey(Box<ApiKeyRecord>),
    Prune(TimestampMs, Arc<Config>),
    TakeAway(TenantId),
    Outbox(Box<OutboxRows>),
}

/// What an account's changes write.
pub(super) fn writes_of(account: &Account) -> Vec<Write> {
    let Some(changes) = account.changes() else { return Vec::new() };
    let id = &account.id;
    let mut writes = Vec::new();
    if let Some((tenant, _, _)) = changes.tenant {
        writes.push(Write::Tenant(id.clone(), Box::new(tenant.clone())));
    }
    for change in changes.counters() {
        let row = change.row.cloned().map(Box::new);
        writes.push(Write::Counter(id.clone(), change.key.clone(), row));
    }
    let holds = changes.holds().filter_map(|change| change.row);
    writes.extend(holds.map(|hold| Write::Hold(id.clone(), Box::new(hold.clone()))));
    let grants = changes.grants().filter_map(|change| change.row);
    writes.extend(grants.map(|grant| Write::Grant(id.clone(), Box::new(grant.clone()))));
    for change in changes.keys() {
        if let Some(row) = change.row {
            writes.push(Write::Key(id.clone(), change.key.clone(), Box::new(row.clone())));
        }
    }
    let combinations = changes.combinations();
    writes.extend(combinations.map(|(key, by)| Write::Combination(id.clone(), key.clone(), by)));
    let entries = changes.entries().iter();
    writes.extend(entries.map(|entry| Write::Entry(id.clone(), Box::new(entry.clone()))));
    let events = changes.events().iter();
    writes.extend(events.map(|event| Write::Event(id.clone(), Box::new(event.clone()))));
    writes
}

impl TenantRows {
    fn new(tenant: Tenant) -> Self {
        Self {
            tenant,
            counters: BTreeMap::new(),
            holds: BTreeMap::new(),
            grants: BTreeMap::new(),
            keys: BTreeMap::new(),
            combinations: BTreeMap::new(),
            entries: Vec::new(),
            changed: BTreeMap::new(),
            usage: BTreeMap::new(),
            openings: Openings::new(),
            opened: None,
        }
    }

    fn opening_entries(&self) -> Vec<Entry> {
        let Some((opened, at)) = self.opened else { return Vec::new() };
        let openings = self.openings.iter().filter(|(_, opening)| opening.amount != 0);
        let entry = |((key, opening), line): ((&OpeningKey, &Opening), i64)| {
            let id = EntryId { seq: opened.seq, line };
            opening_entry(key.clone(), opening.clone(), id, at)
        };
        openings.zip(0..).map(entry).collect()
    }

    fn enter(&mut self, entry: Entry) {
        if let Some(meter) = entry.meter.clone().filter(|_| entry.kind.counts_usage()) {
            let hour = entry.at.0.div_euclid(HOUR_MS);
            *self.usage.entry((meter, hour)).or_default() += entry.amount;
        }
        self.entries.push(entry);
    }

    pub(super) fn newest_change(&self) -> Option<TimestampMs> {
        self.entries.last().map(|entry| entry.at)
    }

    fn prunable(&self) -> usize {
        self.entries.len() + self.holds.len() + self.keys.len() + self.counters.len()
    }

    /// Everything that a round of pruning does, at once.
    fn prune(&mut self, retention: Retention<'_>) {
        let before = retention.before;
        let newest_old = self.entries.iter().rposition(|entry| entry.at < before);
        for entry in self.entries.drain(..newest_old.map_or(0, |place| place + 1)) {
            fold_entry(&mut self.openings, &entry, retention);
            self.opened = Some((entry.id, entry.at));
        }
        // In the order in which they were made, when all of that time have ended.
        let goes = |hold: &Hold| {
            hold.created.plus(TTL_MS_MAX) < before && hold.ended().is_some_and(|at| at < before)
        };
        self.holds.retain(|_, hold| !goes(hold));
        self.keys.retain(|_, row| row.created.0 >= before.0.saturating_sub(KEY_EXTRA_MS));
        let is_over = |key: &CounterKey| retention.is_counter_over(key);
        let oldest = self.entries.first().map(|entry| entry.id.seq);
        let is_named = |seq: &i64| oldest.is_some_and(|oldest| oldest <= *seq);
        let gone: Vec<_> = self
            .counters
            .iter()
            .filter(|(key, counter)| counter.held == 0 && is_over(key))
            .filter(|(key, _)| !self.changed.get(key).is_some_and(is_named))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &gone {
            self.counters.remove(key);
            self.changed.remove(key);
            self.openings.retain(|of, _| !matches!(of, OpeningKey::Counter(of, _) if of == key));
            let CounterKey { limit, window, .. } = key.clone();
            self.combinations.remove(&CombinationKey { limit, window });
        }
        self.usage.retain(|(_, hour), _| hour * HOUR_MS >= before.0);
        self.openings.retain(|of, _| match of {
            OpeningKey::Counter(key, Some(slice)) => !retention.is_slice_over(key, *slice),
            _ => true,
        });
    }

    pub(super) fn is_due(&self, now: TimestampMs) -> bool {
        let grant_due =
            |grant: &Grant| grant.is_live() && grant.expires.is_some_and(|expires| expires <= now);
        self.holds.values().any(|hold| hold.is_open() && hold.expires <= now)
            || self.grants.values().any(grant_due)
    }
}

impl State {
    pub(super) fn apply(&mut self, write: Write) {
        match write {
            Write::Batch(batch) => {
                self.batches.insert(batch);
            }
            Write::Config(change) => self.apply_config(*change),
            Write::Prune(before, config) => {
                let retention = Retention { catalog: &config.catalog, before };
                self.tenants.values_mut().for_each(|rows| rows.prune(retention));
            }
            Write::ApiKey(record) => {
                self.api_keys.insert(record.id.clone(), *record);
            }
            Write::Event(id, event) => self.outbox.push(id, *event),
            Write::TakeAway(tenant) => {
                let is_erasing = |rows: &TenantRows| rows.tenant.status == TenantStatus::Erasing;
                if !self.tenants.get(&tenant).is_some_and(is_erasing) {
                    return;
                }
                self.outbox.forget(&tenant);
                self.api_keys.retain(|_, key| key.tenant.as_ref() != Some(&tenant));
                if let Some(rows) = self.tenants.get_mut(&tenant) {
                    *rows = TenantRows::new(rows.tenant.clone());
                }
            }
            Write::Outbox(rows) => self.outbox = *rows,
            Write::Tenant(id, tenant) => match self.tenants.get_mut(&id) {
                Some(rows) => rows.tenant = *tenant,
                None => {
                    self.tenants.insert(id, TenantRows::new(*tenant));
                }
            },
            row => self.apply_row(row),
        }
    }

    fn apply_row(&mut self, write: Write) {
        let (Write::Counter(id, ..)
        | Write::Hold(id, ..)
        | Write::Grant(id, ..)
        | Write::Key(id, ..)
        | Write::Combination(id, ..)
        | Write::Entry(id, ..)) = &write
        else {
            return;
        };
        let Some(rows) = self.tenants.get_mut(id) else { return };
        match write {
            Write::Counter(_, key, Some(counter)) => {
                rows.changed.insert(key.clone(), rows.tenant.seq);
                rows.counters.insert(key, *counter);
            }
            Write::Counter(_, key, None) => {
                rows.counters.remove(&key);
            }
            Write::Hold(_, hold) => {
                rows.holds.insert(hold.id, *hold);
            }
            Write::Grant(_, grant) => {
                rows.grants.insert(grant.id, *grant);
            }
            Write::Key(_, key, row) => {
                rows.keys.insert(key, *row);
            }
            Write::Combination(_, key, by) => *rows.combinations.entry(key).or_default() += by,
            Write::Entry(_, entry) => rows.enter(*entry),
            _ => {}
        }
    }

    fn apply_config(&mut self, change: ConfigChange) {
        self.config_version += 1;
        if let Some(meters) = change.meters {
            self.document.meters = meters;
        }
        if let Some(default) = change.default_plan {
            self.document.default_plan = default.map(|plan| plan.to_string());
        }
        for (plan, document, retired) in change.plans {
            for limit in &plan.limits {
                // What a name meant first it means for good (R2).
                self.identities.entry(limit.name.clone()).or_insert_with(|| limit.identity());
            }
            let known: Option<&PlanDocument> = self.document.plans.get(plan.name.as_str());
            let version = self.plans.get(&plan.name).map_or(0, |(version, _)| *version);
            let changed = known != Some(&document);
            let version = if changed { version + 1 } else { version };
            self.plans.insert(plan.name.clone(), (version, retired));
            self.document.plans.insert(plan.name.to_string(), document);
        }
    }

    pub(super) fn config(&self) -> Result<Config, StoreError> {
        let plan_of = |name: &PlanName| self.plans.get(name).copied().unwrap_or((1, false));
        let former = self.identities.iter().map(|(name, what)| (name.clone(), what.clone()));
        let catalog = self
            .document
            .catalog(self.config_version, plan_of, former.collect())
            .map_err(crate::rows::damaged)?;
        Ok(Config { catalog, document: self.document.clone() })
    }

    /// Hands out rows, and only those that are needed.
    pub(super) fn load(&self, account: &mut Account, need: &Need, now: TimestampMs, page: usize) {
        let Some(rows) = self.tenants.get(&account.id) else {
            account.offer_tenant(None);
            return;
        };
        if need.tenant {
            account.offer_tenant(Some(rows.tenant.clone()));
            for grant in rows.grants.values().filter(|grant| grant.is_live()) {
                account.offer_grant(grant.id, Some(grant.clone()));
            }
            account.offered_live_grants();
        }
        let now = account.due_time(now);
        for key in &need.keys {
            let row = rows.keys.get(key).cloned();
            if let Some(KeyRow { target: KeyTarget::Hold(id), .. }) = &row {
                rows.offer_hold(account, *id);
            }
            account.offer_key(key.clone(), row);
        }
        for id in &need.holds {
            rows.offer_hold(account, *id);
        }
        if need.due {
            rows.load_due(account, now, page);
        }
        if need.all_open_holds {
            for hold in rows.holds.values().filter(|hold| hold.is_open()) {
                rows.offer_hold(account, hold.id);
            }
            account.offered_all_open_holds();
        }
        for key in &need.counters {
            account.offer_counter(key.clone(), rows.counters.get(key).cloned());
        }
        if need.all_counters || need.idle_counters {
            let idle = |counter: &Counter| counter.idle_at().is_some_and(|at| at <= now);
            for (key, counter) in &rows.counters {
                if need.all_counters || idle(counter) {
                    account.offer_counter(key.clone(), Some(counter.clone()));
                }
            }
        }
        if need.all_counters {
            account.offered_all_counters();
        }
        if need.idle_counters {
            account.offered_idle_counters();
        }
        for id in &need.grants {
            account.offer_grant(*id, rows.grants.get(id).cloned());
        }
        for key in &need.combinations {
            let in_use = rows.combinations.get(key).copied().unwrap_or(0);
            account.offer_combination(key.clone(), in_use);
        }
    }

    pub(super) fn holds(&self, query: &HoldQuery) -> HoldPage {
        let Some(rows) = self.tenants.get(&query.tenant) else { return HoldPage::default() };
        let mut holds: Vec<_> = rows
            .holds
            .values()
            .rev()
            .filter(|hold| query.before.is_none_or(|before| hold.id < before))
            .filter(|hold| query.state.is_none_or(|state| HoldStateFilter::of(hold) == state))
            .take(query.count.saturating_add(1))
            .cloned()
            .collect();
        let more = holds.len() > query.count;
        holds.truncate(query.count);
        let next = holds.last().filter(|_| more).map(|hold| hold.id);
        HoldPage { holds, next }
    }

    pub(super) fn entries(&self, query: &EntryQuery) -> EntryPage {
        let Some(rows) = self.tenants.get(&query.tenant) else { return EntryPage::default() };
        let of_user = |entry: &&Entry| {
            let Some(user) = &query.user else { return true };
            entry
                .dimensions
                .iter()
                .any(|(name, value)| name.as_str() == "user" && value.as_str() == user.as_str())
        };
        let openings = if query.user.is_none() { rows.opening_entries() } else { Vec::new() };
        // Places among the openings, behind the oldest entry, are below zero.
        let among = query.before.map(|place| place.position).filter(|position| *position < 0);
        let skipped = among.map_or(0, |position| usize::try_from(!position).unwrap_or(0));
        let entries = rows
            .entries
            .iter()
            .rev()
            .filter(|_| among.is_none())
            .filter(|entry| query.before.is_none_or(|before| entry.id < before.entry))
            .filter(of_user);
        let mut page: Vec<(Entry, i64)> = entries.map(|entry| (entry.clone(), 0)).collect();
        let openings = openings.into_iter().zip(0..).skip(skipped);
        page.extend(openings.map(|(entry, line)| (entry, !line)));
        let next = page.get(query.count).map(|(entry, position)| EntryPlace {
            // Entries go on before the last one told, openings at the first one that was not.
            entry: if *position < 0 { entry.id } else { page[query.count - 1].0.id },
            position: *position,
        });
        page.truncate(query.count);
        EntryPage { entries: page.into_iter().map(|(entry, _)| entry).collect(), next }
    }

    pub(super) fn hourly(&self, query: &HourlyQuery) -> Vec<(TimestampMs, i64)> {
        let Some(rows) = self.tenants.get(&query.tenant) else { return Vec::new() };
        let hours =
            rows.usage.iter().filter(|((meter, _), used)| *meter == query.meter && **used != 0);
        hours
            .map(|((_, hour), used)| (TimestampMs(hour * HOUR_MS), *used))
            .filter(|(hour, _)| query.from <= *hour && *hour < query.to)
            .collect()
    }

    /// How many rows there are of what is pruned.
    pub(super) fn prunable(&self) -> u64 {
        self.tenants.values().map(|rows| rows.prunable() as u64).sum()
    }

    pub(super) fn books(&self, tenant: &TenantId) -> Option<Books> {
        let rows = self.tenants.get(tenant)?;
        Some(Books {
            tenant: rows.tenant.clone(),
            counters: rows.counters.iter().map(|(k, c)| (k.clone(), c.clone())).collect(),
            grants: rows.grants.values().cloned().collect(),
            open_holds: rows.holds.values().filter(|hold| hold.is_open()).cloned().collect(),
            ledger: rows.entries.last().map(|last| last.id).or(rows.opened.map(|(id, _)| id)).map(
                |last| EntryPlace { entry: EntryId { line: last.line + 1, ..last }, position: 0 },
            ),
            opened: rows.opened.map_or(0, |(id, _)| id.seq),
        })
    }
}

impl TenantRows {
    /// A hold with the counters and grants that its legs name.
    fn offer_hold(&self, account: &mut Account, id: HoldId) {
        let hold = self.holds.get(&id);
        if let Some(hold) = hold {
            for key in hold.counter_keys() {
                account.offer_counter(key.clone(), self.counters.get(key).cloned());
            }
            for grant in hold.grant_ids() {
                account.offer_grant(grant, self.grants.get(&grant).cloned());
            }
        }
        account.offer_hold(id, hold.cloned());
    }

    fn load_due(&self, account: &mut Account, now: TimestampMs, page: usize) {
        let after = account.due_through();
        let mut due: Vec<_> = self
            .holds
            .values()
            .filter(|hold| hold.is_open())
            .map(|hold| (hold.expires, hold.id))
            .filter(|at| *at > after && at.0 <= now)
            .collect();
        due.sort_unstable();
        due.truncate(page);
        for (_, id) in &due {
            self.offer_hold(account, *id);
        }
        account.offered_due_through(through(due.len() == page, due.last().copied(), now));
    }
}
