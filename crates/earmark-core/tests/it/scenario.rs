//! Random scenarios: small numbers, few names, and time in all step sizes, so that limits
//! run out, holds expire and keys collide all the time.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use earmark_core::{
    AdjustRequest, Amount, AmountRange, CalendarKind, Command, Dimensions, ExtendRequest, GrantId,
    GrantRequest, HoldId, HoldRequest, IdempotencyKey, KeyUse, MeterName, MetersAsked, Operation,
    Override, TenantCalendar, TenantFields, TenantPatch, TenantStatus, TimestampMs, Ttl, Zone,
};
use jiff::civil::Date;
use proptest::prelude::*;
use proptest::sample::select;

use crate::book::{Book, METERS, any_book, dimensions, meter, plan_name, pool_names};
use crate::tight::any_tight_scenario;

/// The largest amount.
const TOP: i64 = (1 << 53) - 1;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Two books (a plan may be edited on the way), a start, and what happens.
pub(crate) struct Scenario {
    pub(crate) books: [Book; 2],
    pub(crate) start: &'static str,
    pub(crate) steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone)]
pub(crate) struct Step {
    /// Since the last step; negative where the clock steps back.
    pub(crate) wait_ms: i64,
    pub(crate) action: Action,
    pub(crate) key: Option<u8>,
    pub(crate) then: Then,
}

/// What the engine does after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Goes on with the batch.
    GoOn,
    /// Commits and keeps the account.
    Commit,
    /// Commits and loads it afresh next time.
    Forget,
    /// Loses everything since the last commit.
    RollBack,
}

/// Meter, least and most.
type Asked = Vec<(usize, i64, i64)>;

/// Who and with which model.
type Of = (u8, u8);

/// What is asked; holds are counted back from the latest.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Hold {
        asked: Asked,
        of: Of,
        ttl_ms: i64,
        dispatched: bool,
        in_plan: bool,
    },
    Charge {
        asked: Asked,
        of: Of,
    },
    Check {
        asked: Asked,
        of: Of,
    },
    Settle {
        hold: usize,
        amounts: Vec<(usize, i64)>,
    },
    Release {
        hold: usize,
        unsent: bool,
    },
    Extend {
        hold: usize,
        ttl_ms: i64,
        asked: Asked,
        dispatched: bool,
    },
    Look {
        hold: usize,
    },
    Usage {
        of: Of,
    },
    Grant {
        meter: usize,
        amount: i64,
        priority: i32,
        lives_ms: Option<i64>,
    },
    Adjust {
        limit: usize,
        of: Of,
        delta: i64,
    },
    Restart {
        kinds: Vec<CalendarKind>,
    },
    Put {
        plan: &'static str,
        suspended: bool,
        calendar: Calendar,
        overrides: Overrides,
    },
    Patch(Patch),
    /// The clock goes back by so much for good, and somebody repairs it.
    RepairClock {
        back_ms: i64,
    },
    Sweep,
    /// The last request with a key comes again.
    Repeat,
    /// Plans and meters are edited.
    Edit {
        book: usize,
    },
}

/// Zone and anchor.
type Calendar = (&'static str, Option<&'static str>);

/// Limit, amount, for how long.
type Overrides = Vec<(usize, Option<i64>, Option<i64>)>;

#[derive(Debug, Clone)]
pub(crate) enum Patch {
    Plan(&'static str),
    Suspended(bool),
    Zone(&'static str),
    Anchor(Option<&'static str>),
    Overrides(Overrides),
}

// ── strategies ───────────────────────────────────────────────────────────────────────────

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/Santiago",
    "Asia/Tokyo",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
];

const STARTS: [&str; 4] = [
    "2026-10-24T21:59:30Z",
    "2026-01-30T23:59:00Z",
    "2028-02-28T12:00:00Z",
    "2026-12-31T23:59:58Z",
];

const ANCHORS: [Option<&str>; 5] =
    [None, Some("2026-01-31"), Some("2024-02-29"), Some("2026-10-25"), Some("2025-12-07")];

fn any_wait() -> impl Strategy<Value = i64> {
    prop_oneof![
        10 => Just(0),
        4 => 1..2_000i64,
        4 => 1_000..120_000i64,
        3 => (1..90i64).prop_map(|minutes| minutes * MINUTE_MS),
        3 => (1..30i64).prop_map(|hours| hours * HOUR_MS),
        2 => (1..40i64).prop_map(|days| days * DAY_MS),
        1 => -5_000..0i64,
    ]
}

fn any_asked(min_count: usize) -> impl Strategy<Value = Asked> {
    let amounts = prop_oneof![
        12 => (0..6i64).prop_map(|amount| (amount, amount)),
        2 => (0..4i64, 0..6i64).prop_map(|(least, more)| (least, least + more)),
        1 => (0..4i64, TOP - 3..=TOP),
    ];
    let one = (select(vec![0usize, 0, 1, 1, 2, 3]), amounts).prop_map(|(m, (a, b))| (m, a, b));
    proptest::collection::vec(one, min_count..3).prop_map(|mut asked| {
        asked.sort_by_key(|(index, ..)| *index);
        asked.dedup_by_key(|(index, ..)| *index);
        asked
    })
}

fn any_of() -> impl Strategy<Value = Of> {
    (0..3u8, 0..2u8)
}

fn any_ttl() -> impl Strategy<Value = i64> {
    select(vec![1_000, 60_000, 300_000, HOUR_MS, DAY_MS])
}

fn any_overrides() -> impl Strategy<Value = Overrides> {
    let amount = prop_oneof![5 => (0..9i64).prop_map(Some), 1 => Just(None)];
    let until = prop_oneof![Just(None), (1..3i64).prop_map(|hours| Some(hours * HOUR_MS))];
    proptest::collection::vec((0..pool_names().len(), amount, until), 0..3).prop_map(
        |mut overrides| {
            overrides.sort_by_key(|(limit, ..)| *limit);
            overrides.dedup_by_key(|(limit, ..)| *limit);
            overrides
        },
    )
}

fn any_plan_name() -> impl Strategy<Value = &'static str> {
    select(vec!["free", "free", "pro", "pro", "old", "none"])
}

fn any_patch() -> impl Strategy<Value = Patch> {
    prop_oneof![
        3 => any_plan_name().prop_map(Patch::Plan),
        2 => proptest::bool::weighted(0.3).prop_map(Patch::Suspended),
        2 => select(ZONES.to_vec()).prop_map(Patch::Zone),
        1 => select(ANCHORS.to_vec()).prop_map(Patch::Anchor),
        2 => any_overrides().prop_map(Patch::Overrides),
    ]
}

fn any_data_action() -> impl Strategy<Value = Action> {
    let which = 0..4usize;
    let used = prop_oneof![30 => 0..8i64, 1 => TOP - 3..=TOP];
    let settled = proptest::collection::vec((0..METERS.len(), used), 0..3).prop_map(|mut v| {
        v.sort_by_key(|(index, _)| *index);
        v.dedup_by_key(|(index, _)| *index);
        v
    });
    prop_oneof![
        12 => (any_asked(1), any_of(), any_ttl(), any::<bool>(), proptest::bool::weighted(0.1))
            .prop_map(|(asked, of, ttl_ms, dispatched, in_plan)| {
                Action::Hold { asked, of, ttl_ms, dispatched, in_plan }
            }),
        3 => (any_asked(1), any_of()).prop_map(|(asked, of)| Action::Charge { asked, of }),
        2 => (any_asked(1), any_of()).prop_map(|(asked, of)| Action::Check { asked, of }),
        8 => (which.clone(), settled)
            .prop_map(|(hold, amounts)| Action::Settle { hold, amounts }),
        4 => (which.clone(), proptest::bool::weighted(0.2))
            .prop_map(|(hold, unsent)| Action::Release { hold, unsent }),
        5 => (which.clone(), any_ttl(), any_asked(0), any::<bool>()).prop_map(
            |(hold, ttl_ms, asked, dispatched)| Action::Extend { hold, ttl_ms, asked, dispatched }
        ),
        4 => Just(Action::Repeat),
        1 => which.prop_map(|hold| Action::Look { hold }),
        1 => any_of().prop_map(|of| Action::Usage { of }),
    ]
}

fn any_control_action() -> impl Strategy<Value = Action> {
    let lives = prop_oneof![
        2 => Just(None),
        3 => (1..120i64).prop_map(|minutes| Some(minutes * MINUTE_MS)),
        1 => (1..30i64).prop_map(|days| Some(days * DAY_MS)),
    ];
    let kinds = proptest::sample::subsequence(CalendarKind::ALL.to_vec(), 1..4);
    let put = (any_plan_name(), proptest::bool::weighted(0.1), select(ZONES.to_vec()));
    prop_oneof![
        5 => (0..METERS.len(), 0..7i64, -1..2i32, lives).prop_map(
            |(meter, amount, priority, lives_ms)| Action::Grant { meter, amount, priority, lives_ms }
        ),
        3 => (0..pool_names().len(), any_of(), prop_oneof![20 => -6..7i64, 1 => TOP - 3..=TOP])
            .prop_map(|(limit, of, delta)| Action::Adjust { limit, of, delta }),
        2 => kinds.prop_map(|kinds| Action::Restart { kinds }),
        2 => (put, select(ANCHORS.to_vec()), any_overrides()).prop_map(
            |((plan, suspended, zone), anchor, overrides)| Action::Put {
                plan,
                suspended,
                calendar: (zone, anchor),
                overrides
            }
        ),
        5 => any_patch().prop_map(Action::Patch),
        1 => select(vec![0, 3_000, 20_000, 2 * HOUR_MS, 3 * DAY_MS, 45 * DAY_MS])
            .prop_map(|back_ms| Action::RepairClock { back_ms }),
        1 => Just(Action::Sweep),
        2 => (0..2usize).prop_map(|book| Action::Edit { book }),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let action = prop_oneof![4 => any_data_action(), 1 => any_control_action()];
    let key = proptest::option::weighted(0.25, 0..3u8);
    let then = prop_oneof![
        4 => Just(Then::GoOn),
        3 => Just(Then::Commit),
        3 => Just(Then::Forget),
        1 => Just(Then::RollBack),
    ];
    (any_wait(), action, key, then).prop_map(|(wait_ms, action, key, then)| Step {
        wait_ms,
        action,
        key,
        then,
    })
}

/// Wide scenarios, in which everything happens, and tight ones, in which little fits.
pub(crate) fn any_scenario() -> impl Strategy<Value = Scenario> {
    prop_oneof![any_wide_scenario(), any_tight_scenario()]
}

fn any_wide_scenario() -> impl Strategy<Value = Scenario> {
    let steps = proptest::collection::vec(any_step(), 1..80);
    (any_book(), any_book(), select(STARTS.to_vec()), steps)
        .prop_map(|(one, other, start, steps)| Scenario { books: [one, other], start, steps })
}

// ── commands ─────────────────────────────────────────────────────────────────────────────

fn amount(value: i64) -> Amount {
    Amount::new(value).unwrap()
}

fn ranges(asked: &Asked) -> Vec<(MeterName, AmountRange)> {
    asked
        .iter()
        .map(|(index, min, max)| {
            (meter(METERS[*index].0), AmountRange::new(amount(*min), amount(*max)).unwrap())
        })
        .collect()
}

fn of_whom((user, model): Of) -> Dimensions {
    let models = ["m1", "x1"];
    match user {
        0 => dimensions(&[("model", models[usize::from(model)])]),
        user => {
            let user = format!("u{user}");
            dimensions(&[("model", models[usize::from(model)]), ("user", &user)])
        }
    }
}

fn overrides(of: &Overrides, clock: TimestampMs) -> Vec<Override> {
    let names = pool_names();
    of.iter()
        .map(|(limit, allows, lives_ms)| Override {
            limit: names[*limit].clone(),
            amount: allows.map(amount),
            until: lives_ms.map(|lives_ms| clock.plus(lives_ms)),
        })
        .collect()
}

fn calendar((zone, anchor): Calendar) -> TenantCalendar {
    TenantCalendar { zone: Zone::new(zone).unwrap(), anchor: anchor.map(date) }
}

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

fn status(suspended: bool) -> TenantStatus {
    if suspended { TenantStatus::Suspended } else { TenantStatus::Active }
}

/// A digest that tells different requests apart.
pub(crate) fn digest_of(operation: &Operation) -> [u8; 32] {
    let mut digest = [0; 32];
    for (place, bytes) in digest.chunks_mut(8).enumerate() {
        let mut hasher = DefaultHasher::new();
        (place, operation.request_bytes()).hash(&mut hasher);
        bytes.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    digest
}

/// The same request again, with ids of its own.
pub(crate) fn again(command: &Command, number: usize) -> Command {
    let id = u128::try_from(number).unwrap();
    let mut command = command.clone();
    match &mut command.operation {
        Operation::Hold(request) => request.id = HoldId(id),
        Operation::Grant(request) => request.id = GrantId(id),
        _ => {}
    }
    command
}

impl Step {
    /// The command of the step: `number` makes its ids, `holds` are those made so far.
    pub(crate) fn command(&self, number: usize, holds: &[HoldId], clock: TimestampMs) -> Command {
        let operation = self.operation(number, holds, clock);
        let takes_key = !matches!(
            operation,
            Operation::Check { .. }
                | Operation::Look { .. }
                | Operation::Usage { .. }
                | Operation::PutTenant { .. }
                | Operation::PatchTenant { .. }
                | Operation::RepairClock { .. }
                | Operation::Sweep
        );
        let key = self.key.filter(|_| takes_key).map(|key| KeyUse {
            key: IdempotencyKey::new(&format!("k{key}")).unwrap(),
            digest: digest_of(&operation),
        });
        // Some first requests come from callers that may not create.
        Command { operation, key, may_create: !number.is_multiple_of(3) }
    }

    fn operation(&self, number: usize, holds: &[HoldId], clock: TimestampMs) -> Operation {
        let id = u128::try_from(number).unwrap();
        let hold_of = |back: usize| {
            holds.iter().rev().nth(back).or(holds.first()).copied().unwrap_or(HoldId(999))
        };
        match self.action.clone() {
            Action::Hold { asked, of, ttl_ms, dispatched, in_plan } => {
                Operation::Hold(HoldRequest {
                    id: HoldId(id),
                    id_is_fresh: number.is_multiple_of(2),
                    amounts: ranges(&asked),
                    meters: if in_plan { MetersAsked::InPlan } else { MetersAsked::All },
                    dimensions: of_whom(of),
                    ttl: Ttl::from_ms(ttl_ms).unwrap(),
                    dispatched,
                    metadata: None,
                })
            }
            Action::Charge { asked, of } => Operation::Charge {
                amounts: ranges(&asked),
                dimensions: of_whom(of),
                metadata: None,
            },
            Action::Check { asked, of } => {
                Operation::Check { amounts: ranges(&asked), dimensions: of_whom(of) }
            }
            Action::Settle { hold, amounts } => Operation::Settle {
                hold: hold_of(hold),
                amounts: amounts.iter().map(|(m, a)| (meter(METERS[*m].0), amount(*a))).collect(),
                metadata: None,
            },
            Action::Release { hold, unsent } => {
                Operation::Release { hold: hold_of(hold), unsent, reason: None }
            }
            Action::Extend { hold, ttl_ms, asked, dispatched } => {
                Operation::Extend(ExtendRequest {
                    hold: hold_of(hold),
                    ttl: Ttl::from_ms(ttl_ms).unwrap(),
                    amounts: ranges(&asked),
                    dispatched,
                })
            }
            Action::Look { hold } => Operation::Look { hold: hold_of(hold) },
            Action::Usage { of } => Operation::Usage { dimensions: of_whom(of) },
            control => self.control(&control, id, clock),
        }
    }

    fn control(&self, action: &Action, id: u128, clock: TimestampMs) -> Operation {
        match action.clone() {
            Action::Grant { meter: index, amount: gives, priority, lives_ms } => {
                Operation::Grant(GrantRequest {
                    id: GrantId(id),
                    meter: meter(METERS[index].0),
                    amount: amount(gives),
                    priority,
                    expires: lives_ms.map(|lives_ms| clock.plus(lives_ms)),
                    reason: None,
                    author: None,
                })
            }
            Action::Adjust { limit, of, delta } => Operation::Adjust(AdjustRequest {
                limit: pool_names()[limit].clone(),
                dimensions: of_whom(of),
                delta,
                reason: None,
                author: None,
            }),
            Action::Restart { kinds } => Operation::Restart { windows: kinds, author: None },
            Action::Put { plan, suspended, calendar: placed, overrides: of } => {
                let fields = TenantFields {
                    plan: plan_name(plan),
                    status: status(suspended),
                    calendar: calendar(placed),
                    overrides: overrides(&of, clock),
                    metadata: None,
                };
                Operation::PutTenant { fields, author: None }
            }
            Action::Patch(patch) => {
                Operation::PatchTenant { patch: patch.fields(clock), author: None }
            }
            Action::RepairClock { .. } => Operation::RepairClock { author: None },
            _ => Operation::Sweep,
        }
    }
}

impl Patch {
    fn fields(self, clock: TimestampMs) -> TenantPatch {
        let none = TenantPatch::default();
        match self {
            Self::Plan(plan) => TenantPatch { plan: Some(plan_name(plan)), ..none },
            Self::Suspended(suspended) => TenantPatch { status: Some(status(suspended)), ..none },
            Self::Zone(zone) => TenantPatch { zone: Some(Zone::new(zone).unwrap()), ..none },
            Self::Anchor(anchor) => TenantPatch { anchor: Some(anchor.map(date)), ..none },
            Self::Overrides(of) => TenantPatch { overrides: Some(overrides(&of, clock)), ..none },
        }
    }
}

// ── how a scenario reads ─────────────────────────────────────────────────────────────────

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{} ms {:?}", self.wait_ms, self.action)?;
        if let Some(key) = self.key {
            write!(f, " key k{key}")?;
        }
        write!(f, ", then {:?}", self.then)
    }
}

impl fmt::Debug for Scenario {
    /// Books with one limit a line, then one step a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "from {}", self.start)?;
        for (index, book) in self.books.iter().enumerate() {
            for (name, rules) in &book.meters {
                let (refund, charge) = (rules.refund, rules.charge_on_expiry);
                write!(f, "  book {index} {name}: refund {refund}, charge_on_expiry {charge};")?;
            }
            writeln!(f)?;
            for (name, plan) in &book.plans {
                writeln!(f, "  book {index} plan {name}: unlisted {}", plan.allows_unlisted)?;
                for limit in &plan.limits {
                    writeln!(
                        f,
                        "    {}: amount {:?}, mode {:?}, grantable {:?}, combinations {:?}, alerts {:?}",
                        limit.name.as_ref().map_or("", |name| name.as_str()),
                        limit.amount.map(Amount::get),
                        limit.mode,
                        limit.grantable,
                        limit.combinations_max,
                        limit.alerts,
                    )?;
                }
            }
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {number}: {step:?}")?;
        }
        Ok(())
    }
}
