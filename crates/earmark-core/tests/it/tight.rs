//! Tight scenarios: two meters, a few grantable limits that are always nearly spent, grants
//! that end as holds do. Settling has to choose between plan, grants and debt at every step.

use earmark_core::Window;
use proptest::prelude::*;
use proptest::sample::select;

use crate::book::{Book, limit};
use crate::scenario::{Action, Patch, Scenario, Step, Then};

const MINUTE_MS: i64 = 60_000;

/// Meter, window, and the limit's place in the pool of all books.
const LIMITS: [(&str, &str, usize); 4] = [
    ("msgs", "month", 0),
    ("msgs", "rolling:2d", 4),
    ("cost", "month", 7),
    ("cost", "lifetime", 8),
];

fn any_book() -> impl Strategy<Value = Book> {
    let amounts = proptest::collection::vec(proptest::option::weighted(0.7, 0..8i64), 8);
    amounts.prop_map(|amounts| {
        let plan = |amounts: &[Option<i64>]| {
            let of = LIMITS.iter().zip(amounts);
            let limits = of
                .filter_map(|((meter, window, _), amount)| Some(limit(meter, window, (*amount)?)));
            limits.collect::<Vec<_>>()
        };
        let old = vec![limit("msgs", "month", 1)];
        Book::of([("free", plan(&amounts[..4])), ("pro", plan(&amounts[4..])), ("old", old)])
    })
}

fn any_span() -> impl Strategy<Value = i64> {
    select(vec![MINUTE_MS, 2 * MINUTE_MS, 5 * MINUTE_MS])
}

fn any_asked() -> impl Strategy<Value = Vec<(usize, i64, i64)>> {
    prop_oneof![
        5 => (0..2usize, 0..7i64).prop_map(|(meter, amount)| vec![(meter, amount, amount)]),
        1 => (0..2usize, 0..3i64, 0..9i64)
            .prop_map(|(meter, least, more)| vec![(meter, least, least + more)]),
        1 => (0..4i64, 0..4i64).prop_map(|(msgs, cost)| vec![(0, msgs, msgs), (1, cost, cost)]),
    ]
}

fn any_used() -> impl Strategy<Value = Vec<(usize, i64)>> {
    prop_oneof![
        1 => Just(Vec::new()),
        3 => (0..2usize, 0..14i64).prop_map(|used| vec![used]),
    ]
}

fn any_limit() -> impl Strategy<Value = usize> {
    select(LIMITS.map(|(.., place)| place).to_vec())
}

fn any_action() -> impl Strategy<Value = Action> {
    let overrides = proptest::option::weighted(0.7, (any_limit(), 0..8i64));
    prop_oneof![
        8 => (any_asked(), any_span(), any::<bool>()).prop_map(|(asked, ttl_ms, dispatched)| {
            Action::Hold { asked, of: (0, 0), ttl_ms, dispatched, in_plan: false }
        }),
        4 => (0..2usize, any_span(), any_asked(), any::<bool>()).prop_map(
            |(hold, ttl_ms, asked, dispatched)| Action::Extend { hold, ttl_ms, asked, dispatched }
        ),
        8 => (0..3usize, any_used()).prop_map(|(hold, amounts)| Action::Settle { hold, amounts }),
        3 => (0..3usize, proptest::bool::weighted(0.2))
            .prop_map(|(hold, unsent)| Action::Release { hold, unsent }),
        2 => any_asked().prop_map(|asked| Action::Charge { asked, of: (0, 0) }),
        5 => (0..2usize, 1..6i64, -1..2i32, proptest::option::weighted(0.7, any_span())).prop_map(
            |(meter, amount, priority, lives_ms)| Action::Grant { meter, amount, priority, lives_ms }
        ),
        3 => overrides.prop_map(|one| {
            let one = one.map(|(limit, amount)| (limit, Some(amount), None));
            Action::Patch(Patch::Overrides(one.into_iter().collect()))
        }),
        2 => select(vec!["free", "pro"]).prop_map(|plan| Action::Patch(Patch::Plan(plan))),
        1 => (any_limit(), -6..7i64)
            .prop_map(|(limit, delta)| Action::Adjust { limit, of: (0, 0), delta }),
        1 => (0..2usize).prop_map(|book| Action::Edit { book }),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![
        8 => Just(0),
        4 => Just(MINUTE_MS),
        1 => Just(5 * MINUTE_MS),
        1 => 1..MINUTE_MS,
        1 => (1..50i64).prop_map(|hours| hours * 60 * MINUTE_MS),
    ];
    let then = select(vec![Then::GoOn, Then::Commit, Then::Forget]);
    (wait, any_action(), then).prop_map(|(wait_ms, action, then)| Step {
        wait_ms,
        action,
        key: None,
        then,
    })
}

pub(crate) fn any_tight_scenario() -> impl Strategy<Value = Scenario> {
    let steps = proptest::collection::vec(any_step(), 1..50);
    (any_book(), any_book(), steps).prop_map(|(one, other, steps)| Scenario {
        books: [one, other],
        start: "2026-10-31T23:00:00Z",
        steps,
    })
}

/// The pool's places are those of the limits meant here.
#[test]
fn the_tight_limits_are_in_the_pool() {
    let names = crate::book::pool_names();
    for (meter, window, place) in LIMITS {
        let window: Window = window.parse().unwrap();
        assert_eq!(names[place].as_str(), format!("{meter}/{window}"));
    }
}
