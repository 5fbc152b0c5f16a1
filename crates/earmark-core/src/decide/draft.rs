//! A draft: one decision in the making.
//!
//! Rules read the account through the draft, which lays the decision's own changes over it,
//! and record effects; the account itself is only read. A row that is not loaded stops the
//! decision with what it needs.

use crate::account::Account;
use crate::answer::CommandError;
use crate::bounds::AMOUNT_MAX;
use crate::catalog::{Catalog, LimitAmount, Plan};
use crate::denial::Denial;
use crate::effect::{CounterChange, Effect, GrantChange};
use crate::loaded::{Loaded, Need};
use crate::name::{GrantId, HoldId, MeterName};
use crate::rows::{
    Counter, CounterKey, CounterLeg, Entry, EntryId, EntryKind, Grant, Hold, Tenant,
};
use crate::time::TimestampMs;

/// Why a decision ends without effects.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Rows are missing: they are in the draft's `need`.
    Need,
    Denied(Box<Denial>),
    Refused(CommandError),
}

impl From<CommandError> for Stop {
    fn from(error: CommandError) -> Self {
        Self::Refused(error)
    }
}

pub(crate) struct Draft<'a> {
    pub(crate) account: &'a Account,
    pub(crate) catalog: &'a Catalog,
    pub(crate) tenant: &'a Tenant,
    pub(crate) now: TimestampMs,
    pub(crate) need: Need,
    pub(crate) effects: Vec<Effect>,
    counters: Vec<(CounterKey, Counter)>,
    grants: Vec<Grant>,
    line: i64,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        account: &'a Account,
        catalog: &'a Catalog,
        tenant: &'a Tenant,
        now: TimestampMs,
    ) -> Self {
        Self {
            account,
            catalog,
            tenant,
            now,
            need: Need::default(),
            effects: Vec::with_capacity(8),
            counters: Vec::new(),
            grants: Vec::new(),
            line: 0,
        }
    }

    /// The number that this decision's change takes (R31).
    pub(crate) fn seq(&self) -> i64 {
        self.tenant.seq + 1
    }

    /// Makes the decision a change of the tenant's order.
    pub(crate) fn number(&mut self) {
        let seq = self.seq();
        self.effects.push(Effect::Numbered { seq });
    }

    pub(crate) fn plan(&self) -> Option<&'a Plan> {
        self.catalog.plan(&self.tenant.plan).map(|plan| &**plan)
    }

    // ── rows ─────────────────────────────────────────────────────────────────────────────

    /// Asks for counters that are not loaded; follow with [`Draft::stop_if_needed`].
    pub(crate) fn require_counters<'k>(&mut self, keys: impl IntoIterator<Item = &'k CounterKey>) {
        for key in keys {
            if self.account.counter(key) == Loaded::NotLoaded && !self.need.counters.contains(key) {
                self.need.counters.push(key.clone());
            }
        }
    }

    pub(crate) fn require_grants(&mut self, ids: impl IntoIterator<Item = GrantId>) {
        for id in ids {
            if self.account.grant(id) == Loaded::NotLoaded && !self.need.grants.contains(&id) {
                self.need.grants.push(id);
            }
        }
    }

    pub(crate) fn stop_if_needed(&self) -> Result<(), Stop> {
        if self.need.is_empty() { Ok(()) } else { Err(Stop::Need) }
    }

    /// The hold, with the counters and grants of its legs loaded.
    pub(crate) fn hold(&mut self, id: HoldId) -> Result<&'a Hold, Stop> {
        match self.account.hold(id) {
            Loaded::Present(hold) => {
                if hold.is_open() && hold.expires <= self.now {
                    // It is due, and earlier ones are not processed yet (R14).
                    self.need.due = true;
                    return Err(Stop::Need);
                }
                if hold.is_over(self.now) {
                    return Err(CommandError::HoldNotFound(id).into());
                }
                self.require_legs(hold)?;
                Ok(hold)
            }
            Loaded::Absent => Err(CommandError::HoldNotFound(id).into()),
            Loaded::NotLoaded => {
                self.need.holds.push(id);
                Err(Stop::Need)
            }
        }
    }

    pub(crate) fn require_legs(&mut self, hold: &Hold) -> Result<(), Stop> {
        self.require_counters(hold.counter_keys());
        self.require_grants(hold.grant_ids());
        self.stop_if_needed()
    }

    // ── counters ─────────────────────────────────────────────────────────────────────────

    /// (used now, held) of a counter with the draft's changes.
    pub(crate) fn figures(&self, key: &CounterKey) -> (i64, i64) {
        let drafted = self.counters.iter().find(|(have, _)| have == key).map(|(_, row)| row);
        match drafted.or_else(|| self.account.counter(key).present()) {
            Some(counter) => (counter.used_at(self.now), counter.held),
            None => (0, 0),
        }
    }

    /// The counter row with the draft's changes, if there is one.
    pub(crate) fn counter(&self, key: &CounterKey) -> Option<&Counter> {
        let drafted = self.counters.iter().find(|(have, _)| have == key).map(|(_, row)| row);
        drafted.or_else(|| self.account.counter(key).present())
    }

    /// Changes a counter; returns by how much `used` really changed.
    pub(crate) fn change_counter(&mut self, mut change: CounterChange) -> i64 {
        if change.used == 0 && change.held == 0 {
            return 0;
        }
        let place = match self.counters.iter().position(|(have, _)| *have == change.key) {
            Some(place) => place,
            None => {
                let row = self.account.counter(&change.key).present().cloned();
                let new = || Counter::new(change.meter.clone(), change.rolling);
                self.counters.push((change.key.clone(), row.unwrap_or_else(new)));
                self.counters.len() - 1
            }
        };
        let row = &mut self.counters[place].1;
        change.used = row.add_used(self.now, change.slice, change.used);
        row.held += change.held;
        let used = change.used;
        // What a decision does to one counter is one effect: half the work of applying.
        let same = self.effects.iter_mut().rev().find_map(|effect| match effect {
            Effect::Counter(old) if old.slice == change.slice && old.key == change.key => Some(old),
            _ => None,
        });
        match same {
            Some(old) => {
                old.used += change.used;
                old.held += change.held;
            }
            None => self.effects.push(Effect::Counter(change)),
        }
        used
    }

    /// The counters that the draft has changed.
    pub(crate) fn changed_counters(&self) -> &[(CounterKey, Counter)] {
        &self.counters
    }

    /// Refuses the decision when it carries a counter past the top (R1).
    pub(crate) fn check_overflow(&self) -> Result<(), Stop> {
        for (_, counter) in &self.counters {
            if counter.used + counter.held > AMOUNT_MAX || counter.used > AMOUNT_MAX {
                return Err(CommandError::AmountOverflow(counter.meter.clone()).into());
            }
        }
        Ok(())
    }

    /// What a leg's limit allows now: by the current plan and overrides, else what it allowed
    /// when held (R13).
    pub(crate) fn limit_amount(&self, leg: &CounterLeg) -> LimitAmount {
        match self.plan().and_then(|plan| plan.limit(&leg.counter.limit)) {
            Some(limit) => self.tenant.amount_of(&limit.name, limit.amount, self.now),
            None => leg.limit_amount,
        }
    }

    // ── grants ───────────────────────────────────────────────────────────────────────────

    pub(crate) fn grant(&self, id: GrantId) -> Option<&Grant> {
        let drafted = self.grants.iter().find(|grant| grant.id == id);
        drafted.or_else(|| self.account.grant(id).present())
    }

    /// Grants on a meter in the order of use, with the draft's changes.
    pub(crate) fn grants_on(&self, meter: &MeterName) -> Vec<&Grant> {
        let mut grants: Vec<&Grant> = self
            .account
            .grants
            .present()
            .filter(|(_, grant)| grant.meter == *meter)
            .filter_map(|(id, _)| self.grant(*id))
            .collect();
        grants.sort_by_key(|grant| grant.order());
        grants
    }

    pub(crate) fn change_grant(&mut self, change: GrantChange) {
        if !self.grants.iter().any(|grant| grant.id == change.grant) {
            let row = self.account.grant(change.grant).present().cloned();
            self.grants.extend(row);
        }
        if let Some(grant) = self.grants.iter_mut().find(|grant| grant.id == change.grant) {
            grant.used += change.used;
            grant.held += change.held;
            grant.lapsed += change.lapsed;
            grant.expired |= change.expired;
        }
        self.effects.push(Effect::GrantChanged(change));
    }

    /// Lets what has returned to an expired grant lapse, as an entry of its own (R25).
    pub(crate) fn lapse_returned(&mut self, ids: impl IntoIterator<Item = GrantId>) {
        for id in ids {
            let Some(grant) = self.grant(id).filter(|grant| grant.expired && grant.left() > 0)
            else {
                continue;
            };
            let (left, meter) = (grant.left(), grant.meter.clone());
            self.lapse(id, meter, left);
        }
    }

    /// Lapses `left` of a grant and enters it.
    pub(crate) fn lapse(&mut self, id: GrantId, meter: MeterName, left: i64) {
        self.change_grant(GrantChange { grant: id, used: 0, held: 0, lapsed: left, expired: true });
        let entry = self.entry(EntryKind::GrantExpiry);
        self.effects.push(Effect::Entry(Box::new(Entry {
            meter: Some(meter),
            amount: left,
            grant: Some(id),
            ..entry
        })));
    }

    // ── ledger ───────────────────────────────────────────────────────────────────────────

    /// The next entry of this change, to be filled in and pushed.
    pub(crate) fn entry(&mut self, kind: EntryKind) -> Entry {
        let id = EntryId { seq: self.seq(), line: self.line };
        self.line += 1;
        Entry {
            id,
            at: self.now,
            kind,
            meter: None,
            amount: 0,
            counters: Vec::new(),
            grants: Vec::new(),
            dimensions: crate::Dimensions::default(),
            hold: None,
            grant: None,
            late: false,
            overrun: 0,
            detail: None,
            reason: None,
            author: None,
            metadata: None,
        }
    }

    pub(crate) fn push_entry(&mut self, entry: Entry) {
        self.effects.push(Effect::Entry(Box::new(entry)));
    }
}
