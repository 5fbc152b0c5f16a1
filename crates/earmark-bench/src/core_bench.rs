//! The core alone: one thread, hold and settle decided and applied.

use std::time::Duration;

use earmark_core::{Account, Catalog, Command, Execution, HoldId, TimestampMs, execute};

use crate::fixture::{self, Call, settle};
use crate::report::{now, per_second};

pub(crate) fn run(lasting: Duration) -> anyhow::Result<()> {
    for plan in ["one", "three"] {
        let document = fixture::config(plan)?;
        let catalog = document.catalog(1, |_| (1, false), Vec::new())?;
        let call = Call::under(plan)?;
        let mut account = Account::new(fixture::tenant(0)?);
        account.offer_tenant(None);
        account.offered_live_grants();
        account.offered_due_through((TimestampMs::MAX, HoldId::MAX));
        let clock = TimestampMs(1_795_000_000_000);
        execute(&mut account, &catalog, &fixture::create_tenant()?, clock);
        let started = now();
        let mut lifecycles = 0u64;
        while started.elapsed() < lasting {
            for _ in 0..1_000 {
                let (id, hold) = call.hold();
                let held = execute_loaded(&mut account, &catalog, &hold, clock);
                let settled = execute_loaded(&mut account, &catalog, &settle(id), clock);
                anyhow::ensure!(
                    matches!((held, settled), (Execution::Done(_), Execution::Done(_))),
                    "not admitted"
                );
            }
            account.committed(1);
            account.forget(1);
            lifecycles += 1_000;
        }
        let rate = per_second(lifecycles, started.elapsed());
        println!("core, plan of {plan}: {rate} lifecycles/s on one thread");
    }
    Ok(())
}

/// Executes, saying of every row that is asked for that there is none yet.
fn execute_loaded(
    account: &mut Account,
    catalog: &Catalog,
    command: &Command,
    clock: TimestampMs,
) -> Execution {
    loop {
        match execute(account, catalog, command, clock) {
            Execution::Need(need) => {
                for key in need.counters {
                    account.offer_counter(key, None);
                }
                for key in need.combinations {
                    account.offer_combination(key, 0);
                }
            }
            done => return done,
        }
    }
}
