//! Settle, release, expiry and reopening (R15 to R20).

use earmark_core::{
    Amount, AmountRange, CommandError, ExtendRequest, HoldId, MeterName, TimestampMs,
};

use super::admit::NotTaken;
use super::{Amounts, Charge, HoldState, KeyState, Leg, Model, Part, State, Use};

/// How long after its end a hold still answers (R20).
const RETENTION_MS: i64 = 7 * 24 * 3_600_000;

const DAY_MS: i64 = 24 * 3_600_000;

/// Why an extension adds nothing.
pub(super) enum NotExtended {
    /// Any of these errors is the right answer.
    Refused(Vec<CommandError>),
    /// The addition is not taken.
    NotTaken(NotTaken),
}

impl HoldState {
    fn ended_ms(&self) -> Option<i64> {
        match &self.state {
            State::Open => None,
            State::Settled { at_ms, .. }
            | State::Released { at_ms, .. }
            | State::Expired { at_ms } => Some(*at_ms),
        }
    }

    /// What each part is charged by a settle: parts are filled in order, the last takes the
    /// excess; a meter that is not named is charged as held (R15, R17).
    fn settled(&self, named: &[(MeterName, Amount)]) -> Vec<i64> {
        let mut charges = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let Some((_, actual)) = named.iter().find(|(meter, _)| *meter == part.meter) else {
                charges.push(part.amount);
                continue;
            };
            let same = |of: &[Part]| -> i64 {
                of.iter().filter(|p| p.meter == part.meter).map(|p| p.amount).sum()
            };
            let rest = (actual.get() - same(&self.parts[..index])).max(0);
            let is_last = self.parts[index + 1..].iter().all(|p| p.meter != part.meter);
            charges.push(if is_last { rest } else { rest.min(part.amount) });
        }
        charges
    }

    /// A further part; what its meters declare was frozen by the first (R13).
    fn add(&mut self, parts: Vec<Part>) {
        for mut part in parts {
            if let Some(first) = self.parts.iter().find(|first| first.meter == part.meter) {
                (part.refund, part.charge_on_expiry) = (first.refund, first.charge_on_expiry);
            }
            self.parts.push(part);
        }
    }

    /// What each part is charged by a release (R18).
    fn released(&self, unsent: bool) -> Vec<i64> {
        self.parts.iter().map(|p| if p.refund || unsent { 0 } else { p.amount }).collect()
    }

    /// What each part is charged by expiry (R19).
    fn expired(&self) -> Vec<i64> {
        let charges = |p: &Part| !p.refund || (self.dispatched && p.charge_on_expiry);
        self.parts.iter().map(|p| if charges(p) { p.amount } else { 0 }).collect()
    }

    /// Per meter, in the hold's order of meters.
    fn by_meter(&self, charges: &[i64]) -> Amounts {
        let mut amounts = self.amounts();
        for (meter, sum) in &mut amounts {
            let of_meter = self.parts.iter().zip(charges).filter(|(p, _)| p.meter == *meter);
            *sum = of_meter.map(|(_, charge)| charge).sum();
        }
        amounts
    }
}

impl Model {
    /// A hold that still answers.
    pub(super) fn hold_that_answers(
        &self,
        id: HoldId,
        now_ms: i64,
    ) -> Result<&HoldState, CommandError> {
        let hold = self.hold(id).ok_or(CommandError::HoldNotFound(id))?;
        let gone = hold.ended_ms().is_some_and(|at_ms| now_ms >= at_ms + RETENTION_MS);
        if gone { Err(CommandError::HoldNotFound(id)) } else { Ok(hold) }
    }

    pub(super) fn settle(
        &mut self,
        id: HoldId,
        named: &[(MeterName, Amount)],
        now_ms: i64,
    ) -> Result<(), Vec<CommandError>> {
        let hold = self.hold_that_answers(id, now_ms).map_err(|error| vec![error])?;
        let unknown: Vec<_> = named
            .iter()
            .filter(|(meter, _)| !hold.parts.iter().any(|part| part.meter == *meter))
            .map(|(meter, _)| CommandError::MeterNotInHold(meter.clone()))
            .collect();
        let charges = hold.settled(named);
        match &hold.state {
            State::Settled { charged, .. } if unknown.is_empty() => {
                let same = *charged == hold.by_meter(&charges);
                return if same { Ok(()) } else { Err(vec![CommandError::AlreadySettled(id)]) };
            }
            State::Settled { .. } => {
                return Err([unknown, vec![CommandError::AlreadySettled(id)]].concat());
            }
            State::Released { .. } => {
                return Err([unknown, vec![CommandError::AlreadyReleased(id)]].concat());
            }
            State::Open | State::Expired { .. } if !unknown.is_empty() => return Err(unknown),
            State::Open | State::Expired { .. } => {}
        }
        self.end(id, &charges, now_ms, true)
    }

    pub(super) fn release(
        &mut self,
        id: HoldId,
        unsent: bool,
        now_ms: i64,
    ) -> Result<(), Vec<CommandError>> {
        let hold = self.hold_that_answers(id, now_ms).map_err(|error| vec![error])?;
        let charges = hold.released(unsent);
        match &hold.state {
            State::Settled { .. } => return Err(vec![CommandError::AlreadySettled(id)]),
            State::Released { charged, .. } => {
                let same = *charged == hold.by_meter(&charges);
                return if same { Ok(()) } else { Err(vec![CommandError::AlreadyReleased(id)]) };
            }
            State::Open | State::Expired { .. } => {}
        }
        self.end(id, &charges, now_ms, false)
    }

    pub(super) fn expire(&mut self, id: HoldId, now_ms: i64) {
        let charges = self.holds[&id].expired();
        let (_, done) = self.give_back_and_charge(id, &charges, now_ms);
        if let Some(hold) = self.holds.get_mut(&id) {
            hold.state = State::Expired { at_ms: hold.expires_ms };
            hold.expiry = done;
        }
        self.commit_hold(id, now_ms);
    }

    fn end(
        &mut self,
        id: HoldId,
        charges: &[i64],
        now_ms: i64,
        settles: bool,
    ) -> Result<(), Vec<CommandError>> {
        let before = self.clone();
        let (late, done) = self.give_back_and_charge(id, charges, now_ms);
        if let Some(meter) = self.past_the_top(id, &done, now_ms) {
            *self = before;
            return Err(vec![CommandError::AmountOverflow(meter)]);
        }
        let hold = self.holds.get_mut(&id).unwrap();
        let (held, charged) = (hold.amounts(), hold.by_meter(charges));
        let above = |of: &Amounts, than: &Amounts| -> Amounts {
            of.iter().zip(than).map(|((m, a), (_, b))| (m.clone(), (a - b).max(0))).collect()
        };
        let (returned, overrun) = (above(&held, &charged), above(&charged, &held));
        let at_ms = now_ms;
        hold.state = if settles {
            State::Settled { charged, returned, overrun, late, at_ms }
        } else {
            State::Released { charged, returned, late, at_ms }
        };
        if settles && late {
            self.take_key_back(id);
        }
        self.commit_hold(id, now_ms);
        Ok(())
    }

    /// Gives back the legs, or after an expiry takes back what it charged; then charges the
    /// parts. Says whether the hold had expired, and what was charged where.
    fn give_back_and_charge(
        &mut self,
        id: HoldId,
        charges: &[i64],
        now_ms: i64,
    ) -> (bool, Vec<Charge>) {
        let late = !self.holds[&id].is_open();
        let taken_back = self.take_back_expiry(id, now_ms);
        // Not among the open holds while its parts are charged.
        let hold = self.holds.remove(&id).unwrap();
        let mut done = Vec::new();
        for index in 0..hold.parts.len() {
            let back = late.then(|| taken_back.get(index).cloned().unwrap_or_default());
            let charge = self.charge_part(&hold.parts, charges, index, back, now_ms);
            self.uses.extend(charge.counters.iter().cloned());
            self.grant_uses.extend(charge.grants.iter().copied());
            done.push(charge);
        }
        self.holds.insert(id, HoldState { state: State::Expired { at_ms: 0 }, ..hold });
        (late, done)
    }

    /// Takes back what expiry charged, never below 0; returns it, part by part.
    fn take_back_expiry(&mut self, id: HoldId, now_ms: i64) -> Vec<Charge> {
        let hold = self.holds.get_mut(&id).unwrap();
        let charges = std::mem::take(&mut hold.expiry);
        for charge in &charges {
            for charged in &charge.counters {
                let most = self.used_where_charged(charged, now_ms);
                let delta = -charged.delta.min(most);
                self.uses.push(Use { delta, ..charged.clone() });
            }
            self.grant_uses.extend(charge.grants.iter().map(|(grant, used)| (*grant, -used)));
        }
        charges
    }

    fn used_where_charged(&self, charged: &Use, now_ms: i64) -> i64 {
        let Some(span) = charged.span_min else { return self.used(&charged.counter, now_ms) };
        let slice = |held_ms: i64| held_ms.div_euclid(span * 1_000);
        let same =
            |u: &&Use| u.counter == charged.counter && slice(u.held_ms) == slice(charged.held_ms);
        self.uses.iter().filter(same).map(|u| u.delta).sum()
    }

    /// Charges one part: plan room first, then its own grants, then for an excess other
    /// grants, then debt (R16).
    fn charge_part(
        &self,
        parts: &[Part],
        charges: &[i64],
        index: usize,
        taken_back: Option<Charge>,
        now_ms: i64,
    ) -> Charge {
        let (part, amount) = (&parts[index], charges[index]);
        let rooms = part.counters.iter().filter(|leg| leg.grantable).filter_map(|leg| {
            // A slice that is outside limits nothing (R11).
            if leg.span_min().is_some_and(|span| !super::is_inside(span, part.held_ms, now_ms)) {
                return None;
            }
            let limit = self.amount_of_leg(leg, now_ms)?;
            let taken = self.used(&leg.counter, now_ms) + self.held(&leg.counter);
            Some((limit - taken - Self::kept_for_later(parts, charges, index, leg)).max(0))
        });
        let room = rooms.min().unwrap_or(i64::MAX);
        let mut rest = amount - amount.min(room.max(part.plan_part));
        let mut excess = (amount - part.amount).max(0);
        let mut charge = Charge::default();
        for (id, leg_amount) in &part.grants {
            let grant = &self.grants[id];
            // After an expiry: only what that charged, or what the grant still has.
            let own = match &taken_back {
                Some(charge) if self.is_over(grant, now_ms) => {
                    charge.grants.iter().filter(|(of, _)| of == id).map(|(_, used)| *used).sum()
                }
                _ => self.left(grant),
            };
            let taken = rest.min(*leg_amount).min(own);
            if taken > 0 {
                charge.grants.push((*id, taken));
                rest -= taken;
            }
        }
        for grant in self.live_grants(&part.meter, now_ms) {
            let own = charge.grants.iter().filter(|(id, _)| *id == grant.id);
            let left = self.left(grant) - own.map(|(_, taken)| taken).sum::<i64>();
            let taken = rest.min(excess).min(left);
            if taken > 0 {
                charge.grants.push((grant.id, taken));
                (rest, excess) = (rest - taken, excess - taken);
            }
        }
        let from_grants: i64 = charge.grants.iter().map(|(_, taken)| taken).sum();
        for leg in part.counters.iter().filter(|leg| leg.window != earmark_core::Window::InFlight) {
            let delta = if leg.grantable { amount - from_grants } else { amount };
            let (counter, span_min) = (leg.counter.clone(), leg.span_min());
            charge.counters.push(Use { counter, span_min, held_ms: part.held_ms, delta });
        }
        charge
    }

    /// What later parts of the same hold will charge to their own plan parts on a counter:
    /// that room is theirs.
    fn kept_for_later(parts: &[Part], charges: &[i64], index: usize, leg: &Leg) -> i64 {
        let later = parts.iter().zip(charges).skip(index + 1);
        later
            .filter(|(part, _)| part.counters.iter().any(|l| l.counter == leg.counter))
            .map(|(part, charge)| part.plan_part.min(*charge))
            .sum()
    }

    fn past_the_top(&self, id: HoldId, done: &[Charge], now_ms: i64) -> Option<MeterName> {
        let parts = self.holds[&id].parts.iter().zip(done);
        parts
            .flat_map(|(part, charge)| charge.counters.iter().map(move |u| (part, u)))
            .filter(|(_, u)| u.delta > 0 && self.overflows(&u.counter, 0, now_ms))
            .map(|(part, _)| part.meter.clone())
            .next()
    }

    /// A late settle or a reopening takes the key back unless something else has it (R29).
    fn take_key_back(&mut self, id: HoldId) {
        let Some((key, _)) = self.holds[&id].key.clone() else { return };
        let other = match self.keys.get(&key) {
            Some(KeyState::Hold(other)) => *other != id && self.holds[other].keeps_key(),
            Some(KeyState::Answer(..)) => true,
            None => false,
        };
        if !other {
            self.keys.insert(key, KeyState::Hold(id));
        }
    }

    // ── extend ───────────────────────────────────────────────────────────────────────────

    pub(super) fn extend(
        &mut self,
        request: &ExtendRequest,
        now_ms: i64,
    ) -> Result<(), NotExtended> {
        let before = self.clone();
        let result = self.try_extend(request, now_ms);
        if result.is_err() {
            *self = before;
        }
        result
    }

    fn try_extend(&mut self, request: &ExtendRequest, now_ms: i64) -> Result<(), NotExtended> {
        let id = request.hold;
        let refused = |error| NotExtended::Refused(vec![error]);
        let hold = self.hold_that_answers(id, now_ms).map_err(refused)?.clone();
        let suspended = self.of_tenant().suspended;
        let anew_ms = (now_ms + request.ttl.ms()).min(hold.created_ms + DAY_MS);
        // An expired hold's own end is in the past, unless the clock was repaired since.
        let old_ms = if hold.is_open() { hold.expires_ms } else { i64::MIN };
        let expires_ms = anew_ms.max(old_ms);
        match hold.state {
            State::Settled { .. } => return Err(refused(CommandError::AlreadySettled(id))),
            State::Released { .. } => return Err(refused(CommandError::AlreadyReleased(id))),
            State::Expired { .. } => {
                if expires_ms <= now_ms {
                    return Err(refused(CommandError::HoldExpired(id)));
                }
                if suspended {
                    return Err(NotExtended::NotTaken(Self::suspended()));
                }
                self.reopen(id, now_ms).map_err(refused)?;
            }
            State::Open => {}
        }
        if !request.amounts.is_empty() {
            if suspended {
                return Err(NotExtended::NotTaken(Self::suspended()));
            }
            let parts = self
                .admit(&request.amounts, &hold.dimensions, now_ms, false)
                .map_err(NotExtended::NotTaken)?;
            self.holds.get_mut(&id).unwrap().add(parts);
        }
        let hold = self.holds.get_mut(&id).unwrap();
        if let Some((meter, _)) = hold.amounts().iter().find(|(_, sum)| *sum > Amount::MAX.get()) {
            return Err(refused(CommandError::AmountOverflow(meter.clone())));
        }
        hold.expires_ms = expires_ms;
        hold.dispatched |= request.dispatched;
        self.commit_hold(id, now_ms);
        Ok(())
    }

    /// Takes back what expiry charged and holds the same amounts anew (R15).
    fn reopen(&mut self, id: HoldId, now_ms: i64) -> Result<(), CommandError> {
        self.take_back_expiry(id, now_ms);
        let hold = self.holds[&id].clone();
        let exactly = |(meter, amount): (MeterName, i64)| {
            (meter, AmountRange::exactly(Amount::new(amount).unwrap()))
        };
        let amounts: Vec<_> = hold.amounts().into_iter().map(exactly).collect();
        let parts = self
            .admit(&amounts, &hold.dimensions, now_ms, false)
            .map_err(|_| CommandError::HoldExpired(id))?;
        let hold = self.holds.get_mut(&id).unwrap();
        (hold.state, hold.parts) = (State::Open, parts);
        self.take_key_back(id);
        Ok(())
    }

    /// Whether a repair to `clock` touches what rolling counters do not remember exactly:
    /// expired holds that may still be charged in slices after it, and slices that were
    /// outside and would be inside again.
    pub(crate) fn blurs_rolling_counters(&self, clock: TimestampMs) -> bool {
        let holds = self.holds.values();
        let expired = holds.filter(|hold| matches!(hold.state, State::Expired { .. }));
        let mut later = expired.flat_map(|hold| &hold.parts).filter(|p| p.held_ms > clock.0);
        let last_ms = self.tenant.as_ref().map_or(clock.0, |tenant| tenant.last_ms);
        let mut rolling = self.uses.iter().filter(|u| u.span_min.is_some());
        later.any(|part| part.counters.iter().any(|leg| leg.span_min().is_some()))
            || rolling.any(|u| u.counts(clock.0) && !u.counts(last_ms))
    }

    /// After a clock repair nothing is held later than now, nor expires later than a day
    /// from now (R8).
    pub(super) fn pull_back_to(&mut self, now: TimestampMs) {
        let (now_ms, seq) = (now.0, self.seq() + 1);
        let pull = |held_ms: &mut i64| *held_ms = (*held_ms).min(now_ms);
        self.uses.iter_mut().for_each(|u| pull(&mut u.held_ms));
        for hold in self.holds.values_mut() {
            if hold.is_open() {
                let is_later = |part: &Part| {
                    let spans = part.counters.iter().filter_map(Leg::span_min);
                    let slice = |span: i64, at_ms: i64| at_ms.div_euclid(span * 1_000);
                    spans.into_iter().any(|s| slice(s, part.held_ms) > slice(s, now_ms))
                };
                if hold.expires_ms > now_ms + DAY_MS || hold.parts.iter().any(is_later) {
                    hold.seq = seq;
                }
                hold.expires_ms = hold.expires_ms.min(now_ms + DAY_MS);
            }
            hold.parts.iter_mut().for_each(|part| pull(&mut part.held_ms));
            let charged = hold.expiry.iter_mut().flat_map(|charge| &mut charge.counters);
            charged.for_each(|u| pull(&mut u.held_ms));
        }
    }
}
