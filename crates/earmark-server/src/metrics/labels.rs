//! Labels, each with its bounded set of values.

use http::Method;
use prometheus_client::encoding::EncodeLabelSet;

/// Of holds and charges.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HoldLabels {
    /// `admitted`, `replayed`, `denied`, `refused` or `failed`.
    pub(super) result: &'static str,
    /// The code of a refusal, else empty.
    pub(super) code: &'static str,
}

/// Of any operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AnswerLabels {
    pub(super) operation: &'static str,
    /// `done`, `replayed`, `denied`, `refused` or `failed`.
    pub(super) result: &'static str,
    /// The code of a refusal, else empty.
    pub(super) code: &'static str,
}

/// Of an amount.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AmountLabels {
    pub(super) meter: String,
}

/// Of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) method: &'static str,
    /// The template, `none` for paths without a route.
    pub(super) route: String,
    pub(super) status: u16,
}

/// Of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteLabels {
    pub(super) method: &'static str,
    pub(super) route: String,
}

/// Of an attempt to deliver an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    /// `delivered`, `failed` or `dead`.
    pub(super) result: &'static str,
}

/// Of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabels {
    /// `pending` or `dead`.
    pub(super) state: &'static str,
}

/// A method as a label; what nobody serves is one value, since clients can invent methods.
pub(super) fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
