//! The headers `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10)
//! for the tightest limit of a reply.
//!
//! ```text
//! RateLimit-Policy: "ai_messages/minute/user";q=5;w=60
//! RateLimit: "ai_messages/minute/user";r=3;t=17
//! ```
//!
//! `w` is left out where a window has no fixed length: months, years and tenants' days, which
//! daylight saving makes shorter and longer.

use earmark_core::{LimitState, Mode, TimestampMs, Window};
use http::{HeaderMap, HeaderName, HeaderValue};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The largest integer of a structured field (RFC 9651, 3.3.1).
const INTEGER_MAX: i64 = 999_999_999_999_999;

/// Writes both headers for the tightest hard limit; nothing where there is none.
pub(crate) fn write(headers: &mut HeaderMap, limits: &[LimitState], now: TimestampMs) {
    let hard = limits.iter().filter(|limit| limit.mode == Mode::Hard);
    let with_room = hard.filter_map(|limit| Some((room(limit)?, limit)));
    let Some((room, limit)) = with_room.min_by_key(|(room, _)| *room) else { return };
    let Some(amount) = limit.amount else { return };
    let name = quoted(limit.limit.as_str());
    let mut policy = format!("{name};q={}", amount.get().min(INTEGER_MAX));
    if let Some(window_s) = fixed_length_s(limit.window) {
        policy.push_str(&format!(";w={window_s}"));
    }
    if limit.window == Window::InFlight {
        policy.push_str(";qu=\"concurrent-requests\"");
    }
    let mut state = format!("{name};r={}", room.min(INTEGER_MAX));
    if let Some(resets_at) = limit.resets_at {
        state.push_str(&format!(";t={}", (resets_at.since(now).max(0) + 999) / 1_000));
    }
    for (header, value) in [(POLICY, policy), (RATE_LIMIT, state)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(header, value);
        }
    }
}

/// What is left, grants included; `None` for an unlimited one.
fn room(limit: &LimitState) -> Option<i64> {
    limit.remaining().map(|remaining| remaining.get().saturating_add(limit.granted))
}

fn fixed_length_s(window: Window) -> Option<i64> {
    match window {
        Window::Minute => Some(60),
        Window::Hour => Some(3_600),
        Window::Rolling(span) => Some(i64::from(span.minutes()) * 60),
        Window::Calendar(_) | Window::Lifetime | Window::InFlight => None,
    }
}

/// A String of a structured field: visible ASCII, with `"` and `\` escaped; what it cannot
/// carry is percent-encoded.
fn quoted(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    text.push('"');
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use earmark_core::{Amount, DimensionKey, LimitName, MeterName};

    use super::*;

    fn limit(name: &str, amount: i64, used: i64, window: &str, mode: Mode) -> LimitState {
        LimitState {
            limit: LimitName::new(name).unwrap(),
            meter: MeterName::new("m").unwrap(),
            window: window.parse().unwrap(),
            dimensions: DimensionKey::none(),
            mode,
            amount: Amount::new(amount),
            used,
            held: 0,
            granted: 0,
            resets_at: Some(TimestampMs(10_500)),
            resets_on: None,
        }
    }

    #[test]
    fn the_tightest_hard_limit_is_told() {
        let mut headers = HeaderMap::new();
        let limits = [
            limit("m/month", 50, 10, "month", Mode::Hard),
            limit("m/minute", 5, 2, "minute", Mode::Hard),
            limit("m/day", 1, 1, "day", Mode::Observe),
        ];
        write(&mut headers, &limits, TimestampMs(9_000));
        assert_eq!(headers["ratelimit-policy"], "\"m/minute\";q=5;w=60");
        assert_eq!(headers["ratelimit"], "\"m/minute\";r=3;t=2");
    }

    #[test]
    fn names_fit_into_a_header() {
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
        assert_eq!(quoted("ü"), "\"%C3%BC\"");
        let mut headers = HeaderMap::new();
        write(&mut headers, &[limit("m/x", -1, 0, "month", Mode::Hard)], TimestampMs(0));
        assert!(headers.is_empty(), "an unlimited limit has no rate");
    }
}
