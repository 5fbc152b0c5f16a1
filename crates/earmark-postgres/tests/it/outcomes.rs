//! Connections that end at the worst moment: what was committed is known afterwards (R36).

use std::sync::Arc;
use std::time::Duration;

use earmark_core::effect::{Effect, apply};
use earmark_core::{Account, Catalog, Command, Execution, Need, TenantId};
use earmark_postgres::{PostgresStore, PostgresTxn};
use earmark_store::clock::ManualClock;
use earmark_store::conformance::engine::play;
use earmark_store::conformance::samples;
use earmark_store::{BatchNeed, CommitError, Records, Store, Txn};

use crate::look::{apart, socket};
use crate::proxy::{AtCommit, Gate, Proxy};
use crate::server::Server;

/// A store behind a proxy, and another one, another node, that reaches the server.
struct World {
    proxy: Proxy,
    cut_off: Arc<PostgresStore>,
    other: Arc<PostgresStore>,
}

fn tenant() -> TenantId {
    samples::name("acme")
}

fn need() -> BatchNeed {
    BatchNeed { tenants: vec![(tenant(), Need::default())] }
}

impl World {
    async fn fresh() -> Self {
        let url = Server::shared().url();
        let proxy = Proxy::of(socket(&url)).await;
        let (port, (_, schema)) = (proxy.port, apart(&url));
        let through = format!(
            "postgres://postgres@127.0.0.1:{port}/postgres?schema={schema}&sslmode=disable"
        );
        let clock = ManualClock::at(samples::start());
        let other = crate::open(&url, &clock).await;
        let cut_off = crate::open(&through, &clock).await;
        let change = samples::change_to(&samples::config());
        other.put_config(0, change).await.unwrap().unwrap();
        let put = vec![(tenant(), vec![Command::new(samples::put_tenant("pro"))])];
        play(&*other, &mut Catalog::default(), 1, &put).await.unwrap();
        Self { proxy, cut_off, other }
    }

    /// A transaction in which something has changed.
    async fn changed(&self) -> (PostgresTxn, Vec<Box<Account>>) {
        let mut txn = self.cut_off.begin(need()).await.unwrap();
        let mut account = txn.take_accounts().remove(0).unwrap();
        let effects = [
            Effect::Tenant(Box::new(samples::full_tenant())),
            Effect::Grant(Box::new(samples::grant(1))),
        ];
        for effect in effects {
            apply(&mut account, txn.clock(), effect);
        }
        (txn, vec![account])
    }

    /// Whether that change is there.
    async fn is_changed(&self) -> bool {
        let need = Need { grants: vec![earmark_core::GrantId(1)], ..Need::default() };
        let need = BatchNeed { tenants: vec![(tenant(), need)] };
        let mut txn = self.other.begin(need).await.unwrap();
        let account = txn.take_accounts().remove(0).unwrap();
        account.grant(earmark_core::GrantId(1)).present().is_some()
    }
}

#[tokio::test]
async fn a_batch_that_is_cut_before_its_commit_is_known_not_to_be_committed() {
    let world = World::fresh().await;
    let (txn, accounts) = world.changed().await;
    world.proxy.set(AtCommit::CutBefore);
    let outcome = txn.commit(7, accounts).await;
    assert!(matches!(outcome, Err(CommitError::Unknown(_))), "{outcome:?}");
    world.proxy.set(AtCommit::Pass);
    assert!(!world.cut_off.was_committed(7, &tenant()).await.unwrap());
    assert!(!world.other.was_committed(7, &tenant()).await.unwrap());
    assert!(!world.is_changed().await);
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_known_to_be_committed() {
    let world = World::fresh().await;
    let (txn, accounts) = world.changed().await;
    world.proxy.set(AtCommit::CutAfter);
    let outcome = txn.commit(7, accounts).await;
    assert!(matches!(outcome, Err(CommitError::Unknown(_))), "{outcome:?}");
    world.proxy.set(AtCommit::Pass);
    assert!(world.cut_off.was_committed(7, &tenant()).await.unwrap());
    assert!(world.other.was_committed(7, &tenant()).await.unwrap());
    assert!(world.is_changed().await);
}

#[tokio::test]
async fn what_was_said_not_to_be_committed_never_is() {
    let world = World::fresh().await;
    let (txn, accounts) = world.changed().await;
    let gate = Gate::closed();
    world.proxy.set(AtCommit::HoldBatch(Arc::clone(&gate)));
    let committing = tokio::spawn(txn.commit(7, accounts));
    gate.arrival().await;
    // Somebody asks while the batch is on its way.
    assert!(!world.other.was_committed(7, &tenant()).await.unwrap());
    world.proxy.set(AtCommit::Pass);
    gate.open();
    let outcome = committing.await.unwrap();
    assert!(matches!(outcome, Err(CommitError::Conflict(_))), "{outcome:?}");
    assert!(!world.is_changed().await);
}

#[tokio::test]
async fn whoever_asks_waits_for_a_transaction_that_is_still_open() {
    let world = World::fresh().await;
    let (txn, accounts) = world.changed().await;
    let gate = Gate::closed();
    world.proxy.set(AtCommit::HoldCommit(Arc::clone(&gate)));
    let committing = tokio::spawn(txn.commit(7, accounts));
    gate.arrival().await;
    let other = Arc::clone(&world.other);
    let asking = tokio::spawn(async move { other.was_committed(7, &tenant()).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asking.is_finished());
    gate.open();
    committing.await.unwrap().unwrap();
    assert!(asking.await.unwrap().unwrap());
    assert!(world.is_changed().await);
}

#[tokio::test]
async fn a_transaction_that_never_ends_is_ended_by_the_server() {
    let world = World::fresh().await;
    let (txn, accounts) = world.changed().await;
    let gate = Gate::closed();
    world.proxy.set(AtCommit::HoldCommit(Arc::clone(&gate)));
    let committing = tokio::spawn(txn.commit(7, accounts));
    gate.arrival().await;
    // It waits until the server has lost its patience.
    assert!(!world.other.was_committed(7, &tenant()).await.unwrap());
    let outcome = committing.await.unwrap();
    assert!(matches!(outcome, Err(CommitError::Unknown(_))), "{outcome:?}");
    assert!(!world.is_changed().await);
}

#[tokio::test]
async fn a_node_that_stops_frees_its_tenants() {
    let world = World::fresh().await;
    let (stopped, accounts) = world.changed().await;
    let work = vec![(tenant(), vec![Command::new(samples::charge(1))])];
    let told = play(&*world.other, &mut Catalog::default(), 8, &work).await.unwrap();
    assert!(matches!(told[0][0], Execution::Done(_)), "{told:?}");
    let outcome = stopped.commit(7, accounts).await;
    assert!(outcome.is_err());
    assert!(!world.other.was_committed(7, &tenant()).await.unwrap());
    assert!(!world.is_changed().await);
}
