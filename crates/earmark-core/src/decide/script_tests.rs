//! The language of the tables: one command and what it is answered to a line.
//!
//! ```text
//! hold a m:10 n:1..5 user=u1 ttl 60s sent key k1   -> admitted
//! settle a m:7                                     -> charged m:7 returned m:3
//! m/month                                          -> 7+0            (used + held)
//! after 5m
//! ```
//!
//! Every command is executed three times: on an account that has every row, on one that has
//! none and loads what it is told to need, and on one that was kept since the last command.
//! All three must answer the same and leave the same rows, which are then checked against
//! the ledger (R32). So each table also shows that a row that is not loaded never reads as
//! zero.

use std::collections::BTreeMap;

use super::fixture_tests::{Config, Store, read_amount};
use crate::*;

/// When every script begins: a Tuesday.
const BEGIN: &str = "2026-11-24T12:00:00Z";

/// Runs a table; reports every line that is not as it says.
#[track_caller]
pub(super) fn table(config: &str, lines: &str) {
    let mut script = Script::begin(config);
    let mut wrong = String::new();
    for (index, line) in lines.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        let line = line.split(" // ").next().unwrap_or_default();
        let (command, expected) = line.split_once("->").unwrap_or((line, ""));
        let told = script.line(command.trim());
        if !is_told(&told, expected.trim()) {
            let line = index + 1;
            wrong.push_str(&format!(
                "\n{line}: {}\n   expected {}\n   told     {told}\n",
                command.trim(),
                expected.trim()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Of a denial, a hold, an extension and an entry a table may name some words in order; of
/// everything else it names all. `!word`: this one must not be there. No expectation means:
/// not refused.
fn is_told(told: &str, expected: &str) -> bool {
    let in_part = ["admitted", "denied", "would", "extended", "open", "replayed", "expired"];
    if expected.is_empty() {
        return !told.starts_with("denied") && !told.starts_with("refused");
    }
    if in_part.iter().any(|word| expected.starts_with(word)) {
        let mut words = told.split_whitespace();
        return told.split(' ').next() == expected.split(' ').next()
            && expected.split_whitespace().all(|wanted| match wanted.strip_prefix('!') {
                Some(unwanted) => told.split_whitespace().all(|word| word != unwanted),
                None => words.any(|word| word == wanted),
            });
    }
    told == expected
}

/// One tenant, its store and its clock.
pub(super) struct Script {
    config: Config,
    pub(super) catalog: Catalog,
    pub(super) store: Store,
    pub(super) id: TenantId,
    kept: Account,
    pub(super) clock: TimestampMs,
    names: BTreeMap<String, u128>,
    ids: u128,
    entries_seen: usize,
    events_seen: usize,
}

impl Script {
    /// A tenant on the first plan, or none where the configuration begins with `nobody`.
    pub(super) fn begin(config: &str) -> Self {
        let (nobody, text) = match config.trim().strip_prefix("nobody") {
            Some(text) => (true, text),
            None => (false, config),
        };
        let mut config = Config::default();
        config.read(text);
        let id: TenantId = "acme".parse().unwrap();
        let mut script = Self {
            catalog: config.catalog(),
            config,
            store: Store::default(),
            kept: Account::new(id.clone()),
            id,
            clock: BEGIN.parse().unwrap(),
            names: BTreeMap::new(),
            ids: 0,
            entries_seen: 0,
            events_seen: 0,
        };
        if !nobody {
            let plan = script.config.first_plan.clone().unwrap();
            assert_eq!(script.line(&format!("put {plan}")), "created");
        }
        script.entries_seen = script.store.entries.len();
        script
    }

    /// Executes one command or looks at something; returns it as text.
    pub(super) fn line(&mut self, line: &str) -> String {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "at" => self.clock = rest.parse().unwrap(),
            "after" => self.clock = self.clock.plus(span_ms(rest)),
            "back" => self.clock = self.clock.plus(-span_ms(rest)),
            "take" => self.store.take_away(),
            "edit" => {
                self.config.read(rest);
                self.catalog = self.config.catalog();
            }
            "prune" => {
                let key: IdempotencyKey = rest.parse().unwrap();
                self.store.keys.retain(|(have, _)| *have != key);
                self.kept = Account::new(self.id.clone());
            }
            "forget" => {
                let id = self.hold_id(rest);
                self.store.holds.remove(&id);
                self.kept = Account::new(self.id.clone());
            }
            "entries" => return self.new_entries(),
            "events" => return self.new_events(),
            "seq" => return self.store.tenant.as_ref().map_or(0, |t| t.seq).to_string(),
            "tenant" => return self.show_tenant(),
            "window" => return self.show_window(rest),
            "left" => return self.show_grant(rest),
            "rows" => return self.count_rows(rest),
            "refuse" => return self.refuse(rest),
            _ if verb.contains('/') => return self.show_counter(line),
            _ => return self.command(verb, rest),
        }
        String::new()
    }

    // ── commands ─────────────────────────────────────────────────────────────────────────

    fn command(&mut self, verb: &str, rest: &str) -> String {
        let words = Words::read(rest);
        let id = self.ids + 1;
        let operation = self.operation(verb, &words, id);
        let key = words.key.as_ref().map(|key| KeyUse {
            key: key.parse().unwrap(),
            digest: digest(&operation.request_bytes()),
        });
        let command = Command { operation, key, may_create: words.has("create") };
        let seq = self.seq();
        let execution = self.execute(&command);
        if let (Execution::Done(answer), "hold" | "grant") = (&execution, verb)
            && !answer.replayed
        {
            self.ids = id;
            self.names.insert(words.plain[0].clone(), id);
        }
        let changed = self.seq() != seq;
        self.tell(verb, &execution, changed)
    }

    fn operation(&mut self, verb: &str, words: &Words, id: u128) -> Operation {
        let dimensions = words.dimensions.clone();
        let amounts = words.amounts.clone();
        let name = words.plain.first().map(String::as_str).unwrap_or_default();
        match verb {
            "hold" => Operation::Hold(HoldRequest {
                id: HoldId(id),
                id_is_fresh: false,
                amounts,
                meters: MetersAsked::All,
                dimensions,
                ttl: words.ttl,
                dispatched: words.has("sent"),
                metadata: None,
            }),
            "settle" => Operation::Settle {
                hold: self.hold_id(name),
                amounts: amounts.into_iter().map(|(meter, range)| (meter, range.max())).collect(),
                metadata: None,
            },
            "release" => Operation::Release {
                hold: self.hold_id(name),
                unsent: words.has("unsent"),
                reason: None,
            },
            "extend" => Operation::Extend(ExtendRequest {
                hold: self.hold_id(name),
                ttl: words.ttl,
                amounts,
                dispatched: words.has("sent"),
            }),
            "charge" => Operation::Charge { amounts, dimensions, metadata: None },
            "check" => Operation::Check { amounts, dimensions },
            "look" => Operation::Look { hold: self.hold_id(name) },
            "usage" => Operation::Usage { dimensions },
            "grant" => Operation::Grant(GrantRequest {
                id: GrantId(id),
                meter: amounts[0].0.clone(),
                amount: amounts[0].1.max(),
                priority: words.priority,
                expires: words.expires_ms.map(|span| self.clock.plus(span)),
                reason: None,
                author: None,
            }),
            "adjust" => Operation::Adjust(AdjustRequest {
                limit: name.parse().unwrap(),
                dimensions,
                delta: words.plain[1].parse().unwrap(),
                reason: None,
                author: None,
            }),
            _ => self.control(verb, words, name),
        }
    }

    fn control(&self, verb: &str, words: &Words, name: &str) -> Operation {
        let mut patch = TenantPatch::default();
        match verb {
            "restart" => {
                let windows = words.plain.iter().map(|kind| CalendarKind::parse(kind).unwrap());
                return Operation::Restart { windows: windows.collect(), author: None };
            }
            "put" => {
                let fields = TenantFields::on(name.parse().unwrap());
                return Operation::PutTenant { fields, author: None };
            }
            "repair" => return Operation::RepairClock { author: None },
            "erase" => return Operation::Erase { author: None },
            "finish" => return Operation::FinishErasure { author: None },
            "sweep" => return Operation::Sweep,
            "plan" => patch.plan = Some(name.parse().unwrap()),
            "suspend" => patch.status = Some(TenantStatus::Suspended),
            "activate" => patch.status = Some(TenantStatus::Active),
            "zone" => patch.zone = Some(Zone::new(name).unwrap()),
            "anchor" => patch.anchor = Some((name != "none").then(|| name.parse().unwrap())),
            "override" if name == "none" => patch.overrides = Some(Vec::new()),
            "override" => {
                let amount = words.plain[1].as_str();
                patch.overrides = Some(vec![Override {
                    limit: name.parse().unwrap(),
                    amount: (amount != "unlimited").then(|| read_amount(amount)),
                    until: words.expires_ms.map(|span| self.clock.plus(span)),
                }]);
            }
            other => panic!("no such command: {other}"),
        }
        Operation::PatchTenant { patch, author: None }
    }

    /// Executes on three accounts, demands one answer and commits it.
    pub(super) fn execute(&mut self, command: &Command) -> Execution {
        let now = self.clock;
        let mut all = self.store.all_loaded(&self.id, now);
        let mut none = Account::new(self.id.clone());
        let first = execute(&mut none, &self.catalog, command, now);
        assert!(matches!(first, Execution::Need(_)), "answered from nothing: {first:?}");
        if self.store.has_due(now) {
            self.store.offer_due(&mut none, now);
            self.store.offer_due(&mut self.kept, now);
        }
        let told = run(&mut all, &self.catalog, &self.store, command, now);
        let from_none = run(&mut none, &self.catalog, &self.store, command, now);
        let from_kept = run(&mut self.kept, &self.catalog, &self.store, command, now);
        assert_eq!(from_none, told, "loaded step by step, and all loaded");
        assert_eq!(from_kept, told, "kept since the last command, and all loaded");
        let mut from_none = self.store.clone();
        from_none.write(&none);
        let mut from_kept = self.store.clone();
        from_kept.write(&self.kept);
        self.store.write(&all);
        self.kept.committed(1);
        self.kept.forget(1);
        assert_eq!(from_none, self.store, "rows of the account loaded step by step");
        assert_eq!(from_kept, self.store, "rows of the kept account");
        if let Execution::Done(answer) = &told
            && let (Outcome::Hold(hold), false) = (&answer.outcome, answer.replayed)
            && matches!(command.operation, Operation::Hold(_))
        {
            self.check_never_over(hold, now);
        }
        self.store.audit(now.max(self.store.tenant.as_ref().map_or(now, |tenant| tenant.last)));
        told
    }

    /// Admitting never makes `used + held` exceed a hard limit (R12).
    fn check_never_over(&self, hold: &Hold, clock: TimestampMs) {
        let tenant = self.store.tenant.as_ref().unwrap();
        let now = clock.max(tenant.last);
        let plan = self.catalog.plan(&tenant.plan).unwrap();
        for leg in hold.parts.iter().flat_map(|part| &part.meters).flat_map(|m| &m.counters) {
            let limit = plan.limit(&leg.counter.limit).unwrap();
            let amount = tenant.amount_of(&limit.name, limit.amount, now);
            let Some(amount) = amount.filter(|_| limit.mode == Mode::Hard) else { continue };
            let counter = self.store.counters.get(&leg.counter);
            let (used, held) = counter.map_or((0, 0), |c| (c.used_at(now), c.held));
            assert!(leg.amount.is_zero() || used + held <= amount.get(), "over: {leg:?}");
        }
    }

    /// Counts a refusal on a counter, as an engine does after a denial.
    fn refuse(&mut self, rest: &str) -> String {
        let key = self.counter_key(rest);
        let now = self.clock;
        let mut account = self.store.all_loaded(&self.id, now);
        let need = Need { counters: vec![key.clone()], ..Need::default() };
        let unknown = Account::new(self.id.clone());
        assert!(denied_effects(&unknown, &self.catalog, &key, 1, now).is_empty());
        self.store.fill(&mut account, &need, now);
        let effects = denied_effects(&account, &self.catalog, &key, 1, now);
        let told = effects.iter().any(|effect| matches!(effect, effect::Effect::Event(_)));
        let counted = !effects.is_empty();
        for effect in effects {
            effect::apply(&mut account, now, effect);
        }
        self.store.write(&account);
        self.kept = Account::new(self.id.clone());
        match (counted, told) {
            (true, true) => "counted and told".into(),
            (true, false) => "counted".into(),
            _ => "not counted".into(),
        }
    }

    pub(super) fn hold_id(&self, name: &str) -> HoldId {
        HoldId(self.names.get(name).copied().unwrap_or(u128::MAX - 1))
    }

    fn seq(&self) -> i64 {
        self.store.tenant.as_ref().map_or(0, |tenant| tenant.seq)
    }

    // ── what a table looks at ────────────────────────────────────────────────────────────

    fn counter_key(&self, text: &str) -> CounterKey {
        let words = Words::read(text);
        let (limit, label) = match words.plain[0].split_once('@') {
            Some((limit, label)) => (limit, Some(label)),
            None => (words.plain[0].as_str(), None),
        };
        let limit: LimitName = limit.parse().unwrap();
        let identity = self.catalog.identity(&limit).unwrap();
        let tenant = self.store.tenant.as_ref().unwrap();
        let windows = tenant.windows.at(self.clock, &tenant.calendar);
        let window = match label {
            Some(label) => label.parse().unwrap(),
            None => identity.window.label(&windows, self.clock),
        };
        let dimensions = DimensionKey::of(&identity.per, &words.dimensions);
        CounterKey { limit, dimensions, window }
    }

    fn show_counter(&self, text: &str) -> String {
        match self.store.counters.get(&self.counter_key(text)) {
            None => "no row".into(),
            Some(counter) => {
                let denied = match counter.denied {
                    0 => String::new(),
                    denied => format!(" denied {denied}"),
                };
                format!("{}+{}{denied}", counter.used_at(self.clock), counter.held)
            }
        }
    }

    fn count_rows(&self, limit: &str) -> String {
        let of_limit = self.store.counters.keys().filter(|key| key.limit.as_str() == limit);
        of_limit.count().to_string()
    }

    fn show_grant(&self, name: &str) -> String {
        let grant = &self.store.grants[&GrantId(self.names[name])];
        let mut text = format!("{}+{} left {}", grant.used, grant.held, grant.left());
        if grant.expired {
            text.push_str(&format!(" lapsed {}", grant.lapsed));
        }
        text
    }

    fn show_tenant(&self) -> String {
        match &self.store.tenant {
            None => "none".into(),
            Some(tenant) => format!("{} {}", tenant.plan, tenant.status.as_str()),
        }
    }

    fn show_window(&self, kind: &str) -> String {
        let tenant = self.store.tenant.as_ref().unwrap();
        let windows = tenant.windows.at(self.clock, &tenant.calendar);
        let window = windows.get(CalendarKind::parse(kind).unwrap());
        format!("{} to {}", window.label, window.end)
    }

    fn grant_name(&self, id: GrantId) -> &str {
        self.names.iter().find(|(_, have)| **have == id.0).map_or("?", |(name, _)| name.as_str())
    }

    fn new_entries(&mut self) -> String {
        let entries = &self.store.entries[self.entries_seen..];
        let texts: Vec<String> = entries.iter().map(|entry| self.entry_text(entry)).collect();
        self.entries_seen = self.store.entries.len();
        if texts.is_empty() { "none".into() } else { texts.join("; ") }
    }

    fn entry_text(&self, entry: &Entry) -> String {
        let mut text = entry.kind.as_str().to_owned();
        if let Some(meter) = &entry.meter {
            text.push_str(&format!(" {meter}{:+}", entry.amount));
        }
        for delta in &entry.counters {
            let dimensions = match delta.counter.dimensions.as_str() {
                "" => String::new(),
                values => format!("{{{values}}}"),
            };
            text.push_str(&format!(" {}{dimensions}{:+}", delta.counter.limit, delta.delta));
        }
        for delta in &entry.grants {
            text.push_str(&format!(" {}{:+}", self.grant_name(delta.grant), delta.delta));
        }
        if entry.late {
            text.push_str(" late");
        }
        if entry.overrun > 0 {
            text.push_str(&format!(" overrun {}", entry.overrun));
        }
        if let Some(detail) = &entry.detail {
            text.push_str(&format!(" {detail}"));
        }
        text
    }

    fn new_events(&mut self) -> String {
        let events = &self.store.events[self.events_seen..];
        let text = |event: &Event| {
            let what = match event.kind {
                EventKind::LimitReached(threshold) => threshold.to_string(),
                EventKind::LimitDenied => "denied".into(),
            };
            format!("{} {what} {}/{}", event.counter.limit, event.used, event.amount)
        };
        let texts: Vec<String> = events.iter().map(text).collect();
        let ids: std::collections::BTreeSet<_> = self.store.events.iter().map(Event::id).collect();
        assert_eq!(ids.len(), self.store.events.len(), "every event has an id of its own");
        self.events_seen = self.store.events.len();
        if texts.is_empty() { "none".into() } else { texts.join("; ") }
    }

    // ── answers as text ──────────────────────────────────────────────────────────────────

    fn tell(&self, verb: &str, execution: &Execution, changed: bool) -> String {
        let now = self.clock;
        match execution {
            Execution::Need(need) => panic!("still needs {need:?}"),
            Execution::Denied(denial) => format!("denied {}", denial_text(denial, now)),
            Execution::Refused(error) => {
                let text = format!("{error:?}");
                let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
                format!("refused {}", &text[..end])
            }
            Execution::Done(answer) => {
                let over = answer.limits.iter().any(LimitState::is_over);
                let replayed = if answer.replayed { "replayed " } else { "" };
                let told = self.outcome_text(verb, answer, changed);
                format!("{replayed}{told}{}", if over { " over" } else { "" })
            }
        }
    }

    fn outcome_text(&self, verb: &str, answer: &Answer, changed: bool) -> String {
        match &answer.outcome {
            Outcome::Hold(hold) => {
                let state = match hold.state {
                    HoldState::Open if verb == "hold" && !answer.replayed => "admitted",
                    HoldState::Open => "open",
                    HoldState::Settled(_) => "settled",
                    HoldState::Released(_) => "released",
                    HoldState::Expired(_) => "expired",
                };
                let sent = if hold.dispatched { " sent" } else { "" };
                let parts = hold.parts.len();
                let until = until_text(hold.expires, answer.now);
                format!(
                    "{state} {} until {until}{sent} parts {parts}",
                    amounts_text(&hold.amounts())
                )
            }
            Outcome::Ended { charged, returned, overrun, late, .. } => {
                let mut text = Vec::new();
                for (word, amounts) in
                    [("charged", charged), ("returned", returned), ("overrun", overrun)]
                {
                    let amounts: Vec<_> =
                        amounts.iter().filter(|(_, amount)| !amount.is_zero()).cloned().collect();
                    if !amounts.is_empty() {
                        text.push(format!("{word} {}", amounts_text(&amounts)));
                    }
                }
                text.extend(late.then(|| "late".to_owned()));
                if text.is_empty() { "nothing".into() } else { text.join(" ") }
            }
            Outcome::Extended { amounts, expires, .. } => {
                let until = until_text(*expires, answer.now);
                format!(
                    "extended {} until {until} limits {}",
                    amounts_text(amounts),
                    answer.limits.len()
                )
            }
            Outcome::Charged { charged, .. } => format!("charged {}", amounts_text(charged)),
            Outcome::Checked { result: Ok(taken) } => format!("would take {}", amounts_text(taken)),
            Outcome::Checked { result: Err(denial) } => {
                format!("would deny {}", denial_text(denial, answer.now))
            }
            Outcome::Usage { .. } => {
                let texts: Vec<_> = answer.limits.iter().map(limit_text).collect();
                texts.join("; ")
            }
            Outcome::Granted { .. } => format!("granted limits {}", answer.limits.len()),
            Outcome::Adjusted { applied } => format!("adjusted {applied:+}"),
            Outcome::Restarted { windows } => {
                let texts: Vec<_> =
                    windows.iter().map(|(kind, l)| format!("{} {l}", kind.as_str())).collect();
                texts.join(", ")
            }
            Outcome::Tenant { created: true, .. } => "created".into(),
            Outcome::Tenant { .. } if changed => "changed".into(),
            Outcome::Tenant { .. } => "unchanged".into(),
            Outcome::Swept => "swept".into(),
        }
    }
}

pub(super) fn run(
    account: &mut Account,
    catalog: &Catalog,
    store: &Store,
    command: &Command,
    now: TimestampMs,
) -> Execution {
    for _ in 0..100 {
        match execute(account, catalog, command, now) {
            Execution::Need(need) => {
                assert!(!need.is_empty(), "needs nothing, yet is not decided");
                store.fill(account, &need, now);
            }
            told => return told,
        }
    }
    panic!("never has what it needs: {command:?}");
}

fn denial_text(denial: &Denial, now: TimestampMs) -> String {
    let mut text = denial.code.to_string();
    if let Some(limit) = &denial.limit {
        text.push_str(&format!(" {}", limit_text(limit)));
        if limit.granted > 0 {
            text.push_str(&format!(" granted {}", limit.granted));
        }
        let remaining = limit.remaining().map_or("unlimited".into(), |r| r.to_string());
        text.push_str(&format!(" remaining {remaining}"));
        if let Some(at) = limit.resets_at {
            text.push_str(&format!(" resets {}", until_text(at, now)));
        }
    } else if let Some(meter) = &denial.meter {
        text.push_str(&format!(" {meter}"));
    }
    let retry = match denial.retry(now) {
        Retry::Soon => "soon".into(),
        Retry::AfterMs(ms) => until_text(now.plus(ms), now),
        Retry::Never => "never".into(),
    };
    text.push_str(&format!(" retry {retry} seq {}", denial.seq));
    text
}

/// `m/minute{user=u1} 49+1/50`: used, held, limit.
fn limit_text(limit: &LimitState) -> String {
    let dimensions = match limit.dimensions.as_str() {
        "" => String::new(),
        values => format!("{{{values}}}"),
    };
    let amount = limit.amount.map_or("unlimited".into(), |amount| amount.to_string());
    format!("{}{dimensions} {}+{}/{amount}", limit.limit, limit.used, limit.held)
}

fn amounts_text(amounts: &[(MeterName, Amount)]) -> String {
    let texts: Vec<_> = amounts.iter().map(|(meter, amount)| format!("{meter}:{amount}")).collect();
    texts.join(" ")
}

fn until_text(at: TimestampMs, now: TimestampMs) -> String {
    match at.since(now) {
        ms if ms % 1_000 == 0 => format!("+{}s", ms / 1_000),
        ms => format!("+{ms}ms"),
    }
}

fn span_ms(text: &str) -> i64 {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        other => panic!("unit {other} in {text}"),
    };
    digits.parse::<i64>().unwrap() * unit_ms
}

/// Any function that tells requests apart will do here.
fn digest(bytes: &[u8]) -> RequestDigest {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&hasher.finish().to_le_bytes());
    digest
}

/// The words after a verb.
struct Words {
    plain: Vec<String>,
    amounts: Vec<(MeterName, AmountRange)>,
    dimensions: Dimensions,
    ttl: Ttl,
    key: Option<String>,
    priority: i32,
    expires_ms: Option<i64>,
}

impl Words {
    fn read(text: &str) -> Self {
        let (mut plain, mut amounts, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
        let mut words = Self {
            plain: Vec::new(),
            amounts: Vec::new(),
            dimensions: Dimensions::default(),
            ttl: Ttl::default(),
            key: None,
            priority: 0,
            expires_ms: None,
        };
        let mut rest = text.split_whitespace();
        while let Some(word) = rest.next() {
            let mut value = || rest.next().unwrap();
            match word {
                "ttl" => words.ttl = Ttl::from_ms(span_ms(value())).unwrap(),
                "key" => words.key = Some(value().to_owned()),
                "priority" => words.priority = value().parse().unwrap(),
                "for" => words.expires_ms = Some(span_ms(value())),
                _ if word.contains('/') => plain.push(word.to_owned()),
                _ if word.contains('=') => {
                    let (name, value) = word.split_once('=').unwrap();
                    let value = DimensionValue::new(value).unwrap();
                    pairs.push((name.parse().unwrap(), value));
                }
                _ if word.contains(':') => {
                    let (meter, amount) = word.split_once(':').unwrap();
                    let (min, max) = amount.split_once("..").unwrap_or((amount, amount));
                    let range = AmountRange::new(read_amount(min), read_amount(max)).unwrap();
                    amounts.push((meter.parse().unwrap(), range));
                }
                _ => plain.push(word.to_owned()),
            }
        }
        words.dimensions = Dimensions::new(pairs).unwrap();
        Self { plain, amounts, ..words }
    }

    fn has(&self, word: &str) -> bool {
        self.plain.iter().any(|have| have == word)
    }
}
