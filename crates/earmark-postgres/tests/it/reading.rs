//! What a batch reads: rows of its tenants that it needs, however many others there are.

use std::time::Duration;

use earmark_core::{Catalog, Command, HoldId, Operation, TenantId};
use earmark_store::clock::ManualClock;
use earmark_store::conformance::engine::{Work, play};
use earmark_store::conformance::samples::{
    change_to, charge, config, key_use, name, one_message, put_tenant, start,
};
use earmark_store::{Records, Store};
use tokio_postgres::Client;

use crate::look::{apart, client};
use crate::server::Server;

/// Tenants of the same bucket, each with a hold.
const NEIGHBOURS: usize = 400;

/// Holds of the tenant itself that have ended.
const ENDED: u128 = 80;

/// More than the batches here read, and fewer than there are rows in any table.
const READS_MAX: i64 = 75;

fn settle(id: u128) -> Command {
    let hold = HoldId(id);
    Command::new(Operation::Settle { hold, amounts: Vec::new(), metadata: None })
}

/// What was read so far in tables that have tenants: table, by index, without one.
async fn reads(client: &Client, schema: &str) -> Vec<(String, i64, i64)> {
    let sql = "SELECT relname::text, coalesce(idx_tup_fetch, 0), seq_tup_read \
         FROM pg_stat_user_tables WHERE schemaname = $1 AND relname IN ('tenant', 'tenant_order', \
         'counter', 'hold', 'grant', 'entry', 'idempotency_key', 'combination', 'usage_by_hour', \
         'outbox') ORDER BY relname";
    let rows = client.query(sql, &[&schema]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Until the connections of that name have ended: then what they read is counted.
async fn ended(client: &Client, application: &str) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    while client.query_one(sql, &[&application]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_batch_reads_what_it_needs_and_no_table_as_a_whole() {
    let url = Server::shared().url();
    let (clock, schema, application) = (ManualClock::at(start()), apart(&url).1, apart(&url).1);
    let named = format!("{url}&application_name={application}");
    let client = client(&url).await;

    let store = crate::open(&named, &clock).await;
    store.put_config(0, change_to(&config())).await.unwrap().unwrap();
    let acme: TenantId = name("acme");
    let all = (0..).map(|number| name::<TenantId>(&format!("t{number}")));
    let neighbours = all.filter(|id| store.bucket_of(id) == store.bucket_of(&acme));
    let mut work: Work = (1_000..)
        .zip(neighbours.take(NEIGHBOURS))
        .map(|(id, tenant)| (tenant, vec![Command::new(put_tenant("pro")), one_message(id)]))
        .collect();
    let mut own = vec![Command::new(put_tenant("pro"))];
    own.extend((1..=ENDED).flat_map(|id| [one_message(id), settle(id)]));
    work.push((acme.clone(), own));
    play(&*store, &mut Catalog::default(), 1, &work).await.unwrap();
    drop(store);
    ended(&client, application).await;
    client.batch_execute(&format!("ANALYZE {schema}.hold")).await.unwrap();

    let before = reads(&client, schema).await;
    let store = crate::open(&named, &clock).await;
    let key = Some(key_use("k", 1));
    let batches = [
        vec![Command { key, ..one_message(900) }, Command::new(charge(1))],
        vec![settle(900), Command::new(Operation::Look { hold: HoldId(1) })],
    ];
    let mut catalog = Catalog::default();
    for (batch, commands) in (2..).zip(batches) {
        play(&*store, &mut catalog, batch, &vec![(acme.clone(), commands)]).await.unwrap();
    }
    drop(store);
    ended(&client, application).await;
    let after = reads(&client, schema).await;
    assert_eq!(after.len(), 10);
    let mut sum = 0;
    for ((table, by_index, whole), before) in after.iter().zip(&before) {
        assert_eq!(*whole, before.2, "{table} is read as a whole");
        sum += by_index - before.1;
    }
    assert!((5..READS_MAX).contains(&sum), "{sum} rows read: {before:?} {after:?}");
}
