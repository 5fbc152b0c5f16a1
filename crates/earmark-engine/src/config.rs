//! Changing the configuration: check everything, then one optimistic write (R27).
//!
//! What a document names is set; what it does not name stays, since plans are retired on
//! purpose and never deleted. `default_plan = ""` takes the default plan away.

use std::collections::BTreeMap;
use std::sync::Arc;

use earmark_core::{LimitName, PlanName};
use earmark_store::document::{ConfigDocument, DocumentError, PlanDocument};
use earmark_store::{Config, ConfigChange, StoreError};

/// Why a configuration was not taken. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConfigError {
    /// Something in it is wrong.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Somebody else changed it in the meantime.
    #[error("the configuration was changed by somebody else; look at it and try again")]
    Changed,
    /// There is no such plan.
    #[error("there is no plan {0}")]
    UnknownPlan(PlanName),
    /// The default plan cannot be retired.
    #[error("{0} is the default plan; name another default_plan before retiring it")]
    DefaultPlan(PlanName),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The configuration after `document` is laid over `now`.
pub(crate) fn merged(now: &ConfigDocument, document: &ConfigDocument) -> ConfigDocument {
    let mut merged = now.clone();
    merged.default_plan = document.default_plan_over(now);
    merged.meters.extend(document.meters.clone());
    merged.plans.extend(document.plans.clone());
    merged
}

/// Checks what a document would make of the configuration, and says what to write.
pub(crate) fn change(
    current: &Config,
    document: &ConfigDocument,
    retire: Option<&PlanName>,
) -> Result<ConfigChange, ConfigError> {
    let merged = merged(&current.document, document);
    let catalog = &current.catalog;
    let is_named = |name: &PlanName| document.plans.contains_key(name.as_str());
    let plan_of = |name: &PlanName| {
        let known = catalog.plan(name);
        let version = known.map_or(1, |plan| plan.version);
        // A plan that somebody writes down again is in use again.
        let retired =
            retire == Some(name) || (!is_named(name) && known.is_some_and(|plan| plan.retired));
        (version, retired)
    };
    let former: Vec<(LimitName, _)> =
        catalog.identities().map(|(name, what)| (name.clone(), what.clone())).collect();
    let next = merged.catalog(catalog.version + 1, plan_of, former)?;
    let mut plans = Vec::new();
    for (name, document) in &document.plans {
        let Some(plan) = PlanName::new(name).ok().and_then(|name| next.plan(&name)) else {
            continue;
        };
        plans.push(((**plan).clone(), document.clone(), plan.retired));
    }
    if let Some(name) = retire
        && let Some(plan) = next.plan(name)
        && let Some(document) = merged.plans.get(name.as_str())
    {
        plans.push(((**plan).clone(), document.clone(), true));
    }
    Ok(ConfigChange {
        meters: Some(merged.meters),
        default_plan: Some(next.default_plan().cloned()),
        plans,
    })
}

/// A document that sets one plan and leaves everything else.
pub(crate) fn with_plan(
    now: &ConfigDocument,
    name: &PlanName,
    plan: PlanDocument,
) -> ConfigDocument {
    ConfigDocument {
        default_plan: now.default_plan.clone(),
        meters: BTreeMap::new(),
        plans: BTreeMap::from([(name.to_string(), plan)]),
    }
}

/// The handle that workers and callers share.
pub(crate) type SharedConfig = Arc<arc_swap::ArcSwap<Config>>;

/// Shares a configuration, unless a newer one is known: two that load at once may finish in
/// either order.
pub(crate) fn share(shared: &SharedConfig, config: &Arc<Config>) {
    shared.rcu(|known| {
        let newest = if known.catalog.version < config.catalog.version { config } else { known };
        Arc::clone(newest)
    });
}
