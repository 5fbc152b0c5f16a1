//! Endpoints: who is told of events, of which, and what signs.

use std::fmt;

use earmark_core::{EventKind, TimestampMs};

/// A kind of event that an endpoint may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// A share of a limit was reached.
    LimitReached,
    /// A limit refused for the first time in its window.
    LimitDenied,
}

impl EventType {
    /// All types.
    pub const ALL: [Self; 2] = [Self::LimitReached, Self::LimitDenied];

    /// The type of an event.
    pub fn of(kind: EventKind) -> Self {
        match kind {
            EventKind::LimitReached(_) => Self::LimitReached,
            EventKind::LimitDenied => Self::LimitDenied,
        }
    }

    /// The type as it is written and stored: that of [`EventKind::as_str`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LimitReached => "limit_reached",
            Self::LimitDenied => "limit_denied",
        }
    }

    /// Reads a type.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.as_str() == text)
    }
}

/// What signs deliveries to one endpoint. Kept in clear, since signing needs it; never shown
/// by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Box<[u8]>);

impl WebhookSecret {
    /// Takes the bytes that both sides know.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes that both sides know.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// Somebody who is told of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEndpoint {
    /// Its public id.
    pub id: String,
    /// Where it is told.
    pub url: String,
    /// For people.
    pub description: Option<String>,
    /// What it is told of; empty: everything.
    pub events: Vec<EventType>,
    /// What signs.
    pub secret: WebhookSecret,
    /// The secret before, which signs, too, until that time.
    pub former_secret: Option<(WebhookSecret, TimestampMs)>,
    /// Whether it is told at all.
    pub enabled: bool,
    /// Why it is not, where nobody disabled it.
    pub disabled_because: Option<String>,
    /// When it was made.
    pub created: TimestampMs,
}

impl WebhookEndpoint {
    /// Whether it is to be told of such an event.
    pub fn wants(&self, of: EventType) -> bool {
        self.enabled && (self.events.is_empty() || self.events.contains(&of))
    }

    /// The secrets that sign at that time, the newest first.
    pub fn secrets(&self, now: TimestampMs) -> impl Iterator<Item = &WebhookSecret> {
        let former = self.former_secret.as_ref().filter(|(_, until)| now < *until);
        std::iter::once(&self.secret).chain(former.map(|(secret, _)| secret))
    }
}

/// A change of an endpoint: what is named is set.
#[derive(Debug, Clone, Default)]
pub struct EndpointChange {
    /// Where it is told.
    pub url: Option<String>,
    /// For people; `Some(None)` takes it away.
    pub description: Option<Option<String>>,
    /// What it is told of.
    pub events: Option<Vec<EventType>>,
    /// Whether it is told.
    pub enabled: Option<bool>,
    /// A new secret, and until when the one before signs, too.
    pub secret: Option<(WebhookSecret, TimestampMs)>,
}

impl EndpointChange {
    /// Changes a row.
    pub fn apply(self, endpoint: &mut WebhookEndpoint) {
        let Self { url, description, events, enabled, secret } = self;
        if let Some(url) = url {
            endpoint.url = url;
        }
        if let Some(description) = description {
            endpoint.description = description;
        }
        if let Some(events) = events {
            endpoint.events = events;
        }
        if let Some(enabled) = enabled {
            endpoint.enabled = enabled;
            endpoint.disabled_because = None;
        }
        if let Some((secret, until)) = secret {
            let former = std::mem::replace(&mut endpoint.secret, secret);
            endpoint.former_secret = Some((former, until));
        }
    }
}
