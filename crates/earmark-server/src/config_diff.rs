//! What a configuration would change, and what of it is easily overlooked (R4).
//!
//! Compares names and meanings, not spellings: an amount that is written differently and
//! means the same has not changed.

use std::collections::{BTreeMap, BTreeSet};

use earmark_core::{Catalog, Limit, Plan, PlanName};
use earmark_engine::document::{ConfigDocument, DocumentError, PlanDocument};
use serde::Serialize;
use utoipa::ToSchema;

/// What would become of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// It is new.
    Created,
    /// It is there and becomes different.
    Changed,
    /// It is there and stays.
    Kept,
    /// It goes: limits only, since plans and meters stay.
    Removed,
}

/// What would change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigDiff {
    /// Whether anything would change at all.
    changes: bool,
    /// The default plan before and after.
    default_plan: DefaultPlanChange,
    /// Every meter there is or would be.
    meters: BTreeMap<String, Change>,
    /// Every plan there is or would be.
    plans: BTreeMap<String, PlanChange>,
    /// What to think of before applying it.
    warnings: Vec<Warning>,
}

/// The default plan before and after.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefaultPlanChange {
    #[schema(required)]
    from: Option<String>,
    #[schema(required)]
    to: Option<String>,
}

/// What would become of a plan.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanChange {
    change: Change,
    /// Its limits that do not stay as they are.
    limits: BTreeMap<String, LimitChange>,
}

/// What would become of a limit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitChange {
    change: Change,
    /// Its amount before; null: unlimited, or not there.
    #[schema(required)]
    amount_from: Option<i64>,
    /// Its amount after; null: unlimited, or not there.
    #[schema(required)]
    amount_to: Option<i64>,
}

/// Something that is easily overlooked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Warning {
    /// `limit_renamed`, `limit_begins`, `limit_ends` or `plans_differ`.
    code: &'static str,
    /// The plan, for warnings about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    /// The limit.
    limit: String,
    /// What it means and what to do.
    message: String,
}

/// Compares a document with what there is. It must have been checked before.
pub(crate) fn diff(
    now: &ConfigDocument,
    catalog: &Catalog,
    next: &ConfigDocument,
) -> Result<ConfigDiff, DocumentError> {
    let default_plan = next.default_plan_over(now);
    let mut diff = ConfigDiff {
        changes: now.default_plan != default_plan,
        default_plan: DefaultPlanChange { from: now.default_plan.clone(), to: default_plan },
        meters: now.meters.keys().map(|name| (name.clone(), Change::Kept)).collect(),
        plans: BTreeMap::new(),
        warnings: Vec::new(),
    };
    for (name, meter) in &next.meters {
        let change = match now.meters.get(name) {
            None => Change::Created,
            Some(known) if known.read(name)? == meter.read(name)? => Change::Kept,
            Some(_) => Change::Changed,
        };
        diff.changes |= change != Change::Kept;
        diff.meters.insert(name.clone(), change);
    }
    let mut after: BTreeMap<String, Plan> = catalog
        .plans()
        .filter(|plan| !plan.retired)
        .map(|plan| (plan.name.to_string(), (**plan).clone()))
        .collect();
    for plan in catalog.plans() {
        let kept = PlanChange { change: Change::Kept, limits: BTreeMap::new() };
        diff.plans.insert(plan.name.to_string(), kept);
    }
    for (name, document) in &next.plans {
        let plan_name =
            PlanName::new(name).map_err(|e| DocumentError::at(format!("plans.{name}"), e))?;
        let known = catalog.plan(&plan_name);
        let version = known.map_or(1, |plan| plan.version);
        let plan = document.read(plan_name, version)?;
        let known = known.map(|plan| &**plan);
        let change = plan_change(known, &plan);
        if let (Some(known), Some(written)) = (known, now.plans.get(name)) {
            warn_of_limits(&mut diff.warnings, (known, written), (&plan, document));
        }
        diff.changes |= change.change != Change::Kept;
        diff.plans.insert(name.clone(), change);
        after.insert(name.clone(), plan);
    }
    warn_of_shapes(&mut diff.warnings, &after);
    Ok(diff)
}

fn plan_change(known: Option<&Plan>, plan: &Plan) -> PlanChange {
    let mut limits = BTreeMap::new();
    for limit in &plan.limits {
        let before = known.and_then(|known| known.limit(&limit.name));
        if before != Some(limit) {
            let change = if before.is_some() { Change::Changed } else { Change::Created };
            let amount_from = before.and_then(|before| before.amount);
            limits.insert(
                limit.name.to_string(),
                LimitChange {
                    change,
                    amount_from: amount_from.map(earmark_core::Amount::get),
                    amount_to: limit.amount.map(earmark_core::Amount::get),
                },
            );
        }
    }
    for limit in known.iter().flat_map(|known| &known.limits) {
        if plan.limit(&limit.name).is_none() {
            limits.insert(
                limit.name.to_string(),
                LimitChange {
                    change: Change::Removed,
                    amount_from: limit.amount.map(earmark_core::Amount::get),
                    amount_to: None,
                },
            );
        }
    }
    // A plan that is written down again is in use again, which is a change, too.
    let change = match known {
        None => Change::Created,
        Some(known) if known == plan => Change::Kept,
        Some(_) => Change::Changed,
    };
    PlanChange { change, limits }
}

/// Limits that enter or leave a plan, and those that only seem to since their default name
/// carries `where`.
fn warn_of_limits(
    warnings: &mut Vec<Warning>,
    (known, known_written): (&Plan, &PlanDocument),
    (plan, written): (&Plan, &PlanDocument),
) {
    let mut renamed = BTreeSet::new();
    for (limit, document) in plan.limits.iter().zip(&written.limits) {
        if known.limit(&limit.name).is_some() {
            continue;
        }
        let former = known.limits.iter().zip(&known_written.limits).find(|(former, former_doc)| {
            document.name.is_none()
                && former_doc.name.is_none()
                && former.identity() == limit.identity()
                && plan.limit(&former.name).is_none()
        });
        let (code, message) = match former {
            Some((former, _)) => {
                renamed.insert(former.name.clone());
                let message = format!(
                    "editing `where` renames {} to {}, which begins at 0; give it `name = \"{}\"` \
                     to go on counting",
                    former.name, limit.name, former.name
                );
                ("limit_renamed", message)
            }
            None => {
                let message = "a limit counts from when it enters the plan, not from earlier \
                               usage; keep a limit in mode observe to have its history later";
                ("limit_begins", message.to_owned())
            }
        };
        warnings.push(Warning::new(code, Some(plan), limit, message));
    }
    for limit in &known.limits {
        if plan.limit(&limit.name).is_none() && !renamed.contains(&limit.name) {
            let message = "nothing is counted on it any more; keep it in mode observe to keep \
                           its history";
            warnings.push(Warning::new("limit_ends", Some(plan), limit, message.to_owned()));
        }
    }
}

/// Limits that some plans in use have and others do not.
fn warn_of_shapes(warnings: &mut Vec<Warning>, plans: &BTreeMap<String, Plan>) {
    let mut seen = BTreeSet::new();
    for limit in plans.values().flat_map(|plan| &plan.limits) {
        if !seen.insert(&limit.name) {
            continue;
        }
        let without: Vec<_> = plans
            .iter()
            .filter(|(_, plan)| plan.limit(&limit.name).is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        if !without.is_empty() {
            let message = format!(
                "not in {}: a tenant that comes from there begins at 0; have it there in mode \
                 observe to carry its usage along",
                without.join(", ")
            );
            warnings.push(Warning::new("plans_differ", None, limit, message));
        }
    }
}

impl Warning {
    fn new(code: &'static str, plan: Option<&Plan>, limit: &Limit, message: String) -> Self {
        let plan = plan.map(|plan| plan.name.to_string());
        Self { code, plan, limit: limit.name.to_string(), message }
    }
}
