//! Which servers and schemas are opened, and which are refused.

use earmark_postgres::{OpenError, OpenOptions, PostgresStore, migrate};
use earmark_store::Records;

use crate::server::Server;

async fn refused(url: &str) -> OpenError {
    PostgresStore::open(OpenOptions::new(url)).await.err().unwrap()
}

/// A crash would lose what was acknowledged.
#[tokio::test]
async fn a_server_that_commits_without_syncing_is_refused() {
    let url = format!("{}&options=-c%20synchronous_commit%3Doff", Server::shared().url());
    let error = refused(&url).await;
    assert!(matches!(error, OpenError::Setting { setting: "synchronous_commit", .. }), "{error}");
    assert!(error.to_string().contains("ALTER ROLE"), "{error}");
}

#[tokio::test]
async fn a_server_that_only_reads_is_refused() {
    let url = format!("{}&options=-c%20default_transaction_read_only%3Don", Server::shared().url());
    let error = refused(&url).await.to_string();
    assert!(error.contains("read-only") || error.contains("read only"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_the_password() {
    let error = refused("postgres://earmark:secret@127.0.0.1:1/earmark").await.to_string();
    assert!(error.contains("cannot use PostgreSQL") && !error.contains("secret"), "{error}");
}

/// Whoever is first makes it, and the others wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_nodes_make_the_schema_at_once() {
    let url = Server::shared().url();
    let mut nodes = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let options = OpenOptions { connections_max: 2, ..OpenOptions::new(&url) };
        nodes.spawn(PostgresStore::open(options));
    }
    for node in nodes.join_all().await {
        assert_eq!(node.unwrap().config().await.unwrap().catalog.version, 0);
    }
    assert!(migrate::pending(&OpenOptions::new(&url)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_schema_that_lacks_something_is_refused_by_who_may_not_change_it() {
    let options = OpenOptions { migrate: false, ..OpenOptions::new(Server::shared().url()) };
    assert_eq!(migrate::pending(&options).await.unwrap(), [1]);
    let error = PostgresStore::open(options.clone()).await.err().unwrap();
    assert!(matches!(error, OpenError::Older { .. }), "{error}");
    assert_eq!(migrate::apply(&options).await.unwrap(), [1]);
    PostgresStore::open(options).await.unwrap();
}
