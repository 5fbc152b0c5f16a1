// OpenAI's Node SDK, unchanged but for base URL and key, against Earmark's gateway.
//
// Needs EARMARK_URL, EARMARK_ADMIN_KEY and EARMARK_TENANT_KEY (of the tenant `demo`, on the
// plan `free`: 50 ai_messages a month), as a first start leaves them. Each test has a tenant
// of its own, so none depends on what another has used.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";

const url = process.env.EARMARK_URL;
const adminKey = process.env.EARMARK_ADMIN_KEY;
const demoKey = process.env.EARMARK_TENANT_KEY;
const model = "stand-in";
const limit = 50;
const messages = [{ role: "user", content: "Hello" }];

async function api(method, path, key, body) {
  const reply = await fetch(url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const text = await reply.text();
  assert.ok(reply.ok, `${method} ${path} answered ${reply.status}: ${text}`);
  return JSON.parse(text);
}

function client(apiKey, onRequest = () => {}) {
  const counting = (...request) => {
    onRequest();
    return fetch(...request);
  };
  return new OpenAI({ baseURL: `${url}/openai/v1`, apiKey, fetch: counting, timeout: 30_000 });
}

/** A new tenant on the plan `free`, its SDK client, and a count of the requests sent. */
async function newTenant() {
  const name = `node-${randomUUID().slice(0, 13)}`;
  const path = `/v1/tenants/${name}`;
  await api("PUT", path, adminKey, { plan: "free" });
  const { key } = await api("POST", `${path}/keys`, adminKey, {});
  const tenant = {
    requests: 0,
    chat: (options, request) =>
      tenant.client.chat.completions.create({ model, messages, ...options }, request),
    use: (amount) => api("POST", `${path}/charges`, adminKey, { amounts: { ai_messages: amount } }),
    usage: async () => {
      const { limits } = await api("GET", `${path}/usage`, key);
      const { used, held, remaining } = limits.find((one) => one.limit === "ai_messages/month");
      return { used, held, remaining };
    },
    // Usage once no call is in flight: settling may come just after the reply's end.
    settled: async () => {
      for (let look = 0; look < 200 && (await tenant.usage()).held > 0; look += 1) await sleep(50);
      return tenant.usage();
    },
  };
  tenant.client = client(key, () => (tenant.requests += 1));
  return tenant;
}

const used = (amount) => ({ used: amount, held: 0, remaining: limit - amount });

test("a plain chat counts one message", async () => {
  const tenant = await newTenant();
  assert.deepEqual(await tenant.usage(), used(0));
  const reply = await tenant.chat();
  assert.equal(reply.object, "chat.completion");
  assert.equal(reply.choices[0].message.role, "assistant");
  assert.ok(reply.choices[0].message.content);
  assert.equal(reply.choices[0].finish_reason, "stop");
  assert.deepEqual(await tenant.settled(), used(1));
});

test("a streamed chat counts one message", async () => {
  const tenant = await newTenant();
  let text = "";
  let finish;
  for await (const chunk of await tenant.chat({ stream: true })) {
    assert.equal(chunk.object, "chat.completion.chunk");
    assert.equal(chunk.choices.length, 1, "no usage chunk unless it was asked for");
    text += chunk.choices[0].delta.content ?? "";
    finish = chunk.choices[0].finish_reason ?? finish;
  }
  assert.ok(text);
  assert.equal(finish, "stop");
  assert.deepEqual(await tenant.settled(), used(1));
});

test("the stream helper collects a whole completion", async () => {
  const tenant = await newTenant();
  const reply = await tenant.client.chat.completions
    .stream({ model, messages, stream_options: { include_usage: true } })
    .finalChatCompletion();
  assert.ok(reply.choices[0].message.content);
  assert.ok(reply.usage.total_tokens > 0);
  assert.deepEqual(await tenant.settled(), used(1));
});

test("a cancelled stream counts once and leaves nothing held", async () => {
  const tenant = await newTenant();
  const stream = await tenant.chat({ stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk.choices);
    break;
  }
  stream.controller.abort();
  assert.deepEqual(await tenant.settled(), used(1));
});

test("the demo key works", async () => {
  const reply = await client(demoKey).chat.completions.create({ model, messages });
  assert.ok(reply.choices[0].message.content);
});

test("replies name their hold and what remains", async () => {
  const tenant = await newTenant();
  const { response } = await tenant.chat().withResponse();
  assert.match(response.headers.get("earmark-hold"), /^hold_/);
  assert.equal(response.headers.get("earmark-remaining"), String(limit - 1));
  assert.ok(response.headers.get("earmark-request-id"));
});

test("fifty are answered and the next is refused without a retry", async () => {
  const tenant = await newTenant();
  for (let count = 0; count < limit; count += 1) await tenant.chat();
  assert.deepEqual(await tenant.settled(), used(limit));
  const before = tenant.requests;
  await assert.rejects(tenant.chat(), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError);
    assert.equal(error.code, "insufficient_quota");
    assert.equal(error.type, "insufficient_quota");
    assert.equal(error.headers.get("x-should-retry"), "false");
    assert.equal(error.headers.get("retry-after"), null);
    const { resets_at, ...numbers } = error.error.earmark;
    assert.ok(resets_at);
    assert.equal(numbers.limit, "ai_messages/month");
    assert.deepEqual(
      [numbers.amount, numbers.used, numbers.held, numbers.remaining],
      [limit, limit, 0, 0],
    );
    return true;
  });
  assert.equal(tenant.requests, before + 1, "the SDK must not retry what cannot succeed");
  assert.deepEqual(await tenant.settled(), used(limit));
});

test("a refused stream is refused before it begins", async () => {
  const tenant = await newTenant();
  await tenant.use(limit);
  await assert.rejects(tenant.chat({ stream: true }), { code: "insufficient_quota" });
  assert.equal(tenant.requests, 1);
});

test("of forty calls at once with one message left exactly one is answered", async () => {
  const tenant = await newTenant();
  await tenant.use(limit - 1);
  const calls = Array.from({ length: 40 }, () =>
    tenant.chat({}, { maxRetries: 0 }).then(
      () => "answered",
      (error) => error.code,
    ),
  );
  const outcomes = await Promise.all(calls);
  assert.equal(outcomes.filter((outcome) => outcome === "answered").length, 1);
  const expected = new Set(["answered", "rate_limit_exceeded", "insufficient_quota"]);
  for (const outcome of outcomes) assert.ok(expected.has(outcome), outcome);
  assert.deepEqual(await tenant.settled(), used(limit));
});

test("an idempotency key is good for one call", async () => {
  const tenant = await newTenant();
  const once = { headers: { "Idempotency-Key": "order-17" } };
  await tenant.chat({}, once);
  assert.deepEqual(await tenant.settled(), used(1));
  const before = tenant.requests;
  await assert.rejects(tenant.chat({}, once), { status: 422, code: "key_already_used" });
  assert.equal(tenant.requests, before + 1);
  assert.deepEqual(await tenant.settled(), used(1));
});

test("models are listed", async () => {
  const tenant = await newTenant();
  const models = [];
  for await (const one of tenant.client.models.list()) models.push(one.id);
  assert.ok(models.includes(model));
  assert.deepEqual(await tenant.usage(), used(0));
});

test("an unknown model costs nothing", async () => {
  const tenant = await newTenant();
  await assert.rejects(tenant.chat({ model: "no-such-model" }), (error) => {
    assert.ok(error.status >= 400 && error.status < 500);
    assert.ok(error.error.message);
    return true;
  });
  assert.deepEqual(await tenant.settled(), used(0));
});

test("a wrong key is refused", async () => {
  const call = client("em_tenant_wrong").chat.completions.create({ model, messages });
  await assert.rejects(call, { status: 401, code: "invalid_api_key" });
});

test("an unmetered route is not there", async () => {
  const tenant = await newTenant();
  const refused = (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.ok(error.error.message);
    assert.ok("type" in error.error);
    return true;
  };
  await assert.rejects(tenant.client.files.list(), refused);
  await assert.rejects(tenant.client.images.generate({ model, prompt: "a cat" }), refused);
  assert.deepEqual(await tenant.settled(), used(0));
});
