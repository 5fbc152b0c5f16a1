//! Bare SQLite: the same rows written by hand in batches, no rules, no engine.
//!
//! A lifecycle is what hold and settle write in two commits: a hold inserted, then updated
//! with an entry inserted; tenant and counter updated once a batch each. Batches have
//! `in_flight` commands, as many as the engine could batch at most.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::report::{now, per_second};

/// Lifecycles per second of bare batched SQLite.
pub(crate) fn lifecycles(
    lasting: Duration,
    tenants: usize,
    per_commit: usize,
    counters: usize,
) -> anyhow::Result<u64> {
    let directory = tempfile::tempdir()?;
    let mut connection = open(directory.path())?;
    fill(&mut connection, tenants, counters)?;
    let mut done = 0u64;
    let mut turn = 0usize;
    let started = now();
    while started.elapsed() < lasting {
        let batch: Vec<(String, String)> = (0..per_commit)
            .map(|index| {
                let tenant = format!("tenant-{:07}", (turn * 7_919 + index * 104_729) % tenants);
                (tenant, format!("hold_{:026}", turn * per_commit + index))
            })
            .collect();
        turn += 1;
        write_holds(&mut connection, &batch, counters)?;
        write_settles(&mut connection, &batch, counters)?;
        done += per_commit as u64;
    }
    Ok(per_second(done, started.elapsed()))
}

fn open(directory: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open(directory.join("raw.db"))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4096;
         PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;
         CREATE TABLE tenant_order (tenant_id TEXT PRIMARY KEY, seq INTEGER, last_ms INTEGER,
           open_holds INTEGER, last_entry INTEGER, last_hold TEXT) STRICT, WITHOUT ROWID;
         CREATE TABLE counter (tenant_id TEXT, limit_name TEXT, dimensions TEXT, window TEXT,
           meter TEXT, used INTEGER, held INTEGER, denied INTEGER,
           PRIMARY KEY (tenant_id, limit_name, dimensions, window)) STRICT, WITHOUT ROWID;
         CREATE TABLE hold (hold_id TEXT, tenant_id TEXT, state TEXT, created_ms INTEGER,
           expires_ms INTEGER, ended_ms INTEGER, legs TEXT, seq INTEGER, previous TEXT,
           PRIMARY KEY (hold_id, tenant_id)) STRICT, WITHOUT ROWID;
         CREATE INDEX hold_open ON hold (tenant_id, expires_ms, hold_id) WHERE state = 'open';
         CREATE TABLE entry (entry_no INTEGER PRIMARY KEY, tenant_id TEXT, seq INTEGER,
           line INTEGER, previous INTEGER, at_ms INTEGER, kind TEXT, meter TEXT, amount INTEGER,
           counters TEXT, hold_id TEXT, late INTEGER, overrun INTEGER) STRICT;",
    )?;
    Ok(connection)
}

fn fill(connection: &mut Connection, tenants: usize, counters: usize) -> anyhow::Result<()> {
    let transaction = connection.transaction()?;
    for number in 0..tenants {
        let tenant = format!("tenant-{number:07}");
        transaction.execute(
            "INSERT INTO tenant_order VALUES (?1, 0, 1795000000000, 0, 1, ?2)",
            params![tenant, "hold_00000000000000000000000000"],
        )?;
        for counter in 0..counters {
            transaction.execute(
                "INSERT INTO counter VALUES (?1, ?2, '', '2026-11-01', 'ai_messages', 0, 0, 0)",
                params![tenant, format!("limit-{counter}")],
            )?;
        }
    }
    transaction.commit()?;
    Ok(())
}

const LEGS: &str = "[[1795000000000,[[\"ai_messages\",1,1,true,false,\
    [[\"ai_messages/month\",\"\",\"2026-11-01\",1,true,1000000000,null]],[]]]]]";

fn write_holds(
    connection: &mut Connection,
    batch: &[(String, String)],
    counters: usize,
) -> anyhow::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT INTO hold VALUES (?2, ?1, 'open', 1795000000000, 1795000300000, 1795000300000, \
             ?3, 1, ?2)",
        )?;
        for (tenant, hold) in batch {
            insert.execute(params![tenant, hold, LEGS])?;
        }
    }
    write_totals(&transaction, batch, counters)?;
    transaction.commit()?;
    Ok(())
}

fn write_settles(
    connection: &mut Connection,
    batch: &[(String, String)],
    counters: usize,
) -> anyhow::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut update = transaction.prepare_cached(
            "UPDATE hold SET state = 'settled', ended_ms = 1795000001000, seq = 2 \
             WHERE hold_id = ?2 AND tenant_id = ?1",
        )?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO entry VALUES (NULL, ?1, ?2, 0, 1, 1795000000000, 'settle', 'ai_messages', 1, \
             '[[\"ai_messages/month\",\"\",\"2026-11-01\",null,1]]', ?3, 0, 0)",
        )?;
        for (tenant, hold) in batch {
            update.execute(params![tenant, hold])?;
            let seq: i64 = hold[5..].parse()?;
            insert.execute(params![tenant, seq, hold])?;
        }
    }
    write_totals(&transaction, batch, counters)?;
    transaction.commit()?;
    Ok(())
}

/// Tenant and counters of the batch, once each.
fn write_totals(
    transaction: &Connection,
    batch: &[(String, String)],
    counters: usize,
) -> anyhow::Result<()> {
    let mut tenants: Vec<&str> = batch.iter().map(|(tenant, _)| tenant.as_str()).collect();
    tenants.sort_unstable();
    tenants.dedup();
    let mut tenant_row = transaction.prepare_cached(
        "UPDATE tenant_order SET seq = seq + 1, last_ms = ?2, open_holds = 0, last_entry = seq \
         WHERE tenant_id = ?1",
    )?;
    let mut counter_row = transaction.prepare_cached(
        "UPDATE counter SET used = used + 1, held = 0, denied = 0 WHERE tenant_id = ?1 \
         AND limit_name = ?2 AND dimensions = '' AND window = '2026-11-01'",
    )?;
    for tenant in tenants {
        tenant_row.execute(params![tenant, 1_795_000_000_000_i64])?;
        for counter in 0..counters {
            counter_row.execute(params![tenant, format!("limit-{counter}")])?;
        }
    }
    Ok(())
}
