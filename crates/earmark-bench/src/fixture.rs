//! What is measured: plans, tenants, commands.

use earmark_core::{
    Amount, AmountRange, Command, DimensionName, DimensionValue, Dimensions, HoldId, HoldRequest,
    MeterName, Operation, TenantFields, TenantId, Ttl,
};
use earmark_engine::document::ConfigDocument;

/// One limit, or the three of the example configuration; so wide that nothing is denied.
pub(crate) fn config(plan: &str) -> anyhow::Result<ConfigDocument> {
    let limits = match plan {
        "one" => r#"{"meter":"ai_messages","amount":1000000000,"window":"month"}"#,
        "three" => {
            r#"{"meter":"ai_messages","amount":1000000000,"window":"month","alerts":[0.8,1.0]},
               {"meter":"ai_messages","amount":1000000000,"window":"minute","per":["user"]},
               {"meter":"attempts","amount":1000000000,"window":"hour"}"#
        }
        other => anyhow::bail!("--plan is one or three, not {other}"),
    };
    let text = format!(
        r#"{{"meters":{{"ai_messages":{{}},"attempts":{{"refund":false}}}},
             "plans":{{"bench":{{"limits":[{limits}]}}}}}}"#
    );
    Ok(ConfigDocument::from_json(&text)?)
}

pub(crate) fn tenant(number: usize) -> anyhow::Result<TenantId> {
    Ok(TenantId::new(&format!("tenant-{number:07}"))?)
}

pub(crate) fn create_tenant() -> anyhow::Result<Command> {
    let fields = TenantFields::on(earmark_core::PlanName::new("bench")?);
    Ok(Command::new(Operation::PutTenant { fields, author: None }))
}

/// What each call holds under a plan.
pub(crate) struct Call {
    pub(crate) amounts: Vec<(MeterName, AmountRange)>,
    pub(crate) dimensions: Dimensions,
    pub(crate) ttl: Ttl,
}

impl Call {
    pub(crate) fn under(plan: &str) -> anyhow::Result<Self> {
        let one = AmountRange::exactly(Amount::new(1).unwrap_or_default());
        let mut amounts = vec![(MeterName::new("ai_messages")?, one)];
        let mut dimensions = Vec::new();
        if plan == "three" {
            amounts.push((MeterName::new("attempts")?, one));
            dimensions.push((DimensionName::new("user")?, DimensionValue::new("u_17")?));
        }
        Ok(Self { amounts, dimensions: Dimensions::new(dimensions)?, ttl: Ttl::default() })
    }

    pub(crate) fn hold(&self) -> (HoldId, Command) {
        let id = HoldId(uuid::Uuid::now_v7().as_u128());
        let request = HoldRequest {
            id,
            id_is_fresh: true,
            amounts: self.amounts.clone(),
            meters: earmark_core::MetersAsked::All,
            dimensions: self.dimensions.clone(),
            ttl: self.ttl,
            dispatched: true,
            metadata: None,
        };
        (id, Command::new(Operation::Hold(request)))
    }
}

pub(crate) fn settle(hold: HoldId) -> Command {
    Command::new(Operation::Settle { hold, amounts: Vec::new(), metadata: None })
}
