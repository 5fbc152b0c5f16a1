//! Clients that hold, extend, settle, release, charge and grant until their server is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::recorded::{Ask, LONG_TTL_MS, Recorded, Request, SHORT_TTL_MS};
use crate::running::Api;

/// Clients at once.
const CLIENTS: u64 = 16;

/// Limits that never reset in a test, so that sums need not know about windows.
pub(crate) const CONFIG: &str = r#"
default_plan = "capped"
[meters.ai_messages]
[meters.output_tokens]
[meters.attempts]
refund = false

[plans.capped]
limits = [
  { meter = "ai_messages", amount = 40, window = "lifetime" },
  { meter = "output_tokens", amount = 1000000, window = "lifetime" },
  { meter = "attempts", amount = 1000000, window = "lifetime" },
]

[plans.roomy]
limits = [
  { meter = "ai_messages", amount = 1000000, window = "rolling:24h" },
  { meter = "ai_messages", amount = 30, window = "lifetime", per = ["user"] },
  { meter = "ai_messages", amount = 60, window = "in_flight" },
  { meter = "output_tokens", amount = 1000000, window = "lifetime" },
  { meter = "attempts", amount = 1000000, window = "lifetime" },
]
"#;

/// The tenants of the load; the visitors are created by their first call.
pub(crate) const TENANTS: [(&str, &str); 6] = [
    ("capped-0", "capped"),
    ("capped-1", "capped"),
    ("roomy-0", "roomy"),
    ("roomy-1", "roomy"),
    ("visitor-0", ""),
    ("visitor-1", ""),
];

/// Ids for requests, never twice.
#[derive(Default)]
pub(crate) struct Ids(AtomicU64);

impl Ids {
    pub(crate) fn fresh(&self) -> String {
        format!("request-{}", self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// A load under way.
pub(crate) struct Load {
    clients: JoinSet<Vec<Recorded>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub(crate) fn start(api: &Api, ids: &Arc<Ids>, dice: &mut Dice) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let client = Client {
                api: api.clone(),
                ids: Arc::clone(ids),
                dice: Dice::new(dice.next()),
                recorded: Vec::new(),
            };
            clients.spawn(client.run(Arc::clone(&stop)));
        }
        Self { clients, stop }
    }

    /// Lets the clients finish what they are at; returns all that was recorded.
    pub(crate) async fn ended(self) -> Vec<Recorded> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

struct Client {
    api: Api,
    ids: Arc<Ids>,
    dice: Dice,
    recorded: Vec<Recorded>,
}

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Vec<Recorded> {
        while !stop.load(Ordering::Relaxed) {
            let index = usize::try_from(self.dice.below(TENANTS.len() as u64)).unwrap();
            let tenant = TENANTS[index].0;
            let went_on = match self.dice.below(100) {
                0..60 => self.call(tenant).await,
                60..95 => self.charge(tenant).await,
                _ => {
                    let messages = self.dice.between(1, 4).cast_signed();
                    self.ask(tenant, Ask::Grant { messages }).await.is_some()
                }
            };
            if !went_on {
                break;
            }
        }
        self.recorded
    }

    /// One call of a model: held, sometimes extended, ended one way or another. `false` when
    /// the server is gone.
    async fn call(&mut self, tenant: &str) -> bool {
        let is_short = tenant.starts_with("roomy") && self.dice.percent(8);
        let ttl_ms = if is_short { SHORT_TTL_MS } else { LONG_TTL_MS };
        let mut tokens = self.dice.between(10, 60).cast_signed();
        let user = self.user();
        let Some(told) = self.ask(tenant, Ask::Hold { user, tokens, ttl_ms }).await else {
            return false;
        };
        let Some(hold) = told["hold"].as_str().map(str::to_owned) else { return true };
        if is_short && self.dice.percent(50) {
            return true;
        }
        if !is_short && self.dice.percent(30) {
            let more = self.dice.between(1, 20).cast_signed();
            let ask = Ask::Extend { hold: hold.clone(), tokens: more };
            let Some(told) = self.ask(tenant, ask).await else { return false };
            if told["hold"].is_string() {
                tokens += more;
            }
        }
        let ask = match self.dice.below(100) {
            0..65 => {
                let used = self.dice.between(0, tokens.cast_unsigned()).cast_signed();
                Ask::Settle { hold, tokens: used }
            }
            65..95 => Ask::Release { hold },
            // Left behind by a client that died.
            _ => return true,
        };
        self.ask(tenant, ask).await.is_some()
    }

    async fn charge(&mut self, tenant: &str) -> bool {
        let (user, attempts) = (self.user(), self.dice.between(1, 3).cast_signed());
        self.ask(tenant, Ask::Charge { user, attempts }).await.is_some()
    }

    fn user(&mut self) -> String {
        format!("u{}", self.dice.below(40))
    }

    /// What was answered, refusals included; `None` when no answer came.
    async fn ask(&mut self, tenant: &str, ask: Ask) -> Option<Value> {
        let request = Request { id: self.ids.fresh(), tenant: tenant.to_owned(), ask };
        let recorded = request.send(&self.api, false).await;
        let told = recorded.told.as_ref().map(|told| told.body.clone());
        self.recorded.push(recorded);
        told
    }
}
