//! Folding: bringing the rows of many batches into the tables in one transaction.
//!
//! Of the images of one key only the last is written, so that a counter that a thousand
//! batches change costs one update, and a hold that has ended by then one insert.

use std::collections::hash_map::Entry;
use std::fmt::Write as _;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection};
use rustc_hash::FxHashMap;

use crate::image::{Image, Images, NoImage, Table};
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
    let images = last_images(batches)?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let written = write(connection, &images).and_then(|last| {
        let sql = "UPDATE log SET folded = ?1, last_entry = max(last_entry, ?2), \
                   last_event = max(last_event, ?3)";
        let values = [through.cast_signed(), last.entry, last.event];
        connection.prepare_cached(sql)?.execute(values)?;
        connection.execute_batch("COMMIT")
    });
    if written.is_err() && !connection.is_autocommit() {
        // Its own error matters less than whether we are out of the transaction.
        let _ = connection.execute_batch("ROLLBACK");
    }
    Ok(written?)
}

/// The last image of a key, and the first, from which it may inherit.
struct LastImage<'b> {
    image: Image<'b>,
    first: Image<'b>,
}

/// The last image of each key, in an order in which pages are visited once.
fn last_images(batches: &[Vec<u8>]) -> Result<Vec<LastImage<'_>>, NoImage> {
    let mut found: Vec<LastImage<'_>> = Vec::new();
    let mut by_key: FxHashMap<(Table, &[u8]), usize> = FxHashMap::default();
    for batch in batches {
        for image in Images::of(batch.get(HEADER_BYTES..).ok_or(NoImage)?) {
            let image = image?;
            match by_key.entry((image.table, image.key)) {
                Entry::Vacant(slot) => {
                    slot.insert(found.len());
                    found.push(LastImage { image, first: image });
                }
                Entry::Occupied(slot) => found[*slot.get()].image = image,
            }
        }
    }
    // What is numbered comes in the order of its numbers; of the others, equal prefixes lie
    // together.
    found.sort_by_key(|LastImage { image, .. }| {
        (image.table, if is_numbered(image.table) { &[] } else { image.key })
    });
    Ok(found)
}

/// Whether the key is a number that all tenants share.
fn is_numbered(table: Table) -> bool {
    matches!(table, Table::Entry | Table::Outbox)
}

/// The largest numbers that were written, 0 where there was none.
#[derive(Default)]
struct LastNumbers {
    entry: i64,
    event: i64,
}

fn write(connection: &Connection, images: &[LastImage<'_>]) -> rusqlite::Result<LastNumbers> {
    let mut last = LastNumbers::default();
    for of_table in images.chunk_by(|one, next| one.image.table == next.image.table) {
        let Some(LastImage { image: Image { table, .. }, .. }) = of_table.first() else { continue };
        let inherited = table.layout().inherited;
        let mut upsert = connection.prepare_cached(&upsert_sql(*table))?;
        for LastImage { image, first } in of_table {
            if !image.is_row {
                let mut delete = connection.prepare_cached(&delete_sql(*table))?;
                execute(&mut delete, image.values())?;
                continue;
            }
            let inherits = |(index, value)| match value {
                ValueRef::Null if inherited == Some(index) => first.values().nth(index),
                value => Some(value),
            };
            execute(&mut upsert, image.values().enumerate().filter_map(inherits))?;
            if is_numbered(*table)
                && let Some(ValueRef::Integer(number)) = image.values().next()
            {
                let last = if *table == Table::Entry { &mut last.entry } else { &mut last.event };
                *last = number.max(*last);
            }
        }
    }
    Ok(last)
}

fn execute<'b>(
    statement: &mut CachedStatement<'_>,
    values: impl Iterator<Item = ValueRef<'b>>,
) -> rusqlite::Result<()> {
    for (number, value) in (1..).zip(values) {
        statement.raw_bind_parameter(number, ToSqlOutput::Borrowed(value))?;
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
