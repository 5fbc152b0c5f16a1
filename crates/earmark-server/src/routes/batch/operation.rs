//! One operation of a batch: the body of its own route, and beside it what that route has in
//! its path and headers.
//!
//! ```text
//! {"op": "settle", "tenant": "acme", "hold": "hold_…", "idempotency_key": "k", "amounts": {…}}
//!  └────────────────────────── taken out here ──────────────────────────┘  └ SettleBody ┘
//! ```
//!
//! Always holds: what remains is read as that route reads it, by the same type.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use earmark_core::{Command, HoldId, IdempotencyKey, Operation, TenantId};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use utoipa::ToSchema;

use crate::bounds::BODY_BYTES_MAX;
use crate::error::{Code, Problem};
use crate::json::{command, parse, parse_once};
use crate::routes::charges::{ChargeBody, CheckBody};
use crate::routes::holds::{ExtendBody, HoldBody, ReleaseBody, SettleBody};

/// What an operation does.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(as = BatchOp, rename_all = "snake_case")]
pub(super) enum Op {
    Hold,
    Settle,
    Release,
    Extend,
    Charge,
    Check,
}

impl FromStr for Op {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hold" => Ok(Self::Hold),
            "settle" => Ok(Self::Settle),
            "release" => Ok(Self::Release),
            "extend" => Ok(Self::Extend),
            "charge" => Ok(Self::Charge),
            "check" => Ok(Self::Check),
            _ => Err("one of hold, settle, release, extend, charge and check"),
        }
    }
}

/// All that is looked at first: it says how the rest is read.
#[derive(Deserialize)]
#[serde(expecting = "an operation")]
struct Which {
    // Not as serde reads an enum, which may be an object, too.
    #[serde(default, deserialize_with = "text")]
    op: Option<Op>,
}

/// Reads an operation, as strictly as its own route would.
pub(super) fn read(bytes: &[u8]) -> Result<(TenantId, Command), Problem> {
    if bytes.len() > BODY_BYTES_MAX {
        let message = format!("at most {BODY_BYTES_MAX} bytes for one operation");
        return Err(Problem::new(Code::BodyTooLarge, message));
    }
    let Which { op } = parse(bytes, || PhantomData)?;
    match op.ok_or_else(|| missing("op"))? {
        Op::Hold => asking(bytes, HoldBody::operation),
        Op::Settle => on_hold(bytes, SettleBody::operation),
        Op::Release => on_hold(bytes, ReleaseBody::operation),
        Op::Extend => on_hold(bytes, ExtendBody::operation),
        Op::Charge => asking(bytes, ChargeBody::operation),
        Op::Check => {
            let (tenant, checked) = asking(bytes, CheckBody::operation)?;
            // It changes nothing, so there is nothing that its key could repeat.
            Ok((tenant, Command { key: None, ..checked }))
        }
    }
}

/// An operation that names no hold.
fn asking<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    operation: fn(T) -> Result<Operation, Problem>,
) -> Result<(TenantId, Command), Problem> {
    let (beside, body) = parse_once(bytes, || Split::<T> { with_hold: false, body: PhantomData })?;
    let tenant = beside.tenant.ok_or_else(|| missing("tenant"))?;
    Ok((tenant, command(operation(body)?, beside.key)))
}

/// An operation on a hold.
fn on_hold<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    operation: fn(T, HoldId) -> Result<Operation, Problem>,
) -> Result<(TenantId, Command), Problem> {
    let (beside, body) = parse_once(bytes, || Split::<T> { with_hold: true, body: PhantomData })?;
    let tenant = beside.tenant.ok_or_else(|| missing("tenant"))?;
    let hold = beside.hold.ok_or_else(|| missing("hold"))?;
    Ok((tenant, command(operation(body, hold)?, beside.key)))
}

fn missing(field: &str) -> Problem {
    Problem::invalid(field, format!("missing field `{field}`"))
}

/// What stands beside the body.
#[derive(Default)]
struct Beside {
    tenant: Option<TenantId>,
    hold: Option<HoldId>,
    key: Option<IdempotencyKey>,
}

impl Beside {
    fn take<'de, A: MapAccess<'de>>(
        &mut self,
        member: Member,
        members: &mut A,
    ) -> Result<(), A::Error> {
        match member {
            Member::Op => members.next_value::<IgnoredAny>().map(|_| ()),
            Member::Tenant => members.next_value_seed(Text(PhantomData)).map(|t| self.tenant = t),
            Member::Hold => members.next_value_seed(Text(PhantomData)).map(|h| self.hold = h),
            Member::Key => members.next_value_seed(Text(PhantomData)).map(|k| self.key = k),
        }
    }
}

/// Reads an object as a body of type `T` and what stands beside it.
struct Split<T> {
    with_hold: bool,
    body: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Split<T> {
    type Value = (Beside, T);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(Beside, T), D::Error> {
        let mut beside = Beside::default();
        let body = Around { inner: deserializer, beside: &mut beside, with_hold: self.with_hold };
        let body = T::deserialize(body)?;
        Ok((beside, body))
    }
}

/// An object without what stands beside the body: deserializer, visitor and members in turn.
struct Around<'b, I> {
    inner: I,
    beside: &'b mut Beside,
    with_hold: bool,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Around<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { inner, beside, with_hold } = self;
        inner.deserialize_map(Around { inner: visitor, beside, with_hold })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Around<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        let Self { inner, beside, with_hold } = self;
        inner.visit_map(Around { inner: members, beside, with_hold })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Around<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        mut seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.inner.next_key_seed(Sorted { seed, with_hold: self.with_hold })? {
                None => return Ok(None),
                Some(Name::OfBody(name)) => return Ok(Some(name)),
                Some(Name::Beside(member, unused)) => {
                    self.beside.take(member, &mut self.inner)?;
                    seed = unused;
                }
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(seed)
    }
}

/// A member that stands beside the body.
enum Member {
    Op,
    Tenant,
    Hold,
    Key,
}

/// Whose a member is by its name.
enum Name<K, V> {
    Beside(Member, K),
    OfBody(V),
}

/// Reads a name, with the body's own seed where it is the body's.
struct Sorted<K> {
    seed: K,
    with_hold: bool,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Sorted<K> {
    type Value = Name<K, K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Sorted<K> {
    type Value = Name<K, K::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let member = match name {
            "op" => Member::Op,
            "tenant" => Member::Tenant,
            "idempotency_key" => Member::Key,
            "hold" if self.with_hold => Member::Hold,
            name => {
                let name = serde::de::value::StrDeserializer::new(name);
                return self.seed.deserialize(name).map(Name::OfBody);
            }
        };
        Ok(Name::Beside(member, self.seed))
    }
}

fn text<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    Text(PhantomData).deserialize(deserializer)
}

/// A name or id as text; null stands for none.
struct Text<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: fmt::Display>> DeserializeSeed<'de> for Text<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        text.parse().map(Some).map_err(E::custom)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
}
