//! The gateway's routes: a hold, a call, a reply, and the hold's end.
//!
//! ```text
//! chat ─► parse ─► upstream ─► admission: plan, meters, hold ─┬─► denied: error or message
//!                                                             └─► task: call, relay, end
//! ```
//!
//! The handler of a request may be dropped at any time. Until the task is spawned the hold is in
//! a guard ([`held::Held`]) that gives it back; from then on the task ends it.
//!
//! Always holds: the upstream is called only with a fresh hold (R30), so never when the store
//! does not answer (R39); a provider-shaped body sets no dimension but the model, whose name is
//! the configured one (R3).
//! Not here: who the caller is (the server authenticates), request ids, metrics.

mod admission;
mod held;
mod message;
mod meters;
mod refusal;

use std::{future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use earmark_core::{
    Denial, DenialCode, DimensionName, DimensionValue, Dimensions, HoldId, IdempotencyKey,
    LimitState, Mode, OnDenied, TenantId, TimestampMs, Ttl, Window,
};
use earmark_engine::Quota;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tokio_util::task::TaskTracker;

use self::{
    admission::{Admitted, Asked, NotAdmitted},
    held::new_hold_id,
};
use crate::{
    bounds::REQUEST_BYTES_MAX,
    openai::{
        completion::{Completion, denied_reply},
        error::{OpenAiError, Problem},
        models::{ListedModel, model_body, models_body},
        observer::ChatObserver,
        request::ChatRequest,
    },
    relay::{CallReport, ClientBody, NoReply, OnClientLeft, RelaySettings, relay},
    upstream::{Route, Upstreams},
};

/// Every reply of the gateway.
pub type Reply = Response<ClientBody>;

/// The hold of the call.
const HOLD: HeaderName = HeaderName::from_static("earmark-hold");
/// What the tightest hard limit has left.
const REMAINING: HeaderName = HeaderName::from_static("earmark-remaining");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Who calls: the server has authenticated it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The tenant that pays.
    pub tenant: TenantId,
    /// The user that the key is bound to, or that a trusted caller named.
    pub user: Option<String>,
    /// The key's public id.
    pub key_id: Option<String>,
    /// Whether an unknown tenant may be created on the default plan (R27).
    pub may_create: bool,
}

/// The operator's choices for all calls.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// How long a hold outlives a dead gateway. It is extended while the call lives.
    pub hold_ttl: Ttl,
    /// What becomes of the upstream's reply when the client leaves.
    pub on_client_left: OnClientLeft,
    /// Unix time in seconds that the list of models gives as their creation.
    pub models_created_s: u64,
    /// Id of a key whose calls reach the built-in stand-in only: the demo key is printed, so it
    /// must not spend money.
    pub stand_in_only_key_id: Option<String>,
}

impl Default for GatewayOptions {
    fn default() -> GatewayOptions {
        GatewayOptions {
            hold_ttl: Ttl::default(),
            on_client_left: OnClientLeft::Cancel,
            models_created_s: 0,
            stand_in_only_key_id: None,
        }
    }
}

/// What a reply was metered by: an extension of replies to calls that had a hold, for headers
/// and logs of the server.
#[derive(Clone, Debug)]
pub struct Metered {
    /// The hold.
    pub hold: HoldId,
    /// The limits that it is on, as they stood when it was made.
    pub limits: Vec<LimitState>,
    /// The store's time of the decision.
    pub now: TimestampMs,
}

/// The gateway. Clones share it.
#[derive(Clone)]
pub struct Gateway {
    quota: Quota,
    upstreams: Arc<Upstreams>,
    options: Arc<GatewayOptions>,
    calls: TaskTracker,
}

/// A chat request that may be held for.
struct Call {
    request: ChatRequest,
    route: Route,
    asked: Asked,
}

impl Gateway {
    /// A gateway over an engine and the configured upstreams.
    #[must_use]
    pub fn new(quota: Quota, upstreams: Upstreams, options: GatewayOptions) -> Gateway {
        Gateway {
            quota,
            upstreams: Arc::new(upstreams),
            options: Arc::new(options),
            calls: TaskTracker::new(),
        }
    }

    /// Answers `POST /openai/v1/chat/completions`. `body` is at most [`REQUEST_BYTES_MAX`].
    ///
    /// Dropping the future tells the call that its client has left, as dropping the reply's body
    /// does later.
    pub async fn chat(&self, caller: Caller, headers: &HeaderMap, body: Bytes) -> Reply {
        // Before the look at the tracker: a drain that begins now waits for this call.
        let _counted = self.calls.token();
        if self.calls.is_closed() {
            let message = "the server is shutting down; try again";
            return refused(OpenAiError::new(Problem::ShuttingDown, message));
        }
        let call = match self.read(&caller, headers, body) {
            Ok(call) => call,
            Err(error) => return refused(error),
        };
        match self.admit(&call.asked).await {
            Ok(admitted) => self.make(call, headers.clone(), admitted).await,
            Err(NotAdmitted::Failed(error)) => refused(error),
            Err(NotAdmitted::Denied { denial, now }) => self.deny(&call.request, &denial, now),
        }
    }

    /// Answers `GET /openai/v1/models`: the models that are configured by their full names.
    #[must_use]
    pub fn models(&self, caller: &Caller) -> Reply {
        let mut models = self.upstreams.listed_models();
        models.retain(|model| self.route(caller, &model.id).is_ok());
        json_reply(models_body(&models, self.options.models_created_s))
    }

    /// Answers `GET /openai/v1/models/{id}`: any model that a call may name.
    #[must_use]
    pub fn model(&self, caller: &Caller, id: &str) -> Reply {
        match self.route(caller, id) {
            Ok(route) => {
                let (id, owned_by) = (id.to_owned(), route.upstream().to_owned());
                let model = ListedModel { id, owned_by };
                json_reply(model_body(&model, self.options.models_created_s))
            }
            Err(error) => refused(error),
        }
    }

    /// Answers a route under the gateway's prefix that is not served: no unmetered back door.
    #[must_use]
    pub fn not_found(path: &str) -> Reply {
        let path: String = path.chars().filter(|letter| !letter.is_control()).take(256).collect();
        let message = format!("{path} is not served by this gateway: it could not be metered");
        refused(OpenAiError::new(Problem::RouteNotFound, message))
    }

    /// Takes no more calls and waits until those in flight have ended and their holds with them,
    /// at most `limit`. Returns whether all have. Those that have not go on: a server that then
    /// breaks their connections off and drains again lets them end as calls whose clients left.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.calls.close();
        tokio::time::timeout(limit, self.calls.wait()).await.is_ok()
    }

    /// Calls in flight, those that wait for a hold included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Everything that can be wrong before anything is held.
    fn read(&self, caller: &Caller, headers: &HeaderMap, body: Bytes) -> Result<Call, OpenAiError> {
        if body.len() > REQUEST_BYTES_MAX {
            let message = format!("the body has more than {REQUEST_BYTES_MAX} bytes");
            return Err(OpenAiError::new(Problem::RequestTooLarge, message));
        }
        let request = ChatRequest::parse(body)?;
        let route = self.route(caller, request.model())?;
        let asked = Asked {
            tenant: caller.tenant.clone(),
            may_create: caller.may_create,
            dimensions: dimensions(caller, route.model())?,
            key: idempotency_key(headers)?,
            body: request.body().clone(),
        };
        Ok(Call { request, route, asked })
    }

    fn route(&self, caller: &Caller, model: &str) -> Result<Route, OpenAiError> {
        let Some(route) = self.upstreams.route(model) else {
            let shown: String = model.chars().filter(|letter| !letter.is_control()).collect();
            let message = format!("no upstream serves the model `{shown}`");
            return Err(OpenAiError::new(Problem::ModelNotFound, message));
        };
        let demo = self.options.stand_in_only_key_id.as_ref();
        if demo.is_some() && demo == caller.key_id.as_ref() && !route.is_stand_in() {
            let message = "this key reaches the built-in stand-in model only; use another key";
            return Err(OpenAiError::new(Problem::ScopeMissing, message));
        }
        Ok(route)
    }

    /// Makes the call in a task of its own and answers with what is relayed.
    async fn make(&self, call: Call, headers: HeaderMap, admitted: Admitted) -> Reply {
        let Admitted { mut held, now, limits } = admitted;
        let Call { request, route, asked } = call;
        let hold = held.id();
        let idle_timeout_ms = route.timeouts().idle_timeout_ms;
        let settings = RelaySettings {
            on_client_left: self.options.on_client_left,
            ..RelaySettings::new(idle_timeout_ms)
        };
        let observer = ChatObserver::new(request.choices());
        let created_s = unix_seconds(now);
        let calling = async move { route.chat(&request, &headers, created_s).await };
        held.given_to_call();
        let end = move |report: CallReport| held.end(report.ending);
        let (awaited, work) = relay(calling, observer, settings, end);
        let (quota, ttl) = (self.quota.clone(), self.options.hold_ttl);
        self.calls.spawn(async move {
            let alive = async {
                quota.keep_alive(&asked.tenant, hold, ttl).await;
                // Ended elsewhere: the call goes on, and its end tells the hold's state.
                pending::<()>().await;
            };
            tokio::select! {
                _ = work => {}
                () = alive => {}
            }
        });
        let mut reply = match awaited.wait().await {
            Ok(reply) => with_remaining(reply, &limits),
            Err(NoReply::Upstream(failure)) => refused(OpenAiError::from(&failure)),
            Err(NoReply::Stopped) => {
                let message = "the call stopped unexpectedly; nothing was charged";
                refused(OpenAiError::new(Problem::Internal, message))
            }
        };
        if let Ok(value) = HeaderValue::try_from(hold.to_string()) {
            reply.headers_mut().insert(HOLD, value);
        }
        reply.extensions_mut().insert(Metered { hold, limits, now });
        reply
    }

    /// A denial as the tenant's plan wants it told.
    fn deny(&self, request: &ChatRequest, denial: &Denial, now: TimestampMs) -> Reply {
        let config = self.quota.config();
        let plan = denial.plan.as_ref().and_then(|plan| config.catalog.plan(plan));
        let on_denied = plan.map(|plan| &plan.on_denied);
        if denial.code == DenialCode::LimitExhausted
            && let Some(OnDenied::Message(own)) = on_denied
            && let Some(limit) = &denial.limit
        {
            let text = own.as_deref().map_or_else(|| message::exhausted(limit, now), str::to_owned);
            let id = format!("chatcmpl-{}", new_hold_id());
            let completion = Completion::answering(request, id, unix_seconds(now));
            return denied_reply(request, &completion, &text, denial.code.as_str())
                .map(ClientBody::from);
        }
        refused(refusal::denied(denial, now))
    }
}

fn refused(error: OpenAiError) -> Reply {
    error.into_reply().map(ClientBody::from)
}

fn json_reply(body: Bytes) -> Reply {
    let mut reply = Response::new(ClientBody::from(body));
    *reply.status_mut() = StatusCode::OK;
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(header::CONTENT_TYPE, json);
    reply
}

/// The dimensions of a call; the body has no say in any but the model (R3).
fn dimensions(caller: &Caller, model: &str) -> Result<Dimensions, OpenAiError> {
    let wrong = |what: &str, message: String| {
        OpenAiError::new(Problem::InvalidRequest { field: None }, format!("{what}: {message}"))
    };
    let given = [
        ("key", caller.key_id.as_deref().unwrap_or_default()),
        ("user", caller.user.as_deref().unwrap_or_default()),
        ("model", model),
    ];
    let mut pairs = Vec::with_capacity(given.len());
    for (name, value) in given {
        let value = DimensionValue::new(value).map_err(|error| wrong(name, error.to_string()))?;
        let name = DimensionName::new(name).map_err(|error| wrong(name, error.to_string()))?;
        pairs.push((name, value));
    }
    Dimensions::new(pairs).map_err(|error| wrong("dimensions", error.to_string()))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, OpenAiError> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = given.next() else { return Ok(None) };
    let wrong = |message: String| {
        let problem = Problem::InvalidRequest { field: Some("Idempotency-Key") };
        OpenAiError::new(problem, message)
    };
    if given.next().is_some() {
        return Err(wrong("Idempotency-Key is given twice".to_owned()));
    }
    // Bytes that are no text are no visible ASCII either.
    let key = IdempotencyKey::new(key.to_str().unwrap_or_default());
    key.map(Some).map_err(|error| wrong(error.to_string()))
}

/// Says what the tightest hard limit has left, grants included, as of the hold. How many calls
/// may be in flight is no allowance and left out.
fn with_remaining(mut reply: Reply, limits: &[LimitState]) -> Reply {
    let hard =
        limits.iter().filter(|limit| limit.mode == Mode::Hard && limit.window != Window::InFlight);
    let left = |limit: &LimitState| Some(limit.remaining()?.get().saturating_add(limit.granted));
    if let Some(remaining) = hard.filter_map(left).min() {
        reply.headers_mut().insert(REMAINING, HeaderValue::from(remaining));
    }
    reply
}

fn unix_seconds(now: TimestampMs) -> u64 {
    u64::try_from(now.0 / 1_000).unwrap_or(0)
}
