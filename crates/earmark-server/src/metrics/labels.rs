//! Labels, each with its bounded set of values.
//!
//! Always holds: what a label means stands once, at its field, and is both its documentation here
//! and its row in the reference.

use http::Method;
use prometheus_client::encoding::EncodeLabelSet;

use super::described::Labelled;

/// Sets of labels with the meaning of each.
macro_rules! labels {
    ($(
        #[doc = $doc:literal]
        $name:ident { $($(#[doc = $meaning:literal])* $field:ident: $kind:ty,)* }
    )*) => {$(
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $($(#[doc = $meaning])* pub(super) $field: $kind,)* }

        impl Labelled for $name {
            const LABELS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($field), concat!($($meaning),*).trim_ascii())),*];
        }
    )*};
}

labels! {
    /// Of holds and charges.
    HoldLabels {
        /// `admitted`, `replayed`, `denied` (by rule), `refused` (a wrong request) or `failed`.
        result: &'static str,
        /// The code of a refusal, else empty.
        code: &'static str,
    }

    /// Of any operation.
    AnswerLabels {
        /// What was asked for: `hold`, `settle`, `release`, `extend`, `charge`, `check`, `usage`, …
        operation: &'static str,
        /// `done`, `replayed`, `denied` (by rule), `refused` (a wrong request) or `failed`.
        result: &'static str,
        /// The code of a refusal, else empty.
        code: &'static str,
    }

    /// Of an amount.
    AmountLabels {
        /// The meter.
        meter: String,
    }

    /// Of a request.
    RequestLabels {
        /// The method; `other` for those that nobody serves.
        method: &'static str,
        /// The template, `none` for paths without a route.
        route: String,
        /// The status of the reply.
        status: u16,
    }

    /// Of a route.
    RouteLabels {
        /// The method; `other` for those that nobody serves.
        method: &'static str,
        /// The template, `none` for paths without a route.
        route: String,
    }

    /// Of an attempt to deliver an event.
    AttemptLabels {
        /// `delivered`, `failed` (tried again later) or `dead` (the last one failed).
        result: &'static str,
    }

    /// Of deliveries.
    StateLabels {
        /// `pending` or `dead`.
        state: &'static str,
    }
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
