//! Expired holds that nobody has processed yet may make an answer stricter for what they
//! hold, never looser, and never deny anybody (R14): whether they are processed before each
//! decision or only when one asks, every admission is answered alike.

use earmark_core::{
    Amount, Command, Execution, HoldId, MeterName, Operation, Outcome, TimestampMs,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::agrees_with_model::{Verdict, config};
use crate::scenario::{Action, Scenario, Then, any_scenario};
use crate::world::{Due, World};

proptest! {
    #![proptest_config(config(4))]

    #[test]
    fn holds_that_wait_for_their_expiry_change_no_admission(scenario in any_scenario()) {
        run(&scenario).map_err(TestCaseError::fail)?;
    }
}

fn run(scenario: &Scenario) -> Verdict {
    let mut world = World::new(scenario.books[0].catalog(), Due::WhenAsked);
    let mut clock: TimestampMs = scenario.start.parse().unwrap();
    let mut holds: Vec<HoldId> = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        world.commit();
        clock = clock.plus(step.wait_ms);
        if let Action::Edit { book } = step.action {
            world.catalog = scenario.books[book].catalog();
            continue;
        }
        let command = step.command(number, &holds, clock);
        let mut prompt = world.clone();
        prompt.due = Due::First;
        let (waited, prompt) = (world.step(&command, clock), prompt.step(&command, clock));
        if is_admission(&command) && told(&waited) != told(&prompt) {
            return Err(format!("step {number}: {step:?}\nwaited {waited:?}\nprompt {prompt:?}"));
        }
        if let Execution::Done(answer) = &waited
            && let Outcome::Hold(hold) = &answer.outcome
            && !holds.contains(&hold.id)
        {
            holds.push(hold.id);
        }
        if step.then == Then::Forget {
            world.commit();
            world.forget();
        }
    }
    Ok(())
}

fn is_admission(command: &Command) -> bool {
    matches!(
        command.operation,
        Operation::Hold(_)
            | Operation::Charge { .. }
            | Operation::Check { .. }
            | Operation::Extend(_)
    )
}

/// What an admission is told: what was taken, or why nothing was.
fn told(execution: &Execution) -> Result<Vec<(MeterName, Amount)>, String> {
    let answer = match execution {
        Execution::Done(answer) => answer,
        Execution::Denied(denial) => return Err(denial.code.to_string()),
        Execution::Refused(error) => return Err(error.to_string()),
        Execution::Need(need) => return Err(format!("{need:?}")),
    };
    match &answer.outcome {
        Outcome::Hold(hold) => Ok(hold.amounts()),
        Outcome::Extended { amounts, .. } => Ok(amounts.clone()),
        Outcome::Charged { charged, .. } => Ok(charged.clone()),
        Outcome::Checked { result: Ok(taken) } => Ok(taken.clone()),
        Outcome::Checked { result: Err(denial) } => Err(denial.code.to_string()),
        outcome => Err(format!("{outcome:?}")),
    }
}
