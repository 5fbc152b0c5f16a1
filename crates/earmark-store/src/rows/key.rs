//! What an idempotency key answers with.

use earmark_core::{CalendarKind, KeyTarget, StoredAnswer, TimestampMs};
use serde::{Deserialize, Serialize};

use super::{AmountRow, amounts_row, counter_key, damaged, from_text, read, read_amounts, to_text};
use crate::seam::StoreError;

#[derive(Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
enum AnswerRow {
    Charge { seq: i64, charged: Vec<AmountRow>, counters: Vec<CounterKeyRow> },
    Extend { seq: i64, hold: String, amounts: Vec<AmountRow>, expires_ms: i64 },
    Resolve { hold: String },
    Grant { seq: i64, grant: String },
    Adjust { seq: i64, counter: CounterKeyRow, applied: i64 },
    Restart { seq: i64, windows: Vec<(String, String)> },
}

/// limit, dimensions, window.
type CounterKeyRow = (String, String, String);

fn key_row(key: &earmark_core::CounterKey) -> CounterKeyRow {
    (key.limit.to_string(), key.dimensions.as_str().to_owned(), key.window.to_string())
}

fn read_key(
    (limit, dimensions, window): &CounterKeyRow,
) -> Result<earmark_core::CounterKey, StoreError> {
    counter_key(limit, dimensions, window)
}

/// The two columns of a target: the hold's id, or the first answer.
pub fn target_to_columns(target: &KeyTarget) -> (Option<String>, Option<String>) {
    match target {
        KeyTarget::Hold(id) => (Some(id.to_string()), None),
        KeyTarget::Answer(answer) => (None, Some(to_text(&answer_row(answer)))),
    }
}

fn answer_row(answer: &StoredAnswer) -> AnswerRow {
    match answer {
        StoredAnswer::Charge { seq, charged, counters } => AnswerRow::Charge {
            seq: *seq,
            charged: amounts_row(charged),
            counters: counters.iter().map(key_row).collect(),
        },
        StoredAnswer::Extend { seq, hold, amounts, expires } => AnswerRow::Extend {
            seq: *seq,
            hold: hold.to_string(),
            amounts: amounts_row(amounts),
            expires_ms: expires.0,
        },
        StoredAnswer::Resolve { hold } => AnswerRow::Resolve { hold: hold.to_string() },
        StoredAnswer::Grant { seq, grant } => {
            AnswerRow::Grant { seq: *seq, grant: grant.to_string() }
        }
        StoredAnswer::Adjust { seq, counter, applied } => {
            AnswerRow::Adjust { seq: *seq, counter: key_row(counter), applied: *applied }
        }
        StoredAnswer::Restart { seq, windows } => {
            let window = |(kind, label): &(CalendarKind, earmark_core::WindowLabel)| {
                (kind.as_str().to_owned(), label.to_string())
            };
            AnswerRow::Restart { seq: *seq, windows: windows.iter().map(window).collect() }
        }
    }
}

/// Reads what [`target_to_columns`] wrote.
pub fn target_from_columns(
    hold: Option<&str>,
    answer: Option<&str>,
) -> Result<KeyTarget, StoreError> {
    match (hold, answer) {
        (Some(hold), None) => Ok(KeyTarget::Hold(read(hold)?)),
        (None, Some(answer)) => Ok(KeyTarget::Answer(read_answer(from_text(answer)?)?)),
        _ => Err(damaged("an idempotency key answers with a hold or an answer")),
    }
}

fn read_answer(row: AnswerRow) -> Result<StoredAnswer, StoreError> {
    Ok(match row {
        AnswerRow::Charge { seq, charged, counters } => StoredAnswer::Charge {
            seq,
            charged: read_amounts(charged)?,
            counters: counters.iter().map(read_key).collect::<Result<_, _>>()?,
        },
        AnswerRow::Extend { seq, hold, amounts, expires_ms } => StoredAnswer::Extend {
            seq,
            hold: read(&hold)?,
            amounts: read_amounts(amounts)?,
            expires: TimestampMs(expires_ms),
        },
        AnswerRow::Resolve { hold } => StoredAnswer::Resolve { hold: read(&hold)? },
        AnswerRow::Grant { seq, grant } => StoredAnswer::Grant { seq, grant: read(&grant)? },
        AnswerRow::Adjust { seq, counter, applied } => {
            StoredAnswer::Adjust { seq, counter: read_key(&counter)?, applied }
        }
        AnswerRow::Restart { seq, windows } => {
            let window = |(kind, label): (String, String)| {
                let kind = CalendarKind::parse(&kind).ok_or_else(|| damaged(&kind))?;
                Ok::<_, StoreError>((kind, read(&label)?))
            };
            StoredAnswer::Restart {
                seq,
                windows: windows.into_iter().map(window).collect::<Result<_, _>>()?,
            }
        }
    })
}
