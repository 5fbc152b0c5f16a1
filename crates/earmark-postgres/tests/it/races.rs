//! Nodes in each other's way, and rows that somebody takes away by hand.

use std::sync::Arc;
use std::time::Duration;

use earmark_core::effect::{Effect, apply};
use earmark_core::{Catalog, Command, EntryKind, Execution, Hold, HoldId, Need, TenantId};
use earmark_postgres::PostgresStore;
use earmark_store::clock::ManualClock;
use earmark_store::conformance::engine::{Work, books, play};
use earmark_store::conformance::samples;
use earmark_store::{BatchNeed, CommitError, Records, Store, Txn};

use crate::look::{apart, client};
use crate::server::Server;

/// Nodes on one schema with the samples' configuration.
async fn nodes(url: &str, count: usize) -> Vec<Arc<PostgresStore>> {
    let clock = ManualClock::at(samples::start());
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(crate::open(url, &clock).await);
    }
    nodes[0].put_config(0, samples::change_to(&samples::config())).await.unwrap().unwrap();
    nodes
}

/// Tries until nobody else is in the way.
async fn insist(
    store: &PostgresStore,
    catalog: &mut Catalog,
    batch: u128,
    work: &Work,
) -> Execution {
    loop {
        match play(store, catalog, batch, work).await {
            Ok(mut told) => return told.remove(0).remove(0),
            Err(setback) if setback.is_retryable() => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(setback) => panic!("{setback:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_create_the_same_tenants_at_once_create_each_once() {
    let nodes = nodes(&Server::shared().url(), 3).await;
    // All of one bucket, so that each batch is one transaction.
    let all = (0..2_000).map(|number| samples::name::<TenantId>(&format!("t{number}")));
    let tenants: Vec<TenantId> = all.filter(|id| nodes[0].bucket_of(id) == 5).take(20).collect();
    for round in 0..10u128 {
        let tasks: Vec<_> = (0..3u128)
            .map(|number| {
                let node = Arc::clone(&nodes[number as usize]);
                let charge = || vec![Command::new(samples::charge(1))];
                let mut work: Work = tenants.iter().map(|id| (id.clone(), charge())).collect();
                if number % 2 == 1 {
                    work.reverse();
                }
                let put = || vec![Command::new(samples::put_tenant("pro"))];
                let puts: Work = tenants.iter().map(|id| (id.clone(), put())).collect();
                tokio::spawn(async move {
                    let mut catalog = Catalog::default();
                    insist(&node, &mut catalog, round * 10 + number + 1, &puts).await;
                    insist(&node, &mut catalog, round * 10 + number + 1_001, &work).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    for tenant in &tenants {
        let books = books(&*nodes[2], tenant).await;
        let charged = books.entries.iter().filter(|entry| entry.kind == EntryKind::Charge).count();
        let month = books.counters.iter().find(|(key, _)| *key == samples::month());
        assert_eq!((charged, month.map(|(_, counter)| counter.used)), (30, Some(30)), "{tenant}");
    }
}

/// Zero rows are no error to PostgreSQL, and COMMIT is on its way already when they are counted.
#[tokio::test]
async fn a_row_that_is_gone_stops_the_whole_commit() {
    let url = Server::shared().url();
    let nodes = nodes(&url, 1).await;
    let (node, tenant) = (&*nodes[0], samples::name::<TenantId>("acme"));
    let hold = vec![Command::new(samples::put_tenant("pro")), samples::one_message(1)];
    let mut catalog = Catalog::default();
    insist(node, &mut catalog, 1, &vec![(tenant.clone(), hold)]).await;
    let need = Need { holds: vec![HoldId(1)], ..Need::default() };
    let mut txn = node.begin(BatchNeed { tenants: vec![(tenant.clone(), need)] }).await.unwrap();
    let mut account = txn.take_accounts().remove(0).unwrap();
    let hold = account.hold(HoldId(1)).present().unwrap().clone();
    let later = Hold { expires: samples::after_ms(999_000), ..hold };
    let effects = [Effect::Hold(Box::new(later)), Effect::Grant(Box::new(samples::grant(1)))];
    for effect in effects {
        apply(&mut account, txn.clock(), effect);
    }
    let sql = format!("DELETE FROM {}.hold", apart(&url).1);
    client(&url).await.batch_execute(&sql).await.unwrap();
    let outcome = txn.commit(7, vec![account]).await;
    assert!(matches!(outcome, Err(CommitError::Conflict(_))), "{outcome:?}");
    assert!(books(node, &tenant).await.grants.is_empty());
}
