//! Every transaction of a batch keeps to one bucket: what a distributed database needs to keep
//! it on one of its nodes.

use std::collections::{BTreeMap, BTreeSet};

use earmark_core::{Command, Need, TenantId};
use earmark_store::conformance::engine::World;
use earmark_store::conformance::samples;
use earmark_store::{BatchNeed, Store, Txn};
use tokio_postgres::Client;

use crate::Postgres;
use crate::look::{apart, client};

/// Tables that have a bucket, with their schema.
async fn tables(client: &Client, schema: &str) -> Vec<String> {
    let sql = "SELECT DISTINCT table_name::text FROM information_schema.columns \
         WHERE table_schema = $1 AND column_name = 'bucket'";
    let rows = client.query(sql, &[&schema]).await.unwrap();
    rows.iter().map(|row| format!("{schema}.\"{}\"", row.get::<_, &str>(0))).collect()
}

#[tokio::test]
async fn one_bucket_per_transaction() {
    let mut world = World::<Postgres>::fresh().await;
    let ids: Vec<String> = (0..100).map(|number| format!("t{number}")).collect();
    let work = |commands: fn(u128) -> Vec<Command>| {
        (0u128..).zip(&ids).map(|(id, tenant)| (samples::name(tenant), commands(id))).collect()
    };
    world.play(&work(|_| vec![Command::new(samples::put_tenant("pro"))])).await;
    world.play(&work(|id| vec![Command::new(samples::charge(40)), samples::one_message(id)])).await;
    world.play(&work(|_| vec![Command::new(samples::charge(1)); 60])).await;

    let client = client(&world.harness.url).await;
    let mut buckets: BTreeMap<String, BTreeSet<i16>> = BTreeMap::new();
    let mut written = BTreeSet::new();
    for table in tables(&client, apart(&world.harness.url).1).await {
        let sql = format!("SELECT DISTINCT xmin::text, bucket FROM {table}");
        for row in client.query(&sql, &[]).await.unwrap() {
            buckets.entry(row.get(0)).or_default().insert(row.get(1));
            written.insert(table.clone());
        }
    }
    let torn: Vec<_> = buckets.iter().filter(|(_, buckets)| buckets.len() > 1).collect();
    assert!(torn.is_empty(), "{torn:?}");
    let all: BTreeSet<i16> = buckets.into_values().flatten().collect();
    assert!(all.len() > 40, "{} buckets", all.len());
    assert!(written.len() >= 7, "{written:?}");
}

#[tokio::test]
async fn tenants_of_another_bucket_than_the_first_are_reported_busy() {
    let mut world = World::<Postgres>::fresh().await;
    let store = world.store();
    let ids: Vec<TenantId> = (0..200).map(|number| samples::name(&format!("t{number}"))).collect();
    let mine = store.bucket_of(&ids[0]);
    world.put_tenant("t0", "pro").await;
    let tenants = ids.iter().map(|id| (id.clone(), Need::default())).collect();
    let mut txn = store.begin(BatchNeed { tenants }).await.unwrap();
    let accounts = txn.take_accounts();
    assert_eq!(accounts.len(), ids.len());
    for (id, account) in ids.iter().zip(&accounts) {
        assert_eq!(account.is_some(), store.bucket_of(id) == mine, "{id}");
        assert!(account.as_ref().is_none_or(|account| account.id == *id));
    }
    assert!(accounts.iter().flatten().count() > 1);
}

#[tokio::test]
async fn every_key_of_a_table_with_buckets_begins_with_the_bucket() {
    let world = World::<Postgres>::bare().await;
    let (client, (_, schema)) = (client(&world.harness.url).await, apart(&world.harness.url));
    let sql = "SELECT c.relname::text, a.attname::text FROM pg_index i \
         JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] \
         WHERE n.nspname = $1 AND i.indisunique AND EXISTS (SELECT 1 FROM pg_attribute b \
             WHERE b.attrelid = c.oid AND b.attname = 'bucket')";
    let keys = client.query(sql, &[&schema]).await.unwrap();
    assert!(keys.len() >= 12);
    for key in &keys {
        assert_eq!(key.get::<_, &str>(1), "bucket", "{}", key.get::<_, &str>(0));
    }
}
