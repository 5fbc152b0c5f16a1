//! From when to when a certificate is valid.
//!
//! rustls checks this for certificates of others only, and a parser of all of X.509 is much
//! for two dates. They stand here (RFC 5280, 4.1):
//!
//! ```text
//! Certificate SEQUENCE
//! └ tbsCertificate SEQUENCE
//!   ├ [0] version          absent in version 1
//!   ├ serialNumber, signature, issuer
//!   └ validity SEQUENCE
//!     ├ notBefore          UTCTime 261124100000Z, from 2050 on
//!     └ notAfter           GeneralizedTime 20501124100000Z
//! ```

use earmark_core::TimestampMs;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub not_before: TimestampMs,
    /// Up to then.
    pub not_after: TimestampMs,
}

impl Validity {
    /// Finds it in a certificate; `None` when the bytes are not one.
    pub(super) fn read(certificate: &[u8]) -> Option<Self> {
        let (whole, _) = element(certificate, SEQUENCE)?;
        let (mut body, _) = element(whole, SEQUENCE)?;
        if body.first() == Some(&VERSION) {
            body = any_element(body)?.2;
        }
        for _ in 0..3 {
            body = any_element(body)?.2;
        }
        let (validity, _) = element(body, SEQUENCE)?;
        let (tag, not_before, rest) = any_element(validity)?;
        let not_before = time(tag, not_before)?;
        let (tag, not_after, _) = any_element(rest)?;
        Some(Self { not_before, not_after: time(tag, not_after)? })
    }
}

/// The content of an element of that kind, and what follows it.
fn element(bytes: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = any_element(bytes)?;
    (tag == expected).then_some((content, rest))
}

/// Kind, content, and what follows: the length is one byte, or a count of bytes that have it.
fn any_element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, bytes) = bytes.split_first()?;
    let (first, mut bytes) = bytes.split_first()?;
    let mut length = usize::from(*first);
    if 0x80 <= *first {
        let (long, rest) = bytes.split_at_checked(usize::from(first & 0x7f))?;
        length = long.iter().try_fold(0usize, |length, byte| {
            length.checked_mul(256)?.checked_add(usize::from(*byte))
        })?;
        bytes = rest;
    }
    let (content, rest) = bytes.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn time(tag: u8, digits: &[u8]) -> Option<TimestampMs> {
    let digits = std::str::from_utf8(digits).ok()?.strip_suffix('Z')?;
    let digits = match tag {
        // Two digits of the year mean 1950 to 2049.
        UTC_TIME if digits < "50" => format!("20{digits}"),
        UTC_TIME => format!("19{digits}"),
        GENERALIZED_TIME => digits.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| digits.get(from..to);
    let date = format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let time = format!("{}:{}:{}", part(8, 10)?, part(10, 12)?, part(12, 14)?);
    format!("{date}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(not_before: (i32, u8, u8), not_after: (i32, u8, u8)) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let (year, month, day) = not_before;
        parameters.not_before = rcgen::date_time_ymd(year, month, day);
        let (year, month, day) = not_after;
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn both_forms_of_dates_are_read() {
        let at = |text: &str| text.parse::<TimestampMs>().unwrap();
        let read = Validity::read(&certificate((2026, 11, 24), (2049, 12, 31))).unwrap();
        assert_eq!(read.not_before, at("2026-11-24T00:00:00Z"));
        assert_eq!(read.not_after, at("2049-12-31T00:00:00Z"));
        let read = Validity::read(&certificate((1975, 1, 1), (4096, 2, 29))).unwrap();
        assert_eq!(read.not_before, at("1975-01-01T00:00:00Z"));
        assert_eq!(read.not_after, at("4096-02-29T00:00:00Z"));
    }

    #[test]
    fn no_end_of_the_bytes_is_run_over() {
        let whole = certificate((2026, 11, 24), (2027, 11, 24));
        let read = Validity::read(&whole);
        for length in 0..whole.len() {
            // Its outermost length is that of the whole.
            assert_eq!(Validity::read(&whole[..length]), None);
        }
        for (place, _) in whole.iter().enumerate() {
            let mut changed = whole.clone();
            changed[place] = 0xff;
            // Anything but a panic.
            let _ = Validity::read(&changed);
        }
        assert!(read.is_some());
    }
}
