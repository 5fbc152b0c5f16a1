//! Folding: bringing the rows of many batches into the tables in one transaction.
//!
//! Of the images of one key only the last is written, so that a counter that a thousand
//! batches change costs one update, and a hold that has ended by then one insert.

use std::fmt::Write as _;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection};
use rustc_hash::FxHashMap;

use crate::image::{Image, NoImage, Reader, Table};
use crate::log::HEADER_BYTES;

/// Why batches are not in the tables; nothing has changed.
#[derive(Debug)]
pub(crate) enum FoldError {
    Sqlite(rusqlite::Error),
    /// A bug, or memory that failed: the log's checksum was right.
    NoImage,
}

impl From<rusqlite::Error> for FoldError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<NoImage> for FoldError {
    fn from(_: NoImage) -> Self {
        Self::NoImage
    }
}

/// Brings batches into the tables, and that all up to `through` are there. Each batch is its
/// record in the log: header and images.
pub(crate) fn fold(
    connection: &Connection,
    batches: &[Vec<u8>],
    through: u64,
) -> Result<(), FoldError> {
    let rows = LastImages::of(batches)?;
    let last_entry = rows.last_entry();
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let written = rows.write(connection).and_then(|()| {
        let sql = "UPDATE log SET folded = ?1, last_entry = max(last_entry, ?2)";
        let mut statement = connection.prepare_cached(sql)?;
        statement.execute([through.cast_signed(), last_entry])?;
        connection.execute_batch("COMMIT")
    });
    if written.is_err() && !connection.is_autocommit() {
        // Its own error matters less than whether we are out of the transaction.
        let _ = connection.execute_batch("ROLLBACK");
    }
    Ok(written?)
}

/// The last image of each key.
struct LastImages<'b> {
    values: Vec<ValueRef<'b>>,
    images: Vec<LastImage>,
}

struct LastImage {
    table: Table,
    is_row: bool,
    /// Where its values begin.
    at: usize,
}

impl<'b> LastImages<'b> {
    fn of(batches: &'b [Vec<u8>]) -> Result<Self, NoImage> {
        let mut last = Self { values: Vec::new(), images: Vec::new() };
        let mut by_key: FxHashMap<(Table, &[u8]), usize> = FxHashMap::default();
        for batch in batches {
            let mut reader = Reader::new(batch.get(HEADER_BYTES..).ok_or(NoImage)?);
            loop {
                let at = last.values.len();
                let Some(Image { table, key, is_row }) = reader.next(&mut last.values)? else {
                    break;
                };
                let image = LastImage { table, is_row, at };
                match by_key.entry((table, key)) {
                    std::collections::hash_map::Entry::Vacant(slot) => {
                        slot.insert(last.images.len());
                        last.images.push(image);
                    }
                    std::collections::hash_map::Entry::Occupied(slot) => {
                        last.replace(*slot.get(), image);
                    }
                }
            }
        }
        Ok(last)
    }

    fn replace(&mut self, index: usize, image: LastImage) {
        let before = &self.images[index];
        if let Some(inherited) = image.table.layout().inherited
            && before.is_row
            && image.is_row
            && self.values[image.at + inherited] == ValueRef::Null
        {
            self.values[image.at + inherited] = self.values[before.at + inherited];
        }
        self.images[index] = image;
    }

    /// The largest number of an entry, 0 if there is none.
    fn last_entry(&self) -> i64 {
        let entries = self.images.iter().filter(|image| image.table == Table::Entry);
        let numbers = entries.filter_map(|image| match self.values[image.at] {
            ValueRef::Integer(number) => Some(number),
            _ => None,
        });
        numbers.max().unwrap_or(0)
    }

    fn write(mut self, connection: &Connection) -> rusqlite::Result<()> {
        // In the order of the tables' keys, so that each page is visited once.
        let values = &self.values;
        self.images.sort_unstable_by(|one, other| {
            let key = |image: &LastImage| {
                let length = image.table.layout().key;
                values[image.at..image.at + length].iter().map(sortable)
            };
            one.table.cmp(&other.table).then_with(|| key(one).cmp(key(other)))
        });
        let mut images = self.images.as_slice();
        while let Some(first) = images.first() {
            let run = images.iter().take_while(|image| image.table == first.table).count();
            let (of_table, rest) = images.split_at(run);
            write_table(connection, first.table, of_table, values)?;
            images = rest;
        }
        Ok(())
    }
}

/// Keys are numbers or texts, and those of one column are of one kind.
fn sortable<'v>(value: &ValueRef<'v>) -> (i64, &'v [u8]) {
    match value {
        ValueRef::Integer(number) => (*number, &[]),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => (0, bytes),
        ValueRef::Null | ValueRef::Real(_) => (0, &[]),
    }
}

fn write_table(
    connection: &Connection,
    table: Table,
    images: &[LastImage],
    values: &[ValueRef<'_>],
) -> rusqlite::Result<()> {
    let layout = table.layout();
    let mut upsert = connection.prepare_cached(&upsert_sql(table))?;
    for image in images {
        if image.is_row {
            execute(&mut upsert, &values[image.at..image.at + layout.columns.len()])?;
        } else {
            let mut delete = connection.prepare_cached(&delete_sql(table))?;
            execute(&mut delete, &values[image.at..image.at + layout.key])?;
        }
    }
    Ok(())
}

fn execute(statement: &mut CachedStatement<'_>, values: &[ValueRef<'_>]) -> rusqlite::Result<()> {
    for (number, value) in (1..).zip(values) {
        statement.raw_bind_parameter(number, ToSqlOutput::Borrowed(*value))?;
    }
    statement.raw_execute().map(|_| ())
}

/// `INSERT INTO t (k, a) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET a = excluded.a`.
fn upsert_sql(table: Table) -> String {
    let layout = table.layout();
    let columns = layout.columns.join(", ");
    let places = vec!["?"; layout.columns.len()].join(", ");
    let key = layout.columns[..layout.key].join(", ");
    let name = layout.name;
    let mut sql = format!(
        "INSERT INTO \"{name}\" ({columns}) VALUES ({places}) ON CONFLICT ({key}) DO UPDATE SET "
    );
    for (index, column) in layout.columns.iter().enumerate().skip(layout.key) {
        let comma = if index == layout.key { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = if layout.inherited == Some(index) {
            write!(sql, "{comma}{column} = ifnull(excluded.{column}, {column})")
        } else {
            write!(sql, "{comma}{column} = excluded.{column}")
        };
    }
    sql
}

fn delete_sql(table: Table) -> String {
    let layout = table.layout();
    let key = layout.columns[..layout.key].join(" = ? AND ");
    format!("DELETE FROM \"{}\" WHERE {key} = ?", layout.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Column, put_gone, put_row};

    fn tables() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../migrations/0001_first.sql")).unwrap();
        connection
    }

    fn batch(images: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        images(&mut bytes);
        bytes
    }

    fn hold(bytes: &mut Vec<u8>, state: &str, previous: Option<&str>) {
        let nothing: Option<&str> = None;
        let values: [&dyn Column; 15] = [
            &"hold_1", &"acme", &state, &1, &2, &3, &false, &nothing, &"[]", &nothing, &4,
            &previous, &nothing, &nothing, &nothing,
        ];
        put_row(bytes, Table::Hold, &values);
    }

    fn state_and_previous(connection: &Connection) -> (String, String) {
        let sql = "SELECT state, previous FROM hold WHERE hold_id = 'hold_1'";
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    #[test]
    fn a_hold_keeps_its_place_in_the_chain_within_a_fold_and_across() {
        let open = batch(|bytes| hold(bytes, "open", Some("hold_0")));
        let settled = batch(|bytes| hold(bytes, "settled", None));
        let expected = ("settled".to_owned(), "hold_0".to_owned());
        let together = tables();
        fold(&together, &[open.clone(), settled.clone()], 2).unwrap();
        assert_eq!(state_and_previous(&together), expected);
        let apart = tables();
        fold(&apart, &[open], 1).unwrap();
        fold(&apart, &[settled], 2).unwrap();
        assert_eq!(state_and_previous(&apart), expected);
    }

    #[test]
    fn the_last_image_of_a_key_counts_and_folding_twice_changes_nothing() {
        let put = |in_use: i64| {
            batch(|bytes| {
                let values: [&dyn Column; 4] = [&"acme", &"a", &"lifetime", &in_use];
                put_row(bytes, Table::Combination, &values);
                let gone: [&dyn Column; 4] = [&"acme", &"a", &"", &"lifetime"];
                put_gone(bytes, Table::Counter, &gone);
            })
        };
        let connection = tables();
        for _ in 0..2 {
            fold(&connection, &[put(1), put(2), put(3)], 3).unwrap();
            let in_use: i64 = connection
                .query_row("SELECT in_use FROM combination", [], |row| row.get(0))
                .unwrap();
            assert_eq!(in_use, 3);
        }
        let folded: i64 =
            connection.query_row("SELECT folded FROM log", [], |row| row.get(0)).unwrap();
        assert_eq!(folded, 3);
    }

    #[test]
    fn every_table_has_the_columns_of_its_images() {
        let connection = tables();
        for table in Table::ALL {
            connection.prepare(&upsert_sql(table)).unwrap();
            connection.prepare(&delete_sql(table)).unwrap();
            let sql = "SELECT count(*) FROM pragma_table_info(?1)";
            let name = table.layout().name;
            let columns: i64 = connection.query_row(sql, [name], |row| row.get(0)).unwrap();
            assert_eq!(columns, i64::try_from(table.layout().columns.len()).unwrap(), "{name}");
        }
    }
}
