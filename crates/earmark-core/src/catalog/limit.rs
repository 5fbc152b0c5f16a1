//! A limit: how much of a meter, per window (R2).
//!
//! [`LimitSpec`] is what somebody wrote, [`Limit`] what has been checked and completed with
//! defaults. A limit that cannot be enforced exactly is refused here, at load, and never
//! silently ignored.

use std::collections::BTreeMap;
use std::fmt;

use crate::amount::Amount;
use crate::bounds;
use crate::glob::Glob;
use crate::name::{DimensionName, Dimensions, LimitName, MeterName};
use crate::window::Window;

/// How much a limit allows; `None` is unlimited, counted and held like any other (R6).
pub type LimitAmount = Option<Amount>;

/// What a limit does when it is reached (R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Denies.
    Hard,
    /// Admits and marks the reply `over_limit`.
    Soft,
    /// Only counts.
    Observe,
}

impl Mode {
    /// The mode as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::Observe => "observe",
        }
    }

    /// Reads a mode.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Hard, Self::Soft, Self::Observe].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// A share of a limit in ten-thousandths: 8,000 is 0.8. Whole numbers, so that an alert
/// fires at the same amount everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Threshold(u32);

impl Threshold {
    /// A share above 0 and at most 100 times the limit.
    pub fn new(ten_thousandths: u32) -> Option<Self> {
        (1..=1_000_000).contains(&ten_thousandths).then_some(Self(ten_thousandths))
    }

    /// In ten-thousandths.
    pub fn ten_thousandths(self) -> u32 {
        self.0
    }

    /// The least amount used that reaches this share of `limit`, rounded up: 0.8 of 51 is 41.
    pub fn amount_of(self, limit: Amount) -> i64 {
        let product = i128::from(limit.get()) * i128::from(self.0);
        i64::try_from((product + 9_999) / 10_000).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Threshold {
    /// As the share that somebody wrote: `0.8`, `1`, `1.25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:04}", self.0 / 10_000, self.0 % 10_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// `where`: the values that each named dimension must match (R2).
pub type Filter = BTreeMap<DimensionName, Vec<Glob>>;

/// A limit as somebody wrote it; what is `None` gets its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSpec {
    /// Defaults to `meter/window`, then the dimensions and the globs (R2).
    pub name: Option<LimitName>,
    /// What is counted.
    pub meter: MeterName,
    /// How much; `None` is unlimited.
    pub amount: LimitAmount,
    /// Per what.
    pub window: Window,
    /// Defaults to hard.
    pub mode: Option<Mode>,
    /// Dimensions that each get their own counter.
    pub per: Vec<DimensionName>,
    /// Which holds it applies to; empty: all.
    pub filter: Filter,
    /// Shares of the amount at which to tell.
    pub alerts: Vec<Threshold>,
    /// Whether grants add to it; defaults by R24.
    pub grantable: Option<bool>,
    /// Most values of `per` in use at once (R3).
    pub combinations_max: Option<i64>,
}

impl LimitSpec {
    /// A hard limit without anything special.
    pub fn new(meter: MeterName, amount: LimitAmount, window: Window) -> Self {
        Self {
            name: None,
            meter,
            amount,
            window,
            mode: None,
            per: Vec::new(),
            filter: Filter::new(),
            alerts: Vec::new(),
            grantable: None,
            combinations_max: None,
        }
    }
}

/// What a limit's name means for good (R2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitIdentity {
    /// What it counts.
    pub meter: MeterName,
    /// Per what.
    pub window: Window,
    /// Its dimensions, in order.
    pub per: Vec<DimensionName>,
}

impl fmt::Display for LimitIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.meter, self.window)?;
        for dimension in &self.per {
            write!(f, " and {dimension}")?;
        }
        Ok(())
    }
}

/// Why a limit is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitError {
    /// More than the bound, or one twice.
    Per,
    /// More alerts than the bound.
    Alerts,
    /// More globs than the bound, or a dimension without one.
    Filter,
    /// The default name is too long.
    Name,
    /// Soft, observe and in-flight limits never take grants (R24).
    Grantable,
    /// `combinations_max` below 1.
    CombinationsMax,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Per => {
                write!(f, "`per` has at most {} dimensions, each once", bounds::DIMENSIONS_MAX)
            }
            Self::Alerts => write!(f, "at most {} `alerts`", bounds::ALERTS_PER_LIMIT_MAX),
            Self::Filter => {
                write!(f, "each dimension in `where` has 1 to {} globs", bounds::GLOBS_MAX)
            }
            Self::Name => write!(f, "the default name is too long; give the limit a `name`"),
            Self::Grantable => {
                write!(f, "`grantable` needs a hard limit that is not in flight")
            }
            Self::CombinationsMax => write!(f, "`combinations_max` is at least 1"),
        }
    }
}

impl std::error::Error for LimitError {}

/// How much of a meter, per window; complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Unique in its plan.
    pub name: LimitName,
    /// What is counted.
    pub meter: MeterName,
    /// How much.
    pub amount: LimitAmount,
    /// Per what.
    pub window: Window,
    /// What it does when reached.
    pub mode: Mode,
    /// Dimensions that each get their own counter, as written.
    pub per: Vec<DimensionName>,
    /// Which holds it applies to.
    pub filter: Filter,
    /// Shares at which to tell, ascending.
    pub alerts: Vec<Threshold>,
    /// Whether grants add to it (R24).
    pub grantable: bool,
    /// Most values of `per` in use at once (R3).
    pub combinations_max: i64,
}

impl Limit {
    /// Checks what somebody wrote and completes it.
    pub fn new(spec: LimitSpec) -> Result<Self, LimitError> {
        let mode = spec.mode.unwrap_or(Mode::Hard);
        let mut sorted = spec.per.clone();
        sorted.sort();
        if sorted.len() > bounds::DIMENSIONS_MAX || sorted.windows(2).any(|two| two[0] == two[1]) {
            return Err(LimitError::Per);
        }
        if spec.filter.len() > bounds::DIMENSIONS_MAX
            || spec.filter.values().any(|globs| globs.is_empty() || globs.len() > bounds::GLOBS_MAX)
        {
            return Err(LimitError::Filter);
        }
        if spec.alerts.len() > bounds::ALERTS_PER_LIMIT_MAX {
            return Err(LimitError::Alerts);
        }
        if spec.combinations_max.is_some_and(|max| max < 1) {
            return Err(LimitError::CombinationsMax);
        }
        let can_take_grants = mode == Mode::Hard && spec.window != Window::InFlight;
        if spec.grantable == Some(true) && !can_take_grants {
            return Err(LimitError::Grantable);
        }
        let by_default = can_take_grants && spec.per.is_empty() && spec.window.is_day_or_longer();
        let name = match &spec.name {
            Some(name) => name.clone(),
            None => default_name(&spec).ok_or(LimitError::Name)?,
        };
        let mut alerts = spec.alerts;
        alerts.sort_unstable();
        alerts.dedup();
        Ok(Self {
            name,
            meter: spec.meter,
            amount: spec.amount,
            window: spec.window,
            mode,
            per: spec.per,
            filter: spec.filter,
            alerts,
            grantable: spec.grantable.unwrap_or(by_default),
            combinations_max: spec.combinations_max.unwrap_or(bounds::COMBINATIONS_MAX_DEFAULT),
        })
    }

    /// What its name means for good.
    pub fn identity(&self) -> LimitIdentity {
        LimitIdentity { meter: self.meter.clone(), window: self.window, per: self.per.clone() }
    }

    /// Whether it applies to a request with these dimensions: every dimension of `where`
    /// matches one of its globs, `""` standing for one that is not carried.
    pub fn applies_to(&self, dimensions: &Dimensions) -> bool {
        self.filter.iter().all(|(dimension, globs)| {
            let value = dimensions.value(dimension);
            globs.iter().any(|glob| glob.matches(value))
        })
    }
}

/// `meter/window`, then `/dimension` for each of `per` and `/dimension=glob,glob` for each
/// of `where` (R2).
fn default_name(spec: &LimitSpec) -> Option<LimitName> {
    let mut text = format!("{}/{}", spec.meter, spec.window);
    for dimension in &spec.per {
        text.push('/');
        text.push_str(dimension.as_str());
    }
    for (dimension, globs) in &spec.filter {
        let globs: Vec<_> = globs.iter().map(Glob::as_str).collect();
        text.push_str(&format!("/{dimension}={}", globs.join(",")));
    }
    LimitName::new(&text).ok()
}
