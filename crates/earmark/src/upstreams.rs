//! From `[upstreams.…]` to what the gateway calls.

use anyhow::Context;
use earmark::config_file::{ConfigFile, UpstreamSection};
use earmark_gateway::ApiKey;
use earmark_gateway::upstream::{
    OpenAiConfig, StandInConfig, Timeouts, UpstreamConfig, UpstreamKind,
};
use earmark_server::UpstreamInfo;

use crate::cli::UsageError;

/// The model that the built-in stand-in answers for when no upstream is configured.
pub(crate) const STAND_IN_MODEL: &str = "stand-in";

/// The configured upstreams, or the stand-in alone.
pub(crate) fn read(file: Option<&ConfigFile>) -> anyhow::Result<Vec<UpstreamConfig>> {
    let sections = file.map(|file| &file.upstreams).filter(|sections| !sections.is_empty());
    let Some(sections) = sections else {
        return Ok(vec![UpstreamConfig {
            name: STAND_IN_MODEL.to_owned(),
            kind: UpstreamKind::StandIn(StandInConfig::default()),
            models: vec![STAND_IN_MODEL.to_owned()],
            renamed: Vec::new(),
            timeouts: Timeouts::default(),
        }]);
    };
    sections.iter().map(|(name, section)| upstream(name, section)).collect()
}

/// What `GET /v1/upstreams` tells of them.
pub(crate) fn infos(upstreams: &[UpstreamConfig]) -> Vec<UpstreamInfo> {
    let info = |upstream: &UpstreamConfig| UpstreamInfo {
        name: upstream.name.clone(),
        kind: match upstream.kind {
            UpstreamKind::OpenAi(_) => "openai",
            UpstreamKind::StandIn(_) => "stand-in",
        }
        .to_owned(),
        models: upstream.models.clone(),
    };
    upstreams.iter().map(info).collect()
}

fn upstream(name: &str, section: &UpstreamSection) -> anyhow::Result<UpstreamConfig> {
    let name = name.to_owned();
    let defaults = Timeouts::default();
    Ok(match section {
        UpstreamSection::Openai {
            base_url,
            api_key_env,
            api_key_file,
            models,
            rename,
            adds_store,
            connect_timeout_ms,
            first_byte_timeout_ms,
            idle_timeout_ms,
        } => UpstreamConfig {
            kind: UpstreamKind::OpenAi(OpenAiConfig {
                base_url: base_url.clone(),
                api_key: api_key(&name, api_key_env.as_deref(), api_key_file.as_deref())?,
                adds_store: adds_store.unwrap_or(true),
            }),
            name,
            models: models.clone(),
            renamed: rename.iter().map(|(from, to)| (from.clone(), to.clone())).collect(),
            timeouts: Timeouts {
                connect_timeout_ms: connect_timeout_ms.unwrap_or(defaults.connect_timeout_ms),
                first_byte_timeout_ms: first_byte_timeout_ms
                    .unwrap_or(defaults.first_byte_timeout_ms),
                idle_timeout_ms: idle_timeout_ms.unwrap_or(defaults.idle_timeout_ms),
            },
        },
        UpstreamSection::StandIn { models, word_delay_ms, words_min, failures_per_mille, seed } => {
            UpstreamConfig {
                kind: UpstreamKind::StandIn(StandInConfig {
                    word_delay_ms: word_delay_ms.unwrap_or(0),
                    words_min: words_min.unwrap_or(0),
                    failures_per_mille: failures_per_mille.unwrap_or(0),
                    seed: seed.unwrap_or(0),
                }),
                name,
                models: models.clone(),
                renamed: Vec::new(),
                timeouts: defaults,
            }
        }
    })
}

/// The key from the environment or a file; a missing one is told at the start, not at the
/// first call.
fn api_key(
    upstream: &str,
    variable: Option<&str>,
    file: Option<&std::path::Path>,
) -> anyhow::Result<Option<ApiKey>> {
    let text = match (variable, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let message =
                format!("upstreams.{upstream}: name api_key_env or api_key_file, not both");
            return Err(UsageError(message).into());
        }
        (Some(variable), None) => std::env::var(variable).map_err(|_| {
            UsageError(format!(
                "upstreams.{upstream}.api_key_env: the environment has no {variable}"
            ))
        })?,
        (None, Some(path)) => std::fs::read_to_string(path).with_context(|| {
            format!("upstreams.{upstream}.api_key_file: cannot read {}", path.display())
        })?,
    };
    Ok(Some(ApiKey::new(&text)))
}
