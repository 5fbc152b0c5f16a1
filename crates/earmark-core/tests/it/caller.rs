//! A caller: short words for tests that tell one story.

use earmark_core::{
    AdjustRequest, Amount, AmountRange, Answer, CalendarKind, Command, CommandError, Denial,
    Dimensions, ExtendRequest, GrantId, GrantRequest, HoldId, HoldRequest, IdempotencyKey, KeyUse,
    LimitState, MeterName, MetersAsked, Operation, Outcome, Override, PlanName, TenantCalendar,
    TenantFields, TenantPatch, TimestampMs, Ttl, Zone,
};

use crate::book::{Book, dimensions, limit_name, meter, plan_name};
use crate::scenario::digest_of;
use crate::world::{Due, Rows, World};

pub(crate) const SECOND_MS: i64 = 1_000;
pub(crate) const MINUTE_MS: i64 = 60 * SECOND_MS;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// Time to live of holds that say nothing else.
pub(crate) const TTL_MS: i64 = 5 * MINUTE_MS;

/// A refusal by rule or an error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum No {
    Denied(Box<Denial>),
    Refused(CommandError),
}

impl No {
    /// The code of a denial.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.code.as_str(),
            Self::Refused(error) => panic!("refused: {error}"),
        }
    }

    /// The limit that denied.
    pub(crate) fn limit(&self) -> &LimitState {
        match self {
            Self::Denied(denial) => denial.limit.as_ref().expect("names a limit"),
            Self::Refused(error) => panic!("refused: {error}"),
        }
    }
}

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) charged: i64,
    pub(crate) returned: i64,
    pub(crate) overrun: i64,
    pub(crate) late: bool,
    pub(crate) seq: i64,
}

/// One tenant's calls, one batch each unless said otherwise.
pub(crate) struct Caller {
    pub(crate) world: World,
    pub(crate) clock: TimestampMs,
    next_id: u128,
}

type Asked<'a> = &'a [(&'a str, i64)];

fn amounts(asked: Asked<'_>) -> Vec<(MeterName, Amount)> {
    asked.iter().map(|(name, amount)| (meter(name), Amount::new(*amount).unwrap())).collect()
}

fn exactly(asked: Asked<'_>) -> Vec<(MeterName, AmountRange)> {
    let exact = |(name, amount)| (name, AmountRange::exactly(amount));
    amounts(asked).into_iter().map(exact).collect()
}

/// The sum over meters: stories are about one.
fn sum(amounts: &[(MeterName, Amount)]) -> i64 {
    amounts.iter().map(|(_, amount)| amount.get()).sum()
}

impl Caller {
    /// A tenant of plan `free` in UTC, at noon of 24 November 2026.
    pub(crate) fn new(book: &Book) -> Self {
        let mut caller = Self::of_unknown_tenant(book);
        let fields = TenantFields::on(plan_name("free"));
        caller.must(Operation::PutTenant { fields, author: None });
        caller
    }

    /// A tenant that nobody has heard of.
    pub(crate) fn of_unknown_tenant(book: &Book) -> Self {
        let world = World::new(book.catalog(), Due::First);
        Self { world, clock: "2026-11-24T12:00:00Z".parse().unwrap(), next_id: 1 }
    }

    /// One command in a batch of its own, on an account that is loaded afresh.
    pub(crate) fn ask(&mut self, command: &Command) -> Result<Answer, No> {
        let answer = self.ask_within_batch(command);
        self.world.commit();
        self.world.forget();
        answer
    }

    /// One command; the batch goes on.
    pub(crate) fn ask_within_batch(&mut self, command: &Command) -> Result<Answer, No> {
        match self.world.step(command, self.clock) {
            earmark_core::Execution::Done(answer) => Ok(*answer),
            earmark_core::Execution::Denied(denial) => Err(No::Denied(denial)),
            earmark_core::Execution::Refused(error) => Err(No::Refused(error)),
            earmark_core::Execution::Need(need) => panic!("still needs {need:?}"),
        }
    }

    pub(crate) fn try_to(&mut self, operation: Operation) -> Result<Answer, No> {
        self.ask(&Command { operation, key: None, may_create: true })
    }

    pub(crate) fn must(&mut self, operation: Operation) -> Answer {
        self.try_to(operation).unwrap()
    }

    pub(crate) fn wait(&mut self, span_ms: i64) {
        self.clock = self.clock.plus(span_ms);
    }

    pub(crate) fn at(&mut self, time: &str) {
        self.clock = time.parse().unwrap();
    }

    pub(crate) fn rows(&self) -> Rows {
        self.world.rows()
    }

    pub(crate) fn seq(&self) -> i64 {
        self.rows().tenant.map_or(0, |tenant| tenant.seq)
    }

    fn id(&mut self) -> u128 {
        self.next_id += 1;
        self.next_id
    }

    // ── holds ────────────────────────────────────────────────────────────────────────────

    pub(crate) fn request(&mut self, asked: Asked<'_>, of: &[(&str, &str)]) -> HoldRequest {
        HoldRequest {
            id: HoldId(self.id()),
            id_is_fresh: false,
            amounts: exactly(asked),
            meters: MetersAsked::All,
            dimensions: dimensions(of),
            ttl: Ttl::from_ms(TTL_MS).unwrap(),
            dispatched: false,
            metadata: None,
        }
    }

    pub(crate) fn hold(&mut self, asked: Asked<'_>) -> Result<HoldId, No> {
        self.hold_of(asked, &[])
    }

    pub(crate) fn hold_of(&mut self, asked: Asked<'_>, of: &[(&str, &str)]) -> Result<HoldId, No> {
        let request = self.request(asked, of);
        self.make(request)
    }

    /// A hold whose call is sent right after.
    pub(crate) fn hold_dispatched(&mut self, asked: Asked<'_>) -> HoldId {
        let request = HoldRequest { dispatched: true, ..self.request(asked, &[]) };
        self.make(request).unwrap()
    }

    pub(crate) fn make(&mut self, request: HoldRequest) -> Result<HoldId, No> {
        let id = request.id;
        self.try_to(Operation::Hold(request)).map(|_| id)
    }

    pub(crate) fn with_key(&mut self, operation: Operation, key: &str) -> Result<Answer, No> {
        let (key, digest) = (IdempotencyKey::new(key).unwrap(), digest_of(&operation));
        self.ask(&Command { operation, key: Some(KeyUse { key, digest }), may_create: true })
    }

    pub(crate) fn settle(&mut self, hold: HoldId, used: Asked<'_>) -> Result<End, No> {
        let amounts = amounts(used);
        self.try_to(Operation::Settle { hold, amounts, metadata: None }).map(|a| end(&a))
    }

    pub(crate) fn release(&mut self, hold: HoldId) -> Result<End, No> {
        self.try_to(Operation::Release { hold, unsent: false, reason: None }).map(|a| end(&a))
    }

    pub(crate) fn release_unsent(&mut self, hold: HoldId) -> Result<End, No> {
        self.try_to(Operation::Release { hold, unsent: true, reason: None }).map(|a| end(&a))
    }

    pub(crate) fn extend(&mut self, hold: HoldId, asked: Asked<'_>) -> Result<Answer, No> {
        self.try_to(Operation::Extend(ExtendRequest {
            hold,
            ttl: Ttl::from_ms(TTL_MS).unwrap(),
            amounts: exactly(asked),
            dispatched: false,
        }))
    }

    pub(crate) fn charge(&mut self, asked: Asked<'_>) -> Result<Answer, No> {
        self.charge_of(asked, &[])
    }

    pub(crate) fn charge_of(
        &mut self,
        asked: Asked<'_>,
        of: &[(&str, &str)],
    ) -> Result<Answer, No> {
        let (amounts, dimensions) = (exactly(asked), dimensions(of));
        self.try_to(Operation::Charge { amounts, dimensions, metadata: None })
    }

    /// The state of a hold, as its first word.
    pub(crate) fn state(&mut self, hold: HoldId) -> String {
        match self.must(Operation::Look { hold }).outcome {
            Outcome::Hold(hold) => {
                let state = format!("{:?}", hold.state);
                state.split('(').next().unwrap_or_default().to_lowercase()
            }
            outcome => panic!("not a hold: {outcome:?}"),
        }
    }

    // ── the rest ─────────────────────────────────────────────────────────────────────────

    pub(crate) fn grant(&mut self, name: &str, gives: i64) -> GrantId {
        self.grant_until(name, gives, None)
    }

    pub(crate) fn grant_until(
        &mut self,
        name: &str,
        gives: i64,
        expires: Option<TimestampMs>,
    ) -> GrantId {
        let id = GrantId(self.id());
        let request = GrantRequest {
            id,
            meter: meter(name),
            amount: Amount::new(gives).unwrap(),
            priority: 0,
            expires,
            reason: None,
            author: None,
        };
        self.must(Operation::Grant(request));
        id
    }

    /// Used, held and lapsed of a grant.
    pub(crate) fn grant_row(&self, id: GrantId) -> (i64, i64, i64) {
        let grant = &self.rows().grants[&id];
        (grant.used, grant.held, grant.lapsed)
    }

    pub(crate) fn adjust(&mut self, limit: &str, delta: i64) -> Result<Answer, No> {
        self.try_to(Operation::Adjust(AdjustRequest {
            limit: limit_name(limit),
            dimensions: Dimensions::default(),
            delta,
            reason: None,
            author: None,
        }))
    }

    pub(crate) fn patch(&mut self, patch: TenantPatch) {
        self.must(Operation::PatchTenant { patch, author: None });
    }

    pub(crate) fn move_to(&mut self, plan: &str) {
        let plan: Option<PlanName> = Some(plan_name(plan));
        self.patch(TenantPatch { plan, ..TenantPatch::default() });
    }

    pub(crate) fn override_limit(&mut self, limit: &str, amount: i64) {
        self.override_limit_until(limit, amount, None);
    }

    pub(crate) fn override_limit_until(
        &mut self,
        limit: &str,
        amount: i64,
        until: Option<TimestampMs>,
    ) {
        let o = Override { limit: limit_name(limit), amount: Amount::new(amount), until };
        self.patch(TenantPatch { overrides: Some(vec![o]), ..TenantPatch::default() });
    }

    pub(crate) fn in_zone(book: &Book, zone: &str, time: &str) -> Self {
        let mut caller = Self::of_unknown_tenant(book);
        caller.at(time);
        let calendar = TenantCalendar { zone: Zone::new(zone).unwrap(), anchor: None };
        let fields = TenantFields { calendar, ..TenantFields::on(plan_name("free")) };
        caller.must(Operation::PutTenant { fields, author: None });
        caller
    }

    pub(crate) fn restart(&mut self, windows: Vec<CalendarKind>) {
        self.must(Operation::Restart { windows, author: None });
    }

    /// A limit as usage shows it.
    pub(crate) fn limit(&mut self, limit: &str) -> LimitState {
        self.limit_of(limit, &[])
    }

    pub(crate) fn limit_of(&mut self, limit: &str, of: &[(&str, &str)]) -> LimitState {
        let answer = self.must(Operation::Usage { dimensions: dimensions(of) });
        let shown = answer.limits.into_iter().find(|shown| shown.limit.as_str() == limit);
        shown.expect("the plan has the limit")
    }

    /// Used and held of a limit now.
    pub(crate) fn numbers(&mut self, limit: &str) -> (i64, i64) {
        let shown = self.limit(limit);
        (shown.used, shown.held)
    }
}

fn end(answer: &Answer) -> End {
    match &answer.outcome {
        Outcome::Ended { charged, returned, overrun, late, .. } => End {
            charged: sum(charged),
            returned: sum(returned),
            overrun: sum(overrun),
            late: *late,
            seq: answer.seq,
        },
        outcome => panic!("not an end: {outcome:?}"),
    }
}
