//! Names and ids: small, shared, checked where they enter.
//!
//! Always holds: a name that exists is within its bounds and alphabet, so no later code
//! checks again. All are cheap to clone (one counter).

use std::fmt;
use std::sync::Arc;

use crate::bounds;

/// Why a text is not a valid name; says what would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    /// What the name is of: `tenant`, `meter`, ….
    pub what: &'static str,
    /// What is allowed.
    pub allowed: &'static str,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a valid {}: {}", self.what, self.allowed)
    }
}

impl std::error::Error for NameError {}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps a name.
            pub fn new(text: &str) -> Result<Self, NameError> {
                let valid: fn(&str) -> bool = $check;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError { what: $what, allowed: $allowed })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A customer of our user: the unit of isolation, batching and sharding.
    TenantId,
    "tenant",
    "1 to 128 of A-Z a-z 0-9 . _ : @ | + ~ = -, and neither . nor ..",
    |text| bounded(text, bounds::TENANT_ID_BYTES_MAX)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@|+~=-".contains(&b))
        && text != "."
        && text != ".."
);

name!(
    /// A named set of limits.
    PlanName,
    "plan",
    "1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit",
    |text| bounded(text, bounds::PLAN_NAME_BYTES_MAX)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text.as_bytes()[0].is_ascii_alphanumeric()
);

name!(
    /// What is counted.
    MeterName,
    "meter",
    "1 to 64 of a-z 0-9 _, beginning with a letter",
    |text| bounded(text, bounds::METER_NAME_BYTES_MAX) && is_word(text)
);

name!(
    /// A limit; unique in its plan, and one meter, window and `per` for good (R2).
    LimitName,
    "limit name",
    "1 to 256 bytes without spaces and control characters",
    |text| bounded(text, bounds::LIMIT_NAME_BYTES_MAX)
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
);

name!(
    /// The name of a dimension, for example `user`.
    DimensionName,
    "dimension",
    "1 to 32 of a-z 0-9 _, beginning with a letter",
    |text| bounded(text, bounds::DIMENSION_NAME_BYTES_MAX) && is_word(text)
);

name!(
    /// The key that makes a repeated request count once (R29).
    IdempotencyKey,
    "idempotency key",
    "1 to 255 visible ASCII characters",
    |text| bounded(text, bounds::IDEMPOTENCY_KEY_BYTES_MAX)
        && text.bytes().all(|b| b.is_ascii_graphic())
);

name!(
    /// The value of a dimension; `""` where a hold carries none (R3).
    DimensionValue,
    "dimension value",
    "at most 256 bytes without control characters",
    |text| text.len() <= bounds::DIMENSION_VALUE_BYTES_MAX && !text.chars().any(char::is_control)
);

fn bounded(text: &str, bytes_max: usize) -> bool {
    !text.is_empty() && text.len() <= bytes_max
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && text.as_bytes()[0].is_ascii_lowercase()
}

/// Crockford's alphabet: no I, L, O, U, so that an id read aloud survives.
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        ///
        /// 128 bits made by the caller (a version 7 UUID, so that ids of one process are in
        /// order); written as a prefix and 26 characters of Crockford base 32.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            /// Above every id: the end of a scan in order of time and id.
            pub const MAX: Self = Self(u128::MAX);
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                let mut text = [b'0'; 26];
                let mut rest = self.0;
                for place in text.iter_mut().rev() {
                    *place = BASE32[(rest & 31) as usize];
                    rest >>= 5;
                }
                f.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                text.strip_prefix($prefix).and_then(read_base32).map(Self).ok_or(NameError {
                    what: concat!($prefix, "id"),
                    allowed: concat!($prefix, " and 26 characters, as it was answered"),
                })
            }
        }
    };
}

id!(
    /// A hold.
    HoldId,
    "hold_"
);

id!(
    /// A grant.
    GrantId,
    "grant_"
);

fn read_base32(text: &str) -> Option<u128> {
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = BASE32.iter().position(|b| *b == byte)?;
        Some((value << 5) | digit as u128)
    })
}

/// The dimensions that one request carries: at most
/// [`DIMENSIONS_MAX`](bounds::DIMENSIONS_MAX), in order of name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Dimensions(Vec<(DimensionName, DimensionValue)>);

/// A request with too many dimensions, or one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DimensionsError;

impl fmt::Display for DimensionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} dimensions, each once", bounds::DIMENSIONS_MAX)
    }
}

impl std::error::Error for DimensionsError {}

impl Dimensions {
    /// Sorts and checks.
    pub fn new(mut pairs: Vec<(DimensionName, DimensionValue)>) -> Result<Self, DimensionsError> {
        pairs.sort();
        if pairs.len() > bounds::DIMENSIONS_MAX || pairs.windows(2).any(|two| two[0].0 == two[1].0)
        {
            return Err(DimensionsError);
        }
        Ok(Self(pairs))
    }

    /// The value of one dimension, `""` when it is not carried (R3).
    pub fn value(&self, name: &DimensionName) -> &str {
        self.0.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value.as_str())
    }

    /// In order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&DimensionName, &DimensionValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The dimension values that tell one counter of a `per` limit from another, as one text:
/// `user=u_17`, several joined by `,`, with `%`, `,` and `=` of the values escaped. Empty for
/// a limit without `per`. It is readable in SQL and equal exactly when the values are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DimensionKey(Arc<str>);

impl Default for DimensionKey {
    fn default() -> Self {
        Self::none()
    }
}

impl DimensionKey {
    /// The key of a limit without `per`.
    pub fn none() -> Self {
        static NONE: std::sync::OnceLock<Arc<str>> = std::sync::OnceLock::new();
        Self(Arc::clone(NONE.get_or_init(|| "".into())))
    }

    /// The key of the counter that `dimensions` select under `per`.
    pub fn of(per: &[DimensionName], dimensions: &Dimensions) -> Self {
        if per.is_empty() {
            return Self::none();
        }
        let mut text = String::new();
        for name in per {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(name.as_str());
            text.push('=');
            for character in dimensions.value(name).chars() {
                match character {
                    '%' => text.push_str("%25"),
                    ',' => text.push_str("%2C"),
                    '=' => text.push_str("%3D"),
                    other => text.push(other),
                }
            }
        }
        Self(text.into())
    }

    /// Takes a key as a store kept it.
    pub fn from_stored(text: &str) -> Self {
        if text.is_empty() { Self::none() } else { Self(text.into()) }
    }

    /// The key as a store keeps it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the key of a limit without `per`.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The values again, in the order of `per`.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name, value.replace("%3D", "=").replace("%2C", ",").replace("%25", "%"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        for good in ["acme", "org|123", "a@b.c", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"] {
            assert!(TenantId::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\n", "ä", &"x".repeat(129)] {
            assert!(TenantId::new(bad).is_err(), "{bad}");
        }
        assert!(MeterName::new("ai_messages").is_ok());
        assert!(MeterName::new("1st").is_err());
        assert!(DimensionValue::new("").is_ok());
        assert!(DimensionValue::new("a\u{0}").is_err());
    }

    #[test]
    fn ids_read_as_they_print() {
        for value in [0, 1, 31, 32, u128::MAX, 0x0190_0000_0000_7000_8000_0000_0000_0001] {
            let id = HoldId(value);
            assert_eq!(id.to_string().parse::<HoldId>(), Ok(id));
        }
        assert!("hold_".parse::<HoldId>().is_err());
        assert!("grant_00000000000000000000000000".parse::<HoldId>().is_err());
        assert!("hold_80000000000000000000000000".parse::<HoldId>().is_err(), "129 bits");
    }

    #[test]
    fn dimension_keys_tell_values_apart() {
        let name = |text| DimensionName::new(text).unwrap();
        let key = |user: &str, model: &str| {
            let pairs = vec![
                (name("user"), DimensionValue::new(user).unwrap()),
                (name("model"), DimensionValue::new(model).unwrap()),
            ];
            DimensionKey::of(&[name("user"), name("model")], &Dimensions::new(pairs).unwrap())
        };
        assert_eq!(key("u", "m").as_str(), "user=u,model=m");
        assert_ne!(key("u,model=m", ""), key("u", "m,model="));
        let hostile = key("a=b,c%2C", "%3D");
        let pairs: Vec<_> = hostile.pairs().map(|(_, value)| value).collect();
        assert_eq!(pairs, ["a=b,c%2C", "%3D"]);
    }
}
