//! The nested parts of a hold: its legs, and how it ended.

use earmark_core::{
    CounterKey, CounterLeg, Expiry, GrantLeg, HoldState, MeterCharge, OnExpiry, Part, PartMeter,
    Resolution, TimestampMs,
};
use serde::{Deserialize, Serialize};

use super::{
    AmountRow, CounterDeltaRow, GrantDeltaRow, amounts_row, counter_delta_row, counter_key,
    damaged, from_text, grant_delta_row, read, read_amount, read_amounts, read_counter_delta,
    read_grant_delta, to_text,
};
use crate::records::HoldStateFilter;
use crate::seam::StoreError;

/// limit, dimensions, window, amount, grantable, the limit's amount when held, slice.
type CounterLegRow = (String, String, String, i64, bool, Option<i64>, Option<i64>);
/// grant, amount.
type GrantLegRow = (String, i64);
/// meter, amount, plan part, refund, charge on expiry, counters, grants.
type PartMeterRow = (String, i64, i64, bool, bool, Vec<CounterLegRow>, Vec<GrantLegRow>);
/// held at (ms), meters.
type PartRow = (i64, Vec<PartMeterRow>);

/// The parts with their legs.
pub fn legs_to_text(parts: &[Part]) -> String {
    let rows: Vec<PartRow> = parts
        .iter()
        .map(|part| (part.held.0, part.meters.iter().map(part_meter_row).collect()))
        .collect();
    to_text(&rows)
}

fn part_meter_row(meter: &PartMeter) -> PartMeterRow {
    let counters = meter.counters.iter().map(|leg| {
        let CounterKey { limit, dimensions, window } = &leg.counter;
        (
            limit.to_string(),
            dimensions.as_str().to_owned(),
            window.to_string(),
            leg.amount.get(),
            leg.grantable,
            leg.limit_amount.map(|amount| amount.get()),
            leg.slice,
        )
    });
    let grants = meter.grants.iter().map(|leg| (leg.grant.to_string(), leg.amount.get()));
    (
        meter.meter.to_string(),
        meter.amount.get(),
        meter.plan_part.get(),
        meter.refund,
        meter.on_expiry == OnExpiry::Charge,
        counters.collect(),
        grants.collect(),
    )
}

/// Reads what [`legs_to_text`] wrote.
pub fn legs_from_text(text: &str) -> Result<Vec<Part>, StoreError> {
    let rows: Vec<PartRow> = from_text(text)?;
    rows.into_iter()
        .map(|(held, meters)| {
            let meters = meters.into_iter().map(read_part_meter).collect::<Result<_, _>>()?;
            Ok(Part { held: TimestampMs(held), meters })
        })
        .collect()
}

fn read_part_meter(row: PartMeterRow) -> Result<PartMeter, StoreError> {
    let (meter, amount, plan_part, refund, charge, counters, grants) = row;
    let counters = counters.into_iter().map(|row| {
        let (limit, dimensions, window, amount, grantable, limit_amount, slice) = row;
        Ok(CounterLeg {
            counter: counter_key(&limit, &dimensions, &window)?,
            amount: read_amount(amount)?,
            grantable,
            limit_amount: limit_amount.map(read_amount).transpose()?,
            slice,
        })
    });
    let grants = grants
        .into_iter()
        .map(|(grant, amount)| Ok(GrantLeg { grant: read(&grant)?, amount: read_amount(amount)? }));
    Ok(PartMeter {
        meter: read(&meter)?,
        amount: read_amount(amount)?,
        plan_part: read_amount(plan_part)?,
        refund,
        on_expiry: if charge { OnExpiry::Charge } else { OnExpiry::Release },
        counters: counters.collect::<Result<_, StoreError>>()?,
        grants: grants.collect::<Result<_, StoreError>>()?,
    })
}

#[derive(Serialize, Deserialize)]
struct OutcomeRow {
    at_ms: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    charged: Vec<AmountRow>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expiry: Vec<ChargeRow>,
}

/// part, meter, amount, counters, grants.
type ChargeRow = (usize, String, i64, Vec<CounterDeltaRow>, Vec<GrantDeltaRow>);

/// How a hold ended; `None` for an open one. The state itself is a column.
pub fn outcome_to_text(state: &HoldState) -> Option<String> {
    let row = match state {
        HoldState::Open => return None,
        HoldState::Settled(resolution) | HoldState::Released(resolution) => OutcomeRow {
            at_ms: resolution.at.0,
            charged: amounts_row(&resolution.charged),
            late: resolution.late,
            expiry: Vec::new(),
        },
        HoldState::Expired(expiry) => OutcomeRow {
            at_ms: expiry.at.0,
            charged: Vec::new(),
            late: false,
            expiry: expiry.charges.iter().map(charge_row).collect(),
        },
    };
    Some(to_text(&row))
}

fn charge_row(charge: &MeterCharge) -> ChargeRow {
    (
        charge.part,
        charge.meter.to_string(),
        charge.amount.get(),
        charge.counters.iter().map(counter_delta_row).collect(),
        charge.grants.iter().map(grant_delta_row).collect(),
    )
}

fn read_charge(row: ChargeRow) -> Result<MeterCharge, StoreError> {
    let (part, meter, amount, counters, grants) = row;
    Ok(MeterCharge {
        part,
        meter: read(&meter)?,
        amount: read_amount(amount)?,
        counters: counters.into_iter().map(read_counter_delta).collect::<Result<_, _>>()?,
        grants: grants.into_iter().map(read_grant_delta).collect::<Result<_, _>>()?,
    })
}

/// Puts a state together from its column and what [`outcome_to_text`] wrote.
pub fn state_from_text(state: &str, outcome: Option<&str>) -> Result<HoldState, StoreError> {
    let state = HoldStateFilter::parse(state).ok_or_else(|| damaged(format!("state {state}")))?;
    let Some(outcome) = outcome else {
        return match state {
            HoldStateFilter::Open => Ok(HoldState::Open),
            other => Err(damaged(format!("{} without an outcome", other.as_str()))),
        };
    };
    let row: OutcomeRow = from_text(outcome)?;
    let at = TimestampMs(row.at_ms);
    let resolution = |charged| {
        Ok::<_, StoreError>(Resolution { at, charged: read_amounts(charged)?, late: row.late })
    };
    match state {
        HoldStateFilter::Open => Ok(HoldState::Open),
        HoldStateFilter::Settled => Ok(HoldState::Settled(resolution(row.charged)?)),
        HoldStateFilter::Released => Ok(HoldState::Released(resolution(row.charged)?)),
        HoldStateFilter::Expired => {
            let charges = row.expiry.into_iter().map(read_charge).collect::<Result<_, _>>()?;
            Ok(HoldState::Expired(Expiry { at, charges }))
        }
    }
}
