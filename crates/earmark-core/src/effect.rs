//! Effects: what a decision does, and [`apply`], the one function that does it.
//!
//! The same effects change memory, rows and the simulator. `apply` cannot fail: whatever can
//! go wrong was decided before.

use crate::account::{Account, TenantChange};
use crate::name::{GrantId, HoldId, IdempotencyKey, MeterName};
use crate::rows::{
    Counter, CounterKey, Entry, Event, Fired, Grant, Hold, HoldState, KeyRow, Part, Tenant,
};
use crate::time::TimestampMs;
use crate::window::{CalendarWindows, RollingSpan};

/// One change of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The tenant's row is this, its number and time apart.
    Tenant(Box<Tenant>),
    /// A committed change took this number at this time (R31).
    Numbered {
        /// The number.
        seq: i64,
    },
    /// Calendar windows rolled (R10); takes no number.
    Windows(Box<CalendarWindows>),
    /// A counter changed.
    Counter(CounterChange),
    /// A counter refused (R23).
    Denied {
        /// Which, for a row that is not there yet.
        change: CounterChange,
        /// How often.
        count: i64,
    },
    /// An alert was raised (R34).
    Fired {
        /// Of which counter.
        counter: CounterKey,
        /// Which.
        fired: Fired,
    },
    /// A rolling counter of which nothing counts any more goes.
    ForgetCounter(CounterKey),
    /// A hold was made.
    Hold(Box<Hold>),
    /// A hold lives longer, and perhaps holds more (R15).
    Extended {
        /// Which.
        hold: HoldId,
        /// Its new end.
        expires: TimestampMs,
        /// Whether its call has been sent.
        dispatched: bool,
        /// What it holds more.
        part: Option<Box<Part>>,
        /// The number of the change.
        seq: i64,
    },
    /// An expired hold is open again, with these parts (R15).
    Reopened {
        /// Which.
        hold: HoldId,
        /// Its new end.
        expires: TimestampMs,
        /// Whether its call has been sent.
        dispatched: bool,
        /// What it holds now.
        parts: Vec<Part>,
        /// The number of the change.
        seq: i64,
    },
    /// A clock repair pulled an open hold back: its end, and the slices of its legs (R8).
    PulledBack {
        /// Which.
        hold: HoldId,
        /// Its new end.
        expires: TimestampMs,
        /// What it holds, under slices that are not after now.
        parts: Vec<Part>,
        /// The number of the change.
        seq: i64,
    },
    /// A hold ended.
    Ended {
        /// Which.
        hold: HoldId,
        /// How.
        state: Box<HoldState>,
        /// The number of the change.
        seq: i64,
    },
    /// A grant was given.
    Grant(Box<Grant>),
    /// A grant changed.
    GrantChanged(GrantChange),
    /// An idempotency key answers with this.
    Key {
        /// Which.
        key: IdempotencyKey,
        /// With what.
        row: Box<KeyRow>,
    },
    /// The tenant was erased: of all its rows only its own is left.
    Erased,
    /// The ledger has one entry more.
    Entry(Box<Entry>),
    /// There is something to tell.
    Event(Box<Event>),
}

/// A change of one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterChange {
    /// Which.
    pub key: CounterKey,
    /// What it counts, for a row that is not there yet.
    pub meter: MeterName,
    /// The span of a rolling counter.
    pub rolling: Option<RollingSpan>,
    /// The slice of a rolling counter.
    pub slice: Option<i64>,
    /// By how much `used` changes; never takes it below 0.
    pub used: i64,
    /// By how much `held` changes.
    pub held: i64,
}

/// A change of one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantChange {
    /// Which.
    pub grant: GrantId,
    /// By how much `used` changes.
    pub used: i64,
    /// By how much `held` changes.
    pub held: i64,
    /// By how much `lapsed` changes.
    pub lapsed: i64,
    /// Whether its expiry is entered with this change.
    pub expired: bool,
}

/// Applies one effect of a decision that was taken at `now`.
pub fn apply(account: &mut Account, now: TimestampMs, effect: Effect) {
    match effect {
        Effect::Tenant(tenant) => {
            account.tenant = Some(Some(*tenant));
            account.tenant_change = TenantChange::All;
        }
        Effect::Numbered { seq } => change_tenant(account, TenantChange::Order, |tenant| {
            tenant.seq = seq;
            tenant.last = now;
        }),
        Effect::Windows(windows) => {
            // What time has done, here and where a counter is forgotten, no clock that steps
            // back undoes: it is behind, as after any other change (R8).
            change_tenant(account, TenantChange::All, |tenant| {
                tenant.windows = *windows;
                tenant.last = tenant.last.max(now);
            });
        }
        Effect::Counter(change) => change_counter(account, now, &change, 0),
        Effect::Denied { change, count } => change_counter(account, now, &change, count),
        Effect::Fired { counter, fired } => {
            if let Some(row) = account.counters.change(&counter) {
                // An earlier day can no longer be asked for.
                row.fired.retain(|old| old.alert != fired.alert || old.day == fired.day);
                row.fired.push(fired);
            }
        }
        Effect::ForgetCounter(key) => {
            let in_use = account.counters.get(&key).present().is_some_and(Counter::is_in_use);
            account.counters.remove(&key);
            if in_use && !key.dimensions.is_none() {
                account.count_combination(&key, -1);
            }
            change_tenant(account, TenantChange::Order, |tenant| {
                tenant.last = tenant.last.max(now);
            });
        }
        Effect::Grant(grant) => account.grants.put(grant.id, grant),
        Effect::GrantChanged(change) => {
            if let Some(grant) = account.grants.change(&change.grant) {
                grant.used += change.used;
                grant.held += change.held;
                grant.lapsed += change.lapsed;
                grant.expired |= change.expired;
            }
        }
        Effect::Key { key, row } => account.keys.put(key, row),
        Effect::Erased => account.erase(),
        Effect::Entry(entry) => account.entries.push(*entry),
        Effect::Event(event) => account.events.push(*event),
        hold => apply_to_hold(account, hold),
    }
}

fn apply_to_hold(account: &mut Account, effect: Effect) {
    match effect {
        Effect::Hold(hold) => {
            account.open.insert((hold.expires, hold.id));
            change_tenant(account, TenantChange::Order, |tenant| tenant.open_holds += 1);
            account.holds.put(hold.id, hold);
        }
        Effect::Extended { hold: id, expires, dispatched, part, seq } => {
            if let Some(hold) = account.holds.change(&id) {
                account.open.remove(&(hold.expires, id));
                account.open.insert((expires, id));
                hold.expires = expires;
                hold.dispatched = dispatched;
                hold.seq = seq;
                hold.parts.extend(part.map(|part| *part));
            }
        }
        Effect::Reopened { hold: id, expires, dispatched, parts, seq } => {
            if let Some(hold) = account.holds.change(&id) {
                account.open.insert((expires, id));
                hold.state = HoldState::Open;
                hold.expires = expires;
                hold.dispatched = dispatched;
                hold.seq = seq;
                hold.parts = parts;
            }
            change_tenant(account, TenantChange::Order, |tenant| tenant.open_holds += 1);
        }
        Effect::PulledBack { hold: id, expires, parts, seq } => {
            if let Some(hold) = account.holds.change(&id) {
                account.open.remove(&(hold.expires, id));
                account.open.insert((expires, id));
                hold.expires = expires;
                hold.parts = parts;
                hold.seq = seq;
            }
        }
        Effect::Ended { hold: id, state, seq } => {
            let mut was_open = false;
            if let Some(hold) = account.holds.change(&id) {
                was_open = account.open.remove(&(hold.expires, id));
                hold.state = *state;
                hold.seq = seq;
            }
            if was_open {
                change_tenant(account, TenantChange::Order, |tenant| tenant.open_holds -= 1);
            }
        }
        _ => {}
    }
}

fn change_tenant(account: &mut Account, how_much: TenantChange, change: impl FnOnce(&mut Tenant)) {
    if let Some(Some(tenant)) = &mut account.tenant {
        change(tenant);
        account.tenant_change = account.tenant_change.max(how_much);
    }
}

fn change_counter(account: &mut Account, now: TimestampMs, change: &CounterChange, denied: i64) {
    let create = || Counter::new(change.meter.clone(), change.rolling);
    let counter = account.counters.change_or(&change.key, create);
    let before = counter.is_in_use();
    if change.used != 0 {
        counter.add_used(now, change.slice, change.used);
    }
    counter.held += change.held;
    counter.denied += denied;
    let after = counter.is_in_use();
    if before != after && !change.key.dimensions.is_none() {
        account.count_combination(&change.key, if after { 1 } else { -1 });
    }
}
