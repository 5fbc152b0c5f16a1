//! The shapes that leave: one type for each, made from core's types and never the other way.

mod call;
mod charge;
mod endpoint;
mod entry;
mod event;
mod grant;
mod hold;
mod key;
mod limit;
mod problem;
mod tenant;

pub(crate) use call::CallReply;
pub(crate) use charge::{ChargeReply, CheckReply};
pub(crate) use endpoint::{EndpointReply, EndpointSecretReply, EndpointsReply};
pub(crate) use entry::{EntriesReply, EntryReply};
pub(crate) use event::{EventMessage, EventReply, EventsReply};
pub(crate) use grant::GrantReply;
pub(crate) use hold::{EndedReply, ExtendedReply, HoldDetail, HoldReply, HoldsReply};
pub(crate) use key::{KeyReply, KeysReply, NewKeyReply};
pub(crate) use limit::{LimitReply, limits};
pub(crate) use problem::ProblemReply;
pub(crate) use tenant::{ErasedReply, TenantReply, TenantsReply};

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use earmark_core::{Amount, Answer, Dimensions, Metadata, MeterName};
use http::{HeaderValue, StatusCode, header};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::Problem;
use crate::rate_limit;

/// Amounts by meter, in the order in which they came.
#[derive(Debug, Clone)]
pub(crate) struct Amounts<'a>(pub(crate) Cow<'a, [(MeterName, Amount)]>);

impl Serialize for Amounts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(meter, amount)| (meter.as_str(), amount.get())))
    }
}

/// Something as the text that it is written as.
fn shown<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A JSON reply.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let json = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, json)], bytes).into_response()
        }
        Err(_) => Problem::internal("a reply that is no JSON").into_response(),
    }
}

/// A JSON reply to a metered call, with the headers of its tightest limit.
pub(crate) fn metered(status: StatusCode, answer: &Answer, body: &impl Serialize) -> Response {
    let mut response = json(status, body);
    rate_limit::write(response.headers_mut(), &answer.limits, answer.now);
    response
}

/// 201 for what was made now, 200 for what had been made before (R29).
pub(crate) fn made(answer: &Answer) -> StatusCode {
    if answer.replayed { StatusCode::OK } else { StatusCode::CREATED }
}

fn dimensions(dimensions: &Dimensions) -> BTreeMap<String, String> {
    dimensions.iter().map(|(name, value)| (name.to_string(), value.as_str().to_owned())).collect()
}

/// What a caller attached, as it came; text that is no JSON is left out.
fn metadata(metadata: Option<&Metadata>) -> Option<Box<RawValue>> {
    metadata.and_then(|text| RawValue::from_string(text.to_string()).ok())
}

fn text(note: Option<&Arc<str>>) -> Option<String> {
    note.map(ToString::to_string)
}
