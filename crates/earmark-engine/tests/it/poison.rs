//! Poison on the embedded store: a row on which deciding panics or breaks an invariant, asked
//! for again and again. It costs its tenant its answers, nobody else anything, and the store
//! goes on (R38).

use earmark_core::{Command, DenialCode, Operation};
use earmark_engine::CallError;

use crate::damage::quiet_workers;
use crate::embedded::Embedded;
use crate::world::{CONFIG, CallOutcome, charge, code, hold, id, messages};

/// The message counter of a tenant becomes that.
fn poison(used: i64, held: i64) -> String {
    format!(
        "UPDATE counter SET used = {used}, held = {held} \
         WHERE tenant_id = 'bad' AND limit_name = 'ai_messages/month'"
    )
}

async fn is_survived(used: i64, held: i64) {
    quiet_workers();
    let mut engine = Embedded::open(CONFIG).await;
    for tenant in ["bad", "acme"] {
        engine.call(tenant, charge(1)).await.unwrap();
    }
    engine.change(&poison(used, held)).await;
    for round in 1..=12 {
        // Some poison comes in a batch with others, some alone.
        let mut commands = vec![("bad", charge(1)), ("acme", charge(1)), ("bad", charge(1))];
        commands.extend((0..5).map(|number| (["beta", "gamma"][number % 2], charge(1))));
        let calls = commands.into_iter().map(|(tenant, command)| (id(tenant), command)).collect();
        let outcomes = engine.quota().execute_all(calls, None).await;
        let refused = |outcome: &CallOutcome| match outcome {
            Err(CallError::Internal) => round <= 2,
            Err(CallError::TenantFaulted) => round >= 2,
            _ => false,
        };
        assert!(refused(&outcomes[0]) && refused(&outcomes[2]), "{round}: {outcomes:?}");
        let others = outcomes.iter().enumerate().filter(|(index, _)| ![0, 2].contains(index));
        assert!(others.clone().all(|(_, outcome)| outcome.is_ok()), "{round}: {outcomes:?}");
        assert!(engine.call("bad", charge(1)).await.is_err());
    }
    assert_eq!(messages(&engine.books("acme").await), (13, 0));
    assert_eq!(messages(&engine.books("beta").await), (36, 0));

    // Let in again before it is mended, it is refused again; mended, it goes on.
    engine.quota().clear_fault(&id("bad"));
    assert_eq!(engine.call("bad", charge(1)).await, Err(CallError::Internal));
    engine.call("acme", charge(1)).await.unwrap();
    engine.change(&poison(1, 0)).await;
    engine.call("bad", charge(49)).await.unwrap();
    assert_eq!(code(&engine.call("bad", hold(1)).await), Some(DenialCode::LimitExhausted));
    engine.call("bad", Command::new(Operation::Sweep)).await.unwrap();
    for tenant in ["bad", "acme", "beta", "gamma"] {
        engine.verify(tenant).await;
    }
}

#[tokio::test]
async fn a_decision_that_panics_again_and_again_costs_its_tenant_alone() {
    is_survived(i64::MAX, 1).await;
}

#[tokio::test]
async fn a_decision_that_breaks_an_invariant_again_and_again_costs_its_tenant_alone() {
    is_survived(0, -5).await;
}
