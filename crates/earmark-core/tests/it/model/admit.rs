//! Whether amounts fit, and on what they are set aside (R3, R6, R12, R22, R24).

use earmark_core::{
    AmountRange, CounterKey, DenialCode, Dimensions, GrantId, LimitSpec, MeterName, Mode, Window,
};

use super::{Leg, Model, Part, Reason, span_min};

/// The largest amount and counter.
const TOP: i64 = (1 << 53) - 1;

/// Stands for a reset that depends on how calls in flight end.
const UNKNOWN_MS: i64 = i64::MIN;

/// Why amounts are not taken.
pub(super) enum NotTaken {
    /// Any of these is the right answer.
    Denied(Vec<Reason>),
    /// A counter would pass the top.
    Overflow(MeterName),
}

/// A hard limit that has an amount, with what decides.
struct Gate<'a> {
    limit: &'a LimitSpec,
    counter: CounterKey,
    amount: i64,
    grantable: bool,
}

impl Model {
    /// Takes all of `amounts` as if held at `now_ms`, or says why not. A charge ignores
    /// in-flight limits.
    pub(super) fn admit(
        &self,
        amounts: &[(MeterName, AmountRange)],
        dimensions: &Dimensions,
        now_ms: i64,
        is_charge: bool,
    ) -> Result<Vec<Part>, NotTaken> {
        let mut parts = Vec::new();
        let mut reasons = Vec::new();
        let mut overflow = None;
        for (meter, range) in amounts {
            let top = self.top(meter, dimensions, now_ms, is_charge);
            if range.min().get() > top {
                overflow.get_or_insert(meter.clone());
            }
            match self.fit(meter, *range, dimensions, now_ms, is_charge) {
                Ok(most) => {
                    let amount = most.min(top);
                    parts.push(self.part(meter, amount, dimensions, now_ms, is_charge));
                }
                Err(because) => reasons.extend(because),
            }
        }
        let unlisted = reasons.iter().any(|(reason, _)| reason.code == DenialCode::MeterNotInPlan);
        if let Some(meter) = overflow
            && !unlisted
        {
            return Err(NotTaken::Overflow(meter));
        }
        if !reasons.is_empty() {
            return Err(NotTaken::Denied(self.most_final(reasons)));
        }
        Ok(parts)
    }

    fn gates<'a>(
        &'a self,
        meter: &MeterName,
        dimensions: &Dimensions,
        now_ms: i64,
        is_charge: bool,
    ) -> Vec<Gate<'a>> {
        let limits = self.limits_for(meter, dimensions).into_iter();
        limits
            .filter(|limit| matches!(limit.mode, None | Some(Mode::Hard)))
            .filter(|limit| !(is_charge && limit.window == Window::InFlight))
            .filter_map(|limit| {
                Some(Gate {
                    limit,
                    counter: self.counter(limit, dimensions, now_ms),
                    amount: self.limit_amount(limit, now_ms)?,
                    grantable: Self::is_grantable(limit),
                })
            })
            .collect()
    }

    /// How much more the fullest counter of a meter can count at all (R1).
    fn top(&self, meter: &MeterName, dimensions: &Dimensions, now_ms: i64, is_charge: bool) -> i64 {
        let limits = self.limits_for(meter, dimensions).into_iter();
        limits
            .filter(|limit| !(is_charge && limit.window == Window::InFlight))
            .map(|limit| self.counter(limit, dimensions, now_ms))
            .map(|counter| TOP - self.used(&counter, now_ms) - self.held(&counter))
            .min()
            .unwrap_or(TOP)
    }

    fn room(&self, gate: &Gate<'_>, now_ms: i64) -> i64 {
        let taken = self.used(&gate.counter, now_ms) + self.held(&gate.counter);
        (gate.amount - taken).max(0)
    }

    /// The largest amount of the range that fits, or all reasons why none does, each with
    /// when it resets.
    fn fit(
        &self,
        meter: &MeterName,
        range: AmountRange,
        dimensions: &Dimensions,
        now_ms: i64,
        is_charge: bool,
    ) -> Result<i64, Vec<(Reason, i64)>> {
        let (min, mut most) = (range.min().get(), range.max().get());
        let because = |code, limit: Option<&LimitSpec>, resets_ms| {
            let limit = limit.and_then(|limit| limit.name.clone());
            (Reason { code, meter: Some(meter.clone()), limit }, resets_ms)
        };
        let listed = !self.limits_for(meter, dimensions).is_empty();
        let plan = &self.book.plans[&self.of_tenant().plan];
        if !listed && !plan.allows_unlisted {
            return Err(vec![because(DenialCode::MeterNotInPlan, None, 0)]);
        }
        let mut reasons = Vec::new();
        for limit in self.full_limits(meter, dimensions, now_ms, is_charge) {
            // Holding nothing puts no value into use; a range that could is refused as a whole.
            if most > 0 {
                reasons.push(because(DenialCode::TooManyCombinations, Some(limit), 0));
            }
        }
        let granted = self.granted(meter, now_ms);
        for gate in self.gates(meter, dimensions, now_ms, is_charge) {
            let extra = if gate.grantable { granted } else { 0 };
            let room = self.room(&gate, now_ms) + extra;
            if min > room {
                let (code, resets_ms) = self.why(&gate, meter, min, now_ms);
                reasons.push(because(code, Some(gate.limit), resets_ms));
            }
            most = most.min(room);
        }
        if reasons.is_empty() { Ok(most) } else { Err(reasons) }
    }

    /// Hard limits all of whose values of `per` are taken by others.
    fn full_limits(
        &self,
        meter: &MeterName,
        dimensions: &Dimensions,
        now_ms: i64,
        is_charge: bool,
    ) -> Vec<&LimitSpec> {
        let mut full = Vec::new();
        for limit in self.limits_for(meter, dimensions) {
            let hard = matches!(limit.mode, None | Some(Mode::Hard));
            let ignored = is_charge && limit.window == Window::InFlight;
            let counter = self.counter(limit, dimensions, now_ms);
            let in_use = self.values_in_use(&counter, now_ms);
            let max = usize::try_from(limit.combinations_max.unwrap_or(100_000)).unwrap();
            if hard && !ignored && !in_use.contains(&counter.dimensions) && in_use.len() >= max {
                full.push(limit);
            }
        }
        full
    }

    /// Which of the codes by finality, and when the limit resets.
    fn why(
        &self,
        gate: &Gate<'_>,
        meter: &MeterName,
        asked: i64,
        now_ms: i64,
    ) -> (DenialCode, i64) {
        let refund = self.book.meters[meter].refund;
        let held = self.held(&gate.counter);
        let used = self.used(&gate.counter, now_ms);
        let (mut with_holds, mut ever) = (0, 0);
        if gate.grantable {
            ever = self.granted_without_holds(meter, now_ms);
            with_holds = if refund { ever } else { self.granted(meter, now_ms) };
        }
        if asked > gate.amount + ever {
            return (DenialCode::AmountAboveLimit, 0);
        }
        if gate.limit.window == Window::InFlight {
            return (DenialCode::InFlightLimit, 0);
        }
        let spent = used + if refund { 0 } else { held };
        if asked > (gate.amount - spent).max(0) + with_holds {
            let resets_ms = self.resets_ms(gate, asked - with_holds, now_ms);
            return (DenialCode::LimitExhausted, resets_ms);
        }
        (DenialCode::LimitHeld, 0)
    }

    /// When an exhausted limit resets; a rolling one when the refused amount would fit.
    fn resets_ms(&self, gate: &Gate<'_>, asked: i64, now_ms: i64) -> i64 {
        match gate.limit.window {
            Window::Minute => (now_ms.div_euclid(60_000) + 1) * 60_000,
            Window::Hour => (now_ms.div_euclid(3_600_000) + 1) * 3_600_000,
            Window::Calendar(kind) => self.in_progress(kind, now_ms).end_ms,
            Window::Lifetime | Window::InFlight => i64::MAX,
            // What is held and stays used however it ends is not in a slice yet.
            Window::Rolling(_) if !self.book.meters[&gate.limit.meter].refund => UNKNOWN_MS,
            Window::Rolling(span) => {
                let slice_ms = i64::from(span.minutes()) * 1_000;
                let mut at_ms = now_ms;
                while self.used(&gate.counter, at_ms) + asked > gate.amount
                    && self.used(&gate.counter, at_ms) > 0
                {
                    at_ms = (at_ms.div_euclid(slice_ms) + 1) * slice_ms;
                }
                at_ms
            }
        }
    }

    /// The reasons that come first: by finality, among exhausted limits by the latest reset.
    fn most_final(&self, mut reasons: Vec<(Reason, i64)>) -> Vec<Reason> {
        let code = reasons.iter().map(|(reason, _)| reason.code).min().unwrap();
        reasons.retain(|(reason, _)| reason.code == code);
        let is_known = |(_, resets_ms): &(Reason, i64)| *resets_ms != UNKNOWN_MS;
        if code == DenialCode::LimitExhausted && reasons.iter().all(is_known) {
            let latest_ms = reasons.iter().map(|(_, resets_ms)| *resets_ms).max().unwrap();
            reasons.retain(|(_, resets_ms)| *resets_ms == latest_ms);
        }
        reasons.into_iter().map(|(reason, _)| reason).collect()
    }

    /// The legs of an amount that fits.
    fn part(
        &self,
        meter: &MeterName,
        amount: i64,
        dimensions: &Dimensions,
        now_ms: i64,
        is_charge: bool,
    ) -> Part {
        let gates = self.gates(meter, dimensions, now_ms, is_charge);
        let rooms = gates.iter().filter(|gate| gate.grantable).map(|gate| self.room(gate, now_ms));
        let plan_part = rooms.min().unwrap_or(amount).min(amount);
        let mut rest = amount - plan_part;
        let mut grants: Vec<(GrantId, i64)> = Vec::new();
        for grant in self.live_grants(meter, now_ms) {
            let taken = rest.min(self.left(grant));
            if taken > 0 {
                grants.push((grant.id, taken));
                rest -= taken;
            }
        }
        assert_eq!(rest, 0, "the model admitted more than fits");
        let rules = self.book.meters[meter];
        let limits = self.limits_for(meter, dimensions).into_iter();
        let counters = limits
            .filter(|limit| !(is_charge && limit.window == Window::InFlight))
            .map(|limit| Leg {
                counter: self.counter(limit, dimensions, now_ms),
                window: limit.window,
                amount: if Self::is_grantable(limit) { plan_part } else { amount },
                grantable: Self::is_grantable(limit),
                limit_amount: self.limit_amount(limit, now_ms),
            })
            .collect();
        Part {
            held_ms: now_ms,
            meter: meter.clone(),
            amount,
            plan_part,
            refund: rules.refund,
            charge_on_expiry: rules.charge_on_expiry,
            counters,
            grants,
        }
    }

    /// Whether charging would carry a counter past the top.
    pub(super) fn overflows(&self, counter: &CounterKey, delta: i64, now_ms: i64) -> bool {
        self.used(counter, now_ms) + self.held(counter) + delta > TOP
    }
}

impl Leg {
    pub(super) fn span_min(&self) -> Option<i64> {
        span_min(self.window)
    }
}
