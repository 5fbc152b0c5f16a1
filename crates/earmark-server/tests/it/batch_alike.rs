//! A batch answers what single routes answer: random operations done singly on one server and
//! in batches on another one, whose answers and books are then the same.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

use http::Method;
use serde_json::{Map, Value, json};

use crate::world::{ADMIN, Reply, World};

const TENANTS: [&str; 6] = ["acme", "rival", "pro", "team", "new", "bad tenant"];

/// Random choices (splitmix64) from a seed that is printed and can be given.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }

    fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// Holds by the number in which they were made, which is the same on both servers; one server's
/// ids differ from the other's.
#[derive(Default)]
struct Holds {
    ids: Vec<String>,
    numbers: BTreeMap<String, usize>,
}

impl Holds {
    fn id(&self, number: usize) -> String {
        self.ids.get(number).cloned().unwrap_or_else(|| "hold_00000000000000000000000001".into())
    }

    /// An answer as it can be compared: with the numbers of holds for their ids, and without
    /// what names the request.
    fn comparable(&mut self, status: u64, mut body: Value) -> (u64, String) {
        if status == 201
            && let Some(hold) = body["hold"].as_str()
        {
            self.numbers.insert(hold.to_owned(), self.ids.len());
            self.ids.push(hold.to_owned());
        }
        if let Some(problem) = body.as_object_mut() {
            assert_eq!(problem.remove("request_id").is_some(), status >= 400);
        }
        let mut text = body.to_string();
        for (id, number) in &self.numbers {
            text = text.replace(id, &format!("<hold {number}>"));
        }
        (status, text)
    }
}

/// One operation without the id of its hold, which each server has its own of.
#[derive(Debug, Clone)]
struct Step {
    op: &'static str,
    tenant: &'static str,
    hold: Option<usize>,
    key: Option<String>,
    body: Map<String, Value>,
}

impl Step {
    /// On one of that many holds, which are there by now.
    fn random(dice: &mut Dice, holds: usize) -> Self {
        let op =
            dice.of(&["hold", "hold", "hold", "settle", "release", "extend", "charge", "check"]);
        let tenant = TENANTS[if dice.percent(3) { 5 } else { dice.below(5) }];
        let on_hold = ["settle", "release", "extend"].contains(&op);
        let mut body = Map::new();
        if op != "release" && (!on_hold || dice.percent(60)) {
            body.insert("amounts".into(), amounts(dice, op != "settle"));
        }
        if !on_hold && dice.percent(60) {
            let user = dice.of(&["ada", "bob", "eve", ""]);
            body.insert("dimensions".into(), json!({"user": user}));
        }
        if ["hold", "extend"].contains(&op) && dice.percent(40) {
            body.insert("ttl_ms".into(), json!(1_000 + dice.below(60_000)));
            body.insert("dispatched".into(), json!(dice.percent(50)));
        }
        if ["hold", "settle", "charge"].contains(&op) && dice.percent(20) {
            body.insert("metadata".into(), json!({"n": dice.below(9)}));
        }
        if op == "release" {
            body.insert("unsent".into(), json!(dice.percent(50)));
        }
        // Of two things that are wrong, a route tells the one in its path first.
        if tenant != "bad tenant" && dice.percent(5) {
            let (field, value) = wrong(dice);
            body.insert(field.into(), value);
        }
        // The routes of the others ignore a key.
        let takes_key = ["hold", "charge", "extend"].contains(&op);
        Self {
            op,
            tenant,
            // Now and then one that nobody has made, and nobody will.
            hold: on_hold.then(|| {
                if holds == 0 || dice.percent(5) { usize::MAX } else { dice.below(holds) }
            }),
            key: (takes_key && dice.percent(25)).then(|| format!("key-{}", dice.below(6))),
            body,
        }
    }

    async fn alone(&self, world: &World, holds: &mut Holds) -> (u64, String) {
        let below = match (self.op, self.hold) {
            ("hold", _) => "holds".to_owned(),
            (op, Some(hold)) => format!("holds/{}/{op}", holds.id(hold)),
            (op, None) => format!("{op}s"),
        };
        let tenant = self.tenant.replace(' ', "%20");
        let path = format!("/v1/tenants/{tenant}/{below}");
        let mut request = world.request(Method::POST, &path).bearer_auth(ADMIN);
        if let Some(key) = &self.key {
            request = request.header("Idempotency-Key", key);
        }
        let reply = Reply::of(request.body(Value::Object(self.body.clone()).to_string())).await;
        holds.comparable(reply.status.as_u16().into(), reply.body)
    }

    fn in_batch(&self, holds: &Holds) -> Value {
        let mut operation = self.body.clone();
        operation.insert("op".into(), json!(self.op));
        operation.insert("tenant".into(), json!(self.tenant));
        if let Some(hold) = self.hold {
            operation.insert("hold".into(), json!(holds.id(hold)));
        }
        if let Some(key) = &self.key {
            operation.insert("idempotency_key".into(), json!(key));
        }
        Value::Object(operation)
    }
}

fn amounts(dice: &mut Dice, with_ranges: bool) -> Value {
    let mut amounts = Map::new();
    for _ in 0..=dice.below(2) {
        let meter = dice.of(&[
            "ai_messages",
            "ai_messages",
            "output_tokens",
            "calls",
            "attempts",
            "anything",
        ]);
        let most = dice.below(30);
        let range = json!({"min": most / 2, "max": most});
        let amount = if with_ranges && dice.percent(20) { range } else { json!(most) };
        amounts.insert(meter.into(), amount);
    }
    Value::Object(amounts)
}

/// Something that no route takes.
fn wrong(dice: &mut Dice) -> (&'static str, Value) {
    let choices = [
        ("amounts", json!({"ai_messages": -1})),
        ("amounts", json!({"gold": 1})),
        ("amounts", json!({"AI": 1})),
        ("amounts", json!({})),
        ("amounts", json!(7)),
        ("dimensions", json!({"user": 5})),
        ("surprise", json!(1)),
        ("ttl_ms", json!(1)),
        ("metadata", json!("text")),
        ("reason", json!("a\nb")),
    ];
    choices[dice.below(choices.len())].clone()
}

/// The field of a problem without the place of its operation.
fn without_place(index: usize, mut result: Value) -> Value {
    if let Some(field) = result["body"]["field"].as_str() {
        let place = format!("operations[{index}]");
        let field = field.strip_prefix(&place).unwrap_or_else(|| panic!("{field} at {index}"));
        result["body"]["field"] = json!(field.strip_prefix('.').unwrap_or("body"));
    }
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_of_a_batch_is_answered_as_its_own_route_answers_it() {
    let given = std::env::var("EARMARK_BATCH_SEED").ok().and_then(|text| text.parse().ok());
    let fresh = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    let seed = given.unwrap_or_else(fresh);
    println!("to choose alike again: EARMARK_BATCH_SEED={seed}");
    let mut dice = Dice(seed);
    let (single, batched) = (World::new().await, World::new().await);
    let (mut single_holds, mut batched_holds) = (Holds::default(), Holds::default());
    let mut statuses = BTreeMap::<u64, usize>::new();
    for _ in 0..40 {
        let known = single_holds.ids.len();
        let steps: Vec<_> =
            (0..1 + dice.below(40)).map(|_| Step::random(&mut dice, known)).collect();
        let operations: Vec<_> = steps.iter().map(|step| step.in_batch(&batched_holds)).collect();
        let body = json!({"operations": operations, "limits": true});
        let reply = batched.post("/v1/batch", body).await.expect(200);
        let results = reply.body["results"].as_array().unwrap();
        assert_eq!(results.len(), steps.len());
        for (index, (step, result)) in steps.iter().zip(results).enumerate() {
            let mut result = without_place(index, result.clone());
            let status = result["status"].as_u64().unwrap();
            let in_batch = batched_holds.comparable(status, result["body"].take());
            let alone = step.alone(&single, &mut single_holds).await;
            assert_eq!(in_batch, alone, "{index}: {step:?}");
            *statuses.entry(status).or_default() += 1;
        }
        let ms = i64::try_from(dice.below(20_000)).unwrap();
        single.clock.advance_ms(ms);
        batched.clock.advance_ms(ms);
    }
    for status in [200, 201, 404, 422, 429] {
        assert!(statuses.contains_key(&status), "{statuses:?}");
    }
    for tenant in &TENANTS[..5] {
        for what in ["usage?user=ada", "entries?count=200"] {
            let path = format!("/v1/tenants/{tenant}/{what}");
            let (alone, in_batch) = (single.get(&path).await, batched.get(&path).await);
            let alone = single_holds.comparable(200, alone.body);
            assert_eq!(batched_holds.comparable(200, in_batch.body), alone, "{path}");
        }
    }
}
