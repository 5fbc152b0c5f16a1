//! A plan: a named set of limits, versioned and retired, never deleted (R27).

use std::fmt;
use std::sync::Arc;

use super::limit::{Limit, LimitError, LimitSpec};
use crate::bounds;
use crate::name::{LimitName, MeterName, PlanName};

/// What a plan says of meters that none of its limits applies to (R6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unlisted {
    /// Denied as `meter_not_in_plan`.
    Deny,
    /// Admitted and entered in the ledger; no counter.
    Allow,
}

/// How the gateway answers an exhausted limit of this plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnDenied {
    /// With the provider's error.
    Error,
    /// With a normal completion whose text is this, or a default text when `None`.
    Message(Option<Arc<str>>),
}

/// A plan as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSpec {
    /// For people; defaults to the name.
    pub title: Option<String>,
    /// Its limits.
    pub limits: Vec<LimitSpec>,
    /// Defaults to deny.
    pub unlisted: Option<Unlisted>,
    /// Defaults to the error.
    pub on_denied: OnDenied,
}

/// A named set of limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: PlanName,
    /// 1 and up; a store keeps all versions.
    pub version: i64,
    /// For people.
    pub title: Arc<str>,
    /// As written.
    pub limits: Vec<Arc<Limit>>,
    /// What it says of meters without a limit.
    pub unlisted: Unlisted,
    /// How the gateway answers when a limit is exhausted.
    pub on_denied: OnDenied,
    /// A retired plan keeps its tenants and takes no new ones.
    pub retired: bool,
}

/// Why a plan is refused; says which limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// One of its limits is not valid.
    Limit {
        /// Which, from 0.
        index: usize,
        /// Why.
        error: LimitError,
    },
    /// Two limits have one name.
    NameTwice(LimitName),
    /// More than the bound.
    TooManyLimits,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { index, error } => write!(f, "limits[{index}]: {error}"),
            Self::NameTwice(name) => {
                write!(f, "limits: two are named {name}; give one of them a `name`")
            }
            Self::TooManyLimits => write!(f, "limits: at most {}", bounds::LIMITS_PER_PLAN_MAX),
        }
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// Checks what somebody wrote and completes it.
    pub fn new(name: PlanName, version: i64, spec: PlanSpec) -> Result<Self, PlanError> {
        if spec.limits.len() > bounds::LIMITS_PER_PLAN_MAX {
            return Err(PlanError::TooManyLimits);
        }
        let mut limits: Vec<Arc<Limit>> = Vec::with_capacity(spec.limits.len());
        for (index, limit) in spec.limits.into_iter().enumerate() {
            let limit = Limit::new(limit).map_err(|error| PlanError::Limit { index, error })?;
            if limits.iter().any(|other| other.name == limit.name) {
                return Err(PlanError::NameTwice(limit.name));
            }
            limits.push(Arc::new(limit));
        }
        Ok(Self {
            title: spec.title.as_deref().unwrap_or(name.as_str()).into(),
            name,
            version,
            limits,
            unlisted: spec.unlisted.unwrap_or(Unlisted::Deny),
            on_denied: spec.on_denied,
            retired: false,
        })
    }

    /// The limit of that name.
    pub fn limit(&self, name: &LimitName) -> Option<&Arc<Limit>> {
        self.limits.iter().find(|limit| limit.name == *name)
    }

    /// The limits on one meter, as written.
    pub fn limits_on(&self, meter: &MeterName) -> impl Iterator<Item = &Arc<Limit>> {
        self.limits.iter().filter(move |limit| limit.meter == *meter)
    }
}
