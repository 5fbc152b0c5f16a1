//! What the operator configures about upstreams, and what of it is refused at the start.
//!
//! Always holds: a configuration that passes `check` names real values; durations are in
//! milliseconds and above 0.
//! Not here: reading files and environments, which belongs to the binary.

use std::fmt;

use crate::{bounds::STAND_IN_WORDS_MAX, secret::ApiKey};

/// One upstream.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// The operator's name for it, unique.
    pub name: String,
    /// What it is and how it is reached.
    pub kind: UpstreamKind,
    /// Globs of the models that it serves, by their canonical names.
    pub models: Vec<String>,
    /// Canonical names whose model the upstream knows under another: `(canonical, upstream's)`.
    pub renamed: Vec<(String, String)>,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// What an upstream is.
#[derive(Clone, Debug)]
pub enum UpstreamKind {
    /// A server that speaks OpenAI's API.
    OpenAi(OpenAiConfig),
    /// The built-in model that is none.
    StandIn(StandInConfig),
}

/// How an OpenAI-compatible server is reached.
#[derive(Clone, Debug)]
pub struct OpenAiConfig {
    /// Up to and including the version: `https://api.openai.com/v1`.
    pub base_url: String,
    /// Sent as a bearer token; local servers often want none.
    pub api_key: Option<ApiKey>,
    /// Whether `"store": false` is added to requests that do not say so themselves. Off only for
    /// servers that reject the field.
    pub adds_store: bool,
}

/// How the stand-in behaves. Everything is a whole number, so that tests can count on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandInConfig {
    /// Time before each word, in milliseconds; a plain reply takes the sum.
    pub word_delay_ms: u64,
    /// Replies are padded to this many words; they always say in full that they are made up.
    pub words_min: u32,
    /// Calls that fail before any output, of every 1,000, evenly spread.
    pub failures_per_mille: u32,
    /// How many calls the count of failures starts with: which calls fail follows from it alone.
    pub seed: u64,
}

/// How long an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, name resolution and TLS included.
    pub connect_timeout_ms: u64,
    /// From the start of the call to the reply's status. Plain replies of reasoning models come
    /// only when the model has finished.
    pub first_byte_timeout_ms: u64,
    /// Between two reads of the body.
    pub idle_timeout_ms: u64,
}

impl Timeouts {
    /// Connect: 5 s, three tries of TCP's first packet. First byte: 600 s, the default timeout
    /// of the official SDKs, after which the client has gone anyway. Idle: 300 s, longer than
    /// most silent thinking of models whose providers send no keep-alives.
    pub const DEFAULT: Timeouts = Timeouts {
        connect_timeout_ms: 5_000,
        first_byte_timeout_ms: 600_000,
        idle_timeout_ms: 300_000,
    };
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts::DEFAULT
    }
}

/// Why upstreams cannot be used as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamsError {
    /// A setting is wrong.
    #[error("upstream {upstream}: `{setting}` {reason}")]
    Setting {
        /// The upstream's name.
        upstream: String,
        /// The setting at fault.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The process has no provider of cryptography, so no TLS client can be made.
    #[error("no rustls crypto provider is installed; the program must install one at its start")]
    NoCryptoProvider,
}

impl UpstreamConfig {
    pub(super) fn fault(&self, setting: &'static str, reason: impl fmt::Display) -> UpstreamsError {
        UpstreamsError::Setting { upstream: self.name.clone(), setting, reason: reason.to_string() }
    }

    /// Checks what can be checked without building anything.
    pub(super) fn check(&self) -> Result<(), UpstreamsError> {
        if self.name.is_empty() {
            return Err(self.fault("name", "must not be empty"));
        }
        if self.models.is_empty() {
            return Err(self.fault("models", "must name at least one model"));
        }
        let timeouts = self.timeouts;
        for (setting, timeout_ms) in [
            ("connect_timeout_ms", timeouts.connect_timeout_ms),
            ("first_byte_timeout_ms", timeouts.first_byte_timeout_ms),
            ("idle_timeout_ms", timeouts.idle_timeout_ms),
        ] {
            if timeout_ms == 0 {
                return Err(self.fault(setting, "must be above 0"));
            }
        }
        // Else a call that has not even connected would count as sent.
        if timeouts.first_byte_timeout_ms < timeouts.connect_timeout_ms {
            return Err(
                self.fault("first_byte_timeout_ms", "must not be below the connect timeout")
            );
        }
        if let UpstreamKind::StandIn(stand_in) = &self.kind {
            if stand_in.failures_per_mille > 1_000 {
                return Err(self.fault("failures_per_mille", "must not be above 1000"));
            }
            if stand_in.words_min > STAND_IN_WORDS_MAX {
                let reason = format!("must not be above {STAND_IN_WORDS_MAX}");
                return Err(self.fault("words_min", reason));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_setting_is_named() {
        let good = UpstreamConfig {
            name: "a".into(),
            kind: UpstreamKind::StandIn(StandInConfig::default()),
            models: vec!["x".into()],
            renamed: Vec::new(),
            timeouts: Timeouts::default(),
        };
        assert_eq!(good.check(), Ok(()));
        let stand_in = |words_min, failures_per_mille| {
            let stand_in = StandInConfig { words_min, failures_per_mille, ..Default::default() };
            UpstreamConfig { kind: UpstreamKind::StandIn(stand_in), ..good.clone() }
        };
        let timed = |connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms| {
            let timeouts = Timeouts { connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms };
            UpstreamConfig { timeouts, ..good.clone() }
        };
        let table = [
            (UpstreamConfig { name: String::new(), ..good.clone() }, "name"),
            (UpstreamConfig { models: Vec::new(), ..good.clone() }, "models"),
            (timed(0, 1, 1), "connect_timeout_ms"),
            (timed(1, 0, 1), "first_byte_timeout_ms"),
            (timed(2, 1, 1), "first_byte_timeout_ms"),
            (timed(1, 1, 0), "idle_timeout_ms"),
            (stand_in(0, 1_001), "failures_per_mille"),
            (stand_in(STAND_IN_WORDS_MAX + 1, 0), "words_min"),
        ];
        for (config, expected) in table {
            let Err(UpstreamsError::Setting { setting, .. }) = config.check() else {
                panic!("{expected} was accepted");
            };
            assert_eq!(setting, expected);
        }
    }
}
