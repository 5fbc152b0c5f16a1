//! Eight tasks, random commands, random trouble: what was acknowledged is in the store, once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use earmark_core::{Command, Operation};
use earmark_engine::CallError;
use earmark_store::StoreError;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::stage::{Ending, Stage};
use crate::world::{Call, World, charge, code, hold_of, keyed, release, settle, until};

const TENANTS: [&str; 4] = ["acme", "beta", "gamma", "free"];
const LASTS: Duration = Duration::from_secs(3);

/// xorshift64*: enough to be different each time.
struct Random(u64);

impl Random {
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % count
    }
}

/// What was acknowledged as used, by tenant.
type Acknowledged = Arc<Mutex<BTreeMap<&'static str, i64>>>;

struct Task {
    world: Arc<World>,
    random: Random,
    acknowledged: Acknowledged,
    keys: Arc<AtomicU64>,
}

impl Task {
    fn count(&self, tenant: &'static str, used: i64) {
        *self.acknowledged.lock().unwrap().entry(tenant).or_default() += used;
    }

    /// Repeats a command until it is known what became of it. Some callers leave in between:
    /// the key tells the next one.
    async fn insist(&mut self, tenant: &'static str, command: Command) -> Result<(), CallError> {
        loop {
            let mut call: Call = self.world.send(tenant, command.clone());
            if self.random.below(8) == 0 && !call.is_answered() {
                continue;
            }
            match call.outcome().await {
                Ok(_) => return Ok(()),
                Err(
                    CallError::StoreUnavailable
                    | CallError::OutcomeUnknown
                    | CallError::DeadlineExceeded,
                ) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn charge(&mut self, tenant: &'static str) {
        let key = format!("k{}", self.keys.fetch_add(1, Ordering::Relaxed));
        match self.insist(tenant, keyed(&key, charge(2))).await {
            Ok(()) => self.count(tenant, 2),
            denied => assert!(code_of(denied), "a charge was refused"),
        }
    }

    /// A hold that ends somehow, or whose caller leaves.
    async fn lifecycle(&mut self, tenant: &'static str) {
        let (id, command) = hold_of(3);
        let call = self.world.send(tenant, command);
        if self.random.below(6) == 0 {
            return;
        }
        match call.outcome().await {
            Ok(_) => {}
            Err(
                CallError::StoreUnavailable
                | CallError::OutcomeUnknown
                | CallError::DeadlineExceeded,
            ) => return,
            denied => return assert!(code(&denied).is_some(), "{denied:?}"),
        }
        if self.random.below(2) == 0 {
            self.insist(tenant, settle(id)).await.unwrap();
            self.count(tenant, 3);
        } else {
            self.insist(tenant, release(id)).await.unwrap();
        }
    }

    async fn run(mut self, until: Instant) {
        while Instant::now() < until {
            let tenant = TENANTS[usize::try_from(self.random.below(4)).unwrap()];
            match self.random.below(3) {
                0 => self.charge(tenant).await,
                _ => self.lifecycle(tenant).await,
            }
        }
    }
}

fn code_of(outcome: Result<(), CallError>) -> bool {
    matches!(outcome, Err(CallError::Denied { .. }))
}

async fn trouble(stage: Stage, mut random: Random, until: Instant) {
    while Instant::now() < until {
        // One trouble after the other: calls are to get through between them.
        if stage.scripted() + stage.begins_left() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        match random.below(6) {
            0 => stage.next_commits([Ending::Conflict]),
            1 => stage.next_commits([Ending::RolledBack]),
            2 => stage.next_commits([Ending::UnknownDone]),
            3 => stage.next_commits([Ending::UnknownLost]),
            4 => stage.next_begins([StoreError::Unavailable("on demand".into())]),
            _ => stage.busy(TENANTS[usize::try_from(random.below(4)).unwrap()], 2),
        }
        if random.below(3) == 0 {
            stage.next_asked([StoreError::Unavailable("on demand".into())]);
        }
        tokio::time::sleep(Duration::from_millis(random.below(8))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_what_was_acknowledged_is_in_the_store_once() {
    let seed = std::env::var("EARMARK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| uuid::Uuid::now_v7().as_u64_pair().1 | 1);
    println!("EARMARK_SEED={seed} cargo test -p earmark-engine --test it soak");
    let world = Arc::new(World::open().await);
    for tenant in &TENANTS[..3] {
        world.pro(tenant).await;
    }
    let (acknowledged, keys) = (Acknowledged::default(), Arc::new(AtomicU64::new(0)));
    let end = Instant::now() + LASTS;
    let mut tasks = JoinSet::new();
    for number in 1..=8_u64 {
        let task = Task {
            world: world.clone(),
            random: Random(seed.wrapping_mul(number) | 1),
            acknowledged: acknowledged.clone(),
            keys: keys.clone(),
        };
        tasks.spawn(task.run(end));
    }
    tasks.spawn(trouble(world.stage.clone(), Random(seed), end));
    tasks.join_all().await;
    world.stage.calm();

    // Holds whose callers left, and whose release met trouble, expire.
    until("nothing waits", async || world.quota.waiting() == 0).await;
    world.clock.advance_ms(600_000);
    for tenant in TENANTS {
        world.call(tenant, Command::new(Operation::Sweep)).await.unwrap();
        assert_eq!(world.open_holds(tenant).await, []);
        world.verify(tenant).await;
        let expected = acknowledged.lock().unwrap().get(tenant).copied().unwrap_or(0);
        assert_eq!(world.messages(tenant).await, (expected, 0), "{tenant}");
    }
    let (used, _) = world.messages("free").await;
    assert!(used <= 50, "{used} of 50");
    world.quota.close().await;
}
