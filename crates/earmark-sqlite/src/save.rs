//! Saving: final row states of a batch, by key, in one transaction.

use earmark_core::{
    Account, Changes, Counter, CounterKey, Entry, Event, EventKind, Grant, Hold, HoldId, KeyRow,
    RowChange, Tenant, TenantChange,
};
use earmark_store::records::HoldStateFilter;
use earmark_store::rows::{self, counter, entry, hold, key, tenant};
use rusqlite::{Connection, params};

/// Writes what has changed in one account.
pub(crate) fn save(connection: &Connection, account: &Account) -> rusqlite::Result<()> {
    let Some(changes) = account.changes() else { return Ok(()) };
    let saver = Saver { connection, tenant: account.id.as_str() };
    if let Some((row, how_much, is_stored)) = changes.tenant {
        saver.tenant(row, how_much, is_stored)?;
    }
    for change in changes.counters() {
        saver.counter(&change)?;
    }
    for change in changes.holds() {
        saver.hold(&change, &changes)?;
    }
    for change in changes.grants() {
        saver.grant(change.row)?;
    }
    for change in changes.keys() {
        saver.key(change.key.as_str(), change.row)?;
    }
    for (key, by) in changes.combinations() {
        saver.combination(key, by)?;
    }
    for entry in changes.entries() {
        saver.entry(entry)?;
    }
    for event in changes.events() {
        saver.event(event)?;
    }
    Ok(())
}

struct Saver<'c> {
    connection: &'c Connection,
    tenant: &'c str,
}

impl Saver<'_> {
    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute(params).map(|_| ())
    }

    fn tenant(
        &self,
        row: &Tenant,
        how_much: TenantChange,
        is_stored: bool,
    ) -> rusqlite::Result<()> {
        if is_stored && how_much == TenantChange::Order {
            return self.execute(
                "UPDATE tenant SET seq = ?2, last_ms = ?3, open_holds = ?4 WHERE tenant_id = ?1",
                params![self.tenant, row.seq, row.last.0, row.open_holds],
            );
        }
        self.execute(
            "INSERT OR REPLACE INTO tenant (tenant_id, plan, status, time_zone, anchor, windows, \
             seq, last_ms, created_ms, overrides, open_holds, metadata) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                self.tenant,
                row.plan.as_str(),
                row.status.as_str(),
                row.calendar.zone.name(),
                row.calendar.anchor.map(|day| day.to_string()),
                tenant::windows_to_text(&row.windows),
                row.seq,
                row.last.0,
                row.created.0,
                tenant::overrides_to_text(&row.overrides),
                row.open_holds,
                row.metadata.as_deref(),
            ],
        )
    }

    fn counter(&self, change: &RowChange<'_, CounterKey, Counter>) -> rusqlite::Result<()> {
        let CounterKey { limit, dimensions, window } = change.key;
        let window = window.to_string();
        let Some(row) = change.row else {
            return self.execute(
                "DELETE FROM counter WHERE tenant_id = ?1 AND limit_name = ?2 \
                 AND dimensions = ?3 AND window = ?4",
                params![self.tenant, limit.as_str(), dimensions.as_str(), window],
            );
        };
        let slices = row.rolling.as_ref().and_then(|(_, slices)| counter::slices_to_text(slices));
        let fired = counter::fired_to_text(&row.fired);
        let idle_ms = row.idle_at().map(|at| at.0);
        if change.stored {
            return self.execute(
                "UPDATE counter SET used = ?5, held = ?6, denied = ?7, slices = ?8, fired = ?9, \
                 idle_ms = ?10 WHERE tenant_id = ?1 AND limit_name = ?2 AND dimensions = ?3 \
                 AND window = ?4",
                params![
                    self.tenant,
                    limit.as_str(),
                    dimensions.as_str(),
                    window,
                    row.used,
                    row.held,
                    row.denied,
                    slices,
                    fired,
                    idle_ms,
                ],
            );
        }
        self.execute(
            "INSERT INTO counter (tenant_id, limit_name, dimensions, window, meter, used, held, \
             denied, rolling_minutes, slices, fired, idle_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                self.tenant,
                limit.as_str(),
                dimensions.as_str(),
                window,
                row.meter.as_str(),
                row.used,
                row.held,
                row.denied,
                row.rolling.as_ref().map(|(span, _)| span.minutes()),
                slices,
                fired,
                idle_ms,
            ],
        )
    }

    fn hold(
        &self,
        change: &RowChange<'_, HoldId, Hold>,
        changes: &Changes<'_>,
    ) -> rusqlite::Result<()> {
        let Some(row) = change.row else { return Ok(()) };
        let id = row.id.to_string();
        let state = HoldStateFilter::of(row).as_str();
        let ended_ms = row.ended().map(|at| at.0);
        let outcome = hold::outcome_to_text(&row.state);
        if !change.stored {
            return self.execute(
                "INSERT INTO hold (tenant_id, hold_id, state, created_ms, expires_ms, dispatched, \
                 dimensions, legs, outcome, ended_ms, seq, idempotency_key, digest, metadata) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
                params![
                    self.tenant,
                    id,
                    state,
                    row.created.0,
                    row.expires.0,
                    row.dispatched,
                    rows::dimensions_to_text(&row.dimensions),
                    hold::legs_to_text(&row.parts),
                    outcome,
                    ended_ms,
                    row.seq,
                    row.key.as_ref().map(|(key, _)| key.as_str()),
                    row.key.as_ref().map(|(_, digest)| digest.as_slice()),
                    row.metadata.as_deref(),
                ],
            );
        }
        self.execute(
            "UPDATE hold SET state = ?3, expires_ms = ?4, dispatched = ?5, outcome = ?6, \
             ended_ms = ?7, seq = ?8 WHERE tenant_id = ?1 AND hold_id = ?2",
            params![
                self.tenant,
                id,
                state,
                row.expires.0,
                row.dispatched,
                outcome,
                ended_ms,
                row.seq
            ],
        )?;
        if changes.legs_changed(row.id) {
            self.execute(
                "UPDATE hold SET legs = ?3 WHERE tenant_id = ?1 AND hold_id = ?2",
                params![self.tenant, id, hold::legs_to_text(&row.parts)],
            )?;
        }
        Ok(())
    }

    fn grant(&self, row: Option<&Grant>) -> rusqlite::Result<()> {
        let Some(row) = row else { return Ok(()) };
        self.execute(
            "INSERT INTO \"grant\" (tenant_id, grant_id, meter, amount, used, held, lapsed, \
             priority, expires_ms, expired, created_ms, reason) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
             ON CONFLICT (tenant_id, grant_id) DO UPDATE SET used = excluded.used, \
             held = excluded.held, lapsed = excluded.lapsed, expired = excluded.expired",
            params![
                self.tenant,
                row.id.to_string(),
                row.meter.as_str(),
                row.amount.get(),
                row.used,
                row.held,
                row.lapsed,
                row.priority,
                row.expires.map(|at| at.0),
                row.expired,
                row.created.0,
                row.reason.as_deref(),
            ],
        )
    }

    fn key(&self, key_text: &str, row: Option<&KeyRow>) -> rusqlite::Result<()> {
        let Some(row) = row else { return Ok(()) };
        let (hold, answer) = key::target_to_columns(&row.target);
        self.execute(
            "INSERT OR REPLACE INTO idempotency_key (tenant_id, key, digest, hold_id, answer, \
             created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![self.tenant, key_text, row.digest.as_slice(), hold, answer, row.created.0],
        )
    }

    fn combination(&self, key: &earmark_core::CombinationKey, by: i64) -> rusqlite::Result<()> {
        self.execute(
            "INSERT INTO combination (tenant_id, limit_name, window, in_use) \
             VALUES (?1, ?2, ?3, ?4) ON CONFLICT (tenant_id, limit_name, window) \
             DO UPDATE SET in_use = in_use + excluded.in_use",
            params![self.tenant, key.limit.as_str(), key.window.to_string(), by],
        )
    }

    fn entry(&self, row: &Entry) -> rusqlite::Result<()> {
        self.execute(
            "INSERT INTO entry (tenant_id, seq, line, at_ms, kind, meter, amount, counters, \
             grants, dimensions, hold_id, grant_id, late, overrun, detail, reason, author, \
             metadata) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
             ?16, ?17, ?18)",
            params![
                self.tenant,
                row.id.seq,
                row.id.line,
                row.at.0,
                row.kind.as_str(),
                row.meter.as_ref().map(earmark_core::MeterName::as_str),
                row.amount,
                entry::counters_to_text(&row.counters),
                entry::grants_to_text(&row.grants),
                rows::dimensions_to_text(&row.dimensions),
                row.hold.map(|id| id.to_string()),
                row.grant.map(|id| id.to_string()),
                row.late,
                row.overrun,
                row.detail.as_deref(),
                row.reason.as_deref(),
                row.author.as_deref(),
                row.metadata.as_deref(),
            ],
        )
    }

    fn event(&self, event: &Event) -> rusqlite::Result<()> {
        let threshold = match event.kind {
            EventKind::LimitReached(threshold) => Some(threshold.to_string()),
            EventKind::LimitDenied => None,
        };
        let CounterKey { limit, dimensions, window } = &event.counter;
        self.execute(
            "INSERT OR IGNORE INTO outbox (tenant_id, event_id, at_ms, kind, limit_name, \
             dimensions, window, amount, used, threshold) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                self.tenant,
                event.id(),
                event.at.0,
                event.kind.as_str(),
                limit.as_str(),
                dimensions.as_str(),
                window.to_string(),
                event.amount.get(),
                event.used,
                threshold,
            ],
        )
    }
}
