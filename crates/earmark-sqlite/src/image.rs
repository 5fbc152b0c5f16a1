//! Row images: what a batch writes, as bytes that serve the log and the tables alike.
//!
//! An image is a whole row by its key, or that the row goes. Whole rows make replaying
//! harmless and let the last image of a key stand for all before it.
//!
//! ```text
//! image:  table u8 | 1 = row, 0 = gone u8 | values: all columns, or those of the key
//! value:  0 | 1 i64 | 2 u32 text | 3 u32 blob          (little endian; lengths in bytes)
//! ```
//!
//! Always holds: table numbers and column orders are a disk format; a change of them is a new
//! [`FORMAT`](crate::log::FORMAT).

use rusqlite::types::ValueRef;

/// A table that batches write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Table {
    Tenant,
    TenantOrder,
    Counter,
    Hold,
    Grant,
    IdempotencyKey,
    Combination,
    Entry,
    Outbox,
}

/// How a table's images are laid out.
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    /// How many of the first columns are the key.
    pub(crate) key: usize,
    pub(crate) columns: &'static [&'static str],
    /// A column where null means: as in the image before, or in the table.
    pub(crate) inherited: Option<usize>,
}

impl Table {
    pub(crate) const ALL: [Self; 9] = [
        Self::Tenant,
        Self::TenantOrder,
        Self::Counter,
        Self::Hold,
        Self::Grant,
        Self::IdempotencyKey,
        Self::Combination,
        Self::Entry,
        Self::Outbox,
    ];

    pub(crate) fn layout(self) -> &'static Layout {
        match self {
            Self::Tenant => &TENANT,
            Self::TenantOrder => &TENANT_ORDER,
            Self::Counter => &COUNTER,
            Self::Hold => &HOLD,
            Self::Grant => &GRANT,
            Self::IdempotencyKey => &IDEMPOTENCY_KEY,
            Self::Combination => &COMBINATION,
            Self::Entry => &ENTRY,
            Self::Outbox => &OUTBOX,
        }
    }
}

const TENANT: Layout = Layout {
    name: "tenant",
    key: 1,
    columns: &[
        "tenant_id",
        "plan",
        "status",
        "time_zone",
        "anchor",
        "windows",
        "created_ms",
        "overrides",
        "metadata",
    ],
    inherited: None,
};

const TENANT_ORDER: Layout = Layout {
    name: "tenant_order",
    key: 1,
    columns: &["tenant_id", "seq", "last_ms", "open_holds", "last_entry", "last_hold"],
    inherited: None,
};

const COUNTER: Layout = Layout {
    name: "counter",
    key: 4,
    columns: &[
        "tenant_id",
        "limit_name",
        "dimensions",
        "window",
        "meter",
        "used",
        "held",
        "denied",
        "changed_in",
        "rolling_minutes",
        "slices",
        "fired",
        "idle_ms",
    ],
    inherited: None,
};

const HOLD: Layout = Layout {
    name: "hold",
    key: 2,
    columns: &[
        "hold_id",
        "tenant_id",
        "state",
        "created_ms",
        "expires_ms",
        "ended_ms",
        "dispatched",
        "dimensions",
        "legs",
        "outcome",
        "seq",
        "previous",
        "idempotency_key",
        "digest",
        "metadata",
    ],
    // Known where the hold is made, and never changed.
    inherited: Some(11),
};

const GRANT: Layout = Layout {
    name: "grant",
    key: 2,
    columns: &[
        "tenant_id",
        "grant_id",
        "meter",
        "amount",
        "used",
        "held",
        "lapsed",
        "priority",
        "expires_ms",
        "expired",
        "created_ms",
        "reason",
    ],
    inherited: None,
};

const IDEMPOTENCY_KEY: Layout = Layout {
    name: "idempotency_key",
    key: 2,
    columns: &["tenant_id", "key", "digest", "hold_id", "answer", "created_ms"],
    inherited: None,
};

const COMBINATION: Layout = Layout {
    name: "combination",
    key: 3,
    columns: &["tenant_id", "limit_name", "window", "in_use"],
    inherited: None,
};

const ENTRY: Layout = Layout {
    name: "entry",
    key: 1,
    columns: &[
        "entry_no",
        "tenant_id",
        "seq",
        "line",
        "previous",
        "at_ms",
        "kind",
        "meter",
        "amount",
        "counters",
        "grants",
        "dimensions",
        "hold_id",
        "grant_id",
        "late",
        "overrun",
        "detail",
        "reason",
        "author",
        "metadata",
    ],
    inherited: None,
};

const OUTBOX: Layout = Layout {
    name: "outbox",
    key: 1,
    columns: &[
        "event_no",
        "event_id",
        "tenant_id",
        "at_ms",
        "kind",
        "limit_name",
        "dimensions",
        "window",
        "amount",
        "used",
        "threshold",
        "day",
    ],
    inherited: None,
};

/// Something that a column can hold.
pub(crate) trait Column {
    fn put(&self, bytes: &mut Vec<u8>);
}

impl Column for i64 {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.push(1);
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}

impl Column for bool {
    fn put(&self, bytes: &mut Vec<u8>) {
        i64::from(*self).put(bytes);
    }
}

impl Column for str {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_bytes(bytes, 2, self.as_bytes());
    }
}

impl Column for String {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.as_str().put(bytes);
    }
}

impl Column for [u8] {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_bytes(bytes, 3, self);
    }
}

impl<C: Column + ?Sized> Column for &C {
    fn put(&self, bytes: &mut Vec<u8>) {
        (**self).put(bytes);
    }
}

impl<C: Column> Column for Option<C> {
    fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Some(value) => value.put(bytes),
            None => bytes.push(0),
        }
    }
}

fn put_bytes(bytes: &mut Vec<u8>, tag: u8, value: &[u8]) {
    // Bounds of names, bodies and open holds keep a value far below 4 GiB.
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    bytes.push(tag);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&value[..length as usize]);
}

/// Appends a whole row.
pub(crate) fn put_row(bytes: &mut Vec<u8>, table: Table, values: &[&dyn Column]) {
    debug_assert_eq!(values.len(), table.layout().columns.len(), "{table:?}");
    bytes.extend_from_slice(&[table as u8, 1]);
    values.iter().for_each(|value| value.put(bytes));
}

/// Appends that a row goes.
pub(crate) fn put_gone(bytes: &mut Vec<u8>, table: Table, key: &[&dyn Column]) {
    debug_assert_eq!(key.len(), table.layout().key, "{table:?}");
    bytes.extend_from_slice(&[table as u8, 0]);
    key.iter().for_each(|value| value.put(bytes));
}

/// One image, read as far as folding needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image<'b> {
    pub(crate) table: Table,
    pub(crate) is_row: bool,
    /// The key's values as they stand in the bytes: equal keys have equal bytes.
    pub(crate) key: &'b [u8],
    /// All values that are there.
    values: &'b [u8],
}

impl<'b> Image<'b> {
    /// The values: all columns of a row, the key of one that goes.
    pub(crate) fn values(&self) -> impl Iterator<Item = ValueRef<'b>> + use<'b> {
        let mut values = Values(self.values);
        // The bytes end with them, and were read once already.
        std::iter::from_fn(move || values.next().ok())
    }
}

/// Bytes that are no images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoImage;

/// Reads images one after the other.
pub(crate) struct Images<'b>(Values<'b>);

impl<'b> Images<'b> {
    pub(crate) fn of(bytes: &'b [u8]) -> Self {
        Self(Values(bytes))
    }
}

impl<'b> Iterator for Images<'b> {
    type Item = Result<Image<'b>, NoImage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.0.is_empty() { None } else { Some(self.0.image()) }
    }
}

struct Values<'b>(&'b [u8]);

impl<'b> Values<'b> {
    fn image(&mut self) -> Result<Image<'b>, NoImage> {
        let [table, is_row] = self.take()?;
        let table = *Table::ALL.get(usize::from(table)).ok_or(NoImage)?;
        let (layout, is_row, all) = (table.layout(), is_row == 1, self.0);
        for _ in 0..layout.key {
            self.next()?;
        }
        let key = &all[..all.len() - self.0.len()];
        if is_row {
            for _ in layout.key..layout.columns.len() {
                self.next()?;
            }
        }
        Ok(Image { table, is_row, key, values: &all[..all.len() - self.0.len()] })
    }

    fn next(&mut self) -> Result<ValueRef<'b>, NoImage> {
        let [tag] = self.take()?;
        match tag {
            0 => Ok(ValueRef::Null),
            1 => Ok(ValueRef::Integer(i64::from_le_bytes(self.take()?))),
            2 => self.variable().map(ValueRef::Text),
            3 => self.variable().map(ValueRef::Blob),
            _ => Err(NoImage),
        }
    }

    fn variable(&mut self) -> Result<&'b [u8], NoImage> {
        let length = usize::try_from(u32::from_le_bytes(self.take()?)).map_err(|_| NoImage)?;
        let (value, rest) = self.0.split_at_checked(length).ok_or(NoImage)?;
        self.0 = rest;
        Ok(value)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], NoImage> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(NoImage)?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_numbered_as_they_stand() {
        for (number, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, number);
            let layout = table.layout();
            assert!(layout.key < layout.columns.len());
        }
    }

    fn texts<'b>(texts: &[&'b str]) -> Vec<ValueRef<'b>> {
        texts.iter().map(|text| ValueRef::Text(text.as_bytes())).collect()
    }

    #[test]
    fn images_are_read_as_they_were_put() {
        let mut bytes = Vec::new();
        let values: [&dyn Column; 4] = [&"acme", &"ai_messages/month", &"2026-11-01", &-3];
        put_row(&mut bytes, Table::Combination, &values);
        put_gone(&mut bytes, Table::Hold, &[&"hold_1", &"acme"]);
        let images: Vec<_> = Images::of(&bytes).map(Result::unwrap).collect();
        let [row, gone] = images[..] else { panic!("{images:?}") };
        assert!(row.is_row && row.table == Table::Combination);
        let mut expected = texts(&["acme", "ai_messages/month", "2026-11-01"]);
        expected.push(ValueRef::Integer(-3));
        assert_eq!(row.values().collect::<Vec<_>>(), expected);
        assert!(!gone.is_row && gone.table == Table::Hold);
        assert_eq!(gone.values().collect::<Vec<_>>(), texts(&["hold_1", "acme"]));
    }

    #[test]
    fn cut_bytes_are_no_image() {
        let mut bytes = Vec::new();
        let values: [&dyn Column; 4] = [&"acme", &"ai_messages/month", &"2026-11-01", &1];
        put_row(&mut bytes, Table::Combination, &values);
        for length in 1..bytes.len() {
            assert!(Images::of(&bytes[..length]).next().unwrap().is_err(), "{length}");
        }
    }
}
