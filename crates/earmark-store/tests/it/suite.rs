//! The memory store under the suite that every store passes.

use std::sync::Arc;

use earmark_store::clock::ManualClock;
use earmark_store::conformance::Harness;
use earmark_store::memory::MemoryStore;

/// A memory store whose opening again is a crash; due holds come in rounds of `ROUND`.
struct Memory<const ROUND: usize> {
    store: MemoryStore,
    clock: ManualClock,
}

impl<const ROUND: usize> Harness for Memory<ROUND> {
    type Store = MemoryStore;

    const DUE_PAGE: usize = ROUND;

    async fn fresh() -> Self {
        let clock = ManualClock::default();
        let store = MemoryStore::new(clock.clone());
        store.set_due_page(ROUND);
        Self { store, clock }
    }

    fn store(&self) -> Arc<MemoryStore> {
        Arc::new(self.store.clone())
    }

    async fn reopen(&mut self) {
        self.store.crash();
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

mod rounds_of_a_thousand {
    use super::Memory;

    earmark_store::conformance_tests!(Memory<1_000>);
}

mod rounds_of_two {
    use super::Memory;

    earmark_store::conformance_tests!(Memory<2>);
}

/// A case that the list leaves out would be run by nobody.
#[test]
fn every_case_is_in_the_list() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance");
    let read = |path| std::fs::read_to_string(path).unwrap();
    let list = read(format!("{folder}/mod.rs"));
    let mut cases = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let text = read(file.unwrap().path().display().to_string());
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("pub async fn ") else { continue };
            let Some((case, _)) = rest.split_once("<H: Harness>()") else { continue };
            assert!(list.lines().any(|line| line.trim() == case), "{case} is not in the list");
            cases += 1;
        }
    }
    assert!(cases > 50, "{cases} cases found");
}
