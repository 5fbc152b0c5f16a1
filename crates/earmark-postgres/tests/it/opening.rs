//! Servers and schemas that nothing is entrusted to, and those that are made ready.

use earmark_postgres::{OpenError, OpenOptions, PostgresStore, migrate};
use earmark_store::Records;

use crate::server::{new_schema, server};

async fn open(url: &str) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(OpenOptions::new(url)).await
}

#[tokio::test]
async fn a_server_that_loses_what_it_acknowledges_is_refused() {
    let url = server().await.url(&new_schema());
    let refused = open(&format!("{url}&options=-c%20synchronous_commit%3Doff")).await.err();
    let is_it = matches!(refused, Some(OpenError::Setting { setting: "synchronous_commit", .. }));
    assert!(is_it, "{refused:?}");
}

#[tokio::test]
async fn a_server_that_only_reads_is_refused() {
    let url = server().await.url(&new_schema());
    let refused = open(&format!("{url}&options=-c%20default_transaction_read_only%3Don")).await;
    let refused = refused.err();
    assert!(matches!(refused, Some(OpenError::ReadOnly)), "{refused:?}");
}

#[tokio::test]
async fn a_database_that_cannot_keep_every_text_is_refused() {
    let (server, name) = (server().await, new_schema());
    let client = server.client().await;
    let sql = format!("CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0");
    client.batch_execute(&sql).await.unwrap();
    let refused = open(&server.url(&name).replace("/postgres?", &format!("/{name}?"))).await.err();
    let is_it = matches!(refused, Some(OpenError::Setting { setting: "server_encoding", .. }));
    assert!(is_it, "{refused:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_that_says_what_to_check() {
    let refused = open("postgres://earmark@127.0.0.1:1/postgres").await.err().unwrap();
    assert!(refused.to_string().contains("check that it runs"), "{refused}");
}

#[tokio::test]
async fn many_nodes_that_start_at_once_migrate_once() {
    let (server, schema) = (server().await, new_schema());
    let url = server.url(&schema);
    let opening = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { open(&url).await.unwrap() })
    });
    for node in opening.collect::<Vec<_>>() {
        assert_eq!(node.await.unwrap().config().await.unwrap().catalog.version, 0);
    }
    let sql = format!("SELECT array_agg(version ORDER BY version) FROM {schema}.migration");
    let applied: Vec<i64> = server.client().await.query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(applied, [1]);
}

#[tokio::test]
async fn migrations_can_be_applied_by_hand() {
    let options = OpenOptions::new(server().await.url(&new_schema()));
    let careful = OpenOptions { migrate: false, ..options.clone() };
    let refused = PostgresStore::open(careful.clone()).await.err();
    assert!(matches!(refused, Some(OpenError::Older { .. })), "{refused:?}");
    assert_eq!(migrate::pending(&options).await.unwrap(), [1]);
    assert_eq!(migrate::apply(&options).await.unwrap(), [1]);
    assert!(migrate::apply(&options).await.unwrap().is_empty());
    assert!(migrate::pending(&options).await.unwrap().is_empty());
    PostgresStore::open(careful).await.unwrap();
}

#[tokio::test]
async fn a_schema_of_somebody_else_is_left_alone() {
    let (server, schema) = (server().await, new_schema());
    let sql = format!("CREATE SCHEMA {schema} CREATE TABLE theirs (id int)");
    server.client().await.batch_execute(&sql).await.unwrap();
    let refused = open(&server.url(&schema)).await.err();
    assert!(matches!(refused, Some(OpenError::NotOurs(_))), "{refused:?}");
}

#[tokio::test]
async fn a_schema_of_a_later_version_is_refused_unless_it_says_that_this_one_can_work_with_it() {
    let (server, schema) = (server().await, new_schema());
    let url = server.url(&schema);
    drop(open(&url).await.unwrap());
    let client = server.client().await;
    for (compatible_from, is_refused) in [(1, false), (1_000, true)] {
        let sql = format!(
            "DELETE FROM {schema}.migration WHERE version = 1000; \
             INSERT INTO {schema}.migration VALUES (1000, 'x', {compatible_from}, 0)"
        );
        client.batch_execute(&sql).await.unwrap();
        let opened = open(&url).await.err();
        assert_eq!(matches!(opened, Some(OpenError::Newer { .. })), is_refused, "{opened:?}");
        assert_eq!(opened.is_some(), is_refused);
    }
}
