//! The catalog: meters, plans and the default plan, as one immutable value.
//!
//! An engine decides with one catalog per batch. Always holds: every limit names a declared
//! meter, names are unique in their plan, and a limit's name has meant the same meter,
//! window and `per` in every plan and version there ever was (R2).

mod limit;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use limit::{
    Filter, Limit, LimitAmount, LimitError, LimitIdentity, LimitSpec, Mode, Threshold,
};
pub use plan::{OnDenied, Plan, PlanError, PlanSpec, Unlisted};

use crate::name::{LimitName, MeterName, PlanName};

/// What is counted, and what becomes of it when a call does not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// Its name.
    pub name: MeterName,
    /// Whether a release gives it back; `false` counts failures too (R18).
    pub refund: bool,
    /// What expiry does to a hold that was marked dispatched (R19).
    pub on_expiry: OnExpiry,
}

impl Meter {
    /// A meter that a release gives back and expiry releases.
    pub fn new(name: MeterName) -> Self {
        Self { name, refund: true, on_expiry: OnExpiry::Release }
    }
}

/// What expiry does to a dispatched hold's amount of a meter (R19).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnExpiry {
    /// Gives it back.
    Release,
    /// Charges it as held: the upstream has billed it anyway.
    Charge,
}

/// Meters, plans and the default plan.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Grows with every change that a store commits.
    pub version: i64,
    meters: BTreeMap<MeterName, Arc<Meter>>,
    plans: BTreeMap<PlanName, Arc<Plan>>,
    identities: BTreeMap<LimitName, LimitIdentity>,
    default_plan: Option<PlanName>,
}

/// Why a configuration is refused; each names what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogError {
    /// A limit counts a meter that is not declared.
    UnknownMeter {
        /// Where.
        plan: PlanName,
        /// Which.
        meter: MeterName,
    },
    /// A limit's name already means another meter, window or `per` (R2).
    NameTaken {
        /// Where.
        plan: PlanName,
        /// Which.
        limit: LimitName,
        /// What it means.
        means: String,
    },
    /// `default_plan` names no plan, or a retired one.
    DefaultPlan(PlanName),
    /// A declared meter was taken away while plans still count it.
    MeterInUse(MeterName),
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownMeter { plan, meter } => {
                write!(f, "plans.{plan}: meter {meter} is not declared; add [meters.{meter}]")
            }
            Self::NameTaken { plan, limit, means } => write!(
                f,
                "plans.{plan}: the limit name {limit} already means {means}, for good; give this \
                 limit another `name`"
            ),
            Self::DefaultPlan(plan) => {
                write!(f, "default_plan: {plan} is no plan, or a retired one")
            }
            Self::MeterInUse(meter) => {
                write!(f, "meters.{meter}: it cannot go while a plan has a limit on it")
            }
        }
    }
}

impl std::error::Error for CatalogError {}

impl Catalog {
    /// Puts a catalog together and checks it. `former` are the identities of all limits that
    /// older versions of any plan had.
    pub fn new(
        version: i64,
        meters: impl IntoIterator<Item = Meter>,
        plans: impl IntoIterator<Item = Plan>,
        default_plan: Option<PlanName>,
        former: impl IntoIterator<Item = (LimitName, LimitIdentity)>,
    ) -> Result<Self, CatalogError> {
        let meters: BTreeMap<_, _> =
            meters.into_iter().map(|meter| (meter.name.clone(), Arc::new(meter))).collect();
        let plans: BTreeMap<_, _> =
            plans.into_iter().map(|plan| (plan.name.clone(), Arc::new(plan))).collect();
        let mut identities: BTreeMap<_, _> = former.into_iter().collect();
        for plan in plans.values() {
            for limit in &plan.limits {
                if !meters.contains_key(&limit.meter) {
                    let (plan, meter) = (plan.name.clone(), limit.meter.clone());
                    return Err(CatalogError::UnknownMeter { plan, meter });
                }
                let identity = limit.identity();
                let known =
                    identities.entry(limit.name.clone()).or_insert_with(|| identity.clone());
                if *known != identity {
                    return Err(CatalogError::NameTaken {
                        plan: plan.name.clone(),
                        limit: limit.name.clone(),
                        means: known.to_string(),
                    });
                }
            }
        }
        if let Some(name) = &default_plan
            && plans.get(name).is_none_or(|plan| plan.retired)
        {
            return Err(CatalogError::DefaultPlan(name.clone()));
        }
        Ok(Self { version, meters, plans, identities, default_plan })
    }

    /// A declared meter.
    pub fn meter(&self, name: &MeterName) -> Option<&Arc<Meter>> {
        self.meters.get(name)
    }

    /// All meters in order of name.
    pub fn meters(&self) -> impl Iterator<Item = &Arc<Meter>> {
        self.meters.values()
    }

    /// A plan, retired ones included.
    pub fn plan(&self, name: &PlanName) -> Option<&Arc<Plan>> {
        self.plans.get(name)
    }

    /// All plans in order of name.
    pub fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.plans.values()
    }

    /// The plan that unknown tenants of trusted callers get (R27).
    pub fn default_plan(&self) -> Option<&PlanName> {
        self.default_plan.as_ref()
    }

    /// What a limit's name means, in any plan and version.
    pub fn identity(&self, limit: &LimitName) -> Option<&LimitIdentity> {
        self.identities.get(limit)
    }

    /// All limit names with what they mean.
    pub fn identities(&self) -> impl Iterator<Item = (&LimitName, &LimitIdentity)> {
        self.identities.iter()
    }

    /// The limit of that name in that plan.
    pub fn limit_of(&self, plan: &PlanName, limit: &LimitName) -> Option<&Arc<Limit>> {
        self.plan(plan)?.limit(limit)
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
