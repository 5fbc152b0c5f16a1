//! The nested parts of a hold: its legs, and how it ended.

use earmark_core::{
    Amount, CounterLeg, Expiry, GrantLeg, HoldState, MeterCharge, MeterName, OnExpiry, Part,
    PartMeter, Resolution, TimestampMs,
};
use serde::{Deserialize, Serialize};

use super::text::JsonText;
use super::{
    AmountRow, CounterDeltaRow, GrantDeltaRow, amounts_row, counter_delta_row, counter_key,
    damaged, from_text, grant_delta_row, read, read_amount, read_amounts, read_counter_delta,
    read_grant_delta, to_text, write_counter_key,
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
    let mut text = JsonText::with_capacity(160);
    text.array(|text| {
        for part in parts {
            text.array(|text| {
                text.number(part.held.0);
                text.array(|text| part.meters.iter().for_each(|meter| write_meter(text, meter)));
            });
        }
    });
    text.finish()
}

fn write_meter(text: &mut JsonText, meter: &PartMeter) {
    text.array(|text| {
        text.string(meter.meter.as_str());
        text.number(meter.amount.get());
        text.number(meter.plan_part.get());
        text.boolean(meter.refund);
        text.boolean(meter.on_expiry == OnExpiry::Charge);
        text.array(|text| meter.counters.iter().for_each(|leg| write_counter_leg(text, leg)));
        text.array(|text| {
            for leg in &meter.grants {
                text.array(|text| {
                    text.plain(leg.grant);
                    text.number(leg.amount.get());
                });
            }
        });
    });
}

fn write_counter_leg(text: &mut JsonText, leg: &CounterLeg) {
    text.array(|text| {
        write_counter_key(text, &leg.counter);
        text.number(leg.amount.get());
        text.boolean(leg.grantable);
        text.optional_number(leg.limit_amount.map(|amount| amount.get()));
        text.optional_number(leg.slice);
    });
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

#[derive(Default, PartialEq, Serialize, Deserialize)]
struct OutcomeRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    charged: Option<Vec<AmountRow>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expiry: Vec<ChargeRow>,
}

/// part, meter, amount, counters, grants.
type ChargeRow = (usize, String, i64, Vec<CounterDeltaRow>, Vec<GrantDeltaRow>);

/// How a hold ended, beyond its state and its time, which are columns. `None` for what most
/// holds do: settled as held, released whole, expired without a charge, or still open.
pub fn outcome_to_text(state: &HoldState, parts: &[Part]) -> Option<String> {
    let row = match state {
        HoldState::Open => return None,
        HoldState::Settled(resolution) | HoldState::Released(resolution) => {
            let is_settle = matches!(state, HoldState::Settled(_));
            let is_usual = resolution.charged == usual_charge(is_settle, parts);
            let charged = (!is_usual).then(|| amounts_row(&resolution.charged));
            OutcomeRow { charged, late: resolution.late, expiry: Vec::new() }
        }
        HoldState::Expired(expiry) => OutcomeRow {
            expiry: expiry.charges.iter().map(charge_row).collect(),
            ..OutcomeRow::default()
        },
    };
    (row != OutcomeRow::default()).then(|| to_text(&row))
}

/// What a settle or a release charges when nobody says anything else: all or nothing.
fn usual_charge(is_settle: bool, parts: &[Part]) -> Vec<(MeterName, Amount)> {
    let mut amounts = Part::amounts(parts);
    if !is_settle {
        amounts.iter_mut().for_each(|(_, amount)| *amount = Amount::ZERO);
    }
    amounts
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

/// Puts a state together from its columns and what [`outcome_to_text`] wrote.
pub fn state_from_columns(
    state: &str,
    ended: TimestampMs,
    outcome: Option<&str>,
    parts: &[Part],
) -> Result<HoldState, StoreError> {
    let state = HoldStateFilter::parse(state).ok_or_else(|| damaged(format!("state {state}")))?;
    let row: OutcomeRow = outcome.map(from_text).transpose()?.unwrap_or_default();
    let is_settle = match state {
        HoldStateFilter::Open => return Ok(HoldState::Open),
        HoldStateFilter::Expired => {
            let charges = row.expiry.into_iter().map(read_charge).collect::<Result<_, _>>()?;
            return Ok(HoldState::Expired(Expiry { at: ended, charges }));
        }
        HoldStateFilter::Settled => true,
        HoldStateFilter::Released => false,
    };
    let charged = match row.charged {
        Some(charged) => read_amounts(charged)?,
        None => usual_charge(is_settle, parts),
    };
    let resolution = Resolution { at: ended, charged, late: row.late };
    Ok(if is_settle { HoldState::Settled(resolution) } else { HoldState::Released(resolution) })
}
