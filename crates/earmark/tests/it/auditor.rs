//! The auditor: compares a store, read through the API, with what clients were told.
//!
//! It knows the promises and nothing of the code that keeps them: every request that was
//! answered has its effect, exactly once; every other one at most once; every sum is what its
//! entries add up to; no hard limit is passed; no number of a change was given out twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::load::{Ids, TENANTS};
use crate::recorded::{Ask, LONG_TTL_MS, Recorded, Request, SHORT_TTL_MS};
use crate::running::Api;

/// Everything of one tenant.
#[derive(Default)]
struct Account {
    seq: i64,
    limits: Vec<Value>,
    /// By id.
    holds: BTreeMap<String, Value>,
    entries: Vec<Value>,
}

/// A store at rest.
pub(crate) struct Store(BTreeMap<String, Account>);

/// Everything that was recorded on one store, over all lives of its server.
#[derive(Default)]
pub(crate) struct Audit {
    recorded: Vec<Recorded>,
    pub(crate) ids: Arc<Ids>,
}

/// How much was audited.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    pub(crate) unanswered: usize,
    /// Of the unanswered ones, those that had taken effect.
    pub(crate) unanswered_done: usize,
}

impl Store {
    /// Reads all of it.
    pub(crate) async fn read(api: &Api) -> Self {
        let mut accounts = BTreeMap::new();
        for (tenant, _) in TENANTS {
            let path = format!("/v1/tenants/{tenant}");
            if api.send(reqwest::Method::GET, &path, None, None).await.unwrap().status == 404 {
                accounts.insert(tenant.to_owned(), Account::default());
                continue;
            }
            let usage = api.get(&format!("{path}/usage")).await;
            let holds = pages(api, &path, "holds").await;
            let by_id = holds.into_iter().map(|hold| (text(&hold["hold"]).to_owned(), hold));
            let account = Account {
                seq: usage["tenant_seq"].as_i64().unwrap(),
                limits: usage["limits"].as_array().unwrap().clone(),
                holds: by_id.collect(),
                entries: pages(api, &path, "entries").await,
            };
            accounts.insert(tenant.to_owned(), account);
        }
        Self(accounts)
    }

    fn of(&self, request: &Request) -> &Account {
        &self.0[&request.tenant]
    }
}

async fn pages(api: &Api, path: &str, list: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("{path}/{list}?count=200{cursor}")).await;
        all.extend(page[list].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

impl Account {
    /// The holds that a request made.
    fn holds_of(&self, id: &str) -> Vec<&Value> {
        self.holds.values().filter(|hold| hold["metadata"]["request"] == id).collect()
    }

    /// The numbers of the changes that a charge or grant made.
    fn changes_of(&self, request: &Request) -> BTreeSet<i64> {
        let id = request.id.as_str();
        let is_its = |entry: &&Value| match request.ask {
            Ask::Charge { .. } => entry["kind"] == "charge" && entry["metadata"]["request"] == id,
            _ => entry["kind"] == "grant" && entry["reason"] == id,
        };
        self.entries.iter().filter(is_its).map(|entry| number(&entry["tenant_seq"])).collect()
    }
}

impl Audit {
    pub(crate) fn add(&mut self, recorded: Vec<Recorded>) {
        self.recorded.extend(recorded);
    }

    /// Compares everything; panics with the first thing that does not agree.
    pub(crate) fn check(&self, store: &Store) -> Tally {
        let mut tally = Tally::default();
        for one in &self.recorded {
            match &one.told {
                None => {
                    tally.unanswered += 1;
                    tally.unanswered_done += usize::from(self.is_done(store, one));
                }
                Some(_) if one.was_refused() => tally.refused += 1,
                Some(_) => tally.acknowledged += 1,
            }
            self.check_effect(store.of(&one.request), one);
            check_reply(store.of(&one.request), one);
        }
        self.check_numbers();
        let stories = self.stories();
        for (tenant, account) in &store.0 {
            check_sums(tenant, account);
            let mut entries: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
            for entry in &account.entries {
                entries.entry(text(&entry["hold"])).or_default().push(entry);
            }
            for (id, hold) in &account.holds {
                let entries = entries.remove(id.as_str()).unwrap_or_default();
                check_hold(hold, stories.get(id.as_str()).map_or(&[], Vec::as_slice), &entries);
            }
        }
        tally
    }

    /// What was asked about each hold, in the order of asking.
    fn stories(&self) -> BTreeMap<&str, Vec<&Recorded>> {
        let mut stories: BTreeMap<&str, Vec<&Recorded>> = BTreeMap::new();
        for one in &self.recorded {
            let hold = match &one.request.ask {
                Ask::Extend { hold, .. } | Ask::Settle { hold, .. } | Ask::Release { hold } => hold,
                Ask::Hold { .. } => match one.done() {
                    Some(told) => text(&told["hold"]),
                    None => continue,
                },
                Ask::Charge { .. } | Ask::Grant { .. } => continue,
            };
            stories.entry(hold).or_default().push(one);
        }
        stories
    }

    /// Each request has had its effect once: exactly if it was done, at most if nobody knows,
    /// never if it was refused.
    fn check_effect(&self, account: &Account, one: &Recorded) {
        let request = &one.request;
        let times = match &request.ask {
            Ask::Hold { .. } => account.holds_of(&request.id).len(),
            Ask::Charge { .. } | Ask::Grant { .. } => account.changes_of(request).len(),
            // What they did shows in their hold.
            Ask::Extend { .. } | Ask::Settle { .. } | Ask::Release { .. } => return,
        };
        let is_right = match (one.done().is_some(), one.was_refused()) {
            (true, _) => times == 1,
            (_, true) => times == 0,
            _ => times <= 1,
        };
        assert!(is_right, "it took effect {times} times: {one:?}");
        let Some(told) = one.done() else { return };
        if let Ask::Charge { .. } = request.ask {
            for entry in told["entries"].as_array().unwrap() {
                let found = account.entries.iter().find(|found| found["entry"] == *entry);
                let found = found.unwrap_or_else(|| panic!("{entry} is lost: {one:?}"));
                let charged = &told["charged"][text(&found["meter"])];
                assert_eq!(found["amount"], *charged, "{one:?}: {found}");
            }
        }
        if let Ask::Hold { .. } = request.ask {
            assert!(account.holds.contains_key(text(&told["hold"])), "it is lost: {one:?}");
        }
    }

    /// No two changes of a tenant were told the same number: one of them would be lost.
    fn check_numbers(&self) {
        let mut told_by_number = BTreeMap::new();
        for one in self.recorded.iter().filter(|one| !one.repeated) {
            let Some(told) = one.done().filter(|told| told["replayed"] != true) else { continue };
            let number = (one.request.tenant.as_str(), number(&told["tenant_seq"]));
            if let Some(other) = told_by_number.insert(number, one) {
                panic!("both were told {number:?}: {one:?} and {other:?}");
            }
        }
    }

    /// Whether a request has taken effect, by the store alone.
    fn is_done(&self, store: &Store, one: &Recorded) -> bool {
        let (account, request) = (store.of(&one.request), &one.request);
        match &request.ask {
            Ask::Hold { .. } => !account.holds_of(&request.id).is_empty(),
            Ask::Charge { .. } | Ask::Grant { .. } => !account.changes_of(request).is_empty(),
            Ask::Settle { hold, .. } => account.holds[hold]["state"] == "settled",
            Ask::Release { hold } => account.holds[hold]["state"] == "released",
            Ask::Extend { hold, .. } => {
                let held = |other: &&Recorded| {
                    other.done().is_some_and(|told| told["hold"] == *hold)
                        && matches!(other.request.ask, Ask::Hold { .. })
                };
                let before = self.recorded.iter().find(held).unwrap();
                let Ask::Hold { tokens, .. } = before.request.ask else { return false };
                number(&account.holds[hold]["amounts"]["output_tokens"]) > tokens
            }
        }
    }

    /// Sends each unanswered request again, which must tell the truth about the first time;
    /// then ends what dead clients left behind.
    pub(crate) async fn repeat_unanswered(&mut self, api: &Api, store: &Store) {
        for index in 0..self.recorded.len() {
            let one = self.recorded[index].clone();
            let Request { ask, .. } = &one.request;
            if one.told.is_some() || matches!(ask, Ask::Hold { ttl_ms: SHORT_TTL_MS, .. }) {
                continue;
            }
            let was_done = self.is_done(store, &one);
            let again = one.request.clone().send(api, true).await;
            let told = again.told.clone().unwrap_or_else(|| panic!("no answer: {again:?}"));
            match (was_done, one.request.has_key()) {
                (true, true) => assert_eq!(told.body["replayed"], true, "{again:?}"),
                (true, false) => assert_eq!(told.status, 200, "{again:?}"),
                (false, _) => assert_ne!(told.body["replayed"], true, "{again:?}"),
            }
            self.recorded[index] = again;
        }
        self.end_left_behind(api, store).await;
    }

    /// Holds that nobody will end take room for good: releases them.
    async fn end_left_behind(&mut self, api: &Api, store: &Store) {
        for (tenant, account) in &store.0 {
            for (id, hold) in &account.holds {
                let created = self.recorded.iter().find(|one| {
                    matches!(one.request.ask, Ask::Hold { ttl_ms: LONG_TTL_MS, .. })
                        && one.request.id == text(&hold["metadata"]["request"])
                });
                // What has just been settled again is not open any more.
                let path = format!("/v1/tenants/{tenant}/holds/{id}");
                if hold["state"] != "open" || created.is_none() {
                    continue;
                }
                if api.get(&path).await["state"] == "open" {
                    let ask = Ask::Release { hold: id.clone() };
                    let (id, tenant) = (self.ids.fresh(), tenant.clone());
                    let released = Request { id, tenant, ask }.send(api, false).await;
                    self.recorded.push(released);
                }
            }
        }
    }
}

/// What a reply says must hold by itself, and rest on nothing that the store does not have.
fn check_reply(account: &Account, one: &Recorded) {
    let Some(told) = &one.told else { return };
    let seq = number(&told.body["tenant_seq"]);
    assert!(seq <= account.seq, "it rests on a change that is lost ({}): {one:?}", account.seq);
    let refusals = [403, 404, 409, 422, 429, 503];
    let is_known = told.status < 300 || refusals.contains(&told.status);
    assert!(is_known, "{one:?}");
    for limit in told.body["limits"].as_array().into_iter().flatten() {
        check_limit(limit, &json!(one.request.id));
    }
}

fn check_limit(limit: &Value, what: &Value) {
    let Some(amount) = limit["amount"].as_i64() else { return };
    let taken = number(&limit["used"]) + number(&limit["held"]);
    assert!(limit["mode"] != "hard" || taken <= amount, "passed: {limit} in {what}");
}

/// Every sum is what its parts add up to, and no hard limit is passed.
fn check_sums(tenant: &str, account: &Account) {
    let mut used: BTreeMap<(String, String), i64> = BTreeMap::new();
    for delta in account.entries.iter().flat_map(|entry| entry["counters"].as_array().unwrap()) {
        let of = (text(&delta["limit"]).to_owned(), delta["dimensions"].to_string());
        *used.entry(of).or_default() += number(&delta["delta"]);
    }
    for limit in &account.limits {
        check_limit(limit, &json!(tenant));
        let of = (text(&limit["limit"]).to_owned(), limit["dimensions"].to_string());
        let explained = used.get(&of).copied().unwrap_or(0);
        assert_eq!(number(&limit["used"]), explained, "{tenant}: {limit}");
        let meter = text(&limit["meter"]);
        if meter != "ai_messages" {
            let open = account.holds.values().filter(|hold| hold["state"] == "open");
            let held: i64 = open.map(|hold| number(&hold["amounts"][meter])).sum();
            assert_eq!(number(&limit["held"]), held, "{tenant}: {limit}");
        }
    }
    for ((limit, dimensions), used) in &used {
        let per_user = limit == "ai_messages/lifetime/user";
        assert!(!per_user || *used <= 30, "{tenant}: {limit} {dimensions} is at {used}");
    }
    // Messages, whatever they were taken from.
    if let Some(limit) = account.limits.iter().find(|one| one["limit"] == "ai_messages/lifetime") {
        let granted = account.entries.iter().filter(|entry| entry["kind"] == "grant");
        let granted: i64 = granted.map(|entry| number(&entry["amount"])).sum();
        let charged = account.entries.iter().filter(|entry| entry["kind"] != "grant");
        let charged = charged.filter(|entry| entry["meter"] == "ai_messages");
        let charged: i64 = charged.map(|entry| number(&entry["amount"])).sum();
        let open = account.holds.values().filter(|hold| hold["state"] == "open");
        let held: i64 = open.map(|hold| number(&hold["amounts"]["ai_messages"])).sum();
        let allowed = number(&limit["amount"]) + granted;
        assert!(charged + held <= allowed, "{tenant}: {charged} and {held} of {allowed}");
    }
}

/// A hold is at least where its client was told that it is, and its entries are what it
/// was charged.
fn check_hold(hold: &Value, story: &[&Recorded], entries: &[&Value]) {
    let mut states = BTreeSet::from(["open"]);
    let mut ended: Option<&Value> = None;
    let (mut tokens_low, mut tokens_high) = (0, 0);
    for one in story {
        match (&one.request.ask, one.done()) {
            (Ask::Hold { tokens, ttl_ms, .. }, _) => {
                (tokens_low, tokens_high) = (tokens_low + tokens, tokens_high + tokens);
                if *ttl_ms == SHORT_TTL_MS {
                    states.insert("expired");
                }
            }
            (Ask::Extend { tokens, .. }, done) => {
                tokens_low += if done.is_some() { *tokens } else { 0 };
                tokens_high += if one.was_refused() { 0 } else { *tokens };
            }
            (Ask::Settle { .. } | Ask::Release { .. }, Some(told)) => ended = Some(told),
            (Ask::Settle { .. }, None) if one.told.is_none() => {
                states.insert("settled");
            }
            (Ask::Release { .. }, None) if one.told.is_none() => {
                states.insert("released");
            }
            _ => {}
        }
    }
    if let Some(ended) = ended {
        assert_eq!(hold["state"], ended["state"], "{hold}\nwas told {ended}");
        assert_eq!(hold["charged"], ended["charged"], "{hold}\nwas told {ended}");
    } else {
        let state = text(&hold["state"]);
        // A hold whose own reply did not come has no story.
        assert!(story.is_empty() || states.contains(state), "{hold}\n{story:?}");
    }
    if !story.is_empty() && matches!(story[0].request.ask, Ask::Hold { .. }) {
        let tokens = number(&hold["amounts"]["output_tokens"]);
        let range = tokens_low..=tokens_high;
        assert!(range.contains(&tokens), "{hold}\nextended otherwise: {story:?}");
    }
    check_entries(hold, entries);
}

/// What it was charged is what its entries say, and only one of them ended it.
fn check_entries(hold: &Value, entries: &[&Value]) {
    let ends = entries.iter().filter(|entry| entry["kind"] != "expiry");
    let changes: BTreeSet<i64> = ends.map(|entry| number(&entry["tenant_seq"])).collect();
    assert!(changes.len() <= 1, "{hold}\nended more than once: {entries:?}");
    let mut charged: BTreeMap<&str, i64> = BTreeMap::new();
    for entry in entries {
        *charged.entry(text(&entry["meter"])).or_default() += number(&entry["amount"]);
    }
    for meter in ["ai_messages", "output_tokens", "attempts"] {
        let explained = charged.get(meter).copied().unwrap_or(0);
        assert_eq!(number(&hold["charged"][meter]), explained, "{meter} of {hold}: {entries:?}");
    }
}
