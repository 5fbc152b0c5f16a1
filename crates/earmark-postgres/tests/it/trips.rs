//! Round trips of a batch, counted: over a network they are most of what a batch costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use earmark_core::effect::{Effect, apply};
use earmark_core::{Catalog, Command, GrantId, HoldId, Need, TenantId};
use earmark_postgres::PostgresStore;
use earmark_store::clock::ManualClock;
use earmark_store::conformance::engine::play;
use earmark_store::conformance::samples::{
    change_to, config, full_hold, grant, month, name, put_tenant, start, use_counter,
};
use earmark_store::{BatchNeed, Records, Store, Txn};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;

use crate::look::{apart, socket};
use crate::proxy::{message, pass_first};
use crate::server::Server;

/// A client that sends nothing for so long waits for answers.
const QUIET: Duration = Duration::from_millis(50);

/// Keeps answers back until all that was asked is answered and the client waits: that is one
/// round trip, however quick either side is.
async fn count(client: TcpStream, server: UnixStream, trips: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    if !pass_first(&mut from_client, &mut to_server).await {
        return;
    }
    let (up, mut asked) = mpsc::unbounded_channel();
    let (down, mut answered) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = message(&mut from_client).await {
            let _ = up.send(message);
        }
    });
    tokio::spawn(async move {
        while let Some(message) = message(&mut from_server).await {
            let _ = down.send(message);
        }
    });
    let (mut kept, mut unanswered) = (Vec::new(), 1);
    loop {
        tokio::select! {
            message = asked.recv() => {
                let Some(message) = message else { return };
                unanswered += i32::from(matches!(message[0], b'Q' | b'S'));
                to_server.write_all(&message).await.unwrap();
            }
            message = answered.recv() => {
                let Some(message) = message else { return };
                unanswered -= i32::from(message[0] == b'Z');
                kept.extend(message);
            }
            () = tokio::time::sleep(QUIET), if unanswered == 0 && !kept.is_empty() => {
                trips.fetch_add(1, Ordering::SeqCst);
                to_client.write_all(&kept).await.unwrap();
                kept.clear();
            }
        }
    }
}

/// A store whose round trips are counted.
async fn counted() -> (Arc<PostgresStore>, Arc<AtomicUsize>) {
    let url = Server::shared().url();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, schema) = (listener.local_addr().unwrap().port(), apart(&url).1);
    let through =
        format!("postgres://postgres@127.0.0.1:{port}/postgres?schema={schema}&sslmode=disable");
    let (trips, socket) = (Arc::<AtomicUsize>::default(), socket(&url));
    let shared = Arc::clone(&trips);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(count(client, server, Arc::clone(&shared)));
        }
    });
    (crate::open(&through, &ManualClock::at(start())).await, trips)
}

#[tokio::test]
async fn a_batch_takes_one_round_trip_to_begin_one_to_load_more_and_one_to_commit() {
    let (store, trips) = counted().await;
    store.put_config(0, change_to(&config())).await.unwrap().unwrap();
    // Two of one bucket.
    let same = |id: &String| store.bucket_of(&name(id)) == store.bucket_of(&name("acme"));
    let other = (0..).map(|number| format!("t{number}")).find(same).unwrap();
    let ids: [TenantId; 2] = [name("acme"), name(&other)];
    let put = ids.iter().map(|id| (id.clone(), vec![Command::new(put_tenant("pro"))])).collect();
    play(&*store, &mut Catalog::default(), 1, &put).await.unwrap();

    for count in [1, 2] {
        let need = |id| (id, Need { holds: vec![HoldId(2)], ..Need::default() });
        let tenants = ids.iter().take(count).cloned().map(need).collect();
        let mut taken = Vec::new();
        let mut lap = || taken.push(trips.swap(0, Ordering::SeqCst));
        lap();
        let mut txn = store.begin(BatchNeed { tenants }).await.unwrap();
        lap();
        let accounts = txn.take_accounts().into_iter().flatten();
        let mut accounts: Vec<_> = accounts.collect();
        let more = || Need {
            counters: vec![month()],
            grants: vec![GrantId(9)],
            all_open_holds: true,
            ..Need::default()
        };
        let needs = accounts.iter_mut().map(|account| (&mut **account, more())).collect();
        txn.load_all(needs).await.unwrap();
        lap();
        for account in &mut accounts {
            for effect in [
                Effect::Grant(Box::new(grant(1))),
                Effect::Hold(Box::new(full_hold(1))),
                use_counter(&month(), "messages", 7, 1),
            ] {
                apply(account, txn.clock(), effect);
            }
        }
        txn.commit(count as u128 + 10, accounts).await.unwrap();
        lap();
        assert_eq!(taken[1..], [1, 1, 1], "{count} tenants");
    }
}
