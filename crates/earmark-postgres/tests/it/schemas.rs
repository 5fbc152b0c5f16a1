//! Databases and schemas that nothing is entrusted to.

use earmark_postgres::{OpenError, OpenOptions, PostgresStore};

use crate::look::{apart, client};
use crate::server::Server;

async fn open(url: &str) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(OpenOptions::new(url)).await
}

#[tokio::test]
async fn a_database_that_cannot_keep_every_text_is_refused() {
    let url = Server::shared().url();
    let (_, name) = apart(&url);
    let sql = format!("CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0");
    client(&url).await.batch_execute(&sql).await.unwrap();
    let refused = open(&url.replace("/postgres?", &format!("/{name}?"))).await.err();
    let is_it = matches!(refused, Some(OpenError::Setting { setting: "server_encoding", .. }));
    assert!(is_it, "{refused:?}");
}

#[tokio::test]
async fn a_schema_of_somebody_else_is_left_alone() {
    let url = Server::shared().url();
    let sql = format!("CREATE SCHEMA {} CREATE TABLE theirs (id int)", apart(&url).1);
    client(&url).await.batch_execute(&sql).await.unwrap();
    let refused = open(&url).await.err();
    assert!(matches!(refused, Some(OpenError::NotOurs(_))), "{refused:?}");
}

#[tokio::test]
async fn a_schema_of_a_later_version_is_refused_unless_it_says_that_this_one_can_work_with_it() {
    let url = Server::shared().url();
    drop(open(&url).await.unwrap());
    let (client, schema) = (client(&url).await, apart(&url).1);
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
