//! Rows as columns: what `unnest` takes apart again.

use std::borrow::Cow;

use tokio_postgres::types::ToSql;

/// One value of a row.
pub(crate) enum Value<'v> {
    Text(Option<Cow<'v, str>>),
    Number(Option<i64>),
    Flag(bool),
    Bytes(Option<&'v [u8]>),
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        Self::Text(text.map(Into::into))
    }
}

impl From<Option<String>> for Value<'_> {
    fn from(text: Option<String>) -> Self {
        Self::Text(text.map(Into::into))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<'v> From<Option<&'v [u8]>> for Value<'v> {
    fn from(bytes: Option<&'v [u8]>) -> Self {
        Self::Bytes(bytes)
    }
}

/// A text by people, which may have what PostgreSQL keeps in no text: the character NUL becomes
/// the one that stands for what cannot be shown.
pub(crate) fn note(text: Option<&str>) -> Value<'_> {
    Value::Text(text.map(|text| match text.contains('\0') {
        true => text.replace('\0', "\u{FFFD}").into(),
        false => text.into(),
    }))
}

enum Column<'v> {
    Text(Vec<Option<Cow<'v, str>>>),
    Number(Vec<Option<i64>>),
    Flag(Vec<bool>),
    Bytes(Vec<Option<&'v [u8]>>),
}

/// Rows for one statement.
pub(crate) struct Rows<'v> {
    pub(crate) sql: &'static str,
    columns: Vec<Column<'v>>,
    /// How many: what a statement counts that changes rows which have to be there.
    count: i64,
    is_counted: bool,
}

impl<'v> Rows<'v> {
    /// No rows yet, for a statement with an array for each column after the bucket.
    pub(crate) fn of(sql: &'static str) -> Self {
        Self { sql, columns: Vec::new(), count: 0, is_counted: false }
    }

    /// The same, whose last parameter is how many rows have to be there.
    pub(crate) fn counted(sql: &'static str) -> Self {
        Self { is_counted: true, ..Self::of(sql) }
    }

    /// Adds a row; values are of the same kinds in each.
    pub(crate) fn push<const N: usize>(&mut self, row: [Value<'v>; N]) {
        if self.columns.is_empty() {
            self.columns.extend(row.iter().map(|value| match value {
                Value::Text(_) => Column::Text(Vec::new()),
                Value::Number(_) => Column::Number(Vec::new()),
                Value::Flag(_) => Column::Flag(Vec::new()),
                Value::Bytes(_) => Column::Bytes(Vec::new()),
            }));
        }
        for (column, value) in self.columns.iter_mut().zip(row) {
            match (column, value) {
                (Column::Text(column), Value::Text(value)) => column.push(value),
                (Column::Number(column), Value::Number(value)) => column.push(value),
                (Column::Flag(column), Value::Flag(value)) => column.push(value),
                (Column::Bytes(column), Value::Bytes(value)) => column.push(value),
                _ => debug_assert!(false, "a value of another kind: {}", self.sql),
            }
        }
        self.count += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The parameters of the statement.
    pub(crate) fn params<'p>(&'p self, bucket: &'p i16) -> Vec<&'p (dyn ToSql + Sync)> {
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![bucket];
        params.extend(self.columns.iter().map(|column| match column {
            Column::Text(column) => column as &(dyn ToSql + Sync),
            Column::Number(column) => column,
            Column::Flag(column) => column,
            Column::Bytes(column) => column,
        }));
        if self.is_counted {
            params.push(&self.count);
        }
        params
    }
}
