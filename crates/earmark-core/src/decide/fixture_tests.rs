//! What the tables run on: a catalog read from compact text, and a store that keeps rows and
//! knows how to check them.
//!
//! ```text
//! meter attempts keep          // refund = false
//! meter cost charge            // on_expiry = charge
//! plan free unlisted           // the first plan is the tenant's; `retired` takes no new ones
//! ai_messages/month = 50 alerts 0.8,1
//! ai_messages/minute = 5 per user soft
//! default free
//! ```
//!
//! A line ends at its end or at `;`. Meters of limits need no line of their own.

use std::collections::BTreeMap;

use crate::*;

// ── configuration ────────────────────────────────────────────────────────────────────────

/// Meters and plans as a test wrote them; editing adds and replaces.
#[derive(Default, Clone)]
pub(super) struct Config {
    pub(super) first_plan: Option<PlanName>,
    meters: BTreeMap<MeterName, Meter>,
    plans: BTreeMap<PlanName, (PlanSpec, bool)>,
    former: BTreeMap<LimitName, LimitIdentity>,
    default: Option<PlanName>,
    version: i64,
}

impl Config {
    /// Reads lines on top of what is there; a plan that is named again begins anew.
    pub(super) fn read(&mut self, text: &str) {
        let mut plan = None;
        for line in text.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[0] {
                "meter" => self.read_meter(&words),
                "default" => self.default = Some(words[1].parse().unwrap()),
                "plan" => plan = Some(self.begin_plan(words[1], &words[2..])),
                _ => {
                    let plan = plan.get_or_insert_with(|| self.begin_plan("free", &[])).clone();
                    let limit = read_limit(&words);
                    self.meters
                        .entry(limit.meter.clone())
                        .or_insert_with(|| Meter::new(limit.meter.clone()));
                    self.plans.get_mut(&plan).unwrap().0.limits.push(limit);
                }
            }
        }
    }

    fn read_meter(&mut self, words: &[&str]) {
        let mut meter = Meter::new(words[1].parse().unwrap());
        for word in &words[2..] {
            match *word {
                "keep" => meter.refund = false,
                "charge" => meter.on_expiry = OnExpiry::Charge,
                other => panic!("meter: {other}"),
            }
        }
        self.meters.insert(meter.name.clone(), meter);
    }

    fn begin_plan(&mut self, name: &str, words: &[&str]) -> PlanName {
        let name: PlanName = name.parse().unwrap();
        let unlisted = words.contains(&"unlisted").then_some(Unlisted::Allow);
        let spec =
            PlanSpec { title: None, limits: Vec::new(), unlisted, on_denied: OnDenied::Error };
        self.plans.insert(name.clone(), (spec, words.contains(&"retired")));
        self.first_plan.get_or_insert_with(|| name.clone());
        name
    }

    /// The catalog of the next version.
    pub(super) fn catalog(&mut self) -> Catalog {
        self.version += 1;
        let plans = self.plans.iter().map(|(name, (spec, retired))| Plan {
            retired: *retired,
            ..Plan::new(name.clone(), self.version, spec.clone()).unwrap()
        });
        let meters = self.meters.values().cloned();
        let catalog =
            Catalog::new(self.version, meters, plans, self.default.clone(), self.former.clone());
        let catalog = catalog.unwrap();
        self.former =
            catalog.identities().map(|(name, means)| (name.clone(), means.clone())).collect();
        catalog
    }
}

/// `meter/window = amount`, then words.
fn read_limit(words: &[&str]) -> LimitSpec {
    let (meter, window) = words[0].split_once('/').unwrap();
    assert_eq!(words[1], "=", "{words:?}");
    let amount = (words[2] != "unlimited").then(|| read_amount(words[2]));
    let mut limit = LimitSpec::new(meter.parse().unwrap(), amount, window.parse().unwrap());
    let mut rest = words[3..].iter();
    while let Some(word) = rest.next() {
        let mut value = || *rest.next().unwrap();
        match *word {
            "grantable" => limit.grantable = Some(true),
            "ungrantable" => limit.grantable = Some(false),
            "name" => limit.name = Some(value().parse().unwrap()),
            "per" => limit.per = value().split(',').map(|d| d.parse().unwrap()).collect(),
            "combinations" => limit.combinations_max = Some(value().parse().unwrap()),
            "alerts" => limit.alerts = value().split(',').map(read_threshold).collect(),
            "where" => {
                let (dimension, globs) = value().split_once('=').unwrap();
                let globs = globs.split('|').map(|glob| Glob::new(glob).unwrap()).collect();
                limit.filter.insert(dimension.parse().unwrap(), globs);
            }
            mode => limit.mode = Some(Mode::parse(mode).unwrap()),
        }
    }
    limit
}

/// A number, or `max` for the top.
pub(super) fn read_amount(text: &str) -> Amount {
    match text {
        "max" => Amount::MAX,
        number => Amount::new(number.parse().unwrap()).unwrap(),
    }
}

fn read_threshold(text: &str) -> Threshold {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    Threshold::new(format!("{whole}{fraction:0<4}").parse().unwrap()).unwrap()
}

// ── store ────────────────────────────────────────────────────────────────────────────────

/// The rows of one tenant as a store has them.
#[derive(Default, Clone, PartialEq, Debug)]
pub(super) struct Store {
    pub(super) tenant: Option<Tenant>,
    pub(super) counters: BTreeMap<CounterKey, Counter>,
    pub(super) holds: BTreeMap<HoldId, Hold>,
    pub(super) grants: BTreeMap<GrantId, Grant>,
    pub(super) keys: Vec<(IdempotencyKey, KeyRow)>,
    combinations: BTreeMap<CombinationKey, i64>,
    pub(super) entries: Vec<Entry>,
    pub(super) events: Vec<Event>,
}

impl Store {
    /// Commits what an account has changed.
    pub(super) fn write(&mut self, account: &Account) {
        invariant::check(account).unwrap();
        let Some(changes) = account.changes() else { return };
        if let Some((tenant, _, stored)) = changes.tenant {
            assert_eq!(stored, self.tenant.is_some(), "insert or update of the tenant");
            self.tenant = Some(tenant.clone());
        }
        write_rows(&mut self.counters, changes.counters());
        write_rows(&mut self.holds, changes.holds());
        write_rows(&mut self.grants, changes.grants());
        for change in changes.keys() {
            self.keys.retain(|(key, _)| key != change.key);
            self.keys.extend(change.row.map(|row| (change.key.clone(), row.clone())));
        }
        for (key, delta) in changes.combinations() {
            *self.combinations.entry(key.clone()).or_default() += delta;
        }
        self.combinations.retain(|_, in_use| *in_use != 0);
        self.entries.extend_from_slice(changes.entries());
        self.events.extend_from_slice(changes.events());
    }

    /// Takes away every row but the tenant's own, as a store does for an erasure.
    pub(super) fn take_away(&mut self) {
        *self = Self { tenant: self.tenant.take(), ..Self::default() };
    }

    /// Loads exactly what is needed and nothing that comes along with it.
    pub(super) fn fill(&self, account: &mut Account, need: &Need, now: TimestampMs) {
        if need.tenant {
            account.offer_tenant(self.tenant.clone());
            for (id, grant) in self.grants.iter().filter(|(_, grant)| grant.is_live()) {
                account.offer_grant(*id, Some(grant.clone()));
            }
            account.offered_live_grants();
        }
        for key in &need.counters {
            account.offer_counter(key.clone(), self.counters.get(key).cloned());
        }
        for id in &need.holds {
            account.offer_hold(*id, self.holds.get(id).cloned());
        }
        for id in &need.grants {
            account.offer_grant(*id, self.grants.get(id).cloned());
        }
        for key in &need.keys {
            let row = self.keys.iter().find(|(have, _)| have == key);
            account.offer_key(key.clone(), row.map(|(_, row)| row.clone()));
        }
        for key in &need.combinations {
            account
                .offer_combination(key.clone(), self.combinations.get(key).copied().unwrap_or(0));
        }
        if need.due {
            self.offer_due(account, now);
        }
        if need.idle_counters {
            let is_idle = |c: &Counter| c.idle_at().is_some_and(|at| at <= now);
            self.offer_counters(account, is_idle);
            account.offered_idle_counters();
        }
        if need.all_counters {
            self.offer_counters(account, |_| true);
            account.offered_all_counters();
        }
        if need.all_open_holds {
            for (id, hold) in self.holds.iter().filter(|(_, hold)| hold.is_open()) {
                account.offer_hold(*id, Some(hold.clone()));
            }
            account.offered_all_open_holds();
        }
    }

    fn offer_counters(&self, account: &mut Account, which: impl Fn(&Counter) -> bool) {
        for (key, counter) in self.counters.iter().filter(|(_, counter)| which(counter)) {
            account.offer_counter(key.clone(), Some(counter.clone()));
        }
    }

    pub(super) fn has_due(&self, now: TimestampMs) -> bool {
        self.holds.values().any(|hold| hold.is_open() && hold.expires <= now)
            || self.grants.values().any(|grant| grant.is_live() && grant.is_expired(now))
    }

    /// All that is due, as a store's rounds would bring it.
    pub(super) fn offer_due(&self, account: &mut Account, now: TimestampMs) {
        let is_due = |hold: &&Hold| hold.is_open() && hold.expires <= now;
        for hold in self.holds.values().filter(is_due) {
            account.offer_hold(hold.id, Some(hold.clone()));
        }
        account.offered_due_through((now, HoldId::MAX));
    }

    /// An account that has every row there is.
    pub(super) fn all_loaded(&self, id: &TenantId, now: TimestampMs) -> Account {
        let mut account = Account::new(id.clone());
        let need = Need { tenant: true, ..Need::default() };
        self.fill(&mut account, &need, now);
        let rest = Need {
            holds: self.holds.keys().copied().collect(),
            keys: self.keys.iter().map(|(key, _)| key.clone()).collect(),
            grants: self.grants.keys().copied().collect(),
            combinations: self.combinations.keys().cloned().collect(),
            all_counters: true,
            all_open_holds: true,
            ..Need::default()
        };
        self.fill(&mut account, &rest, now);
        account
    }

    /// Checks the rows against the ledger and the open holds (R32), and the numbers of
    /// combinations against the counters (R3).
    pub(super) fn audit(&self, now: TimestampMs) {
        let mut used: BTreeMap<&CounterKey, i64> = BTreeMap::new();
        let mut grants_used: BTreeMap<GrantId, i64> = BTreeMap::new();
        let anew = self.entries.iter().rposition(Entry::begins_rolling_anew).unwrap_or(0);
        for (place, entry) in self.entries.iter().enumerate() {
            for delta in &entry.counters {
                let rolling = self.counters.get(&delta.counter).and_then(|c| c.rolling.as_ref());
                let counts = match (delta.slice, rolling) {
                    (Some(slice), Some((span, _))) => place >= anew && span.is_inside(slice, now),
                    (Some(_), None) => false, // forgotten: nothing of it counts
                    (None, _) => true,
                };
                *used.entry(&delta.counter).or_default() += if counts { delta.delta } else { 0 };
            }
            for delta in &entry.grants {
                *grants_used.entry(delta.grant).or_default() += delta.delta;
            }
        }
        let (held, grants_held) = self.held_by_legs();
        for key in used.keys().chain(held.keys()).copied().chain(self.counters.keys()) {
            let row = self.counters.get(key);
            let have = row.map_or((0, 0), |row| (row.used_at(now), row.held));
            let want = (used.get(key).copied().unwrap_or(0), held.get(key).copied().unwrap_or(0));
            assert_eq!(have, want, "used and held of {key:?} by the ledger and the legs");
        }
        for (id, grant) in &self.grants {
            let want = (grants_used.get(id).copied().unwrap_or(0), grants_held.get(id).copied());
            assert_eq!((grant.used, grant.held), (want.0, want.1.unwrap_or(0)), "{id}");
            let lapsed = |entry: &&Entry| entry.kind == EntryKind::GrantExpiry;
            let of_it = self.entries.iter().filter(lapsed).filter(|e| e.grant == Some(*id));
            assert_eq!(grant.lapsed, of_it.map(|entry| entry.amount).sum::<i64>(), "{id} lapsed");
        }
        self.audit_counts();
    }

    fn held_by_legs(&self) -> (BTreeMap<&CounterKey, i64>, BTreeMap<GrantId, i64>) {
        let (mut held, mut grants) = (BTreeMap::new(), BTreeMap::new());
        let open = self.holds.values().filter(|hold| hold.is_open());
        for meter in open.flat_map(|hold| &hold.parts).flat_map(|part| &part.meters) {
            for leg in &meter.counters {
                *held.entry(&leg.counter).or_default() += leg.amount.get();
            }
            for leg in &meter.grants {
                *grants.entry(leg.grant).or_default() += leg.amount.get();
            }
        }
        (held, grants)
    }

    fn audit_counts(&self) {
        let mut in_use: BTreeMap<CombinationKey, i64> = BTreeMap::new();
        let with_dimensions = self.counters.iter().filter(|(key, _)| !key.dimensions.is_none());
        for (key, _) in with_dimensions.filter(|(_, counter)| counter.is_in_use()) {
            let key = CombinationKey { limit: key.limit.clone(), window: key.window };
            *in_use.entry(key).or_default() += 1;
        }
        assert_eq!(self.combinations, in_use, "combinations in use");
        let open = self.holds.values().filter(|hold| hold.is_open()).count();
        let counted = self.tenant.as_ref().map_or(0, |tenant| tenant.open_holds);
        assert_eq!(usize::try_from(counted).unwrap(), open, "open holds");
        let ids: Vec<_> = self.entries.iter().map(|entry| entry.id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "entries in order, each once");
    }
}

fn write_rows<'a, K: Ord + Clone + 'a, V: Clone + 'a>(
    rows: &mut BTreeMap<K, V>,
    changes: impl Iterator<Item = RowChange<'a, K, V>>,
) {
    for change in changes {
        assert_eq!(change.stored, rows.contains_key(change.key), "insert or update");
        match change.row {
            Some(row) => rows.insert(change.key.clone(), row.clone()),
            None => rows.remove(change.key),
        };
    }
}
