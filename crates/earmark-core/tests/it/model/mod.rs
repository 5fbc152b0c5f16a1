//! A second reading of the rules: slow, obvious, written from `docs/rules.md` alone.
//!
//! It keeps everything that ever happened and adds it up anew for each question: what a
//! counter has used is the sum of its history, what is held is the sum over open holds.
//! Always holds: it shares data types with the core, and no rule.

mod admit;
mod calendar;
mod control;
mod ending;
mod execute;
mod keys;

use std::collections::{BTreeMap, BTreeSet};

use earmark_core::{
    CalendarKind, CounterKey, DenialCode, DimensionKey, Dimensions, GrantId, HoldId,
    IdempotencyKey, LimitName, LimitSpec, MeterName, Mode, Operation, Override, PlanName,
    TenantCalendar, TimestampMs, Window, WindowLabel,
};

use crate::book::Book;
use calendar::{Days, InProgress};
pub(crate) use execute::{Expected, Outcome};

/// Amounts of meters.
pub(crate) type Amounts = Vec<(MeterName, i64)>;

/// One change of what is used, under the instant at which its part was held.
#[derive(Debug, Clone)]
struct Use {
    counter: CounterKey,
    span_min: Option<i64>,
    held_ms: i64,
    delta: i64,
}

/// The tenant.
#[derive(Debug, Clone)]
pub(crate) struct TenantState {
    pub(crate) plan: PlanName,
    pub(crate) suspended: bool,
    pub(crate) calendar: TenantCalendar,
    pub(crate) overrides: Vec<Override>,
    pub(crate) seq: i64,
    pub(crate) last_ms: i64,
    windows: [InProgress; 4],
}

/// Where a hold stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Settled { charged: Amounts, returned: Amounts, overrun: Amounts, late: bool, at_ms: i64 },
    Released { charged: Amounts, returned: Amounts, late: bool, at_ms: i64 },
    Expired { at_ms: i64 },
}

/// A hold.
#[derive(Debug, Clone)]
pub(crate) struct HoldState {
    pub(crate) id: HoldId,
    pub(crate) state: State,
    pub(crate) created_ms: i64,
    pub(crate) expires_ms: i64,
    pub(crate) dispatched: bool,
    /// Number of the change that last touched it.
    pub(crate) seq: i64,
    dimensions: Dimensions,
    parts: Vec<Part>,
    /// What expiry charged, to be taken back by whatever comes later.
    expiry: Vec<Charge>,
    key: Option<(IdempotencyKey, Operation)>,
}

/// What one hold or one extension added on one meter.
#[derive(Debug, Clone)]
struct Part {
    held_ms: i64,
    meter: MeterName,
    amount: i64,
    plan_part: i64,
    refund: bool,
    charge_on_expiry: bool,
    counters: Vec<Leg>,
    grants: Vec<(GrantId, i64)>,
}

#[derive(Debug, Clone)]
struct Leg {
    counter: CounterKey,
    window: Window,
    amount: i64,
    grantable: bool,
    limit_amount: Option<i64>,
}

/// What was really charged on counters and grants.
#[derive(Debug, Clone, Default)]
struct Charge {
    counters: Vec<Use>,
    grants: Vec<(GrantId, i64)>,
}

/// A grant.
#[derive(Debug, Clone)]
struct GrantState {
    id: GrantId,
    meter: MeterName,
    amount: i64,
    priority: i32,
    expires_ms: Option<i64>,
    created_ms: i64,
    expiry_entered: bool,
}

/// What a key answers with.
#[derive(Debug, Clone)]
enum KeyState {
    Hold(HoldId),
    Answer(Operation, Box<Outcome>, i64),
}

/// Why a hold may be denied; any of several is right where the rules do not choose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reason {
    pub(crate) code: DenialCode,
    pub(crate) meter: Option<MeterName>,
    pub(crate) limit: Option<LimitName>,
}

/// The whole history of one tenant.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) book: Book,
    pub(crate) tenant: Option<TenantState>,
    pub(crate) holds: BTreeMap<HoldId, HoldState>,
    uses: Vec<Use>,
    grants: BTreeMap<GrantId, GrantState>,
    grant_uses: Vec<(GrantId, i64)>,
    lapses: Vec<(GrantId, i64)>,
    keys: BTreeMap<IdempotencyKey, KeyState>,
}

/// Whether what was held at `held_ms` still counts in a rolling window at `now_ms`: not once
/// all of its sixtieth of the span is outside (R11).
fn is_inside(span_min: i64, held_ms: i64, now_ms: i64) -> bool {
    let span_ms = span_min * 60_000;
    let slice_ms = span_ms / 60;
    let slice_end_ms = (held_ms.div_euclid(slice_ms) + 1) * slice_ms;
    slice_end_ms + span_ms > now_ms
}

fn span_min(window: Window) -> Option<i64> {
    match window {
        Window::Rolling(span) => Some(i64::from(span.minutes())),
        _ => None,
    }
}

impl Use {
    fn counts(&self, now_ms: i64) -> bool {
        self.span_min.is_none_or(|span| is_inside(span, self.held_ms, now_ms))
    }
}

impl HoldState {
    fn is_open(&self) -> bool {
        self.state == State::Open
    }

    fn keeps_key(&self) -> bool {
        matches!(self.state, State::Open | State::Settled { .. })
    }

    /// What it holds of each meter, over all parts.
    pub(crate) fn amounts(&self) -> Amounts {
        let mut amounts: Amounts = Vec::new();
        for part in &self.parts {
            match amounts.iter_mut().find(|(meter, _)| *meter == part.meter) {
                Some((_, sum)) => *sum += part.amount,
                None => amounts.push((part.meter.clone(), part.amount)),
            }
        }
        amounts
    }
}

impl Model {
    pub(crate) fn new(book: Book) -> Self {
        Self {
            book,
            tenant: None,
            holds: BTreeMap::new(),
            uses: Vec::new(),
            grants: BTreeMap::new(),
            grant_uses: Vec::new(),
            lapses: Vec::new(),
            keys: BTreeMap::new(),
        }
    }

    fn of_tenant(&self) -> &TenantState {
        self.tenant.as_ref().unwrap()
    }

    pub(crate) fn seq(&self) -> i64 {
        self.tenant.as_ref().map_or(0, |tenant| tenant.seq)
    }

    // ── sums ─────────────────────────────────────────────────────────────────────────────

    /// What counts as used.
    pub(crate) fn used(&self, counter: &CounterKey, now_ms: i64) -> i64 {
        let counts = |u: &&Use| u.counter == *counter && u.counts(now_ms);
        self.uses.iter().filter(counts).map(|u| u.delta).sum()
    }

    /// What open holds have set aside.
    pub(crate) fn held(&self, counter: &CounterKey) -> i64 {
        self.open_parts()
            .flat_map(|part| &part.counters)
            .filter(|leg| leg.counter == *counter)
            .map(|leg| leg.amount)
            .sum()
    }

    fn open_parts(&self) -> impl Iterator<Item = &Part> {
        self.holds.values().filter(|hold| hold.is_open()).flat_map(|hold| &hold.parts)
    }

    pub(crate) fn grant_used(&self, grant: GrantId) -> i64 {
        self.grant_uses.iter().filter(|(id, _)| *id == grant).map(|(_, delta)| delta).sum()
    }

    pub(crate) fn grant_held(&self, grant: GrantId) -> i64 {
        let legs = self.open_parts().flat_map(|part| &part.grants);
        legs.filter(|(id, _)| *id == grant).map(|(_, amount)| amount).sum()
    }

    pub(crate) fn grant_lapsed(&self, grant: GrantId) -> i64 {
        self.lapses.iter().filter(|(id, _)| *id == grant).map(|(_, amount)| amount).sum()
    }

    pub(crate) fn grant_ids(&self) -> Vec<GrantId> {
        self.grants.keys().copied().collect()
    }

    fn left(&self, grant: &GrantState) -> i64 {
        let gone = self.grant_used(grant.id) + self.grant_held(grant.id);
        grant.amount - gone - self.grant_lapsed(grant.id)
    }

    fn is_over(&self, grant: &GrantState, now_ms: i64) -> bool {
        grant.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }

    /// The unexpired grants of a meter, lowest priority number, earliest expiry, oldest
    /// first (R24).
    fn live_grants(&self, meter: &MeterName, now_ms: i64) -> Vec<&GrantState> {
        let mut grants: Vec<_> = self
            .grants
            .values()
            .filter(|grant| grant.meter == *meter && !self.is_over(grant, now_ms))
            .collect();
        grants.sort_by_key(|grant| {
            (grant.priority, grant.expires_ms.unwrap_or(i64::MAX), grant.created_ms, grant.id)
        });
        grants
    }

    /// What unexpired grants have left for a meter.
    pub(crate) fn granted(&self, meter: &MeterName, now_ms: i64) -> i64 {
        self.live_grants(meter, now_ms).into_iter().map(|grant| self.left(grant)).sum()
    }

    /// What they would have left if nothing were held.
    fn granted_without_holds(&self, meter: &MeterName, now_ms: i64) -> i64 {
        let grants = self.live_grants(meter, now_ms).into_iter();
        grants.map(|grant| self.left(grant) + self.grant_held(grant.id)).sum()
    }

    /// Values of `per` of a limit in use in a window (R3).
    fn values_in_use(&self, counter: &CounterKey, now_ms: i64) -> BTreeSet<DimensionKey> {
        let used = self.uses.iter().map(|u| &u.counter);
        let held = self.open_parts().flat_map(|part| &part.counters).map(|leg| &leg.counter);
        used.chain(held)
            .filter(|key| key.limit == counter.limit && key.window == counter.window)
            .filter(|key| self.used(key, now_ms) > 0 || self.held(key) > 0)
            .map(|key| key.dimensions.clone())
            .collect()
    }

    /// Every counter that was ever touched.
    pub(crate) fn counters(&self) -> BTreeSet<CounterKey> {
        let used = self.uses.iter().map(|u| &u.counter);
        let parts = self.holds.values().flat_map(|hold| &hold.parts);
        let held = parts.flat_map(|part| &part.counters).map(|leg| &leg.counter);
        used.chain(held).cloned().collect()
    }

    // ── plan, limits, windows ────────────────────────────────────────────────────────────

    fn limits(&self) -> &[LimitSpec] {
        &self.book.plans[&self.of_tenant().plan].limits
    }

    /// The limits of the plan on a meter whose `where` matches.
    fn limits_for(&self, meter: &MeterName, dimensions: &Dimensions) -> Vec<&LimitSpec> {
        let matches = |limit: &&LimitSpec| {
            limit
                .filter
                .iter()
                .all(|(name, globs)| globs.iter().any(|glob| glob.matches(dimensions.value(name))))
        };
        self.limits().iter().filter(|limit| limit.meter == *meter).filter(matches).collect()
    }

    /// What a limit of the current plan allows, overrides included (R7).
    pub(crate) fn limit_amount(&self, limit: &LimitSpec, now_ms: i64) -> Option<i64> {
        let name = limit.name.as_ref().unwrap();
        let applies =
            |o: &&Override| o.limit == *name && o.until.is_none_or(|until| now_ms < until.0);
        let amount = match self.of_tenant().overrides.iter().find(applies) {
            Some(o) => o.amount,
            None => limit.amount,
        };
        amount.map(|amount| amount.get())
    }

    /// What a leg's limit allows now: by the current plan, or as held if the limit has left
    /// the plan (R13).
    fn amount_of_leg(&self, leg: &Leg, now_ms: i64) -> Option<i64> {
        let same = |limit: &&LimitSpec| limit.name.as_ref() == Some(&leg.counter.limit);
        match self.limits().iter().find(same) {
            Some(limit) => self.limit_amount(limit, now_ms),
            None => leg.limit_amount,
        }
    }

    /// The calendar windows in progress, brought up to now.
    fn windows_at(&self, now_ms: i64) -> [InProgress; 4] {
        let tenant = self.of_tenant();
        let days = Days::of(&tenant.calendar);
        let mut windows = tenant.windows;
        for (window, kind) in windows.iter_mut().zip(CalendarKind::ALL) {
            *window = days.at(kind, *window, now_ms);
        }
        windows
    }

    /// Label and end of each calendar window in progress.
    pub(crate) fn windows(&self, now_ms: i64) -> Vec<(CalendarKind, WindowLabel, i64)> {
        let windows = CalendarKind::ALL.into_iter().zip(self.windows_at(now_ms));
        windows.map(|(kind, window)| (kind, window.label(), window.end_ms)).collect()
    }

    fn in_progress(&self, kind: CalendarKind, now_ms: i64) -> InProgress {
        let windows = CalendarKind::ALL.into_iter().zip(self.windows_at(now_ms));
        windows.filter(|(of, _)| *of == kind).map(|(_, window)| window).next().unwrap()
    }

    /// The counter of a limit in the window that runs now.
    pub(crate) fn counter(
        &self,
        limit: &LimitSpec,
        dimensions: &Dimensions,
        now_ms: i64,
    ) -> CounterKey {
        let window = match limit.window {
            Window::Minute => WindowLabel::Minute(now_ms.div_euclid(60_000)),
            Window::Hour => WindowLabel::Hour(now_ms.div_euclid(3_600_000)),
            Window::Calendar(kind) => self.in_progress(kind, now_ms).label(),
            Window::Lifetime => WindowLabel::Lifetime,
            Window::Rolling(_) => WindowLabel::Rolling,
            Window::InFlight => WindowLabel::InFlight,
        };
        let limit_name = limit.name.clone().unwrap();
        let dimensions = DimensionKey::of(&limit.per, dimensions);
        CounterKey { limit: limit_name, dimensions, window }
    }

    /// Hard, without `per`, a day or longer, unless the limit says; never soft, observe or
    /// in flight (R24).
    pub(crate) fn is_grantable(limit: &LimitSpec) -> bool {
        let long = match limit.window {
            Window::Calendar(_) | Window::Lifetime => true,
            Window::Rolling(span) => span.minutes() >= 24 * 60,
            Window::Minute | Window::Hour | Window::InFlight => false,
        };
        let hard = matches!(limit.mode, None | Some(Mode::Hard));
        let possible = hard && limit.window != Window::InFlight;
        possible && limit.grantable.unwrap_or(long && limit.per.is_empty())
    }

    /// A window that rolls takes no number (R31), yet no clock takes it back (R8).
    fn roll_windows(&mut self, now_ms: i64) {
        let windows = self.windows_at(now_ms);
        let tenant = self.tenant.as_mut().unwrap();
        if windows != tenant.windows {
            (tenant.windows, tenant.last_ms) = (windows, tenant.last_ms.max(now_ms));
        }
    }

    // ── order ────────────────────────────────────────────────────────────────────────────

    /// One committed change: its number and its time (R31).
    fn commit(&mut self, now_ms: i64) {
        let tenant = self.tenant.as_mut().unwrap();
        tenant.seq += 1;
        tenant.last_ms = now_ms;
    }

    /// One committed change of a hold.
    fn commit_hold(&mut self, id: HoldId, now_ms: i64) {
        self.lapse_returns();
        self.commit(now_ms);
        let seq = self.seq();
        self.holds.get_mut(&id).unwrap().seq = seq;
    }

    /// What returned to expired grants lapses (R25). One that was used up at its expiry has
    /// not been entered as expired and now is due.
    fn lapse_returns(&mut self) {
        for id in self.grant_ids() {
            let grant = &self.grants[&id];
            let left = self.left(grant);
            if grant.expiry_entered && left > 0 {
                self.lapses.push((id, left));
            }
        }
    }

    /// Due grants and holds in order of time, grants first; each is a change with its own
    /// number (R14).
    fn process_due(&mut self, now_ms: i64) {
        loop {
            // A grant that is used up has nothing that could lapse.
            let due_grant = self
                .grants
                .values()
                .filter(|grant| !grant.expiry_entered && self.is_over(grant, now_ms))
                .filter(|grant| self.grant_used(grant.id) < grant.amount)
                .map(|grant| (grant.expires_ms.unwrap(), grant.id))
                .min();
            let due_hold = self
                .holds
                .values()
                .filter(|hold| hold.is_open() && hold.expires_ms <= now_ms)
                .map(|hold| (hold.expires_ms, hold.id))
                .min();
            match (due_grant, due_hold) {
                (Some((grant_ms, grant)), hold)
                    if hold.is_none_or(|(hold_ms, _)| grant_ms <= hold_ms) =>
                {
                    self.expire_grant(grant, now_ms);
                }
                (_, Some((_, hold))) => self.expire(hold, now_ms),
                (_, None) => return,
            }
        }
    }

    fn expire_grant(&mut self, id: GrantId, now_ms: i64) {
        let left = self.left(&self.grants[&id]);
        self.lapses.push((id, left));
        if let Some(grant) = self.grants.get_mut(&id) {
            grant.expiry_entered = true;
        }
        self.commit(now_ms);
    }

    fn hold(&self, id: HoldId) -> Option<&HoldState> {
        self.holds.get(&id)
    }

    fn now(&self, clock: TimestampMs) -> i64 {
        self.tenant.as_ref().map_or(clock.0, |tenant| tenant.last_ms.max(clock.0))
    }
}
