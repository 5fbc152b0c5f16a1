//! Saving: final row states of a batch, as columns for a handful of statements.

pub(crate) mod columns;
pub(crate) mod sql;

use std::collections::BTreeMap;

use earmark_core::{
    Account, Changes, Counter, CounterKey, Entry, Event, Grant, Hold, KeyRow, RowChange, Tenant,
    TenantChange, TimestampMs,
};
use earmark_store::outbox::event_id;
use earmark_store::records::{HOUR_MS, HoldStateFilter};
use earmark_store::rows::{self, counter, entry, event, hold, key, tenant};

use crate::numbers::EventNumbers;
use crate::rows::{dimensions_in_key, dimensions_long};
use columns::{Rows, Value, note};

/// Everything that a commit writes, in the order in which it is sent.
pub(crate) struct Save<'a> {
    /// When the newest entry was made.
    pub(crate) newest_entry: Option<TimestampMs>,
    new_tenants: Rows<'a>,
    order: Rows<'a>,
    tenants: Rows<'a>,
    counters: Rows<'a>,
    counters_gone: Rows<'a>,
    new_holds: Rows<'a>,
    holds: Rows<'a>,
    grants: Rows<'a>,
    keys: Rows<'a>,
    combinations: Rows<'a>,
    entries: Rows<'a>,
    usage: Rows<'a>,
    events: Rows<'a>,
}

impl<'a> Save<'a> {
    /// What has changed in accounts; `None` for nothing.
    pub(crate) fn of(
        accounts: &'a [Box<Account>],
        bucket: usize,
        now: TimestampMs,
        numbers: &EventNumbers,
    ) -> Option<Self> {
        let mut changed: Vec<_> =
            accounts.iter().filter_map(|account| Some((&**account, account.changes()?))).collect();
        // Tenants are created in order: see `sql::NEW_TENANTS`.
        changed.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
        let mut save = Self {
            newest_entry: None,
            new_tenants: Rows::of(sql::NEW_TENANTS),
            order: Rows::counted(sql::ORDER),
            tenants: Rows::of(sql::TENANTS),
            counters: Rows::of(sql::COUNTERS),
            counters_gone: Rows::counted(sql::COUNTERS_GONE),
            new_holds: Rows::of(sql::NEW_HOLDS),
            holds: Rows::counted(sql::HOLDS),
            grants: Rows::of(sql::GRANTS),
            keys: Rows::of(sql::KEYS),
            combinations: Rows::of(sql::COMBINATIONS),
            entries: Rows::of(sql::ENTRIES),
            usage: Rows::of(sql::USAGE),
            events: Rows::of(sql::EVENTS),
        };
        for (account, changes) in &changed {
            save.account(account, changes, now);
            let events = changes.events();
            for (number, event) in numbers.next(bucket, now, events.len()).zip(events) {
                save.event(account, event, number);
            }
        }
        (!changed.is_empty()).then_some(save)
    }

    /// The statements that have rows.
    pub(crate) fn statements(&self) -> impl Iterator<Item = &Rows<'a>> {
        let all = [
            &self.new_tenants,
            &self.order,
            &self.tenants,
            &self.counters_gone,
            &self.counters,
            &self.new_holds,
            &self.holds,
            &self.grants,
            &self.keys,
            &self.combinations,
            &self.entries,
            &self.usage,
            &self.events,
        ];
        all.into_iter().filter(|rows| !rows.is_empty())
    }

    fn account(&mut self, account: &'a Account, changes: &Changes<'a>, now: TimestampMs) {
        let id = account.id.as_str();
        if let Some((row, change, is_stored)) = changes.tenant {
            let due_from = due_from(account, is_stored, now);
            let order = if is_stored { &mut self.order } else { &mut self.new_tenants };
            order.push([
                id.into(),
                row.seq.into(),
                row.last.0.into(),
                row.open_holds.into(),
                due_from.0.into(),
            ]);
            if change == TenantChange::All {
                self.tenant(id, row);
            }
        }
        let seq = account.tenant().present().map_or(0, |tenant| tenant.seq);
        changes.counters().for_each(|change| self.counter(id, &change, seq));
        for change in changes.holds() {
            if let Some(row) = change.row {
                self.hold(id, row, change.stored);
            }
        }
        changes.grants().filter_map(|change| change.row).for_each(|row| self.grant(id, row));
        for change in changes.keys() {
            if let Some(row) = change.row {
                self.key(id, change.key.as_str(), row);
            }
        }
        for (key, delta) in changes.combinations() {
            let window = key.window.to_string();
            self.combinations.push([
                id.into(),
                key.limit.as_str().into(),
                window.into(),
                delta.into(),
            ]);
        }
        self.usage(id, changes.entries());
        changes.entries().iter().for_each(|entry| self.entry(id, entry));
    }

    fn tenant(&mut self, id: &'a str, row: &'a Tenant) {
        self.tenants.push([
            id.into(),
            row.plan.as_str().into(),
            row.status.as_str().into(),
            row.calendar.zone.name().into(),
            row.calendar.anchor.map(|day| day.to_string()).into(),
            tenant::windows_to_text(&row.windows).into(),
            row.created.0.into(),
            tenant::overrides_to_text(&row.overrides).into(),
            row.metadata.as_deref().into(),
        ]);
    }

    fn counter(&mut self, id: &'a str, change: &RowChange<'a, CounterKey, Counter>, seq: i64) {
        let CounterKey { limit, dimensions, window } = change.key;
        let key = [
            id.into(),
            limit.as_str().into(),
            dimensions_in_key(dimensions).into(),
            window.to_string().into(),
        ];
        let Some(row) = change.row else {
            if change.stored {
                self.counters_gone.push(key);
            }
            return;
        };
        let [id, limit, in_key, window] = key;
        let rolling = row.rolling.as_ref();
        self.counters.push([
            id,
            limit,
            in_key,
            window,
            dimensions_long(dimensions).into(),
            row.meter.as_str().into(),
            row.used.into(),
            row.held.into(),
            row.denied.into(),
            seq.into(),
            rolling.map(|(span, _)| i64::from(span.minutes())).into(),
            rolling.and_then(|(_, slices)| counter::slices_to_text(slices)).into(),
            counter::fired_to_text(&row.fired).into(),
            row.idle_at().map(|at| at.0).into(),
        ]);
    }

    fn hold(&mut self, id: &'a str, row: &'a Hold, is_stored: bool) {
        let holds = if is_stored { &mut self.holds } else { &mut self.new_holds };
        holds.push([
            id.into(),
            row.id.to_string().into(),
            HoldStateFilter::of(row).as_str().into(),
            row.expires.0.into(),
            row.ended().unwrap_or(row.expires).0.into(),
            row.dispatched.into(),
            hold::legs_to_text(&row.parts).into(),
            hold::outcome_to_text(&row.state, &row.parts).into(),
            row.seq.into(),
            row.key.as_ref().map(|(key, _)| key.as_str()).into(),
            row.key.as_ref().map(|(_, digest)| digest.as_slice()).into(),
            row.metadata.as_deref().into(),
            row.created.0.into(),
            rows::dimensions_to_text(&row.dimensions).into(),
        ]);
    }

    fn grant(&mut self, id: &'a str, row: &'a Grant) {
        self.grants.push([
            id.into(),
            row.id.to_string().into(),
            row.meter.as_str().into(),
            row.amount.get().into(),
            row.used.into(),
            row.held.into(),
            row.lapsed.into(),
            i64::from(row.priority).into(),
            row.expires.map(|at| at.0).into(),
            row.expired.into(),
            row.created.0.into(),
            note(row.reason.as_deref()),
        ]);
    }

    fn key(&mut self, id: &'a str, key_text: &'a str, row: &'a KeyRow) {
        let (hold, answer) = key::target_to_columns(&row.target);
        let digest = Some(row.digest.as_slice());
        self.keys.push([
            id.into(),
            key_text.into(),
            digest.into(),
            hold.into(),
            answer.into(),
            row.created.0.into(),
        ]);
    }

    fn entry(&mut self, id: &'a str, row: &'a Entry) {
        self.newest_entry = self.newest_entry.max(Some(row.at));
        self.entries.push([
            id.into(),
            row.id.seq.into(),
            row.id.line.into(),
            row.at.0.into(),
            row.kind.as_str().into(),
            row.meter.as_ref().map(earmark_core::MeterName::as_str).into(),
            row.amount.into(),
            entry::counters_to_text(&row.counters).into(),
            entry::grants_to_text(&row.grants).into(),
            rows::dimensions_to_text(&row.dimensions).into(),
            row.hold.map(|id| id.to_string()).into(),
            row.grant.map(|id| id.to_string()).into(),
            row.late.into(),
            row.overrun.into(),
            note(row.detail.as_deref()),
            note(row.reason.as_deref()),
            note(row.author.as_deref()),
            row.metadata.as_deref().into(),
        ]);
    }

    /// Sums a tenant's entries by meter and hour, in one row each: a statement changes no row
    /// twice.
    fn usage(&mut self, id: &'a str, entries: &'a [Entry]) {
        let mut sums: BTreeMap<(&str, i64), i64> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.kind.counts_usage()) {
            if let Some(meter) = &entry.meter {
                let hour = entry.at.0.div_euclid(HOUR_MS).saturating_mul(HOUR_MS);
                let sum = sums.entry((meter.as_str(), hour)).or_default();
                *sum = sum.saturating_add(entry.amount);
            }
        }
        for ((meter, hour), used) in sums.into_iter().filter(|(_, used)| *used != 0) {
            self.usage.push([id.into(), meter.into(), hour.into(), used.into()]);
        }
    }

    fn event(&mut self, account: &'a Account, event: &'a Event, number: i64) {
        let CounterKey { limit, dimensions, window } = &event.counter;
        let values: [Value<'a>; 12] = [
            number.into(),
            event_id(&account.id, event).into(),
            account.id.as_str().into(),
            event.at.0.into(),
            event.kind.as_str().into(),
            limit.as_str().into(),
            dimensions.as_str().into(),
            window.to_string().into(),
            event.amount.get().into(),
            event.used.into(),
            event::threshold_to_column(event).into(),
            event.day.map(|day| day.to_string()).into(),
        ];
        self.events.push(values);
    }
}

/// Before this no open hold of the tenant expires: of those up to where the account knows what is
/// due, all are here; the others expire later.
fn due_from(account: &Account, is_stored: bool, now: TimestampMs) -> TimestampMs {
    let known = if is_stored { account.due_through().0.min(now) } else { now };
    let open = account.holds().filter(|hold| hold.is_open()).map(|hold| hold.expires);
    open.min().map_or(known, |first| first.min(known))
}
