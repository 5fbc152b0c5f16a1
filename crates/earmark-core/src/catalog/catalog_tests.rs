//! The catalog as tables of facts: names and what they mean for good, grantable defaults,
//! thresholds, and what is refused at load (R2, R3, R24, R27).

use super::*;
use crate::amount::Amount;
use crate::bounds;
use crate::glob::Glob;
use crate::name::{DimensionName, Dimensions};

fn dimension(name: &str) -> DimensionName {
    name.parse().unwrap()
}

/// `meter window per where`, with `-` for none: `m month user,model model=gpt-4o*|o3`.
fn spec(text: &str) -> LimitSpec {
    let words: Vec<&str> = text.split_whitespace().collect();
    let amount = Amount::new(50);
    let mut spec = LimitSpec::new(words[0].parse().unwrap(), amount, words[1].parse().unwrap());
    if let Some(per) = words.get(2).filter(|per| **per != "-") {
        spec.per = per.split(',').map(dimension).collect();
    }
    for filter in words.get(3..).into_iter().flatten() {
        let (name, globs) = filter.split_once('=').unwrap();
        let globs = globs.split('|').map(|glob| Glob::new(glob).unwrap()).collect();
        spec.filter.insert(dimension(name), globs);
    }
    spec
}

fn named(name: &str, text: &str) -> LimitSpec {
    LimitSpec { name: Some(name.parse().unwrap()), ..spec(text) }
}

fn plan(name: &str, limits: Vec<LimitSpec>) -> Result<Plan, PlanError> {
    let spec = PlanSpec { title: None, limits, unlisted: None, on_denied: OnDenied::Error };
    Plan::new(name.parse().unwrap(), 1, spec)
}

fn meter(name: &str) -> Meter {
    Meter::new(name.parse().unwrap())
}

fn catalog(plans: Vec<Plan>, default: Option<&str>) -> Result<Catalog, CatalogError> {
    let default = default.map(|name| name.parse().unwrap());
    Catalog::new(1, [meter("m"), meter("n")], plans, default, [])
}

#[test]
fn a_limit_is_named_after_what_it_counts() {
    // R2: meter/window, then each of `per`, then each of `where`; the largest whole unit.
    let cases = [
        ("ai_messages month", "ai_messages/month"),
        ("ai_messages minute user", "ai_messages/minute/user"),
        ("m rolling:5h", "m/rolling:5h"),
        ("m rolling:300m", "m/rolling:5h"),
        ("m rolling:48h", "m/rolling:2d"),
        ("m rolling:90m", "m/rolling:90m"),
        ("m in_flight", "m/in_flight"),
        ("m lifetime", "m/lifetime"),
        ("m day user,model", "m/day/user/model"),
        ("m day model,user", "m/day/model/user"),
        ("m day - model=gpt-4o*|o3", "m/day/model=gpt-4o*,o3"),
        ("m day - model=o3|gpt-4o*", "m/day/model=o3,gpt-4o*"),
        ("m day user model=o3", "m/day/user/model=o3"),
        ("m day user user=b* model=o3", "m/day/user/model=o3/user=b*"),
    ];
    for (text, name) in cases {
        assert_eq!(Limit::new(spec(text)).unwrap().name.as_str(), name, "{text}");
        let own = Limit::new(LimitSpec { name: Some("own".parse().unwrap()), ..spec(text) });
        assert_eq!(own.unwrap().name.as_str(), "own");
    }
    let glob = "x".repeat(bounds::GLOB_BYTES_MAX);
    let long = format!("m day - a={glob} b={glob}");
    assert_eq!(Limit::new(spec(&long)), Err(LimitError::Name));
    assert!(Limit::new(named("short", &long)).is_ok());
    let mut space = spec("m day");
    space.filter.insert(dimension("model"), vec![Glob::new("a b").unwrap()]);
    assert_eq!(Limit::new(space), Err(LimitError::Name), "a name has no spaces");
}

#[test]
fn a_name_is_unique_in_its_plan() {
    let twice = plan("free", vec![spec("m month"), spec("n day"), spec("m month")]);
    assert_eq!(twice, Err(PlanError::NameTwice("m/month".parse().unwrap())));
    let one_named = plan("free", vec![spec("m month"), named("n", "m month")]);
    assert_eq!(one_named.unwrap().limits.len(), 2);
    let two_own = plan("free", vec![named("n", "m month"), named("n", "n day")]);
    assert_eq!(two_own, Err(PlanError::NameTwice("n".parse().unwrap())));
    let default_taken = plan("free", vec![named("m/month", "n day"), spec("m month")]);
    assert!(default_taken.is_err());
    let by_where = plan("free", vec![spec("m day - a=1"), spec("m day - a=2"), spec("m day")]);
    assert!(by_where.is_ok());
}

#[test]
fn a_name_means_one_meter_window_and_per_for_good() {
    // R2: in all plans and versions; amount, mode and `where` may differ.
    // first, other -> whether both may be
    let cases = [
        ("m month", "m month", true),
        ("m month", "m month - model=o3", true),
        ("m month", "n month", false),
        ("m month", "m day", false),
        ("m month", "m month user", false),
        ("m month user,model", "m month model,user", false),
        ("m rolling:60m", "m rolling:1h", true),
    ];
    for (first, other, may_be) in cases {
        let first = plan("a", vec![named("own", first)]).unwrap();
        let mut changed = named("own", other);
        changed.amount = None;
        changed.mode = Some(Mode::Soft);
        let other = plan("b", vec![changed]).unwrap();
        let together = catalog(vec![first.clone(), other.clone()], None);
        assert_eq!(together.is_ok(), may_be, "{first:?} and {other:?}");
        // The same of an older version, of a plan that is there no more.
        let old = first.limits[0].identity();
        let former = [(first.limits[0].name.clone(), old)];
        let later = Catalog::new(2, [meter("m"), meter("n")], [other], None, former);
        assert_eq!(later.is_ok(), may_be);
        if let Err(CatalogError::NameTaken { plan, limit, means }) = later {
            assert_eq!((plan.as_str(), limit.as_str()), ("b", "own"));
            assert!(means.starts_with("m per month"), "{means}");
        }
    }
    let identity = Limit::new(spec("m month user,model")).unwrap().identity();
    assert_eq!(identity.to_string(), "m per month and user and model");
}

#[test]
fn former_names_stay_known() {
    let name: LimitName = "old".parse().unwrap();
    let identity = Limit::new(spec("m month user")).unwrap().identity();
    let former = [(name.clone(), identity.clone())];
    let plan = plan("free", vec![spec("m day")]).unwrap();
    let catalog = Catalog::new(2, [meter("m")], [plan], None, former).unwrap();
    assert_eq!(catalog.identity(&name), Some(&identity));
    let names: Vec<_> = catalog.identities().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["m/day", "old"]);
    assert_eq!(catalog.limit_of(&"free".parse().unwrap(), &name), None);
}

#[test]
fn grants_add_to_hard_limits_of_a_day_or_longer_without_per() {
    // R24: limit, mode -> by default, may be said
    use Mode::{Hard, Observe, Soft};
    let cases = [
        ("m day", Hard, true, true),
        ("m week", Hard, true, true),
        ("m month", Hard, true, true),
        ("m year", Hard, true, true),
        ("m lifetime", Hard, true, true),
        ("m rolling:24h", Hard, true, true),
        ("m rolling:30d", Hard, true, true),
        ("m rolling:1439m", Hard, false, true),
        ("m minute", Hard, false, true),
        ("m hour", Hard, false, true),
        ("m month user", Hard, false, true),
        ("m month - model=o3", Hard, true, true),
        ("m in_flight", Hard, false, false),
        ("m month", Soft, false, false),
        ("m month", Observe, false, false),
        ("m in_flight", Soft, false, false),
    ];
    for (text, mode, by_default, may_be) in cases {
        let spec = LimitSpec { mode: Some(mode), ..spec(text) };
        assert_eq!(Limit::new(spec.clone()).unwrap().grantable, by_default, "{text} {mode:?}");
        let said = Limit::new(LimitSpec { grantable: Some(true), ..spec.clone() });
        let expected = if may_be { Ok(true) } else { Err(LimitError::Grantable) };
        assert_eq!(said.map(|limit| limit.grantable), expected, "{text} {mode:?}");
        let not = Limit::new(LimitSpec { grantable: Some(false), ..spec }).unwrap();
        assert!(!not.grantable);
    }
    assert_eq!(Limit::new(spec("m month")).unwrap().mode, Hard);
}

#[test]
fn a_threshold_is_reached_by_the_first_whole_amount_at_or_above_its_share() {
    // ten-thousandths, limit -> amount
    let cases = [
        (8_000, 51, 41), // 40.8
        (8_000, 50, 40),
        (8_000, 1, 1),
        (10_000, 51, 51),
        (1, 51, 1),
        (1, 9_999, 1),
        (1, 10_000, 1),
        (1, 10_001, 2),
        (3_333, 3, 1),
        (12_500, 4, 5),
        (5_000, 0, 0),
        (10_000, bounds::AMOUNT_MAX, bounds::AMOUNT_MAX),
        (9_999, bounds::AMOUNT_MAX, 9_006_298_534_815_517),
        (1_000_000, bounds::AMOUNT_MAX, 900_719_925_474_099_100),
    ];
    for (share, limit, amount) in cases {
        let threshold = Threshold::new(share).unwrap();
        assert_eq!(threshold.amount_of(Amount::new(limit).unwrap()), amount, "{share} of {limit}");
        assert_eq!(threshold.ten_thousandths(), share);
    }
    for (share, text) in [(8_000, "0.8"), (10_000, "1"), (12_500, "1.25"), (1, "0.0001")] {
        assert_eq!(Threshold::new(share).unwrap().to_string(), text);
    }
    assert_eq!(Threshold::new(1_000_000).unwrap().to_string(), "100");
    assert_eq!(Threshold::new(0), None);
    assert_eq!(Threshold::new(1_000_001), None);
}

#[test]
fn alerts_are_kept_in_order_each_once() {
    let shares = |shares: &[u32]| shares.iter().filter_map(|s| Threshold::new(*s)).collect();
    let limit = Limit::new(LimitSpec { alerts: shares(&[10_000, 8_000, 10_000]), ..spec("m day") });
    assert_eq!(limit.unwrap().alerts, shares(&[8_000, 10_000]) as Vec<Threshold>);
    let many: Vec<u32> = (1..=9).collect();
    let alerts = LimitSpec { alerts: shares(&many[..8]), ..spec("m day") };
    assert!(Limit::new(alerts).is_ok());
    let alerts = LimitSpec { alerts: shares(&many), ..spec("m day") };
    assert_eq!(Limit::new(alerts), Err(LimitError::Alerts));
}

#[test]
fn what_is_too_many_is_refused() {
    let many = |count: usize| (1..=count).map(|i| format!("d{i}")).collect::<Vec<_>>();
    let per = |count| spec(&format!("m day {}", many(count).join(",")));
    assert!(Limit::new(per(bounds::DIMENSIONS_MAX)).is_ok());
    assert_eq!(Limit::new(per(bounds::DIMENSIONS_MAX + 1)), Err(LimitError::Per));
    assert_eq!(Limit::new(spec("m day user,model,user")), Err(LimitError::Per));

    let filter = |count| {
        let filters: Vec<_> = many(count).iter().map(|name| format!("{name}=x")).collect();
        spec(&format!("m day - {}", filters.join(" ")))
    };
    assert!(Limit::new(filter(bounds::DIMENSIONS_MAX)).is_ok());
    assert_eq!(Limit::new(filter(bounds::DIMENSIONS_MAX + 1)), Err(LimitError::Filter));
    let globs = |count| spec(&format!("m day - model={}", many(count).join("|")));
    assert!(Limit::new(globs(bounds::GLOBS_MAX)).is_ok());
    assert_eq!(Limit::new(globs(bounds::GLOBS_MAX + 1)), Err(LimitError::Filter));
    let mut without_globs = spec("m day");
    without_globs.filter.insert(dimension("model"), Vec::new());
    assert_eq!(Limit::new(without_globs), Err(LimitError::Filter));

    for (max, result) in [(1, Ok(1)), (0, Err(LimitError::CombinationsMax))] {
        let limit = Limit::new(LimitSpec { combinations_max: Some(max), ..spec("m day user") });
        assert_eq!(limit.map(|limit| limit.combinations_max), result);
    }
    let default = Limit::new(spec("m day user")).unwrap().combinations_max;
    assert_eq!(default, bounds::COMBINATIONS_MAX_DEFAULT);

    let limits = |count: usize| (1..=count).map(|i| named(&format!("l{i}"), "m day")).collect();
    assert!(plan("free", limits(bounds::LIMITS_PER_PLAN_MAX)).is_ok());
    let too_many = plan("free", limits(bounds::LIMITS_PER_PLAN_MAX + 1));
    assert_eq!(too_many, Err(PlanError::TooManyLimits));
    let second = plan("free", vec![spec("m day"), spec("m day user,user")]);
    assert_eq!(second, Err(PlanError::Limit { index: 1, error: LimitError::Per }));
}

#[test]
fn a_limit_counts_a_declared_meter() {
    let refused = catalog(vec![plan("free", vec![spec("o day")]).unwrap()], None).unwrap_err();
    let (plan, meter) = ("free".parse().unwrap(), "o".parse().unwrap());
    assert_eq!(refused, CatalogError::UnknownMeter { plan, meter });
    assert_eq!(refused.to_string(), "plans.free: meter o is not declared; add [meters.o]");
}

#[test]
fn the_default_plan_is_one_that_takes_new_tenants() {
    // R27
    let free = plan("free", vec![spec("m day")]).unwrap();
    let old = Plan { retired: true, ..plan("old", Vec::new()).unwrap() };
    let plans = || vec![free.clone(), old.clone()];
    let name = |name: &str| -> PlanName { name.parse().unwrap() };
    let with = |default| catalog(plans(), default).map(|catalog| catalog.default_plan().cloned());
    assert_eq!(with(None), Ok(None));
    assert_eq!(with(Some("free")), Ok(Some(name("free"))));
    assert_eq!(with(Some("old")), Err(CatalogError::DefaultPlan(name("old"))));
    assert_eq!(with(Some("none")), Err(CatalogError::DefaultPlan(name("none"))));
    let catalog = catalog(plans(), None).unwrap();
    assert_eq!(catalog.plans().map(|plan| plan.name.as_str()).collect::<Vec<_>>(), ["free", "old"]);
    assert_eq!(catalog.meters().map(|meter| meter.name.as_str()).collect::<Vec<_>>(), ["m", "n"]);
    assert_eq!(&*catalog.plan(&name("free")).unwrap().title, "free");
}

#[test]
fn where_looks_at_the_values_of_a_hold() {
    // where, dimensions -> applies; a dimension that is not carried has the value "".
    let cases = [
        ("m day", "", true),
        ("m day - model=gpt-4o*|o3", "model=gpt-4o-mini", true),
        ("m day - model=gpt-4o*|o3", "model=o3", true),
        ("m day - model=gpt-4o*|o3", "model=o3-mini", false),
        ("m day - model=gpt-4o*|o3", "", false),
        ("m day - model=*", "", true),
        ("m day - model=?*", "", false),
        ("m day - model=o3 user=a*", "model=o3 user=ann", true),
        ("m day - model=o3 user=a*", "model=o3", false),
        ("m day - model=o3 user=a*", "user=ann", false),
    ];
    for (text, dimensions, applies) in cases {
        let pairs = dimensions.split_whitespace().map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (dimension(name), value.parse().unwrap())
        });
        let dimensions = Dimensions::new(pairs.collect()).unwrap();
        assert_eq!(Limit::new(spec(text)).unwrap().applies_to(&dimensions), applies, "{text}");
    }
}
