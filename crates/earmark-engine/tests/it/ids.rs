//! Hold ids: made here they are fresh, and those that callers bring along are used once.

use earmark_core::{Command, CommandError, HoldId, HoldRequest, Operation};
use earmark_engine::{CallError, HoldSpec};

use crate::world::{CallOutcome, World, charge, hold_of, keyed, release};

/// A hold of one message under that id.
fn hold_under(id: HoldId) -> Command {
    let (_, command) = hold_of(1);
    let Operation::Hold(request) = command.operation else { panic!("not a hold") };
    let operation = Operation::Hold(HoldRequest { id, id_is_fresh: false, ..request });
    Command { operation, ..command }
}

fn refused(id: HoldId) -> CallOutcome {
    Err(CallError::Command(CommandError::HoldIdUsed(id)))
}

#[tokio::test]
async fn an_id_is_used_once_and_a_second_use_costs_nobody_else_anything() {
    let world = World::open().await;
    let (first, second) = (HoldId(1), HoldId(2));
    let outcomes = world
        .batch([
            ("acme", hold_under(first)),
            ("acme", hold_under(first)),
            ("acme", hold_under(second)),
            ("acme", charge(1)),
            ("beta", hold_under(first)),
        ])
        .await;
    assert_eq!(outcomes[1], refused(first));
    let well: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(well, [true, false, true, true, true]);
    world.call("acme", release(second)).await.unwrap();
    // The same from the store: one that is open, and one that has ended.
    for id in [first, second] {
        assert_eq!(world.call("acme", hold_under(id)).await, refused(id));
    }
    assert_eq!(world.messages("acme").await, (1, 1));
    world.verify("acme").await;
}

#[tokio::test]
async fn a_repetition_with_its_key_may_bring_its_id_along() {
    let world = World::open().await;
    let command = keyed("k", hold_under(HoldId(1)));
    for replayed in [false, true] {
        let answer = world.call("acme", command.clone()).await.unwrap();
        assert_eq!(answer.replayed, replayed);
    }
    assert_eq!(world.messages("acme").await, (0, 1));
}

#[tokio::test]
async fn an_id_that_is_made_here_is_not_looked_up() {
    let world = World::open().await;
    world.call("acme", charge(1)).await.unwrap();
    let spec = HoldSpec::new("acme", [("ai_messages", 1)]).unwrap();
    let guard = world.quota.hold(spec).await.unwrap();
    assert_eq!(world.stage.holds_asked(), 0);
    world.call("acme", hold_under(HoldId(1))).await.unwrap();
    assert_eq!(world.stage.holds_asked(), 1);
    drop(guard);
}
