//! Loading: what an account still needs, by key.

use earmark_core::bounds::DUE_HOLDS_PER_ROUND;
use earmark_core::{
    Account, CombinationKey, Counter, CounterKey, GrantId, HoldId, IdempotencyKey, KeyTarget,
    Loaded, Need, TimestampMs,
};
use earmark_store::StoreError;
use rusqlite::{Connection, Params, Row};

use crate::error::sqlite;
use crate::rows::{
    Chain, chain_row, columns, counter_figures, counter_row, grant_row, hold_row, key_row, select,
    tenant_row,
};

/// Idle rolling counters looked up in one round.
const IDLE_COUNTERS_PER_ROUND: usize = 1_000;

/// Loads what `need` names and the account does not have.
pub(crate) fn load(
    connection: &Connection,
    account: &mut Account,
    chain: &mut Chain,
    need: &Need,
    now: TimestampMs,
) -> Result<(), StoreError> {
    let loader = Loader { connection };
    if need.tenant && !loader.tenant(account, chain)? {
        return Ok(());
    }
    let now = account.due_time(now);
    for key in &need.keys {
        loader.key(account, key)?;
    }
    for id in &need.holds {
        loader.hold(account, *id)?;
    }
    if need.due {
        loader.due(account, now)?;
    }
    for key in &need.counters {
        loader.counter(account, key)?;
    }
    for id in &need.grants {
        loader.grant(account, *id)?;
    }
    for key in &need.combinations {
        loader.combination(account, key)?;
    }
    if need.idle_counters {
        loader.idle_counters(account, now)?;
    }
    if need.all_counters {
        loader.all_counters(account)?;
    }
    if need.all_open_holds {
        loader.all_open_holds(account)?;
    }
    Ok(())
}

struct Loader<'c> {
    connection: &'c Connection,
}

impl Loader<'_> {
    /// Every row that `sql` finds.
    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        select(self.connection, sql, params, read)
    }

    fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.rows(sql, params, read)?.pop())
    }

    /// The tenant's row and its live grants; `false` when there is no such tenant.
    fn tenant(&self, account: &mut Account, chain: &mut Chain) -> Result<bool, StoreError> {
        let is_known = match account.tenant() {
            Loaded::Present(_) => account.knows_live_grants(),
            Loaded::Absent => return Ok(false),
            Loaded::NotLoaded => false,
        };
        if is_known {
            return Ok(true);
        }
        let id = account.id.clone();
        let sql = concat!(
            "SELECT ",
            columns!(tenant),
            ", last_entry, last_hold FROM tenant JOIN tenant_order USING (tenant_id) \
             WHERE tenant_id = ?1"
        );
        let found =
            self.row(sql, [id.as_str()], |row| Ok((tenant_row(row, 0)?, chain_row(row, 11)?)))?;
        let tenant = found.map(|(tenant, end)| {
            *chain = end;
            tenant
        });
        let is_there = tenant.is_some();
        account.offer_tenant(tenant);
        if is_there {
            let sql = concat!(
                "SELECT ",
                columns!(grant),
                " FROM \"grant\" WHERE tenant_id = ?1 AND expired = 0 AND amount > used",
            );
            for grant in self.rows(sql, [id.as_str()], grant_row)? {
                account.offer_grant(grant.id, Some(grant));
            }
            account.offered_live_grants();
        }
        Ok(is_there)
    }

    fn counter(&self, account: &mut Account, key: &CounterKey) -> Result<(), StoreError> {
        if account.counter(key) != Loaded::NotLoaded {
            return Ok(());
        }
        let window = key.window.to_string();
        let params =
            [account.id.as_str(), key.limit.as_str(), key.dimensions.as_str(), window.as_str()];
        let sql = "SELECT meter, used, held, denied, rolling_minutes, slices, fired FROM counter \
                   WHERE tenant_id = ?1 AND limit_name = ?2 AND dimensions = ?3 AND window = ?4";
        let counter: Option<Counter> = self.row(sql, params, |row| counter_figures(row, 0))?;
        account.offer_counter(key.clone(), counter);
        Ok(())
    }

    fn grant(&self, account: &mut Account, id: GrantId) -> Result<(), StoreError> {
        if account.grant(id) != Loaded::NotLoaded {
            return Ok(());
        }
        let sql = concat!(
            "SELECT ",
            columns!(grant),
            " FROM \"grant\" WHERE tenant_id = ?1 AND grant_id = ?2",
        );
        let grant = self.row(sql, [account.id.as_str(), &id.to_string()], grant_row)?;
        account.offer_grant(id, grant);
        Ok(())
    }

    /// A hold with the counters and grants that its legs name.
    fn hold(&self, account: &mut Account, id: HoldId) -> Result<(), StoreError> {
        if account.hold(id) == Loaded::NotLoaded {
            let sql = concat!(
                "SELECT ",
                columns!(hold),
                " FROM hold WHERE tenant_id = ?1 AND hold_id = ?2"
            );
            let hold = self.row(sql, [account.id.as_str(), &id.to_string()], hold_row)?;
            account.offer_hold(id, hold);
        }
        self.legs(account, &[id])
    }

    fn legs(&self, account: &mut Account, ids: &[HoldId]) -> Result<(), StoreError> {
        for id in ids {
            let Loaded::Present(hold) = account.hold(*id) else { continue };
            let missing = |key: &&CounterKey| account.counter(key) == Loaded::NotLoaded;
            let counters: Vec<_> = hold.counter_keys().filter(missing).cloned().collect();
            let grants: Vec<_> =
                hold.grant_ids().filter(|id| account.grant(*id) == Loaded::NotLoaded).collect();
            for key in &counters {
                self.counter(account, key)?;
            }
            for id in grants {
                self.grant(account, id)?;
            }
        }
        Ok(())
    }

    fn key(&self, account: &mut Account, key: &IdempotencyKey) -> Result<(), StoreError> {
        if account.key(key) == Loaded::NotLoaded {
            let sql = concat!(
                "SELECT ",
                columns!(key),
                " FROM idempotency_key WHERE tenant_id = ?1 AND key = ?2",
            );
            let row = self.row(sql, [account.id.as_str(), key.as_str()], key_row)?;
            account.offer_key(key.clone(), row);
        }
        if let Loaded::Present(row) = account.key(key)
            && let KeyTarget::Hold(id) = row.target
        {
            self.hold(account, id)?;
        }
        Ok(())
    }

    /// The next due holds in order of (expiry, id); when there are no more, up to when none
    /// will be due, so that a kept account need not ask again before.
    fn due(&self, account: &mut Account, now: TimestampMs) -> Result<(), StoreError> {
        let (after, after_id) = account.due_through();
        if after > now {
            return Ok(());
        }
        if account.tenant().present().is_some_and(|tenant| tenant.open_holds == 0) {
            account.offered_due_through((TimestampMs::MAX, HoldId::MAX));
            return Ok(());
        }
        let sql = concat!(
            "SELECT ",
            columns!(hold),
            " FROM hold WHERE tenant_id = ?1 AND state = 'open' \
             AND (expires_ms, hold_id) > (?2, ?3) AND expires_ms <= ?4 \
             ORDER BY expires_ms, hold_id LIMIT ?5",
        );
        let id = account.id.clone();
        let page = i64::try_from(DUE_HOLDS_PER_ROUND).unwrap_or(i64::MAX);
        let params = rusqlite::params![id.as_str(), after.0, after_id.to_string(), now.0, page];
        let holds = self.rows(sql, params, hold_row)?;
        let last = holds.last().map(|hold| (hold.expires, hold.id));
        let is_full = holds.len() == DUE_HOLDS_PER_ROUND;
        let ids: Vec<_> = holds.iter().map(|hold| hold.id).collect();
        for hold in holds {
            account.offer_hold(hold.id, Some(hold));
        }
        self.legs(account, &ids)?;
        let through = match last {
            Some(last) if is_full => last,
            _ => (self.none_due_before(account, now)?, HoldId::MAX),
        };
        account.offered_due_through(through);
        Ok(())
    }

    /// The last instant at which no hold beyond those of `now` is due.
    fn none_due_before(
        &self,
        account: &Account,
        now: TimestampMs,
    ) -> Result<TimestampMs, StoreError> {
        let sql = "SELECT expires_ms FROM hold WHERE tenant_id = ?1 AND state = 'open' \
                   AND expires_ms > ?2 ORDER BY expires_ms LIMIT 1";
        let next = self.row(sql, rusqlite::params![account.id.as_str(), now.0], |row| {
            row.get::<_, i64>(0).map_err(sqlite)
        })?;
        Ok(next.map_or(TimestampMs::MAX, |next| TimestampMs(next - 1)))
    }

    fn combination(&self, account: &mut Account, key: &CombinationKey) -> Result<(), StoreError> {
        let sql = "SELECT in_use FROM combination \
                   WHERE tenant_id = ?1 AND limit_name = ?2 AND window = ?3";
        let window = key.window.to_string();
        let in_use = self.row(sql, [account.id.as_str(), key.limit.as_str(), &window], |row| {
            row.get::<_, i64>(0).map_err(sqlite)
        })?;
        account.offer_combination(key.clone(), in_use.unwrap_or(0));
        Ok(())
    }

    fn idle_counters(&self, account: &mut Account, now: TimestampMs) -> Result<(), StoreError> {
        let sql = concat!(
            "SELECT ",
            columns!(counter),
            " FROM counter WHERE tenant_id = ?1 AND idle_ms <= ?2 AND idle_ms IS NOT NULL \
             AND dimensions <> '' ORDER BY idle_ms LIMIT ?3",
        );
        let id = account.id.clone();
        let page = i64::try_from(IDLE_COUNTERS_PER_ROUND).unwrap_or(i64::MAX);
        let params = rusqlite::params![id.as_str(), now.0, page];
        for (key, counter) in self.rows(sql, params, counter_row)? {
            account.offer_counter(key, Some(counter));
        }
        account.offered_idle_counters();
        Ok(())
    }

    fn all_counters(&self, account: &mut Account) -> Result<(), StoreError> {
        let sql = concat!("SELECT ", columns!(counter), " FROM counter WHERE tenant_id = ?1");
        let id = account.id.clone();
        for (key, counter) in self.rows(sql, [id.as_str()], counter_row)? {
            account.offer_counter(key, Some(counter));
        }
        account.offered_all_counters();
        Ok(())
    }

    fn all_open_holds(&self, account: &mut Account) -> Result<(), StoreError> {
        let sql = concat!(
            "SELECT ",
            columns!(hold),
            " FROM hold WHERE tenant_id = ?1 AND state = 'open'"
        );
        let id = account.id.clone();
        let holds = self.rows(sql, [id.as_str()], hold_row)?;
        let ids: Vec<_> = holds.iter().map(|hold| hold.id).collect();
        for hold in holds {
            account.offer_hold(hold.id, Some(hold));
        }
        self.legs(account, &ids)?;
        account.offered_all_open_holds();
        Ok(())
    }
}
