//! One command on the model, and what the core is expected to answer.

use earmark_core::{
    AmountRange, CalendarKind, ClockBehind, Command, CommandError, DenialCode, Dimensions, GrantId,
    HoldId, HoldRequest, KeyUse, MeterName, MetersAsked, Operation, TenantFields, TimestampMs,
    WindowLabel,
};

use super::admit::NotTaken;
use super::ending::NotExtended;
use super::keys::is_same_request;
use super::{Amounts, HoldState, KeyState, Model, Part, Reason, State};

/// What the core is expected to answer.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    Done { outcome: Outcome, seq: i64, replayed: Option<bool> },
    Denied(Vec<Reason>),
    Refused(Vec<CommandError>),
}

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Hold(HoldId),
    Looked(HoldId),
    Ended(HoldId),
    Extended { hold: HoldId, amounts: Amounts, expires_ms: i64 },
    Charged(Amounts),
    Checked(Result<Amounts, Vec<Reason>>),
    Usage,
    Granted(GrantId),
    Adjusted(i64),
    Restarted(Vec<(CalendarKind, WindowLabel)>),
    Tenant { created: bool },
    Swept,
}

/// How far the clock may be behind (R8).
const BEHIND_MS_MAX: i64 = 5_000;

fn denied(code: DenialCode) -> NotTaken {
    NotTaken::Denied(vec![Reason { code, meter: None, limit: None }])
}

impl From<NotTaken> for Expected {
    fn from(not_taken: NotTaken) -> Self {
        match not_taken {
            NotTaken::Denied(reasons) => Self::Denied(reasons),
            NotTaken::Overflow(meter) => Self::Refused(vec![CommandError::AmountOverflow(meter)]),
        }
    }
}

impl From<CommandError> for Expected {
    fn from(error: CommandError) -> Self {
        Self::Refused(vec![error])
    }
}

impl Model {
    pub(super) fn suspended() -> NotTaken {
        denied(DenialCode::TenantSuspended)
    }

    /// Executes a command at the store's clock.
    pub(crate) fn execute(&mut self, command: &Command, clock: TimestampMs) -> Expected {
        if self.tenant.is_none() {
            return self.on_unknown_tenant(command, clock);
        }
        let last_ms = self.of_tenant().last_ms;
        if matches!(command.operation, Operation::RepairClock { .. }) {
            self.roll_windows(clock.0);
            self.process_due(clock.0);
            if self.of_tenant().last_ms > clock.0 {
                self.repair_clock(clock);
            }
            return self.done(Outcome::Tenant { created: false });
        }
        if last_ms - clock.0 > BEHIND_MS_MAX {
            let behind_ms = last_ms - clock.0;
            return CommandError::ClockBehind(ClockBehind { behind_ms }).into();
        }
        let now_ms = self.now(clock);
        self.roll_windows(now_ms);
        self.process_due(now_ms);
        self.execute_at(command, now_ms)
    }

    fn execute_at(&mut self, command: &Command, now_ms: i64) -> Expected {
        if let Some(key) = &command.key
            && let Some(repeated) = self.repeat(key, &command.operation, now_ms)
        {
            return repeated;
        }
        let result = self.decide(command, now_ms);
        match result {
            Ok((outcome, replayed)) => {
                if let Some(KeyUse { key, .. }) = &command.key {
                    let operation = command.operation.clone();
                    let state = match &outcome {
                        Outcome::Hold(id) => KeyState::Hold(*id),
                        first => {
                            let seq = self.seq_of(first);
                            KeyState::Answer(operation, Box::new(first.clone()), seq)
                        }
                    };
                    self.keys.insert(key.clone(), state);
                }
                Expected::Done { seq: self.seq_of(&outcome), outcome, replayed }
            }
            Err(expected) => expected,
        }
    }

    /// An answer about a hold has the number of the change that last touched it.
    fn seq_of(&self, outcome: &Outcome) -> i64 {
        match outcome {
            Outcome::Hold(id) | Outcome::Looked(id) | Outcome::Ended(id) => self.holds[id].seq,
            _ => self.seq(),
        }
    }

    fn done(&self, outcome: Outcome) -> Expected {
        Expected::Done { outcome, seq: self.seq(), replayed: Some(false) }
    }

    /// A key that was used: the same answer, or a conflict (R29).
    fn repeat(&self, key: &KeyUse, operation: &Operation, now_ms: i64) -> Option<Expected> {
        let reused = CommandError::KeyReused(key.key.clone()).into();
        let (first, outcome, seq) = match self.key_in_use(&key.key, now_ms)? {
            KeyState::Hold(id) => {
                let (_, first) = self.holds[id].key.as_ref().unwrap();
                (first, Outcome::Hold(*id), self.holds[id].seq)
            }
            KeyState::Answer(first, outcome, seq) => (first, (**outcome).clone(), *seq),
        };
        if !is_same_request(first, operation) {
            return Some(reused);
        }
        if let Outcome::Ended(id) = &outcome
            && let Err(gone) = self.hold_that_answers(*id, now_ms)
        {
            return Some(gone.into());
        }
        Some(Expected::Done { outcome, seq, replayed: Some(true) })
    }

    /// Hold and charge create an unknown tenant where they may; check answers as if (R27).
    fn on_unknown_tenant(&mut self, command: &Command, clock: TimestampMs) -> Expected {
        let now_ms = clock.0;
        match &command.operation {
            Operation::PutTenant { fields, .. } => match self.put(fields, now_ms) {
                Ok(created) => self.done(Outcome::Tenant { created }),
                Err(error) => error.into(),
            },
            Operation::Hold(_) | Operation::Charge { .. } | Operation::Check { .. } => {
                let before = self.clone();
                let keeps = !matches!(command.operation, Operation::Check { .. });
                let mut expected = match self.book.default_plan.clone() {
                    Some(plan) if command.may_create => {
                        self.create(&TenantFields::on(plan), now_ms);
                        self.execute_at(command, now_ms)
                    }
                    _ => match &command.operation {
                        Operation::Check { .. } => self.done(Outcome::Checked(Err(vec![Reason {
                            code: DenialCode::TenantNotFound,
                            meter: None,
                            limit: None,
                        }]))),
                        _ => denied(DenialCode::TenantNotFound).into(),
                    },
                };
                if !(keeps && matches!(expected, Expected::Done { .. })) {
                    *self = before;
                    if let Expected::Done { seq, .. } = &mut expected {
                        *seq = 0;
                    }
                }
                expected
            }
            operation => {
                let mut errors = vec![CommandError::TenantNotFound];
                errors.extend(hold_named(operation).map(CommandError::HoldNotFound));
                Expected::Refused(errors)
            }
        }
    }

    fn decide(
        &mut self,
        command: &Command,
        now_ms: i64,
    ) -> Result<(Outcome, Option<bool>), Expected> {
        let fresh = |outcome| Ok((outcome, Some(false)));
        match &command.operation {
            Operation::Hold(request) => {
                let key = command.key.as_ref().map(|key| key.key.clone());
                let key = key.map(|key| (key, command.operation.clone()));
                self.make_hold(request, key, now_ms)?;
                fresh(Outcome::Hold(request.id))
            }
            Operation::Charge { amounts, dimensions, .. } => {
                fresh(Outcome::Charged(self.charge(amounts, dimensions, now_ms)?))
            }
            Operation::Check { amounts, dimensions } => {
                fresh(Outcome::Checked(self.check(amounts, dimensions, now_ms)?))
            }
            Operation::Settle { hold, amounts, .. } => {
                let fresh = self.hold(*hold).is_some_and(|hold| !is_final(hold));
                self.settle(*hold, amounts, now_ms).map_err(Expected::Refused)?;
                Ok((Outcome::Ended(*hold), fresh.then_some(false)))
            }
            Operation::Release { hold, unsent, .. } => {
                let fresh = self.hold(*hold).is_some_and(|hold| !is_final(hold));
                self.release(*hold, *unsent, now_ms).map_err(Expected::Refused)?;
                Ok((Outcome::Ended(*hold), fresh.then_some(false)))
            }
            Operation::Extend(request) => {
                if !request.amounts.is_empty() {
                    self.check_meters(&request.amounts)?;
                }
                self.extend(request, now_ms).map_err(|why| match why {
                    NotExtended::Refused(errors) => Expected::Refused(errors),
                    NotExtended::NotTaken(not_taken) => not_taken.into(),
                })?;
                let hold = &self.holds[&request.hold];
                let (amounts, expires_ms) = (hold.amounts(), hold.expires_ms);
                fresh(Outcome::Extended { hold: request.hold, amounts, expires_ms })
            }
            Operation::Look { hold } => {
                self.hold_that_answers(*hold, now_ms)?;
                fresh(Outcome::Looked(*hold))
            }
            Operation::Usage { .. } => fresh(Outcome::Usage),
            Operation::Grant(request) => {
                self.grant(request, now_ms)?;
                fresh(Outcome::Granted(request.id))
            }
            Operation::Adjust(request) => fresh(Outcome::Adjusted(self.adjust(request, now_ms)?)),
            Operation::Restart { windows, .. } => {
                fresh(Outcome::Restarted(self.restart(windows, now_ms)))
            }
            Operation::PutTenant { fields, .. } => {
                let created = self.put(fields, now_ms)?;
                fresh(Outcome::Tenant { created })
            }
            Operation::PatchTenant { patch, .. } => {
                self.patch(patch, now_ms)?;
                fresh(Outcome::Tenant { created: false })
            }
            // Erasure has its tables: a model of one tenant's history has nothing to say of it.
            Operation::Erase { .. }
            | Operation::FinishErasure { .. }
            | Operation::RepairClock { .. }
            | Operation::Sweep => fresh(Outcome::Swept),
        }
    }

    /// Declared meters, each once: wrong before any denial (R6).
    fn check_meters(&self, amounts: &[(MeterName, AmountRange)]) -> Result<(), CommandError> {
        if amounts.is_empty() {
            return Err(CommandError::MeterCount);
        }
        for (index, (meter, _)) in amounts.iter().enumerate() {
            if amounts[..index].iter().any(|(other, _)| other == meter) {
                return Err(CommandError::MeterTwice(meter.clone()));
            }
            if !self.book.meters.contains_key(meter) {
                return Err(CommandError::UnknownMeter(meter.clone()));
            }
        }
        Ok(())
    }

    /// What a hold or charge now would take.
    fn take(
        &self,
        amounts: &[(MeterName, AmountRange)],
        dimensions: &Dimensions,
        now_ms: i64,
        is_charge: bool,
    ) -> Result<Vec<Part>, Expected> {
        self.check_meters(amounts)?;
        if self.of_tenant().suspended {
            return Err(Self::suspended().into());
        }
        Ok(self.admit(amounts, dimensions, now_ms, is_charge)?)
    }

    /// The meters that are asked for: where the caller leaves it to the plan, those that any
    /// of its limits names, else the first.
    fn asked(&self, request: &HoldRequest) -> Vec<(MeterName, AmountRange)> {
        let asked = request.amounts.clone();
        if request.meters == MetersAsked::All {
            return asked;
        }
        let is_named = |meter: &MeterName| self.limits().iter().any(|l| l.meter == *meter);
        let named: Vec<_> = asked.iter().filter(|(meter, _)| is_named(meter)).cloned().collect();
        if named.is_empty() { asked.into_iter().take(1).collect() } else { named }
    }

    fn make_hold(
        &mut self,
        request: &HoldRequest,
        key: Option<(earmark_core::IdempotencyKey, Operation)>,
        now_ms: i64,
    ) -> Result<(), Expected> {
        let amounts = self.asked(request);
        let parts = self.take(&amounts, &request.dimensions, now_ms, false)?;
        let hold = HoldState {
            id: request.id,
            state: State::Open,
            created_ms: now_ms,
            expires_ms: now_ms + request.ttl.ms(),
            dispatched: request.dispatched,
            dimensions: request.dimensions.clone(),
            seq: 0,
            parts,
            expiry: Vec::new(),
            key,
        };
        self.holds.insert(request.id, hold);
        self.commit_hold(request.id, now_ms);
        Ok(())
    }

    fn charge(
        &mut self,
        amounts: &[(MeterName, AmountRange)],
        dimensions: &Dimensions,
        now_ms: i64,
    ) -> Result<Amounts, Expected> {
        let parts = self.take(amounts, dimensions, now_ms, true)?;
        let mut charged = Vec::new();
        for part in parts {
            charged.push((part.meter.clone(), part.amount));
            self.grant_uses.extend(part.grants.iter().copied());
            for leg in part.counters {
                let (span_min, delta) = (leg.span_min(), leg.amount);
                let counter = leg.counter;
                self.uses.push(super::Use { counter, span_min, held_ms: now_ms, delta });
            }
        }
        self.commit(now_ms);
        Ok(charged)
    }

    /// What a hold would be answered (R21).
    fn check(
        &self,
        amounts: &[(MeterName, AmountRange)],
        dimensions: &Dimensions,
        now_ms: i64,
    ) -> Result<Result<Amounts, Vec<Reason>>, Expected> {
        match self.take(amounts, dimensions, now_ms, false) {
            Ok(parts) => Ok(Ok(parts.into_iter().map(|part| (part.meter, part.amount)).collect())),
            Err(Expected::Denied(reasons)) => Ok(Err(reasons)),
            Err(expected) => Err(expected),
        }
    }
}

fn is_final(hold: &HoldState) -> bool {
    matches!(hold.state, State::Settled { .. } | State::Released { .. })
}

fn hold_named(operation: &Operation) -> Option<HoldId> {
    match operation {
        Operation::Settle { hold, .. }
        | Operation::Release { hold, .. }
        | Operation::Look { hold } => Some(*hold),
        Operation::Extend(request) => Some(request.hold),
        _ => None,
    }
}
