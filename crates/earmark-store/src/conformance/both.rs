//! A store under test beside the memory store: both do the same, and must answer and end alike.

use earmark_core::{BooksCheck, Catalog, Command};

use super::Harness;
use super::engine::{WholeBooks, Work, World, books, play};
use super::samples::*;
use super::steps::Steps;
use crate::memory::MemoryStore;
use crate::seam::Records;

/// The two stores, and the random commands that both get.
pub(super) struct Both<H: Harness> {
    pub(super) world: World<H>,
    pub(super) model: MemoryStore,
    /// The configuration of both.
    pub(super) catalog: Catalog,
    pub(super) steps: Steps,
    /// Whether answers must be alike.
    pub(super) compares: bool,
    seed: u64,
    batch: usize,
}

impl<H: Harness> Both<H> {
    /// Two fresh stores without tenants.
    pub(super) async fn fresh(seed: u64) -> Self {
        let world = World::<H>::fresh().await;
        let model = MemoryStore::new(world.harness.clock().clone());
        model.set_due_page(H::DUE_PAGE);
        let put = model.put_config(0, change_to(&config())).await.unwrap();
        let catalog = put.unwrap().catalog;
        Self { world, model, catalog, steps: Steps::new(seed), compares: true, seed, batch: 0 }
    }

    /// Two fresh stores with all of [`Steps::TENANTS`].
    pub(super) async fn with_tenants(seed: u64) -> Self {
        let mut both = Self::fresh(seed).await;
        for tenant in Steps::TENANTS {
            both.command(tenant, Command::new(put_tenant("pro"))).await;
        }
        both
    }

    pub(super) async fn command(&mut self, tenant: &str, command: Command) {
        self.play(&vec![(name(tenant), vec![command])]).await;
    }

    /// Some random commands, a while later.
    pub(super) async fn step(&mut self) {
        let wait_ms = self.steps.wait_ms();
        self.world.advance_ms(wait_ms);
        let work = self.steps.batch();
        self.play(&work).await;
    }

    pub(super) async fn play(&mut self, work: &Work) {
        self.batch += 1;
        let batch = self.world.next_batch();
        let expected = play(&self.model, &mut self.catalog, batch, work).await.unwrap();
        let answers = self.world.play(work).await;
        if !self.compares {
            return;
        }
        for (told, expected) in answers.iter().flatten().zip(expected.iter().flatten()) {
            assert_eq!(told, expected, "batch {}; {}\n{work:#?}", self.batch, self.again());
        }
    }

    /// How to see a failure once more.
    pub(super) fn again(&self) -> String {
        format!("again: EARMARK_SEED={}", self.seed)
    }

    /// A tenant's books, if it is there: explained, and alike in both stores.
    pub(super) async fn compare(&self, tenant: &str) -> Option<WholeBooks> {
        let stored = self.explained(tenant).await?;
        assert_eq!(stored, books(&self.model, &name(tenant)).await, "{tenant}; {}", self.again());
        Some(stored)
    }

    /// A tenant's books, if it is there: counters, grants, open holds and entries of the store
    /// under test explain each other (R32).
    pub(super) async fn explained(&self, tenant: &str) -> Option<WholeBooks> {
        self.world.store().books(name(tenant)).await.unwrap()?;
        let stored = self.world.books(tenant).await;
        let mut check = BooksCheck::default();
        stored.entries.iter().for_each(|entry| check.add_entry(entry));
        stored.open_holds.iter().for_each(|hold| check.add_open_hold(hold));
        let (counters, grants) = (&stored.counters, &stored.grants);
        let now = self.world.now(&stored);
        let found = check.differences(&self.catalog, counters, grants, &stored.tenant, now);
        assert_eq!(found, [], "{tenant}; batch {}; {}", self.batch, self.again());
        Some(stored)
    }
}

/// The seeds of random runs; `EARMARK_SEED` names another one, to run a failure again.
pub(super) fn seeds<const N: usize>(seeds: [u64; N]) -> Vec<u64> {
    match std::env::var("EARMARK_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => seeds.to_vec(),
    }
}
