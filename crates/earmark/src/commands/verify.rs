//! `earmark verify`: recompute every counter and held sum, name each difference (R32).
//!
//! Reads beside a running server, one tenant's books in one snapshot.

use std::io::IsTerminal;

use anyhow::{Context, bail};
use earmark_core::{BooksCheck, TenantId};
use earmark_engine::records::TenantQuery;
use earmark_postgres::PostgresStore;
use earmark_sqlite::SqliteStore;
use earmark_store::clock::{Clock, SystemClock};
use earmark_store::{Records, StoreError};
use serde_json::{Value, json};

use crate::cli::{UsageError, VerifyArgs};
use crate::output;
use crate::settings::Settings;
use crate::stores::{OpenStore, StoreSetting};

const PAGE: usize = 500;

/// How often a tenant is checked whose ledger is pruned meanwhile: a round comes once an hour.
const AGAIN_MAX: usize = 5;

/// Verifies one tenant or all; an error when something differs.
pub(crate) async fn run(settings: &Settings, arguments: VerifyArgs) -> anyhow::Result<()> {
    let store = readable(settings).await?;
    let unreadable = || {
        let data = settings.data.display();
        format!("cannot read the store in {data}; if it is damaged, restore the last backup")
    };
    let mut verified = Verified::default();
    match arguments.tenant {
        Some(tenant) => {
            let tenant =
                TenantId::new(&tenant).map_err(|error| UsageError(format!("--tenant: {error}")))?;
            if !verified.check(store.records(), &tenant).await.with_context(unreadable)? {
                bail!("tenant_not_found: there is no tenant {tenant}");
            }
        }
        None => {
            // Of a database its own tools tell.
            let damage = match &store {
                OpenStore::Sqlite(store) => store.damage().await.with_context(unreadable)?,
                OpenStore::Postgres(_) => Vec::new(),
            };
            verified.differences.extend(damage.into_iter().map(|what| (None, what)));
            verified.check_all(store.records()).await.with_context(unreadable)?;
        }
    }
    verified.conclude(settings)
}

/// The store, for reading only; a schema that is not up to date is refused, not changed.
async fn readable(settings: &Settings) -> anyhow::Result<OpenStore> {
    match &settings.store {
        StoreSetting::Sqlite => {
            let options = earmark_sqlite::OpenOptions::new(&settings.data);
            Ok(OpenStore::Sqlite(SqliteStore::open_read_only(options)?))
        }
        StoreSetting::Postgres(url) => {
            let options = earmark_postgres::OpenOptions::new(url);
            let options = earmark_postgres::OpenOptions { migrate: false, ..options };
            Ok(OpenStore::Postgres(Box::new(PostgresStore::open(options).await?)))
        }
    }
}

#[derive(Default)]
struct Verified {
    tenants: u64,
    entries: usize,
    /// What differs, and of which tenant; damage of the file is of none.
    differences: Vec<(Option<TenantId>, String)>,
}

impl Verified {
    async fn check_all(&mut self, store: &dyn Records) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let query = TenantQuery { after, count: PAGE, ..TenantQuery::default() };
            let page = store.tenants(query).await?;
            for (tenant, _) in &page.tenants {
                self.check(store, tenant).await?;
            }
            self.progress();
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Checks one tenant; `false` when there is none. Again when its ledger was pruned meanwhile:
    /// entries may then have been missed, or met twice.
    async fn check(&mut self, store: &dyn Records, tenant: &TenantId) -> Result<bool, StoreError> {
        let mut opened = None;
        for _ in 0..AGAIN_MAX {
            let (differences, counts) = (self.differences.len(), (self.tenants, self.entries));
            if !self.check_once(store, tenant, &mut opened).await? {
                return Ok(false);
            }
            let is_clean = self.differences.len() == differences;
            let now = store.books(tenant.clone()).await.ok().flatten().map(|books| books.opened);
            if is_clean || now == opened {
                break;
            }
            self.differences.truncate(differences);
            (self.tenants, self.entries) = counts;
        }
        Ok(true)
    }

    /// Checks one tenant; tells how far its ledger was pruned.
    async fn check_once(
        &mut self,
        store: &dyn Records,
        tenant: &TenantId,
        opened: &mut Option<i64>,
    ) -> Result<bool, StoreError> {
        let books = match store.books(tenant.clone()).await {
            Ok(Some(books)) => books,
            Ok(None) => return Ok(false),
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(error) => {
                self.differences.push((Some(tenant.clone()), error.to_string()));
                return Ok(true);
            }
        };
        *opened = Some(books.opened);
        // After the snapshot: a rolling slice that left in between is outside for both.
        let catalog = store.config().await?.catalog;
        let mut check = BooksCheck::default();
        match books.each_entry(tenant, store, |entry| check.add_entry(entry)).await {
            Ok(entries) => self.entries += entries,
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(error) => {
                self.differences.push((Some(tenant.clone()), error.to_string()));
                return Ok(true);
            }
        }
        for hold in &books.open_holds {
            check.add_open_hold(hold);
        }
        let now = SystemClock.now();
        let found = check.differences(&catalog, &books.counters, &books.grants, &books.tenant, now);
        self.tenants += 1;
        self.differences
            .extend(found.into_iter().map(|one| (Some(tenant.clone()), one.to_string())));
        Ok(true)
    }

    #[expect(clippy::print_stderr, reason = "progress is for the person who waits")]
    fn progress(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r{} tenants, {} entries", self.tenants, self.entries);
        }
    }

    fn conclude(self, settings: &Settings) -> anyhow::Result<()> {
        let Self { tenants, entries, differences } = self;
        if settings.json {
            let differences: Vec<Value> = differences
                .iter()
                .map(|(tenant, what)| {
                    json!({"tenant": tenant.as_ref().map(TenantId::as_str), "difference": what})
                })
                .collect();
            output::json(&json!({
                "tenants": tenants, "entries": entries, "differences": differences,
            }));
        } else {
            for (tenant, what) in &differences {
                let of = tenant.as_ref().map_or("the file", TenantId::as_str);
                output::line(format_args!("{of}: {what}"));
            }
            output::line(format_args!(
                "{tenants} tenants, {entries} entries, {} differences",
                differences.len()
            ));
        }
        if differences.is_empty() { Ok(()) } else { bail!("the books do not agree") }
    }
}
