//! The core and the model are given the same random scenarios and must agree after every
//! step; the laws are checked on the core's rows directly.
//!
//! `PROPTEST_CASES=20000 cargo test -p earmark-core agrees` looks longer.

use std::collections::BTreeSet;

use earmark_core::{
    Answer, Command, CounterKey, Denial, Execution, HoldId, HoldState, LimitState, Operation,
    Outcome, TimestampMs, Window,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};

use crate::laws;
use crate::model::{Amounts, Expected, Model, Outcome as ModelOutcome, Reason, State};
use crate::reached;
use crate::scenario::{Action, Scenario, Step, Then, again, any_scenario};
use crate::world::{Due, Rows, World};

/// Enough to find each planted bug, few enough for a test run of seconds.
const CASES_DEFAULT: u32 = 1_000;

/// Any number: the usual run must not fail on Tuesdays only.
const SEED_DEFAULT: u64 = 49;

/// A disagreement, or a broken law.
pub(crate) type Verdict = Result<(), String>;

/// One case in `share` of them. The usual run is the same every time; one that
/// `PROPTEST_CASES` makes longer takes other scenarios each time, or those of
/// `PROPTEST_RNG_SEED`.
pub(crate) fn config(share: u32) -> ProptestConfig {
    let usual = ProptestConfig {
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    match std::env::var("PROPTEST_CASES") {
        Ok(_) => ProptestConfig { cases: usual.cases.div_ceil(share), ..usual },
        Err(_) => ProptestConfig {
            cases: CASES_DEFAULT / share,
            rng_seed: RngSeed::Fixed(SEED_DEFAULT),
            ..usual
        },
    }
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn the_core_agrees_with_the_model_after_every_step(scenario in any_scenario()) {
        run(&scenario).map(drop).map_err(TestCaseError::fail)?;
    }
}

/// Things that scenarios must reach, or agreement means little.
const REACHED: [&str; 33] = [
    "tenant_not_found",
    "tenant_suspended",
    "meter_not_in_plan",
    "too_many_combinations",
    "amount_above_limit",
    "limit_exhausted",
    "in_flight_limit",
    "limit_held",
    "AlreadySettled",
    "AlreadyReleased",
    "HoldExpired",
    "HoldNotFound",
    "KeyReused",
    "AmountOverflow",
    "ClockBehind",
    "PlanRetired",
    "MeterNotInHold",
    "UselessGrant",
    "NotAdjustable",
    "replayed hold",
    "replayed charge",
    "replayed end",
    "late end",
    "overrun",
    "reopened",
    "two parts",
    "grant used",
    "grant lapsed",
    "expiry charged",
    "debt",
    "second label of a day",
    "clock repaired",
    "alert",
];

#[test]
fn the_scenarios_reach_every_rule() {
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..800 {
        let scenario = any_scenario().new_tree(&mut runner).unwrap().current();
        reached.extend(run(&scenario).unwrap());
    }
    let missed: Vec<_> = REACHED.iter().filter(|what| !reached.contains(**what)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}

/// Returns what was reached.
fn run(scenario: &Scenario) -> Result<BTreeSet<String>, String> {
    let mut pair = Pair::new(scenario);
    for (number, step) in scenario.steps.iter().enumerate() {
        pair.step(number, step).map_err(|why| format!("step {number}: {step:?}\n{why}"))?;
    }
    Ok(pair.reached)
}

/// Core and model side by side.
struct Pair<'a> {
    scenario: &'a Scenario,
    world: World,
    model: Model,
    /// The model as of the last commit.
    committed: Model,
    clock: TimestampMs,
    holds: Vec<HoldId>,
    /// The last command with a key.
    keyed: Option<Command>,
    reached: BTreeSet<String>,
}

impl<'a> Pair<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let book = &scenario.books[0];
        let model = Model::new(book.clone());
        Self {
            scenario,
            world: World::new(book.catalog(), Due::First),
            committed: model.clone(),
            model,
            clock: scenario.start.parse().unwrap(),
            holds: Vec::new(),
            keyed: None,
            reached: BTreeSet::new(),
        }
    }

    fn step(&mut self, number: usize, step: &Step) -> Verdict {
        if step.wait_ms != 0 || matches!(step.action, Action::RepairClock { .. }) {
            // The clock is read once per batch (R8).
            self.then(Then::Commit);
        }
        self.clock = self.clock.plus(step.wait_ms);
        match step.action {
            Action::Edit { book } => {
                let book = &self.scenario.books[book];
                self.model.book = book.clone();
                self.world.catalog = book.catalog();
            }
            Action::RepairClock { back_ms }
                if self.model.blurs_rolling_counters(self.clock.plus(-back_ms)) => {}
            Action::RepairClock { back_ms } => {
                self.clock = self.clock.plus(-back_ms);
                self.execute(&Command::new(Operation::Sweep))?;
                self.then(Then::Commit);
                self.execute(&step.command(number, &self.holds, self.clock))?;
            }
            Action::Repeat => {
                if let Some(command) = &self.keyed {
                    self.execute(&again(command, number))?;
                }
            }
            _ => {
                let command = step.command(number, &self.holds, self.clock);
                self.execute(&command)?;
                self.keyed = Some(command).filter(|c| c.key.is_some()).or(self.keyed.take());
            }
        }
        self.then(step.then);
        Ok(())
    }

    fn then(&mut self, then: Then) {
        match then {
            Then::GoOn => return,
            Then::Commit => self.world.commit(),
            Then::Forget => {
                self.world.commit();
                self.world.forget();
            }
            Then::RollBack => {
                self.world.roll_back();
                // What a plan has become is not part of the batch.
                let book = std::mem::replace(&mut self.model, self.committed.clone()).book;
                self.model.book = book;
            }
        }
        self.committed = self.model.clone();
        self.holds.retain(|hold| self.committed.holds.contains_key(hold));
    }

    fn execute(&mut self, command: &Command) -> Verdict {
        let before = self.world.rows();
        let seq_before = self.model.seq();
        let expected = self.model.execute(command, self.clock);
        let execution = self.world.step(command, self.clock);
        let after = self.world.rows();
        let now = TimestampMs(self.model.tenant.as_ref().map_or(0, |t| t.last_ms)).max(self.clock);
        self.same_answer(&expected, &execution, now, self.reopens(command))
            .map_err(|why| format!("{why}\nmodel: {expected:?}\ncore: {execution:?}"))?;
        self.follow_time(&after, now)?;
        self.same_state(&after, now)
            .map_err(|why| format!("{why}\nmodel: {expected:?}\ncore: {execution:?}"))?;
        self.reached.extend(reached::by(&self.model, &before, &after, &execution));
        let quiet = self.model.seq() == seq_before;
        laws::hold(&self.model, &before, &after, now, quiet, command, &execution)?;
        if let Execution::Denied(denial) = &execution
            && let Some(counter) = &denial.counter
        {
            self.world.count_denial(counter, now);
        }
        if let Execution::Done(answer) = &execution
            && let Outcome::Hold(hold) = &answer.outcome
            && !self.holds.contains(&hold.id)
        {
            self.holds.push(hold.id);
        }
        Ok(())
    }

    // ── answers ──────────────────────────────────────────────────────────────────────────

    /// Whether a command would reopen a hold: a denial of what it adds shows the limit as the
    /// reopened hold would have left it.
    fn reopens(&self, command: &Command) -> bool {
        let Operation::Extend(request) = &command.operation else { return false };
        let hold = self.model.holds.get(&request.hold);
        hold.is_some_and(|hold| matches!(hold.state, State::Expired { .. }))
    }

    fn same_answer(
        &self,
        expected: &Expected,
        got: &Execution,
        now: TimestampMs,
        reopens: bool,
    ) -> Verdict {
        match (expected, got) {
            (Expected::Done { outcome, seq, replayed }, Execution::Done(answer)) => {
                same("seq", *seq, answer.seq)?;
                if let Some(replayed) = replayed {
                    same("replayed", *replayed, answer.replayed)?;
                }
                self.same_outcome(outcome, answer, now)
            }
            (Expected::Denied(reasons), Execution::Denied(denial)) => {
                same("seq", self.model.seq(), denial.seq)?;
                same_reason(reasons, denial)?;
                if reopens { Ok(()) } else { self.same_limit_of(denial, now) }
            }
            (Expected::Refused(errors), Execution::Refused(error)) => {
                if errors.contains(error) {
                    Ok(())
                } else {
                    Err(format!("error {error:?}"))
                }
            }
            _ => Err("another kind of answer".into()),
        }
    }

    fn same_limit_of(&self, denial: &Denial, now: TimestampMs) -> Verdict {
        denial.limit.iter().try_for_each(|limit| self.same_limit(limit, now))
    }

    fn same_outcome(&self, expected: &ModelOutcome, got: &Answer, now: TimestampMs) -> Verdict {
        match (expected, &got.outcome) {
            (ModelOutcome::Hold(id), Outcome::Hold(hold)) => {
                same("hold", *id, hold.id)?;
                if got.replayed { Ok(()) } else { self.same_limits(got, now) }
            }
            // Its limits are those of the windows held from.
            (ModelOutcome::Looked(id), Outcome::Hold(hold)) => same("hold", *id, hold.id),
            (
                ModelOutcome::Ended(id),
                Outcome::Ended { hold, charged, returned, overrun, late },
            ) => {
                same("hold", *id, hold.id)?;
                let state = &self.model.holds[id].state;
                same_end(state, &plain(charged), &plain(returned), &plain(overrun), *late)
            }
            (
                ModelOutcome::Extended { hold, amounts, expires_ms },
                Outcome::Extended { hold: got_hold, amounts: got_amounts, expires },
            ) => {
                same("hold", *hold, *got_hold)?;
                same("amounts", sorted(amounts), sorted(&plain(got_amounts)))?;
                same("expires", *expires_ms, expires.0)
            }
            (ModelOutcome::Charged(amounts), Outcome::Charged { charged, .. }) => {
                same("charged", sorted(amounts), sorted(&plain(charged)))?;
                if got.replayed { Ok(()) } else { self.same_limits(got, now) }
            }
            (ModelOutcome::Checked(Ok(amounts)), Outcome::Checked { result: Ok(taken) }) => {
                same("taken", sorted(amounts), sorted(&plain(taken)))?;
                self.same_limits(got, now)
            }
            (ModelOutcome::Checked(Err(reasons)), Outcome::Checked { result: Err(denial) }) => {
                same_reason(reasons, denial)?;
                self.same_limit_of(denial, now)
            }
            (ModelOutcome::Usage, Outcome::Usage { .. }) => self.same_limits(got, now),
            (ModelOutcome::Granted(id), Outcome::Granted { grant }) => same("grant", *id, *grant),
            (ModelOutcome::Adjusted(delta), Outcome::Adjusted { applied }) => {
                same("applied", *delta, *applied)
            }
            (ModelOutcome::Restarted(labels), Outcome::Restarted { windows }) => {
                let mut windows = windows.clone();
                windows.sort();
                same("windows", labels.clone(), windows)
            }
            (ModelOutcome::Tenant { created }, Outcome::Tenant { created: got, .. }) => {
                same("created", *created, *got)
            }
            (ModelOutcome::Swept, Outcome::Swept) => Ok(()),
            _ => Err("another kind of outcome".into()),
        }
    }

    fn same_limits(&self, got: &Answer, now: TimestampMs) -> Verdict {
        got.limits.iter().try_for_each(|limit| self.same_limit(limit, now))
    }

    /// A limit as replies show it, in the window that runs now.
    fn same_limit(&self, got: &LimitState, now: TimestampMs) -> Verdict {
        let Some(tenant) = &self.model.tenant else { return Ok(()) };
        let limits = &self.model.book.plans[&tenant.plan].limits;
        let Some(limit) = limits.iter().find(|limit| limit.name.as_ref() == Some(&got.limit))
        else {
            return Err(format!("{} is not in the plan", got.limit));
        };
        let label = self.model.counter(limit, &Default::default(), now.0).window;
        let counter = CounterKey {
            limit: got.limit.clone(),
            dimensions: got.dimensions.clone(),
            window: label,
        };
        let name = &got.limit;
        let amount = got.amount.map(|amount| amount.get());
        same(&format!("{name} amount"), self.model.limit_amount(limit, now.0), amount)?;
        same(&format!("{name} used"), self.model.used(&counter, now.0), got.used)?;
        same(&format!("{name} held"), self.model.held(&counter), got.held)?;
        let granted =
            if Model::is_grantable(limit) { self.model.granted(&limit.meter, now.0) } else { 0 };
        same(&format!("{name} granted"), granted, got.granted)?;
        if let Window::Calendar(kind) = got.window {
            let ends = self.model.windows(now.0);
            let end = ends.iter().find(|(of, ..)| *of == kind).map(|(_, _, end_ms)| *end_ms);
            same(&format!("{name} resets_at"), end, got.resets_at.map(|at| at.0))?;
        }
        Ok(())
    }

    /// Forgetting idle counters is a change whose time counts (R8), and when that happens is
    /// the core's own affair.
    fn follow_time(&mut self, rows: &Rows, now: TimestampMs) -> Verdict {
        let (Some(tenant), Some(row)) = (&mut self.model.tenant, &rows.tenant) else {
            return Ok(());
        };
        if row.last.0 < tenant.last_ms || row.last > now {
            return Err(format!("R8: last {} of {} at {now}", row.last, tenant.last_ms));
        }
        tenant.last_ms = row.last.0;
        Ok(())
    }

    // ── state ────────────────────────────────────────────────────────────────────────────

    fn same_state(&self, rows: &Rows, now: TimestampMs) -> Verdict {
        let model = &self.model;
        let (Some(tenant), Some(row)) = (&model.tenant, &rows.tenant) else {
            return same("tenant", model.tenant.is_some(), rows.tenant.is_some());
        };
        same("tenant seq", tenant.seq, row.seq)?;
        same("tenant plan", &tenant.plan, &row.plan)?;
        let windows = row.windows.at(now, &row.calendar);
        for (kind, label, end_ms) in model.windows(now.0) {
            let got = windows.get(kind);
            same(&format!("{kind:?} window"), (label, end_ms), (got.label, got.end.0))?;
        }
        same("tenant last", tenant.last_ms, row.last.0)?;
        let keys = model.counters().into_iter().chain(rows.counters.keys().cloned());
        for key in keys {
            let counter = rows.counters.get(&key);
            let used = counter.map_or(0, |counter| counter.used_at(now));
            let held = counter.map_or(0, |counter| counter.held);
            same(&format!("{key:?} used"), model.used(&key, now.0), used)?;
            same(&format!("{key:?} held"), model.held(&key), held)?;
        }
        same("grants", model.grant_ids(), rows.grants.keys().copied().collect())?;
        for (id, grant) in &rows.grants {
            let got = (grant.used, grant.held, grant.lapsed);
            let wanted = (model.grant_used(*id), model.grant_held(*id), model.grant_lapsed(*id));
            same(&format!("{id} used, held, lapsed"), wanted, got)?;
        }
        self.same_holds(rows)
    }

    fn same_holds(&self, rows: &Rows) -> Verdict {
        let ids = |of: &mut dyn Iterator<Item = HoldId>| of.collect::<Vec<_>>();
        let wanted = ids(&mut self.model.holds.keys().copied());
        same("holds", wanted, ids(&mut rows.holds.keys().copied()))?;
        for (id, hold) in &rows.holds {
            let model = &self.model.holds[id];
            same(
                &format!("{id} amounts"),
                sorted(&model.amounts()),
                sorted(&plain(&hold.amounts())),
            )?;
            same(&format!("{id} expires"), model.expires_ms, hold.expires.0)?;
            same(&format!("{id} seq"), model.seq, hold.seq)?;
            same(&format!("{id} dispatched"), model.dispatched, hold.dispatched)?;
            match (&model.state, &hold.state) {
                (State::Open, HoldState::Open) => {}
                (State::Expired { at_ms }, HoldState::Expired(expiry)) => {
                    same(&format!("{id} expired"), *at_ms, expiry.at.0)?;
                }
                (State::Settled { charged, late, .. }, HoldState::Settled(got))
                | (State::Released { charged, late, .. }, HoldState::Released(got)) => {
                    same(&format!("{id} charged"), sorted(charged), sorted(&plain(&got.charged)))?;
                    same(&format!("{id} late"), *late, got.late)?;
                }
                (wanted, got) => return Err(format!("{id}: model {wanted:?}, core {got:?}")),
            }
        }
        let open = self.model.holds.values().filter(|hold| hold.state == State::Open).count();
        let counted = rows.tenant.as_ref().map_or(0, |tenant| tenant.open_holds);
        same("open holds", i64::try_from(open).unwrap(), counted)
    }
}

/// Any of the reasons is right, where the rules do not choose between them.
fn same_reason(reasons: &[Reason], denial: &Denial) -> Verdict {
    let limit = denial.limit.as_ref().map(|limit| limit.limit.clone());
    let given = |reason: &Reason| {
        reason.code == denial.code
            && (reason.meter.is_none() || reason.meter == denial.meter)
            && reason.limit == limit
    };
    if reasons.iter().any(given) {
        return Ok(());
    }
    Err(format!("denial {} {:?} {limit:?}", denial.code, denial.meter))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, model: T, core: T) -> Verdict {
    if model == core { Ok(()) } else { Err(format!("{what}: model {model:?}, core {core:?}")) }
}

fn plain(amounts: &[(earmark_core::MeterName, earmark_core::Amount)]) -> Amounts {
    amounts.iter().map(|(meter, amount)| (meter.clone(), amount.get())).collect()
}

fn sorted(amounts: &Amounts) -> Amounts {
    let mut sorted = amounts.clone();
    sorted.sort();
    sorted
}

/// Without the meters of which it is nothing.
fn some(amounts: &Amounts) -> Amounts {
    sorted(amounts).into_iter().filter(|(_, amount)| *amount != 0).collect()
}

fn same_end(
    state: &State,
    charged: &Amounts,
    returned: &Amounts,
    overrun: &Amounts,
    late: bool,
) -> Verdict {
    let nothing = Amounts::new();
    let (of_model, wanted_late) = match state {
        State::Settled { charged, returned, overrun, late, .. } => {
            ([charged, returned, overrun], *late)
        }
        State::Released { charged, returned, late, .. } => ([charged, returned, &nothing], *late),
        State::Open | State::Expired { .. } => return Err("the model's hold has not ended".into()),
    };
    same("charged", some(of_model[0]), some(charged))?;
    same("returned", some(of_model[1]), some(returned))?;
    same("overrun", some(of_model[2]), some(overrun))?;
    same("late", wanted_late, late)
}
