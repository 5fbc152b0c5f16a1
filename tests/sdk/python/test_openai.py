"""OpenAI's Python SDK, unchanged but for base URL and key, against Earmark's gateway.

Needs EARMARK_URL, EARMARK_ADMIN_KEY and EARMARK_TENANT_KEY (of the tenant `demo`, on the plan
`free`: 50 ai_messages a month), as a first start leaves them. Each test has a tenant of its
own, so none depends on what another has used.
"""

import json
import os
import threading
import time
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

URL = os.environ["EARMARK_URL"]
ADMIN_KEY = os.environ["EARMARK_ADMIN_KEY"]
DEMO_KEY = os.environ["EARMARK_TENANT_KEY"]
MODEL = "stand-in"
LIMIT = 50
HELLO = [{"role": "user", "content": "Hello"}]


def api(method, path, key, body=None):
    """Calls Earmark's own API and returns the parsed reply."""
    request = urllib.request.Request(
        URL + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.load(reply)


class Tenant:
    """A new tenant on the plan `free`, its SDK client, and a count of the requests sent."""

    def __init__(self):
        self.name = f"python-{uuid.uuid4().hex[:12]}"
        api("PUT", f"/v1/tenants/{self.name}", ADMIN_KEY, {"plan": "free"})
        self.key = api("POST", f"/v1/tenants/{self.name}/keys", ADMIN_KEY, {})["key"]
        self.requests = 0
        self.lock = threading.Lock()
        self.client = client(self.key, self.count)

    def count(self, _request):
        with self.lock:
            self.requests += 1

    def chat(self, **options):
        return self.client.chat.completions.create(model=MODEL, messages=HELLO, **options)

    def use(self, amount):
        """Uses up messages without calling a model."""
        amounts = {"amounts": {"ai_messages": amount}}
        api("POST", f"/v1/tenants/{self.name}/charges", ADMIN_KEY, amounts)

    def usage(self):
        limits = api("GET", f"/v1/tenants/{self.name}/usage", self.key)["limits"]
        return next(limit for limit in limits if limit["limit"] == "ai_messages/month")

    def counts(self):
        usage = self.usage()
        return usage["used"], usage["held"], usage["remaining"]

    def settled(self):
        """Usage once no call is in flight: settling may come just after the reply's end."""
        for _ in range(200):
            if self.usage()["held"] == 0:
                break
            time.sleep(0.05)
        return self.counts()


def client(key, on_request=None):
    hooks = {"request": [on_request] if on_request else []}
    return openai.OpenAI(
        base_url=f"{URL}/openai/v1",
        timeout=30,
        api_key=key,
        http_client=openai.DefaultHttpxClient(event_hooks=hooks),
    )


@pytest.fixture
def tenant():
    return Tenant()


def test_a_plain_chat_counts_one_message(tenant):
    assert tenant.counts() == (0, 0, LIMIT)
    reply = tenant.chat()
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert tenant.settled() == (1, 0, LIMIT - 1)


def test_a_streamed_chat_counts_one_message(tenant):
    text, finish = "", None
    for chunk in tenant.chat(stream=True):
        assert chunk.object == "chat.completion.chunk"
        assert chunk.choices, "no usage chunk unless it was asked for"
        text += chunk.choices[0].delta.content or ""
        finish = chunk.choices[0].finish_reason or finish
    assert text
    assert finish == "stop"
    assert tenant.settled() == (1, 0, LIMIT - 1)


def test_a_stream_that_asks_for_usage_gets_it_last(tenant):
    chunks = list(tenant.chat(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0
    assert tenant.settled() == (1, 0, LIMIT - 1)


def test_a_cancelled_stream_counts_once_and_leaves_nothing_held(tenant):
    stream = tenant.chat(stream=True)
    next(iter(stream))
    stream.close()
    assert tenant.settled() == (1, 0, LIMIT - 1)


def test_the_demo_key_works():
    reply = client(DEMO_KEY).chat.completions.create(model=MODEL, messages=HELLO)
    assert reply.choices[0].message.content


def test_replies_name_their_hold_and_what_remains(tenant):
    raw = tenant.client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO)
    assert raw.headers["earmark-hold"].startswith("hold_")
    assert raw.headers["earmark-remaining"] == str(LIMIT - 1)
    assert raw.headers["earmark-request-id"]


def test_fifty_are_answered_and_the_next_is_refused_without_a_retry(tenant):
    for _ in range(LIMIT):
        tenant.chat()
    assert tenant.settled() == (LIMIT, 0, 0)
    before = tenant.requests
    with pytest.raises(openai.RateLimitError) as refused:
        tenant.chat()
    assert tenant.requests == before + 1, "the SDK must not retry what cannot succeed"
    assert refused.value.code == "insufficient_quota"
    assert refused.value.type == "insufficient_quota"
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.value.response.headers
    limit = refused.value.response.json()["error"]["earmark"]
    assert limit["limit"] == "ai_messages/month"
    assert (limit["amount"], limit["used"], limit["held"], limit["remaining"]) == (LIMIT, LIMIT, 0, 0)
    assert limit["resets_at"]
    assert tenant.settled() == (LIMIT, 0, 0)


def test_a_refused_stream_is_refused_before_it_begins(tenant):
    tenant.use(LIMIT)
    with pytest.raises(openai.RateLimitError) as refused:
        tenant.chat(stream=True)
    assert refused.value.code == "insufficient_quota"
    assert tenant.requests == 1


def test_of_forty_calls_at_once_with_one_message_left_exactly_one_is_answered(tenant):
    tenant.use(LIMIT - 1)
    impatient = tenant.client.with_options(max_retries=0)

    def chat(_):
        try:
            impatient.chat.completions.create(model=MODEL, messages=HELLO)
            return "answered"
        except openai.RateLimitError as error:
            return error.code

    with ThreadPoolExecutor(40) as pool:
        outcomes = list(pool.map(chat, range(40)))
    assert outcomes.count("answered") == 1
    assert set(outcomes) <= {"answered", "rate_limit_exceeded", "insufficient_quota"}
    assert tenant.settled() == (LIMIT, 0, 0)


def test_an_idempotency_key_is_good_for_one_call(tenant):
    once = {"extra_headers": {"Idempotency-Key": "order-17"}}
    tenant.chat(**once)
    assert tenant.settled() == (1, 0, LIMIT - 1)
    before = tenant.requests
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        tenant.chat(**once)
    assert refused.value.code == "key_already_used"
    assert tenant.requests == before + 1
    assert tenant.settled() == (1, 0, LIMIT - 1)


def test_models_are_listed(tenant):
    models = [model.id for model in tenant.client.models.list()]
    assert MODEL in models
    assert tenant.counts() == (0, 0, LIMIT)


def test_an_unknown_model_costs_nothing(tenant):
    with pytest.raises(openai.APIStatusError) as refused:
        tenant.client.chat.completions.create(model="no-such-model", messages=HELLO)
    assert 400 <= refused.value.status_code < 500
    assert refused.value.body["message"]
    assert tenant.settled() == (0, 0, LIMIT)


def test_a_request_without_messages_costs_nothing(tenant):
    with pytest.raises(openai.APIStatusError) as refused:
        tenant.client.post("/chat/completions", body={"model": MODEL}, cast_to=object)
    assert 400 <= refused.value.status_code < 500
    assert tenant.settled() == (0, 0, LIMIT)


def test_a_wrong_key_is_refused():
    with pytest.raises(openai.AuthenticationError) as refused:
        client("em_tenant_wrong").chat.completions.create(model=MODEL, messages=HELLO)
    assert refused.value.status_code == 401
    assert refused.value.code == "invalid_api_key"


@pytest.mark.parametrize("call", ["files", "images"])
def test_an_unmetered_route_is_not_there(tenant, call):
    with pytest.raises(openai.NotFoundError) as refused:
        if call == "files":
            tenant.client.files.list()
        else:
            tenant.client.images.generate(model=MODEL, prompt="a cat")
    assert refused.value.body["message"]
    assert "type" in refused.value.body
    assert tenant.settled() == (0, 0, LIMIT)
