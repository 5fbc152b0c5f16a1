//! The server as tests see it that look past a store.

use std::path::PathBuf;

use tokio_postgres::{Client, Config, NoTls};

/// A URL of a store without its schema, and the schema.
pub(crate) fn apart(url: &str) -> (&str, &str) {
    url.split_once("?schema=").unwrap()
}

/// A connection beside a store's.
pub(crate) async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(apart(url).0, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The socket that a store's server listens on.
pub(crate) fn socket(url: &str) -> PathBuf {
    let config: Config = apart(url).0.parse().unwrap();
    match &config.get_hosts()[0] {
        tokio_postgres::config::Host::Unix(directory) => directory.join(".s.PGSQL.5432"),
        other => panic!("{other:?}"),
    }
}
