//! Which headers pass between client and upstream: these, and no others.
//!
//! All tenants share the operator's account at the provider, so everything that names, bills or
//! throttles an account stays on its own side of the gateway.
//!
//! | to the upstream | why |
//! |---|---|
//! | `accept` | the form of the reply |
//! | `traceparent`, `tracestate` | one trace through the gateway |
//! | `openai-beta` | opts into a form of the API, nothing else |
//!
//! | to the client | why |
//! |---|---|
//! | `content-type`, `cache-control` | how to read and keep the body |
//! | `x-request-id`, `openai-processing-ms`, `openai-version` | what support and SDKs ask for |
//! | `retry-after`, `retry-after-ms`, `x-should-retry` | the upstream's word on trying again |
//!
//! Deliberately absent: the client's `authorization`, `x-api-key` and cookies (they are ours to
//! check), `openai-organization` and `openai-project` (they choose who pays), `accept-encoding`
//! (a compressed reply cannot be metered), `x-stainless-*` and `user-agent` (they describe the
//! tenant's machine); of the upstream `set-cookie`, `openai-organization` and
//! `x-ratelimit-*`: these are the operator's limits, which tenants share and must not see.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of the client that the upstream gets.
const TO_UPSTREAM: [HeaderName; 4] = [
    header::ACCEPT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("openai-beta"),
];

/// Headers of the upstream that the client gets.
const TO_CLIENT: [HeaderName; 8] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("openai-processing-ms"),
    HeaderName::from_static("openai-version"),
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-should-retry"),
];

/// Returns the headers of an upstream request, all but the key.
pub(super) fn to_upstream(from_client: &HeaderMap) -> HeaderMap {
    let mut headers = chosen(from_client, &TO_UPSTREAM);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

/// Returns the headers of an upstream's reply that reach the client.
pub(super) fn to_client(from_upstream: &HeaderMap) -> HeaderMap {
    chosen(from_upstream, &TO_CLIENT)
}

/// The first value of each: none of these is a list that must be kept whole.
fn chosen(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let present = names.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
    present.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(names: &[&'static str]) -> HeaderMap {
        let header = |&name| (HeaderName::from_static(name), HeaderValue::from_static("x"));
        names.iter().map(header).collect()
    }

    fn sorted(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn an_upstream_learns_nothing_of_the_tenant_but_the_call() {
        let sent = to_upstream(&all(&[
            "authorization",
            "x-api-key",
            "cookie",
            "openai-organization",
            "openai-project",
            "openai-beta",
            "accept",
            "accept-encoding",
            "content-type",
            "content-length",
            "host",
            "traceparent",
            "user-agent",
            "x-forwarded-for",
            "x-stainless-os",
            "earmark-tenant",
            "idempotency-key",
        ]));
        assert_eq!(
            sorted(&sent),
            ["accept", "accept-encoding", "content-type", "openai-beta", "traceparent"]
        );
        assert_eq!(sent["accept-encoding"], "identity");
        assert_eq!(sent["content-type"], "application/json");
    }

    #[test]
    fn a_client_learns_nothing_of_the_operators_account() {
        let passed = to_client(&all(&[
            "content-type",
            "content-length",
            "transfer-encoding",
            "set-cookie",
            "server",
            "openai-organization",
            "openai-processing-ms",
            "openai-version",
            "x-request-id",
            "x-ratelimit-remaining-requests",
            "retry-after",
            "x-should-retry",
        ]));
        assert_eq!(
            sorted(&passed),
            [
                "content-type",
                "openai-processing-ms",
                "openai-version",
                "retry-after",
                "x-request-id",
                "x-should-retry"
            ]
        );
    }
}
