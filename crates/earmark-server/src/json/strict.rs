//! A first pass over a body that the typed one cannot make: keys that stand twice, and depth.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::bounds::JSON_DEPTH_MAX;

/// Any JSON value in which no object has a key twice and nesting is bounded.
pub(super) struct Strict {
    depth: usize,
}

impl Strict {
    pub(super) fn value() -> Self {
        Self { depth: 0 }
    }

    fn inside<E: Error>(&self) -> Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {JSON_DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.inside()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = Names::default();
        while let Some(name) = members.next_key_seed(Name)? {
            members.next_value_seed(self.inside()?)?;
            if let Some(twice) = seen.add(name) {
                return Err(A::Error::custom(format_args!("`{twice}` stands twice")));
            }
        }
        Ok(())
    }
}

/// The names in one object.
#[derive(Default)]
struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    more: HashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    /// Comparing that many names costs less than hashing one.
    const FEW: usize = 16;

    /// Adds a name; the name, if it is there already.
    fn add(&mut self, name: Cow<'de, str>) -> Option<Cow<'de, str>> {
        if self.few.contains(&name) {
            return Some(name);
        }
        if self.few.len() < Self::FEW {
            self.few.push(name);
            return None;
        }
        self.more.replace(name)
    }
}

/// A name, borrowed from the body where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_strict(text: &str) -> bool {
        let mut json = serde_json::Deserializer::from_str(text);
        Strict::value().deserialize(&mut json).is_ok()
    }

    #[test]
    fn a_name_that_stands_twice_is_found_among_few_and_among_many() {
        assert!(is_strict(r#"{"a":1,"b":{"a":1}}"#));
        assert!(!is_strict(r#"{"a":1,"b":2,"\u0061":3}"#));
        for twice in [0, 15, 16, 17, 99] {
            let names = (0..100).chain([twice]).map(|name| format!(r#""n{name}":0"#));
            let names: Vec<_> = names.collect();
            assert!(is_strict(&format!("{{{}}}", names[..100].join(","))));
            assert!(!is_strict(&format!("{{{}}}", names.join(","))), "{twice}");
        }
    }
}
