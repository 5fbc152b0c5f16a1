//! Saving: final row states of a batch, as images for log and tables.

use earmark_core::{
    Account, Changes, Counter, CounterKey, Entry, Event, Grant, Hold, HoldId, KeyRow, RowChange,
    Tenant, TenantChange,
};
use earmark_store::outbox::event_id;
use earmark_store::records::HoldStateFilter;
use earmark_store::rows::{self, counter, entry, event, hold, key, tenant};

use crate::image::{Column, Table, put_gone, put_row};
use crate::rows::Chain;

/// Numbers that all tenants share, each given out once, in order of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NextNumbers {
    /// Of the next entry.
    pub(crate) entry: i64,
    /// Of the next event.
    pub(crate) event: i64,
}

/// Appends the images of what has changed in an account.
pub(crate) fn save(
    bytes: &mut Vec<u8>,
    account: &Account,
    chain: &mut Chain,
    next: &mut NextNumbers,
) {
    let Some(changes) = account.changes() else { return };
    let mut saver = Saver { bytes, tenant: account.id.as_str(), chain };
    saver.changes(account, &changes, next);
}

fn id_or_empty(id: Option<HoldId>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

struct Saver<'s> {
    bytes: &'s mut Vec<u8>,
    tenant: &'s str,
    chain: &'s mut Chain,
}

impl Saver<'_> {
    fn changes(&mut self, account: &Account, changes: &Changes<'_>, next: &mut NextNumbers) {
        let newest_entry = match changes.entries() {
            [] => self.chain.last_entry,
            entries => next.entry - 1 + i64::try_from(entries.len()).unwrap_or(0),
        };
        for change in changes.counters() {
            self.counter(&change, newest_entry);
        }
        for change in changes.holds() {
            if let Some(row) = change.row {
                self.hold(row, change.stored);
            }
        }
        for row in changes.grants().filter_map(|change| change.row) {
            self.grant(row);
        }
        for change in changes.keys() {
            if let Some(row) = change.row {
                self.key(change.key.as_str(), row);
            }
        }
        for (key, _) in changes.combinations() {
            // Loaded before, since an image is the number itself.
            let in_use = account.combinations_in_use(key).unwrap_or_default();
            let window = key.window.to_string();
            let values: [&dyn Column; 4] = [&self.tenant, &key.limit.as_str(), &window, &in_use];
            put_row(self.bytes, Table::Combination, &values);
        }
        for entry in changes.entries() {
            self.entry(entry, next.entry);
            self.chain.last_entry = next.entry;
            next.entry += 1;
        }
        for event in changes.events() {
            self.event(account, event, next.event);
            next.event += 1;
        }
        // Last, since it names the newest entry and hold.
        if let Some(row) = account.tenant().present() {
            self.order(row);
        }
        if let Some((row, TenantChange::All, _)) = changes.tenant {
            self.tenant(row);
        }
    }

    fn order(&mut self, row: &Tenant) {
        put_row(
            self.bytes,
            Table::TenantOrder,
            &[
                &self.tenant,
                &row.seq,
                &row.last.0,
                &row.open_holds,
                &self.chain.last_entry,
                &id_or_empty(self.chain.last_hold),
            ],
        );
    }

    fn tenant(&mut self, row: &Tenant) {
        put_row(
            self.bytes,
            Table::Tenant,
            &[
                &self.tenant,
                &row.plan.as_str(),
                &row.status.as_str(),
                &row.calendar.zone.name(),
                &row.calendar.anchor.map(|day| day.to_string()),
                &tenant::windows_to_text(&row.windows),
                &row.created.0,
                &tenant::overrides_to_text(&row.overrides),
                &row.metadata.as_deref(),
            ],
        );
    }

    fn counter(&mut self, change: &RowChange<'_, CounterKey, Counter>, newest_entry: i64) {
        let CounterKey { limit, dimensions, window } = change.key;
        let window = window.to_string();
        let Some(row) = change.row else {
            let (limit, dimensions) = (limit.as_str(), dimensions.as_str());
            let key: [&dyn Column; 4] = [&self.tenant, &limit, &dimensions, &window];
            return put_gone(self.bytes, Table::Counter, &key);
        };
        let rolling = row.rolling.as_ref();
        put_row(
            self.bytes,
            Table::Counter,
            &[
                &self.tenant,
                &limit.as_str(),
                &dimensions.as_str(),
                &window,
                &row.meter.as_str(),
                &row.used,
                &row.held,
                &row.denied,
                &newest_entry,
                &rolling.map(|(span, _)| i64::from(span.minutes())),
                &rolling.and_then(|(_, slices)| counter::slices_to_text(slices)),
                &counter::fired_to_text(&row.fired),
                &row.idle_at().map(|at| at.0),
            ],
        );
    }

    fn hold(&mut self, row: &Hold, is_stored: bool) {
        let id = row.id.to_string();
        let previous = (!is_stored).then(|| id_or_empty(self.chain.last_hold.replace(row.id)));
        put_row(
            self.bytes,
            Table::Hold,
            &[
                &id,
                &self.tenant,
                &HoldStateFilter::of(row).as_str(),
                &row.created.0,
                &row.expires.0,
                &row.ended().unwrap_or(row.expires).0,
                &row.dispatched,
                &rows::dimensions_to_text(&row.dimensions),
                &hold::legs_to_text(&row.parts),
                &hold::outcome_to_text(&row.state, &row.parts),
                &row.seq,
                &previous,
                &row.key.as_ref().map(|(key, _)| key.as_str()),
                &row.key.as_ref().map(|(_, digest)| digest.as_slice()),
                &row.metadata.as_deref(),
            ],
        );
    }

    fn grant(&mut self, row: &Grant) {
        put_row(
            self.bytes,
            Table::Grant,
            &[
                &self.tenant,
                &row.id.to_string(),
                &row.meter.as_str(),
                &row.amount.get(),
                &row.used,
                &row.held,
                &row.lapsed,
                &i64::from(row.priority),
                &row.expires.map(|at| at.0),
                &row.expired,
                &row.created.0,
                &row.reason.as_deref(),
            ],
        );
    }

    fn key(&mut self, key_text: &str, row: &KeyRow) {
        let (hold, answer) = key::target_to_columns(&row.target);
        let digest = row.digest.as_slice();
        put_row(
            self.bytes,
            Table::IdempotencyKey,
            &[&self.tenant, &key_text, &digest, &hold, &answer, &row.created.0],
        );
    }

    fn entry(&mut self, row: &Entry, number: i64) {
        put_row(
            self.bytes,
            Table::Entry,
            &[
                &number,
                &self.tenant,
                &row.id.seq,
                &row.id.line,
                &self.chain.last_entry,
                &row.at.0,
                &row.kind.as_str(),
                &row.meter.as_ref().map(earmark_core::MeterName::as_str),
                &row.amount,
                &entry::counters_to_text(&row.counters),
                &entry::grants_to_text(&row.grants),
                &rows::dimensions_to_text(&row.dimensions),
                &row.hold.map(|id| id.to_string()),
                &row.grant.map(|id| id.to_string()),
                &row.late,
                &row.overrun,
                &row.detail.as_deref(),
                &row.reason.as_deref(),
                &row.author.as_deref(),
                &row.metadata.as_deref(),
            ],
        );
    }

    fn event(&mut self, account: &Account, event: &Event, number: i64) {
        let CounterKey { limit, dimensions, window } = &event.counter;
        put_row(
            self.bytes,
            Table::Outbox,
            &[
                &number,
                &event_id(&account.id, event),
                &self.tenant,
                &event.at.0,
                &event.kind.as_str(),
                &limit.as_str(),
                &dimensions.as_str(),
                &window.to_string(),
                &event.amount.get(),
                &event.used,
                &event::threshold_to_column(event),
                &event.day.map(|day| day.to_string()),
            ],
        );
    }
}
