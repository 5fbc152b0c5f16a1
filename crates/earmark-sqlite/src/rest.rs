//! Resting accounts: what is kept of a tenant that was not used for a while, in a tenth of the
//! memory of its account.
//!
//! Always holds: what rests is as the tables have it, and says nothing of rows that it does not
//! name. Whatever is missing is loaded by key, as ever.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use earmark_core::{
    Account, Counter, CounterKey, DimensionKey, Fired, HoldId, LimitName, MeterName, RollingSpan,
    Slices, Tenant, TenantId, TimestampMs, WindowLabel,
};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use crate::cache::{Bytes, Kept};
use crate::rows::Chain;

/// An account with more counters than so many does not rest: most of them will not be asked for,
/// and those that will are loaded by key.
const COUNTERS_MAX: usize = 16;

/// Frames and subjects that are shared; beyond, sharing begins anew.
const SHARED_MAX: usize = 10_000;

/// Where there is none.
const NO_HOLD: HoldId = HoldId(0);

/// Memory of a resting tenant with its id and place in the cache, and of each of its counters.
const RESTING_BYTES: usize = size_of::<Resting>() + 96;
const COUNTER_BYTES: usize = size_of::<RestingCounter>();
/// Of a counter that has slices or alerts.
const MORE_BYTES: usize = 200;

/// A tenant without open holds and grants.
pub(crate) struct Resting {
    /// Its row, without the numbers below: most tenants share it with others.
    frame: Arc<Tenant>,
    seq: i64,
    last: TimestampMs,
    created: TimestampMs,
    last_entry: i64,
    /// The id 0 for none.
    last_hold: HoldId,
    counters: Box<[RestingCounter]>,
    /// Whether it has no others.
    all_counters: bool,
}

/// A counter of which nothing is held.
struct RestingCounter {
    subject: Arc<Subject>,
    dimensions: DimensionKey,
    window: WindowLabel,
    used: i64,
    denied: i64,
    more: Option<Box<More>>,
}

/// What is counted for which limit.
type Subject = (LimitName, MeterName);

/// What few counters have.
struct More {
    rolling: Option<(RollingSpan, Slices)>,
    fired: Vec<Fired>,
}

impl Bytes for Resting {
    fn bytes(&self) -> usize {
        let more = self.counters.iter().filter(|counter| counter.more.is_some()).count();
        RESTING_BYTES + COUNTER_BYTES * self.counters.len() + MORE_BYTES * more
    }
}

impl Resting {
    /// The account again.
    pub(crate) fn wake(self, id: TenantId) -> Kept {
        let Self { frame, seq, last, created, last_entry, last_hold, counters, all_counters } =
            self;
        let mut account = Box::new(Account::new(id));
        account.offer_tenant(Some(Tenant { seq, last, created, ..(*frame).clone() }));
        account.offered_live_grants();
        for counter in counters {
            let RestingCounter { subject, dimensions, window, used, denied, more } = counter;
            let (limit, meter) = (*subject).clone();
            let (rolling, fired) = more.map_or((None, Vec::new()), |it| (it.rolling, it.fired));
            let row = Counter { meter, used, held: 0, denied, rolling, fired };
            account.offer_counter(CounterKey { limit, dimensions, window }, Some(row));
        }
        if all_counters {
            account.offered_all_counters();
        }
        let last_hold = Some(last_hold).filter(|id| *id != NO_HOLD);
        Kept { account, chain: Chain { last_entry, last_hold, written_in: 0 } }
    }
}

/// Lays accounts to rest, and has what they share.
#[derive(Default)]
pub(crate) struct Bedding {
    frames: FxHashMap<u64, Arc<Tenant>>,
    subjects: FxHashSet<Arc<Subject>>,
}

impl Bedding {
    /// What is to be kept of an account whose rows are all in the tables; `None` for one that
    /// has more than fits.
    pub(crate) fn lay(&mut self, Kept { account, chain }: &Kept) -> Option<Resting> {
        let tenant = account.tenant().present()?;
        let is_simple = tenant.status.is_there()
            && tenant.open_holds == 0
            && account.knows_live_grants()
            && account.grants().is_empty();
        if !is_simple {
            return None;
        }
        let current = |(key, _): &(&CounterKey, &Counter)| is_current(tenant, key.window);
        let count = account.counters().filter(current).count();
        if count > COUNTERS_MAX {
            return None;
        }
        let counters = account.counters().filter(current);
        Some(Resting {
            counters: counters.map(|(key, counter)| self.counter(key, counter)).collect(),
            all_counters: account.knows_all_counters() && count == account.counters().count(),
            frame: self.frame(tenant),
            seq: tenant.seq,
            last: tenant.last,
            created: tenant.created,
            last_entry: chain.last_entry,
            last_hold: chain.last_hold.unwrap_or(NO_HOLD),
        })
    }

    fn counter(&mut self, key: &CounterKey, counter: &Counter) -> RestingCounter {
        let Counter { meter, used, held: _, denied, rolling, fired } = counter;
        let has_more = rolling.is_some() || !fired.is_empty();
        RestingCounter {
            subject: self.subject(key, meter),
            dimensions: key.dimensions.clone(),
            window: key.window,
            used: *used,
            denied: *denied,
            more: has_more
                .then(|| Box::new(More { rolling: rolling.clone(), fired: fired.clone() })),
        }
    }

    fn subject(&mut self, key: &CounterKey, meter: &MeterName) -> Arc<Subject> {
        let subject = (key.limit.clone(), meter.clone());
        if let Some(shared) = self.subjects.get(&subject) {
            return Arc::clone(shared);
        }
        if self.subjects.len() >= SHARED_MAX {
            self.subjects.clear();
        }
        let subject = Arc::new(subject);
        self.subjects.insert(Arc::clone(&subject));
        subject
    }

    fn frame(&mut self, tenant: &Tenant) -> Arc<Tenant> {
        let mut hasher = FxHasher::default();
        tenant.plan.hash(&mut hasher);
        tenant.calendar.zone.name().hash(&mut hasher);
        tenant.windows.iter().for_each(|(_, window)| window.label.hash(&mut hasher));
        let number = hasher.finish();
        let is_frame_of = |frame: &&Arc<Tenant>| {
            let Tenant { plan, status, calendar, windows, overrides, metadata, .. } = &***frame;
            (plan, status, calendar, windows, overrides, metadata)
                == (
                    &tenant.plan,
                    &tenant.status,
                    &tenant.calendar,
                    &tenant.windows,
                    &tenant.overrides,
                    &tenant.metadata,
                )
        };
        if let Some(frame) = self.frames.get(&number).filter(is_frame_of) {
            return Arc::clone(frame);
        }
        let frame = Arc::new(tenant.clone());
        if self.frames.len() >= SHARED_MAX {
            self.frames.clear();
        }
        self.frames.insert(number, Arc::clone(&frame));
        frame
    }
}

/// Whether a counter may be asked for soon: not that of a window which has ended.
fn is_current(tenant: &Tenant, window: WindowLabel) -> bool {
    match window {
        WindowLabel::Day { .. } => tenant.windows.iter().any(|(_, it)| it.label == window),
        WindowLabel::Hour(_) => window == WindowLabel::hour_of(tenant.last),
        WindowLabel::Minute(_) => window == WindowLabel::minute_of(tenant.last),
        WindowLabel::Lifetime | WindowLabel::Rolling | WindowLabel::InFlight => true,
    }
}

#[cfg(test)]
mod tests {
    use earmark_core::{FiredAlert, RollingSpan};
    use earmark_store::conformance::samples::{amount, full_tenant, grant, name, plain_tenant};

    use super::*;

    fn kept(tenant: Tenant, counters: &[(CounterKey, Counter)]) -> Kept {
        let mut account = Box::new(Account::new(name("acme")));
        account.offer_tenant(Some(tenant));
        account.offered_live_grants();
        for (key, counter) in counters {
            account.offer_counter(key.clone(), Some(counter.clone()));
        }
        let chain = Chain { last_entry: 7, last_hold: Some(HoldId(9)), written_in: 3 };
        Kept { account, chain }
    }

    fn key(limit: &str, dimensions: &str, window: WindowLabel) -> CounterKey {
        let dimensions = DimensionKey::from_stored(dimensions);
        CounterKey { limit: name(limit), dimensions, window }
    }

    fn counters(tenant: &Tenant) -> Vec<(CounterKey, Counter)> {
        let mut month = Counter::new(name("messages"), None);
        (month.used, month.denied) = (41, 3);
        let fired = Fired { alert: FiredAlert::Denied, amount: amount(50), day: None };
        month.fired.push(fired);
        let mut plain = Counter::new(name("tokens"), None);
        (plain.used, plain.denied) = (5, 2);
        let mut rolling = Counter::new(name("tokens"), RollingSpan::from_minutes(60));
        if let Some((_, slices)) = &mut rolling.rolling {
            *slices = Slices::from_stored(vec![(1_000, 4), (1_001, 6)]);
        }
        let label = tenant.windows.iter().map(|(_, window)| window.label).last().unwrap();
        vec![
            (key("messages/year", "", label), month),
            (key("tokens/lifetime", "user=u_17", WindowLabel::Lifetime), plain),
            (key("tokens/rolling:1h/user", "user=u_17", WindowLabel::Rolling), rolling),
        ]
    }

    #[test]
    fn what_rested_is_as_it_was() {
        let tenant = Tenant { open_holds: 0, ..full_tenant() };
        let counters = counters(&tenant);
        let mut before = kept(tenant.clone(), &counters);
        let mut bedding = Bedding::default();
        for knows_all in [false, true] {
            if knows_all {
                before.account.offered_all_counters();
            }
            let after = bedding.lay(&before).unwrap().wake(name("acme"));
            assert_eq!(after.account.tenant().present(), Some(&tenant));
            assert!(after.account.knows_live_grants() && after.account.grants().is_empty());
            let found = after.account.counters();
            let found: Vec<_> = found.map(|(key, row)| (key.clone(), row.clone())).collect();
            assert_eq!(found, counters);
            // If not, others may be in the tables.
            assert_eq!(after.account.knows_all_counters(), knows_all);
            let Chain { last_entry, last_hold, written_in } = after.chain;
            assert_eq!((last_entry, last_hold, written_in), (7, Some(HoldId(9)), 0));
        }
    }

    #[test]
    fn counters_of_windows_that_ended_are_left_to_the_tables() {
        let tenant = plain_tenant("free");
        let minute = tenant.last.0 / 60_000;
        let window = |back| WindowLabel::Minute(minute - back);
        let of =
            |back| (key("messages/minute", "", window(back)), Counter::new(name("messages"), None));
        let mut before = kept(tenant, &[of(1), of(0)]);
        before.account.offered_all_counters();
        let after = Bedding::default().lay(&before).unwrap().wake(name("acme"));
        assert!(!after.account.knows_all_counters());
        let left: Vec<_> = after.account.counters().map(|(key, _)| key.window).collect();
        assert_eq!(left, [window(0)]);
    }

    #[test]
    fn tenants_share_what_is_equal_and_nothing_else() {
        let mut bedding = Bedding::default();
        let mut frame = |tenant: Tenant| bedding.lay(&kept(tenant, &[])).unwrap().frame;
        let (one, two) = (plain_tenant("free"), plain_tenant("free"));
        let two = Tenant { seq: two.seq + 5, ..two };
        let first = frame(one.clone());
        assert!(Arc::ptr_eq(&first, &frame(two)));
        let other = frame(Tenant { metadata: Some("{}".into()), ..one });
        assert_eq!(other.metadata.as_deref(), Some("{}"));
        assert!(!Arc::ptr_eq(&first, &other));
        assert!(!Arc::ptr_eq(&first, &frame(plain_tenant("pro"))));
    }

    #[test]
    fn what_is_not_simple_does_not_rest() {
        let tenant = plain_tenant("free");
        let mut bedding = Bedding::default();
        let busy = Tenant { open_holds: 1, ..tenant.clone() };
        assert!(bedding.lay(&kept(busy, &[])).is_none());
        let mut granted = kept(tenant.clone(), &[]);
        granted.account.offer_grant(grant(1).id, Some(grant(1)));
        assert!(bedding.lay(&granted).is_none());
        let mut unknown = kept(tenant.clone(), &[]);
        *unknown.account = Account::new(name("acme"));
        unknown.account.offer_tenant(Some(tenant.clone()));
        assert!(bedding.lay(&unknown).is_none(), "grants may be in the tables");
        let of = |user: usize| {
            let key = key("messages/lifetime", &format!("user=u_{user}"), WindowLabel::Lifetime);
            (key, Counter::new(name("messages"), None))
        };
        let many: Vec<_> = (0..=COUNTERS_MAX).map(of).collect();
        assert!(bedding.lay(&kept(tenant, &many)).is_none());
    }
}
