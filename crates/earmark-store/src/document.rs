//! The configuration as people write it and stores keep it: meters, plans, default plan.
//!
//! One shape for the TOML file, the API's JSON and the stored text, so that what `earmark
//! plan show` prints can be put back as it is. Unknown fields are an error that names them.

use std::collections::BTreeMap;

use earmark_core::{
    Amount, Catalog, CatalogError, DimensionName, Filter, Glob, LimitIdentity, LimitName,
    LimitSpec, Meter, MeterName, Mode, OnDenied, OnExpiry, Plan, PlanName, PlanSpec, Threshold,
    Unlisted, Window,
};
use serde::{Deserialize, Serialize};

/// A configuration that is refused: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct DocumentError {
    /// The field, for example `plans.free.limits[0].window`.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

impl DocumentError {
    /// An error at one field.
    pub fn at(path: impl Into<String>, message: impl ToString) -> Self {
        Self { path: path.into(), message: message.to_string() }
    }

    fn under(self, prefix: &str) -> Self {
        Self { path: format!("{prefix}.{}", self.path), message: self.message }
    }
}

impl From<CatalogError> for DocumentError {
    fn from(error: CatalogError) -> Self {
        let text = error.to_string();
        match text.split_once(": ") {
            Some((path, message)) => Self::at(path, message),
            None => Self::at("plans", text),
        }
    }
}

/// Meters, plans and the default plan.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigDocument {
    /// The plan that unknown tenants of admin and service callers get; without it they are
    /// refused as `tenant_not_found`. `""` takes a former one away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_plan: Option<String>,
    /// What is counted, by name.
    #[serde(default)]
    pub meters: BTreeMap<String, MeterDocument>,
    /// Named sets of limits, by name.
    #[serde(default)]
    pub plans: BTreeMap<String, PlanDocument>,
}

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MeterDocument {
    /// Whether a release gives it back; off for what counts failed calls, too.
    #[cfg_attr(feature = "schema", schema(default = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<bool>,
    /// What expiry does to a dispatched hold: `release` or `charge`.
    #[cfg_attr(feature = "schema", schema(default = "release"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_expiry: Option<OnExpiryDocument>,
}

/// What expiry does to a dispatched hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnExpiryDocument {
    /// Gives it back.
    Release,
    /// Charges it as held.
    Charge,
}

/// A named set of limits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PlanDocument {
    /// For people; defaults to the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its limits.
    #[serde(default)]
    pub limits: Vec<LimitDocument>,
    /// What becomes of meters that no limit of the plan applies to: `deny` or `allow`.
    #[cfg_attr(feature = "schema", schema(default = "deny"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlisted: Option<UnlistedDocument>,
    /// How the gateway answers an exhausted limit: `error` or `message`.
    #[cfg_attr(feature = "schema", schema(default = "error"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_denied: Option<OnDeniedDocument>,
    /// The text of the completion that `on_denied = "message"` answers with; by default one that
    /// names the limit and its reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_message: Option<String>,
}

/// What becomes of meters without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum UnlistedDocument {
    /// Denied.
    Deny,
    /// Admitted and entered in the ledger.
    Allow,
}

/// How the gateway answers an exhausted limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnDeniedDocument {
    /// The provider's error.
    Error,
    /// A normal completion.
    Message,
}

/// How much of a meter, per window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LimitDocument {
    /// Unique in its plan; by default `meter/window`, then the dimensions of `per` and `where`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which meter is counted.
    pub meter: String,
    /// How much: a whole number, or `"unlimited"`.
    pub amount: AmountDocument,
    /// `minute`, `hour`, `day`, `week`, `month`, `year`, `lifetime`, `rolling:<span>` such as
    /// `rolling:24h`, or `in_flight`.
    pub window: String,
    /// `hard` denies, `soft` admits and marks, `observe` only counts.
    #[cfg_attr(feature = "schema", schema(default = "hard"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Dimensions whose values each get a counter of their own: `["user"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per: Vec<String>,
    /// Which holds it applies to: globs by dimension, `{ model = ["gpt-4o*"] }`.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: BTreeMap<String, Vec<String>>,
    /// Shares of the amount at which an event is sent: `[0.8, 1.0]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<f64>,
    /// Whether grants add to it; by default for hard limits without `per` of a day or longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grantable: Option<bool>,
    /// Most values of `per` in use at once.
    #[cfg_attr(feature = "schema", schema(default = json!(earmark_core::bounds::COMBINATIONS_MAX_DEFAULT)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combinations_max: Option<i64>,
}

/// A whole number, or `"unlimited"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "a whole number from 0 to 9007199254740991, or \"unlimited\"")]
pub enum AmountDocument {
    /// So much.
    Number(i64),
    /// `"unlimited"`.
    Word(UnlimitedWord),
}

/// The word `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum UnlimitedWord {
    /// Counted and held like any other, never refused.
    Unlimited,
}

impl AmountDocument {
    /// The amount; `None` is unlimited.
    pub fn read(&self) -> Result<Option<Amount>, &'static str> {
        match self {
            Self::Word(UnlimitedWord::Unlimited) => Ok(None),
            Self::Number(number) => Amount::new(*number)
                .map(Some)
                .ok_or("a whole number from 0 to 9007199254740991, or \"unlimited\""),
        }
    }

    /// The amount as it is written.
    pub fn of(amount: Option<Amount>) -> Self {
        amount.map_or(Self::Word(UnlimitedWord::Unlimited), |amount| Self::Number(amount.get()))
    }
}

impl ConfigDocument {
    /// Reads JSON; an error names the field as far as the reader knows it.
    pub fn from_json(text: &str) -> Result<Self, DocumentError> {
        serde_json::from_str(text).map_err(|error| DocumentError::at("config", error))
    }

    /// The default plan once this document is laid over `now`: what is left out stays, and
    /// `""` takes it away in so many words.
    pub fn default_plan_over(&self, now: &Self) -> Option<String> {
        match self.default_plan.as_deref() {
            None => now.default_plan.clone(),
            Some("") => None,
            Some(name) => Some(name.to_owned()),
        }
    }

    /// Checks and completes everything. `plan_of` says each plan's version and whether it
    /// is retired, `former` the meanings that limit names had before (R2).
    pub fn catalog(
        &self,
        version: i64,
        plan_of: impl Fn(&PlanName) -> (i64, bool),
        former: Vec<(LimitName, LimitIdentity)>,
    ) -> Result<Catalog, DocumentError> {
        let mut meters = Vec::with_capacity(self.meters.len());
        for (name, meter) in &self.meters {
            meters.push(meter.read(name).map_err(|error| error.under("meters"))?);
        }
        let mut plans = Vec::with_capacity(self.plans.len());
        for (name, document) in &self.plans {
            let name = plan_name(name)?;
            let (version, retired) = plan_of(&name);
            plans.push(Plan { retired, ..document.read(name, version)? });
        }
        let named = self.default_plan.as_ref().filter(|name| !name.is_empty());
        let default_plan = named.map(|name| {
            PlanName::new(name).map_err(|error| DocumentError::at("default_plan", error))
        });
        Ok(Catalog::new(version, meters, plans, default_plan.transpose()?, former)?)
    }
}

fn plan_name(name: &str) -> Result<PlanName, DocumentError> {
    PlanName::new(name).map_err(|error| DocumentError::at(format!("plans.{name}"), error))
}

impl MeterDocument {
    /// Checks and completes.
    pub fn read(&self, name: &str) -> Result<Meter, DocumentError> {
        let meter = MeterName::new(name).map_err(|error| DocumentError::at(name, error))?;
        Ok(Meter {
            name: meter,
            refund: self.refund.unwrap_or(true),
            on_expiry: match self.on_expiry {
                Some(OnExpiryDocument::Charge) => OnExpiry::Charge,
                Some(OnExpiryDocument::Release) | None => OnExpiry::Release,
            },
        })
    }
}

impl PlanDocument {
    /// Checks and completes. Errors name the field from `plans.<name>` on.
    pub fn read(&self, name: PlanName, version: i64) -> Result<Plan, DocumentError> {
        let path = format!("plans.{name}");
        let mut limits = Vec::with_capacity(self.limits.len());
        for (index, limit) in self.limits.iter().enumerate() {
            let spec = limit.read().map_err(|e| e.under(&format!("{path}.limits[{index}]")))?;
            limits.push(spec);
        }
        let message = self.denied_message.as_deref();
        if message.is_some_and(|text| text.is_empty() || text.len() > DENIED_MESSAGE_BYTES_MAX) {
            let message = format!("1 to {DENIED_MESSAGE_BYTES_MAX} bytes");
            return Err(DocumentError::at(format!("{path}.denied_message"), message));
        }
        let on_denied = match self.on_denied {
            Some(OnDeniedDocument::Message) => OnDenied::Message(message.map(Into::into)),
            _ if message.is_some() => {
                let message = "only with on_denied = \"message\"";
                return Err(DocumentError::at(format!("{path}.denied_message"), message));
            }
            _ => OnDenied::Error,
        };
        let unlisted = self.unlisted.map(|unlisted| match unlisted {
            UnlistedDocument::Deny => Unlisted::Deny,
            UnlistedDocument::Allow => Unlisted::Allow,
        });
        let spec = PlanSpec { title: self.title.clone(), limits, unlisted, on_denied };
        Plan::new(name, version, spec).map_err(|error| match error.to_string().split_once(": ") {
            Some((field, message)) => DocumentError::at(format!("{path}.{field}"), message),
            None => DocumentError::at(&path, error),
        })
    }
}

/// The friendly text is a short message, not a page.
const DENIED_MESSAGE_BYTES_MAX: usize = 2_048;

impl LimitDocument {
    fn read(&self) -> Result<LimitSpec, DocumentError> {
        let name = self
            .name
            .as_deref()
            .map(|name| LimitName::new(name).map_err(|error| DocumentError::at("name", error)));
        let meter =
            MeterName::new(&self.meter).map_err(|error| DocumentError::at("meter", error))?;
        let amount = self.amount.read().map_err(|error| DocumentError::at("amount", error))?;
        let window: Window =
            self.window.parse().map_err(|error| DocumentError::at("window", error))?;
        let mode = self.mode.as_deref().map(|mode| {
            Mode::parse(mode)
                .ok_or_else(|| DocumentError::at("mode", "one of hard, soft and observe"))
        });
        let per = self.per.iter().map(|dimension| {
            DimensionName::new(dimension).map_err(|error| DocumentError::at("per", error))
        });
        let alerts = self.alerts.iter().map(|share| read_threshold(*share));
        Ok(LimitSpec {
            name: name.transpose()?,
            meter,
            amount,
            window,
            mode: mode.transpose()?,
            per: per.collect::<Result<_, _>>()?,
            filter: self.read_filter()?,
            alerts: alerts.collect::<Result<_, _>>()?,
            grantable: self.grantable,
            combinations_max: self.combinations_max,
        })
    }

    fn read_filter(&self) -> Result<Filter, DocumentError> {
        let mut filter = Filter::new();
        for (dimension, globs) in &self.filter {
            let path = format!("where.{dimension}");
            let name = DimensionName::new(dimension).map_err(|e| DocumentError::at(&path, e))?;
            let globs = globs.iter().map(|g| Glob::new(g).map_err(|e| DocumentError::at(&path, e)));
            filter.insert(name, globs.collect::<Result<_, _>>()?);
        }
        Ok(filter)
    }
}

/// A share with at most four decimals, so that it is kept exactly.
fn read_threshold(share: f64) -> Result<Threshold, DocumentError> {
    let error =
        || DocumentError::at("alerts", "shares above 0 and up to 100, with at most four decimals");
    let scaled = share * 10_000.0;
    let rounded = scaled.round();
    if !scaled.is_finite() || (scaled - rounded).abs() > 1e-6 || !(1.0..=1e6).contains(&rounded) {
        return Err(error());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number from 1 to a million"
    )]
    Threshold::new(rounded as u32).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Catalog, String> {
        let document: ConfigDocument = serde_json::from_str(json).map_err(|e| e.to_string())?;
        document.catalog(1, |_| (1, false), Vec::new()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_configuration_is_read_whole() {
        let catalog = read(
            r#"{"default_plan":"free","meters":{"ai_messages":{},"attempts":{"refund":false}},
                "plans":{"free":{"title":"Free","limits":[
                  {"meter":"ai_messages","amount":50,"window":"month","alerts":[0.8,1.0]},
                  {"meter":"ai_messages","amount":5,"window":"minute","per":["user"]},
                  {"meter":"attempts","amount":"unlimited","window":"hour",
                   "where":{"model":["gpt-4o*"]}}]}}}"#,
        )
        .unwrap();
        let plan = catalog.plan(&PlanName::new("free").unwrap()).unwrap();
        let names: Vec<_> = plan.limits.iter().map(|limit| limit.name.as_str()).collect();
        let expected =
            ["ai_messages/month", "ai_messages/minute/user", "attempts/hour/model=gpt-4o*"];
        assert_eq!(names, expected);
        assert_eq!(plan.limits[0].alerts[0].to_string(), "0.8");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let limit = |limit: &str| {
            format!(r#"{{"meters":{{"m":{{}}}},"plans":{{"p":{{"limits":[{limit}]}}}}}}"#)
        };
        let cases = [
            (limit(r#"{"meter":"m","amount":-1,"window":"day"}"#), "plans.p.limits[0].amount: "),
            (limit(r#"{"meter":"m","amount":1,"window":"fortnight"}"#), "plans.p.limits[0].window"),
            (limit(r#"{"meter":"x","amount":1,"window":"day"}"#), "plans.p: meter x is not"),
            (limit(r#"{"meter":"m","amount":1.5,"window":"day"}"#), "a whole number from 0"),
            (limit(r#"{"meter":"m","amount":1,"windows":"day"}"#), "unknown field `windows`"),
            (
                limit(r#"{"meter":"m","amount":1,"window":"day","alerts":[0.00001]}"#),
                "plans.p.limits[0].alerts: shares",
            ),
            (r#"{"default_plan":"p"}"#.to_owned(), "default_plan: p is no plan"),
            (
                r#"{"plans":{"p":{"denied_message":"no"}}}"#.to_owned(),
                "plans.p.denied_message: only with",
            ),
        ];
        for (json, expected) in cases {
            let error = read(&json).unwrap_err();
            assert!(error.contains(expected), "{json}\n{error}");
        }
    }
}
