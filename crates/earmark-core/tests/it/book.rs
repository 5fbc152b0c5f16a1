//! Books: small catalogs written down twice, once as the model reads them and once as the
//! core does.
//!
//! The limits of random books come from one pool, so that a name means one meter, window and
//! `per` in all of them (R2); amounts, modes and what takes grants differ by plan.

use std::collections::BTreeMap;

use earmark_core::{
    Amount, Catalog, DimensionName, DimensionValue, Dimensions, Glob, LimitIdentity, LimitName,
    LimitSpec, Meter, MeterName, Mode, OnDenied, OnExpiry, Plan, PlanName, PlanSpec, Threshold,
    Unlisted,
};
use proptest::prelude::*;

/// What a meter declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MeterRules {
    pub(crate) refund: bool,
    pub(crate) charge_on_expiry: bool,
}

/// What a plan declares; every limit has its name.
#[derive(Debug, Clone)]
pub(crate) struct PlanRules {
    pub(crate) limits: Vec<LimitSpec>,
    pub(crate) allows_unlisted: bool,
    pub(crate) retired: bool,
}

/// Meters, plans and the default plan.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    pub(crate) meters: BTreeMap<MeterName, MeterRules>,
    pub(crate) plans: BTreeMap<PlanName, PlanRules>,
    pub(crate) default_plan: Option<PlanName>,
}

impl Book {
    /// The book as the core reads it.
    pub(crate) fn catalog(&self) -> Catalog {
        let meters = self.meters.iter().map(|(name, rules)| Meter {
            name: name.clone(),
            refund: rules.refund,
            on_expiry: if rules.charge_on_expiry { OnExpiry::Charge } else { OnExpiry::Release },
        });
        let plans = self.plans.iter().map(|(name, rules)| {
            let spec = PlanSpec {
                title: None,
                limits: rules.limits.clone(),
                unlisted: rules.allows_unlisted.then_some(Unlisted::Allow),
                on_denied: OnDenied::Error,
            };
            let mut plan = Plan::new(name.clone(), 1, spec).unwrap();
            plan.retired = rules.retired;
            plan
        });
        // Every limit of the pool was in some plan once, so that an override may name it.
        let former = (0..POOL.len()).map(pooled).map(|spec| {
            let identity = LimitIdentity { meter: spec.meter, window: spec.window, per: spec.per };
            (spec.name.unwrap(), identity)
        });
        Catalog::new(1, meters, plans, self.default_plan.clone(), former).unwrap()
    }

    /// Only plan `free`, on which a new tenant is created, with these limits.
    pub(crate) fn free(limits: Vec<LimitSpec>) -> Self {
        Self::of([("free", limits)])
    }

    /// The usual meters and these plans, of which the first is the default.
    pub(crate) fn of<const N: usize>(plans: [(&str, Vec<LimitSpec>); N]) -> Self {
        let default_plan = plans.first().map(|(name, _)| plan_name(name));
        let rules = |limits| PlanRules { limits, allows_unlisted: false, retired: false };
        let plans =
            plans.into_iter().map(|(name, limits)| (plan_name(name), rules(limits))).collect();
        Self { meters: meters(), plans, default_plan }
    }
}

/// The meters of all books, with what becomes of them when a call does not end well.
pub(crate) const METERS: [(&str, MeterRules); 4] = [
    ("msgs", MeterRules { refund: true, charge_on_expiry: false }),
    ("cost", MeterRules { refund: true, charge_on_expiry: true }),
    ("tries", MeterRules { refund: false, charge_on_expiry: false }),
    ("toks", MeterRules { refund: true, charge_on_expiry: false }),
];

fn meters() -> BTreeMap<MeterName, MeterRules> {
    METERS.into_iter().map(|(name, rules)| (meter(name), rules)).collect()
}

/// Meter, window, `per` and `where` of the limits that random books choose from.
const POOL: [(&str, &str, &str, &str); 18] = [
    ("msgs", "month", "", ""),
    ("msgs", "day", "", ""),
    ("msgs", "minute", "user", ""),
    ("msgs", "rolling:1h", "", ""),
    ("msgs", "rolling:2d", "", ""),
    ("msgs", "in_flight", "", ""),
    ("msgs", "day", "user", ""),
    ("cost", "month", "", ""),
    ("cost", "lifetime", "", ""),
    ("cost", "week", "", "m*"),
    ("cost", "rolling:5m", "user", ""),
    ("tries", "hour", "", ""),
    ("tries", "day", "", ""),
    ("tries", "rolling:1d", "", ""),
    ("tries", "in_flight", "user", ""),
    ("toks", "year", "", ""),
    ("toks", "month", "", "m*"),
    ("toks", "in_flight", "", ""),
];

/// A limit as written in one line, with the name that it would get by default.
pub(crate) fn limit(meter_name: &str, window: &str, amount: i64) -> LimitSpec {
    let mut spec = LimitSpec::new(meter(meter_name), Amount::new(amount), window.parse().unwrap());
    spec.name = Some(limit_name(&format!("{meter_name}/{window}")));
    spec
}

/// A limit of each user.
pub(crate) fn per_user(meter_name: &str, window: &str, amount: i64) -> LimitSpec {
    LimitSpec {
        name: Some(limit_name(&format!("{meter_name}/{window}/user"))),
        per: vec![DimensionName::new("user").unwrap()],
        ..limit(meter_name, window, amount)
    }
}

/// A limit of the pool.
fn pooled(index: usize) -> LimitSpec {
    let (meter_name, window, per, filter) = POOL[index];
    let mut spec = limit(meter_name, window, 0);
    let mut name = format!("{meter_name}/{window}");
    if !per.is_empty() {
        name.push_str(&format!("/{per}"));
        spec.per = vec![DimensionName::new(per).unwrap()];
    }
    if !filter.is_empty() {
        name.push_str(&format!("/model={filter}"));
        let globs = vec![Glob::new(filter).unwrap()];
        spec.filter.insert(DimensionName::new("model").unwrap(), globs);
    }
    spec.name = Some(limit_name(&name));
    spec
}

/// Names of all limits that random books may have.
pub(crate) fn pool_names() -> Vec<LimitName> {
    (0..POOL.len()).filter_map(|index| pooled(index).name).collect()
}

fn any_limit() -> impl Strategy<Value = LimitSpec> {
    let amount = prop_oneof![8 => (0i64..9).prop_map(Some), 1 => Just(None)];
    let mode = prop_oneof![
        7 => Just(None),
        1 => Just(Some(Mode::Soft)),
        1 => Just(Some(Mode::Observe)),
    ];
    let grantable = prop_oneof![4 => Just(None), 1 => Just(Some(true)), 1 => Just(Some(false))];
    let alerts = prop_oneof![2 => Just(vec![]), 1 => Just(vec![5_000, 10_000])];
    let combinations_max = prop_oneof![2 => Just(None), 1 => Just(Some(1)), 1 => Just(Some(2))];
    (0..POOL.len(), amount, mode, grantable, alerts, combinations_max).prop_map(
        |(index, amount, mode, grantable, alerts, combinations_max)| {
            let mut spec = pooled(index);
            spec.amount = amount.and_then(Amount::new);
            spec.mode = mode;
            let takes = mode.is_none() && spec.window != earmark_core::Window::InFlight;
            spec.grantable = if takes { grantable } else { None };
            spec.alerts = alerts.into_iter().filter_map(Threshold::new).collect();
            spec.combinations_max = combinations_max;
            spec
        },
    )
}

fn any_plan() -> impl Strategy<Value = PlanRules> {
    let limits = proptest::collection::vec(any_limit(), 1..7);
    (limits, proptest::bool::weighted(0.2)).prop_map(|(limits, allows_unlisted)| {
        let mut by_name = BTreeMap::new();
        for limit in limits {
            by_name.entry(limit.name.clone()).or_insert(limit);
        }
        PlanRules { limits: by_name.into_values().collect(), allows_unlisted, retired: false }
    })
}

/// Plans `free` (the default), `pro` and `old` (retired), with limits from the pool; now and
/// then a meter that behaves differently.
pub(crate) fn any_book() -> impl Strategy<Value = Book> {
    let odd = proptest::option::weighted(0.3, (0..METERS.len(), any::<bool>(), any::<bool>()));
    (any_plan(), any_plan(), any_plan(), odd).prop_map(|(free, pro, mut old, odd)| {
        old.retired = true;
        let plans = [("free", free), ("pro", pro), ("old", old)];
        let plans = plans.into_iter().map(|(name, rules)| (plan_name(name), rules)).collect();
        let mut meters = meters();
        if let Some((index, refund, charge_on_expiry)) = odd {
            meters.insert(meter(METERS[index].0), MeterRules { refund, charge_on_expiry });
        }
        Book { meters, plans, default_plan: Some(plan_name("free")) }
    })
}

pub(crate) fn meter(name: &str) -> MeterName {
    MeterName::new(name).unwrap()
}

pub(crate) fn plan_name(name: &str) -> PlanName {
    PlanName::new(name).unwrap()
}

pub(crate) fn limit_name(name: &str) -> LimitName {
    LimitName::new(name).unwrap()
}

/// Dimensions from names and values.
pub(crate) fn dimensions(pairs: &[(&str, &str)]) -> Dimensions {
    let pair = |(name, value): &(&str, &str)| {
        (DimensionName::new(name).unwrap(), DimensionValue::new(value).unwrap())
    };
    Dimensions::new(pairs.iter().map(pair).collect()).unwrap()
}
