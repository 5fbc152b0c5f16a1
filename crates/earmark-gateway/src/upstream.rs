//! Upstreams: the model providers that the gateway calls, and which model goes to which.
//!
//! Every kind of upstream, the built-in stand-in included, gives the same thing: a status,
//! headers that may be passed on, and a stream of bytes. So the relay has one path.
//!
//! Always holds: upstreams and their keys come from the operator's configuration alone; a model
//! goes to the first upstream, in configured order, one of whose globs matches it.
//! Not here: retries and fallbacks, which would go around [`Route::chat`]; passing replies on.

mod client;
mod config;
mod failure;
mod headers;
mod stand_in;

use std::{collections::HashSet, pin::Pin, sync::Arc};

use bytes::Bytes;
use earmark_core::Glob;
use futures_util::Stream;
use http::{HeaderMap, StatusCode};

use self::{client::OpenAiClient, stand_in::StandIn};
pub use self::{
    config::{OpenAiConfig, StandInConfig, Timeouts, UpstreamConfig, UpstreamKind, UpstreamsError},
    failure::{UpstreamFailure, Waiting},
};
use crate::openai::{models::ListedModel, request::ChatRequest};

/// What an upstream answered, ready to be relayed.
pub struct UpstreamReply {
    /// The upstream's status, not judged.
    pub status: StatusCode,
    /// Only headers that may reach a client.
    pub headers: HeaderMap,
    /// The body as it comes; ends after the first failure.
    pub body: UpstreamBody,
}

/// The bytes of a reply as they come.
pub type UpstreamBody = Pin<Box<dyn Stream<Item = Result<Bytes, UpstreamFailure>> + Send>>;

/// All configured upstreams. Cheap to share: wrap it in an `Arc`.
#[derive(Debug)]
pub struct Upstreams {
    in_order: Vec<Arc<Upstream>>,
}

/// One configured upstream.
#[derive(Debug)]
struct Upstream {
    name: String,
    patterns: Vec<Glob>,
    /// Canonical name and the upstream's own, where they differ.
    renamed: Vec<(String, String)>,
    timeouts: Timeouts,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    OpenAi(OpenAiClient),
    StandIn(StandIn),
}

/// Where a model's calls go.
#[derive(Clone, Debug)]
pub struct Route {
    upstream: Arc<Upstream>,
    model: String,
}

impl Upstreams {
    /// Makes the upstreams ready; connects to none of them.
    ///
    /// # Errors
    /// [`UpstreamsError`] names the upstream and the setting at fault. A process-wide rustls
    /// provider must have been installed before.
    pub fn new(configs: Vec<UpstreamConfig>) -> Result<Upstreams, UpstreamsError> {
        let mut names = HashSet::new();
        let mut in_order = Vec::with_capacity(configs.len());
        for config in configs {
            config.check()?;
            if !names.insert(config.name.clone()) {
                return Err(config.fault("name", "is used twice"));
            }
            in_order.push(Arc::new(Upstream::new(config)?));
        }
        Ok(Upstreams { in_order })
    }

    /// Returns where calls to `model` go; `None` if no upstream serves it.
    #[must_use]
    pub fn route(&self, model: &str) -> Option<Route> {
        let serves = |upstream: &&Arc<Upstream>| {
            upstream.patterns.iter().any(|pattern| pattern.matches(model))
        };
        let upstream = self.in_order.iter().find(serves)?;
        Some(Route { upstream: Arc::clone(upstream), model: model.to_owned() })
    }

    /// Returns the models that are configured by their full names, in order. What a pattern
    /// with wildcards would match, only its upstream knows.
    #[must_use]
    pub fn listed_models(&self) -> Vec<ListedModel> {
        let mut seen = HashSet::new();
        let mut models = Vec::new();
        for upstream in &self.in_order {
            for id in upstream.patterns.iter().map(Glob::as_str) {
                if !id.contains(['*', '?']) && seen.insert(id) {
                    let owned_by = upstream.name.clone();
                    models.push(ListedModel { id: id.to_owned(), owned_by });
                }
            }
        }
        models
    }
}

impl Upstream {
    fn new(config: UpstreamConfig) -> Result<Upstream, UpstreamsError> {
        let patterns = config
            .models
            .iter()
            .map(|pattern| Glob::new(pattern).map_err(|error| config.fault("models", error)))
            .collect::<Result<Vec<Glob>, _>>()?;
        let kind = match &config.kind {
            UpstreamKind::OpenAi(openai) => Kind::OpenAi(OpenAiClient::new(&config, openai)?),
            UpstreamKind::StandIn(stand_in) => Kind::StandIn(StandIn::new(stand_in.clone())),
        };
        Ok(Upstream {
            patterns,
            renamed: config.renamed,
            timeouts: config.timeouts,
            kind,
            name: config.name,
        })
    }
}

impl Route {
    /// The upstream's configured name: a metric label, a log field.
    #[must_use]
    pub fn upstream(&self) -> &str {
        &self.upstream.name
    }

    /// The model's canonical name: the value of the dimension `model`. It is the name by which
    /// the operator's configuration knows the model, whatever its upstream calls it.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The upstream's time limits; the relay enforces the idle one.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.upstream.timeouts
    }

    /// Whether this is the built-in stand-in.
    #[must_use]
    pub fn is_stand_in(&self) -> bool {
        matches!(self.upstream.kind, Kind::StandIn(_))
    }

    /// Makes one attempt at a chat completion. `headers` are the client's; only allowed ones
    /// pass. `created_s` (Unix seconds) dates what the stand-in writes.
    ///
    /// # Errors
    /// [`UpstreamFailure`] says whether the call may have reached the upstream. An error status
    /// is a reply, with the exception of 401: that is about the operator's key, and its text can
    /// show part of it.
    pub async fn chat(
        &self,
        request: &ChatRequest,
        headers: &HeaderMap,
        created_s: u64,
    ) -> Result<UpstreamReply, UpstreamFailure> {
        match &self.upstream.kind {
            Kind::OpenAi(client) => {
                let model = self.upstream_model();
                let reply = client.chat(request, model, headers, self.upstream.timeouts).await;
                if let Err(failure) = &reply {
                    tracing::warn!(upstream = self.upstream(), ?failure, "call failed");
                }
                reply
            }
            Kind::StandIn(stand_in) => stand_in.chat(request, created_s).await,
        }
    }

    fn upstream_model(&self) -> &str {
        let renamed = self.upstream.renamed.iter().find(|(canonical, _)| *canonical == self.model);
        renamed.map_or(&self.model, |(_, upstream_model)| upstream_model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand_in(name: &str, models: &[&str]) -> UpstreamConfig {
        UpstreamConfig {
            name: name.into(),
            kind: UpstreamKind::StandIn(StandInConfig::default()),
            models: models.iter().map(|&model| model.into()).collect(),
            renamed: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }

    fn upstreams(configs: &[UpstreamConfig]) -> Upstreams {
        Upstreams::new(configs.to_vec()).unwrap()
    }

    #[test]
    fn a_model_goes_to_the_first_upstream_that_matches_it() {
        let all = upstreams(&[
            stand_in("first", &["fast", "gpt-4o*"]),
            stand_in("second", &["gpt-*", "tiny-?"]),
        ]);
        let table = [
            ("fast", Some("first")),
            ("gpt-4o-mini", Some("first")),
            ("gpt-5", Some("second")),
            ("tiny-1", Some("second")),
            ("tiny-12", None),
            ("FAST", None),
        ];
        for (model, expected) in table {
            let route = all.route(model);
            assert_eq!(route.as_ref().map(Route::upstream), expected, "{model}");
            assert!(route.is_none_or(|route| route.model() == model && route.is_stand_in()));
        }
    }

    #[test]
    fn models_are_listed_once_and_only_by_full_name() {
        let all = upstreams(&[
            stand_in("first", &["fast", "gpt-4o*"]),
            stand_in("second", &["fast", "slow"]),
        ]);
        let shown: Vec<String> = all
            .listed_models()
            .into_iter()
            .map(|model| format!("{} {}", model.id, model.owned_by))
            .collect();
        assert_eq!(shown, ["fast first", "slow second"]);
    }

    #[test]
    fn a_model_has_the_name_that_its_upstream_knows() {
        let renamed = vec![("fast".to_owned(), "gpt-4o-mini".to_owned())];
        let all = upstreams(&[UpstreamConfig { renamed, ..stand_in("first", &["fast", "slow"]) }]);
        assert_eq!(all.route("fast").unwrap().upstream_model(), "gpt-4o-mini");
        assert_eq!(all.route("fast").unwrap().model(), "fast");
        assert_eq!(all.route("slow").unwrap().upstream_model(), "slow");
    }

    #[test]
    fn two_upstreams_cannot_share_a_name() {
        let error = Upstreams::new(vec![stand_in("a", &["x"]), stand_in("a", &["y"])]).unwrap_err();
        assert_eq!(error.to_string(), "upstream a: `name` is used twice");
    }
}
