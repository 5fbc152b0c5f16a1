//! Saving: final row states of a batch, by key, in one transaction.

use earmark_core::{
    Changes, Counter, CounterKey, Entry, Event, EventKind, Grant, Hold, HoldId, KeyRow, RowChange,
    Tenant, TenantChange,
};
use earmark_store::records::HoldStateFilter;
use earmark_store::rows::{self, counter, entry, hold, key, tenant};
use rusqlite::{CachedStatement, Connection, params};

use crate::cache::Kept;
use crate::rows::Chain;

/// Writes what has changed in a batch's accounts.
pub(crate) fn save(connection: &Connection, accounts: &mut [Kept]) -> rusqlite::Result<()> {
    let mut statements = Statements::default();
    for Kept { account, chain } in accounts {
        let Some(changes) = account.changes() else { continue };
        let tenant = account.id.as_str();
        let mut saver = Saver { connection, statements: &mut statements, tenant, chain };
        saver.account(&changes)?;
    }
    Ok(())
}

/// The statements that every batch uses many times, each looked up once a batch.
#[derive(Default)]
struct Statements<'c> {
    order: Option<CachedStatement<'c>>,
    counter: Option<CachedStatement<'c>>,
    new_hold: Option<CachedStatement<'c>>,
    hold: Option<CachedStatement<'c>>,
    entry: Option<CachedStatement<'c>>,
}

/// Executes a statement, preparing it the first time.
fn execute<'c>(
    connection: &'c Connection,
    slot: &mut Option<CachedStatement<'c>>,
    sql: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<()> {
    let statement = match slot {
        Some(statement) => statement,
        None => slot.insert(connection.prepare_cached(sql)?),
    };
    statement.execute(params).map(|_| ())
}

struct Saver<'s, 'c> {
    connection: &'c Connection,
    statements: &'s mut Statements<'c>,
    tenant: &'s str,
    chain: &'s mut Chain,
}

impl Saver<'_, '_> {
    fn account(&mut self, changes: &Changes<'_>) -> rusqlite::Result<()> {
        for change in changes.counters() {
            self.counter(&change)?;
        }
        for change in changes.holds() {
            self.hold(&change, changes)?;
        }
        for change in changes.grants() {
            self.grant(change.row)?;
        }
        for change in changes.keys() {
            self.key(change.key.as_str(), change.row)?;
        }
        for (key, by) in changes.combinations() {
            self.combination(key, by)?;
        }
        for entry in changes.entries() {
            self.entry(entry)?;
        }
        for event in changes.events() {
            self.event(event)?;
        }
        // Last, since it names the newest entry and hold.
        match changes.tenant {
            Some((row, how_much, is_stored)) => self.tenant(row, how_much, is_stored),
            None => self.chain(),
        }
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute(params).map(|_| ())
    }

    /// The newest entry and hold of a tenant whose row has not changed.
    fn chain(&self) -> rusqlite::Result<()> {
        self.execute(
            "UPDATE tenant_order SET last_entry = ?2, last_hold = ?3 WHERE tenant_id = ?1",
            params![self.tenant, self.chain.last_entry, self.chain.last_hold],
        )
    }

    fn tenant(
        &mut self,
        row: &Tenant,
        how_much: TenantChange,
        is_stored: bool,
    ) -> rusqlite::Result<()> {
        let params = params![
            self.tenant,
            row.seq,
            row.last.0,
            row.open_holds,
            self.chain.last_entry,
            self.chain.last_hold
        ];
        if is_stored {
            let sql = "UPDATE tenant_order SET seq = ?2, last_ms = ?3, open_holds = ?4, \
                       last_entry = ?5, last_hold = ?6 WHERE tenant_id = ?1";
            execute(self.connection, &mut self.statements.order, sql, params)?;
        } else {
            let sql = "INSERT INTO tenant_order (tenant_id, seq, last_ms, open_holds, last_entry, \
                       last_hold) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            self.execute(sql, params)?;
        }
        if how_much != TenantChange::All {
            return Ok(());
        }
        self.execute(
            "INSERT OR REPLACE INTO tenant (tenant_id, plan, status, time_zone, anchor, windows, \
             created_ms, overrides, metadata) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                self.tenant,
                row.plan.as_str(),
                row.status.as_str(),
                row.calendar.zone.name(),
                row.calendar.anchor.map(|day| day.to_string()),
                tenant::windows_to_text(&row.windows),
                row.created.0,
                tenant::overrides_to_text(&row.overrides),
                row.metadata.as_deref(),
            ],
        )
    }

    fn counter(&mut self, change: &RowChange<'_, CounterKey, Counter>) -> rusqlite::Result<()> {
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
            return execute(
                self.connection,
                &mut self.statements.counter,
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
        &mut self,
        change: &RowChange<'_, HoldId, Hold>,
        changes: &Changes<'_>,
    ) -> rusqlite::Result<()> {
        let Some(row) = change.row else { return Ok(()) };
        let id = row.id.to_string();
        let state = HoldStateFilter::of(row).as_str();
        let ended_ms = row.ended().unwrap_or(row.expires).0;
        let outcome = hold::outcome_to_text(&row.state, &row.parts);
        if !change.stored {
            return self.new_hold(row, &id, outcome);
        }
        execute(
            self.connection,
            &mut self.statements.hold,
            "UPDATE hold SET state = ?3, expires_ms = ?4, ended_ms = ?5, dispatched = ?6, \
             outcome = ?7, seq = ?8 WHERE hold_id = ?2 AND tenant_id = ?1",
            params![
                self.tenant,
                id,
                state,
                row.expires.0,
                ended_ms,
                row.dispatched,
                outcome,
                row.seq
            ],
        )?;
        if changes.legs_changed(row.id) {
            self.execute(
                "UPDATE hold SET legs = ?3 WHERE hold_id = ?2 AND tenant_id = ?1",
                params![self.tenant, id, hold::legs_to_text(&row.parts)],
            )?;
        }
        Ok(())
    }

    fn new_hold(&mut self, row: &Hold, id: &str, outcome: Option<String>) -> rusqlite::Result<()> {
        let previous = std::mem::replace(&mut self.chain.last_hold, id.to_owned());
        execute(
            self.connection,
            &mut self.statements.new_hold,
            "INSERT INTO hold (tenant_id, hold_id, state, created_ms, expires_ms, ended_ms, \
             dispatched, dimensions, legs, outcome, seq, previous, idempotency_key, digest, \
             metadata) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            params![
                self.tenant,
                id,
                HoldStateFilter::of(row).as_str(),
                row.created.0,
                row.expires.0,
                row.ended().unwrap_or(row.expires).0,
                row.dispatched,
                rows::dimensions_to_text(&row.dimensions),
                hold::legs_to_text(&row.parts),
                outcome,
                row.seq,
                previous,
                row.key.as_ref().map(|(key, _)| key.as_str()),
                row.key.as_ref().map(|(_, digest)| digest.as_slice()),
                row.metadata.as_deref(),
            ],
        )
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

    fn entry(&mut self, row: &Entry) -> rusqlite::Result<()> {
        execute(
            self.connection,
            &mut self.statements.entry,
            "INSERT INTO entry (tenant_id, seq, line, previous, at_ms, kind, meter, amount, \
             counters, grants, dimensions, hold_id, grant_id, late, overrun, detail, reason, \
             author, metadata) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, \
             ?14, ?15, ?16, ?17, ?18, ?19)",
            params![
                self.tenant,
                row.id.seq,
                row.id.line,
                self.chain.last_entry,
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
        )?;
        self.chain.last_entry = self.connection.last_insert_rowid();
        Ok(())
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
