//! A chat completions request: read just enough, change just enough.
//!
//! The body stays the bytes that the client sent. Reading finds the few fields that the gateway
//! decides by and where in the bytes they stand; rewriting replaces those bytes and no others,
//! so unknown fields, number formats, order and white space survive.
//!
//! Always holds: what was read is what the upstream will read; a field named twice could be read
//! in two ways, so it is refused.
//! Not here: judging what only the upstream can judge (roles, parts, tools, sampling).

use std::{collections::HashSet, fmt, ops::Range};

use bytes::{Bytes, BytesMut};
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::bounds::{CHOICES_MAX, MODEL_NAME_BYTES_MAX};

/// A request for a chat completion, read and bounded.
#[derive(Clone)]
pub struct ChatRequest {
    body: Bytes,
    model: String,
    stream: bool,
    include_usage: bool,
    choices: u32,
    model_at: Range<usize>,
    store_at: Option<Range<usize>>,
    /// Just behind the opening brace, where a field can be put in.
    first_field_at: usize,
}

/// Why a body is no chat completions request. Becomes 400 `invalid_request_error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// The field at fault, if one is.
    pub field: Option<&'static str>,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What becomes of the field `store` on its way to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// `"store": false`, also where the client sent none: OpenAI keeps completions of some
    /// accounts by default, and all tenants share the operator's account.
    Forced,
    /// The same, but not added where the client sent none, for upstreams that know no `store`.
    OnlyIfSent,
}

impl ChatRequest {
    /// Reads a request body.
    ///
    /// ```
    /// use earmark_gateway::openai::request::{ChatRequest, Store};
    /// let body = r#"{"model": "fast", "messages": [], "seed": 1e2}"#;
    /// let request = ChatRequest::parse(body.into()).unwrap();
    /// assert_eq!(request.model(), "fast");
    /// let sent = request.body_for_upstream("gpt-4o-mini", Store::Forced);
    /// assert_eq!(sent, r#"{"store":false,"model": "gpt-4o-mini", "messages": [], "seed": 1e2}"#);
    /// ```
    ///
    /// # Errors
    /// [`RequestError`] for malformed JSON, a field named twice, a field of the wrong type or
    /// out of its range.
    pub fn parse(body: Bytes) -> Result<ChatRequest, RequestError> {
        let Fields(fields) = serde_json::from_slice(&body).map_err(|error| RequestError {
            field: None,
            message: format!("the body is not a JSON object: {error}"),
        })?;
        let mut names = HashSet::with_capacity(fields.len());
        let mut found = Found::default();
        for (name, value) in &fields {
            if !names.insert(name.as_str()) {
                return Err(RequestError {
                    field: None,
                    message: format!("the field `{}` is given twice", shown(name)),
                });
            }
            found.take(name, value)?;
        }
        let base = body.as_ptr().addr();
        let place = |value: &RawValue| {
            let start = value.get().as_ptr().addr() - base;
            start..start + value.get().len()
        };
        let model = found.model()?;
        found.messages()?;
        let stream = optional::<bool>("stream", found.stream, "true or false")?;
        optional::<bool>("store", found.store, "true or false")?;
        let choices = found.choices()?;
        let include_usage = found.include_usage()?;
        let model_at = found.model.map(place).unwrap_or_default();
        let store_at = found.store.map(place);
        let first_field_at =
            body.iter().position(|&byte| byte == b'{').map_or(0, |brace| brace + 1);
        Ok(ChatRequest {
            model,
            stream: stream.unwrap_or(false),
            include_usage,
            choices,
            model_at,
            store_at,
            first_field_at,
            body,
        })
    }

    /// The model that the client named.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether the client asked for a stream.
    #[must_use]
    pub fn stream(&self) -> bool {
        self.stream
    }

    /// Whether the client asked for a usage chunk in its stream.
    #[must_use]
    pub fn include_usage(&self) -> bool {
        self.include_usage
    }

    /// How many choices the client asked for (`n`), 1 to [`CHOICES_MAX`].
    #[must_use]
    pub fn choices(&self) -> u32 {
        self.choices
    }

    /// The body as the client sent it; what an idempotency key's request is compared by.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns the body for the upstream: the model under the upstream's name, nothing stored at
    /// the provider. Where that changes nothing the client's bytes are returned as they are.
    #[must_use]
    pub fn body_for_upstream(&self, upstream_model: &str, store: Store) -> Bytes {
        let mut edits: Vec<(Range<usize>, String)> = Vec::with_capacity(2);
        if upstream_model != self.model {
            edits.push((self.model_at.clone(), serde_json::json!(upstream_model).to_string()));
        }
        match (&self.store_at, store) {
            (Some(place), _) if self.body[place.clone()] != *b"false" => {
                edits.push((place.clone(), "false".to_owned()));
            }
            (None, Store::Forced) => {
                let place = self.first_field_at..self.first_field_at;
                edits.push((place, "\"store\":false,".to_owned()));
            }
            (Some(_), _) | (None, Store::OnlyIfSent) => {}
        }
        if edits.is_empty() {
            return self.body.clone();
        }
        edits.sort_by_key(|(place, _)| place.start);
        let mut rewritten = BytesMut::with_capacity(self.body.len() + 64);
        let mut copied = 0;
        for (place, text) in edits {
            rewritten.extend_from_slice(&self.body[copied..place.start]);
            rewritten.extend_from_slice(text.as_bytes());
            copied = place.end;
        }
        rewritten.extend_from_slice(&self.body[copied..]);
        rewritten.freeze()
    }
}

/// Without the body: prompts are never logged.
impl fmt::Debug for ChatRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChatRequest")
            .field("model", &self.model)
            .field("stream", &self.stream)
            .field("choices", &self.choices)
            .finish_non_exhaustive()
    }
}

/// The fields of the body's object in order, their values unread.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The fields that the gateway decides by, where the body has them.
#[derive(Default)]
struct Found<'a> {
    model: Option<&'a RawValue>,
    messages: Option<&'a RawValue>,
    stream: Option<&'a RawValue>,
    stream_options: Option<&'a RawValue>,
    n: Option<&'a RawValue>,
    store: Option<&'a RawValue>,
}

impl<'a> Found<'a> {
    /// Keeps a field that the gateway decides by. Some upstreams (all that use Go's JSON) read
    /// names without regard to case, so `Model` could overrule the `model` that was decided by.
    fn take(&mut self, name: &str, value: &'a RawValue) -> Result<(), RequestError> {
        let folded = folded(name);
        let place = match folded.as_str() {
            "model" => &mut self.model,
            "messages" => &mut self.messages,
            "stream" => &mut self.stream,
            "stream_options" => &mut self.stream_options,
            "n" => &mut self.n,
            "store" => &mut self.store,
            _ => return Ok(()),
        };
        if folded != name {
            let message = format!("the field `{}` must be written `{folded}`", shown(name));
            return Err(RequestError { field: None, message });
        }
        *place = Some(value);
        Ok(())
    }

    fn model(&self) -> Result<String, RequestError> {
        let model = optional::<String>("model", self.model, "a string")?
            .ok_or_else(|| wrong("model", "is required"))?;
        if model.is_empty() || model.len() > MODEL_NAME_BYTES_MAX {
            return Err(wrong("model", &format!("must have 1 to {MODEL_NAME_BYTES_MAX} bytes")));
        }
        if model.chars().any(char::is_control) {
            return Err(wrong("model", "must not contain control characters"));
        }
        Ok(model)
    }

    fn messages(&self) -> Result<(), RequestError> {
        match self.messages {
            None => Err(wrong("messages", "is required")),
            Some(value) if value.get().starts_with('[') => Ok(()),
            Some(_) => Err(wrong("messages", "must be an array")),
        }
    }

    fn choices(&self) -> Result<u32, RequestError> {
        let expected = format!("a whole number from 1 to {CHOICES_MAX}");
        let choices = optional::<u32>("n", self.n, &expected)?.unwrap_or(1);
        if (1..=CHOICES_MAX).contains(&choices) {
            Ok(choices)
        } else {
            Err(wrong("n", &format!("must be {expected}")))
        }
    }

    fn include_usage(&self) -> Result<bool, RequestError> {
        #[derive(Default, Deserialize)]
        struct StreamOptions {
            include_usage: Option<bool>,
        }
        let expected = "an object whose `include_usage` is true or false";
        let options = match self.stream_options {
            Some(value) if value.get().starts_with('[') => {
                return Err(wrong("stream_options", &format!("must be {expected}")));
            }
            value => optional::<StreamOptions>("stream_options", value, expected)?,
        };
        Ok(options.unwrap_or_default().include_usage.unwrap_or(false))
    }
}

/// Reads a field that may be absent or null.
fn optional<'a, T: Deserialize<'a>>(
    field: &'static str,
    value: Option<&'a RawValue>,
    expected: &str,
) -> Result<Option<T>, RequestError> {
    let Some(value) = value else { return Ok(None) };
    serde_json::from_str::<Option<T>>(value.get())
        .map_err(|_| wrong(field, &format!("must be {expected}")))
}

fn wrong(field: &'static str, message: &str) -> RequestError {
    RequestError { field: Some(field), message: format!("`{field}` {message}") }
}

/// A name as the most lenient reader sees it: in lower case, the long s taken for an s.
fn folded(name: &str) -> String {
    name.chars()
        .flat_map(char::to_lowercase)
        .map(|letter| if letter == 'ſ' { 's' } else { letter })
        .collect()
}

/// A name from the body for a message: bounded, without control characters.
fn shown(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<ChatRequest, RequestError> {
        ChatRequest::parse(Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn each_wrong_field_is_refused_by_name() {
        let long = format!(r#"{{"messages":[],"model":"{}"}}"#, "x".repeat(257));
        // body                                                                | field at fault, words of the message
        #[rustfmt::skip]
        let table = [
            ("",                                                                 None,                   "not a JSON object"),
            ("[]",                                                               None,                   "not a JSON object"),
            (r#"{"model":"m","messages":[]"#,                                    None,                   "not a JSON object"),
            (r#"{"model":"m","messages":[]} x"#,                                 None,                   "not a JSON object"),
            (r#"{"model":"cheap","messages":[],"model":"dear"}"#,                None,                   "`model` is given twice"),
            (r#"{"mod\u0065l":"cheap","messages":[],"model":"dear"}"#,           None,                   "`model` is given twice"),
            (r#"{"model":"cheap","messages":[],"Model":"dear"}"#,                None,                   "must be written `model`"),
            (r#"{"model":"cheap","messages":[],"\u017fTREAM":true}"#,            None,                   "must be written `stream`"),
            (r#"{"messages":[]}"#,                                               Some("model"),          "is required"),
            (r#"{"messages":[],"model":null}"#,                                  Some("model"),          "is required"),
            (r#"{"messages":[],"model":7}"#,                                     Some("model"),          "must be a string"),
            (r#"{"messages":[],"model":""}"#,                                    Some("model"),          "1 to 256 bytes"),
            (long.as_str(),                                                      Some("model"),          "1 to 256 bytes"),
            (r#"{"messages":[],"model":"a\u0000b"}"#,                            Some("model"),          "control characters"),
            (r#"{"model":"m"}"#,                                                 Some("messages"),       "is required"),
            (r#"{"model":"m","messages":{}}"#,                                   Some("messages"),       "must be an array"),
            (r#"{"model":"m","messages":null}"#,                                 Some("messages"),       "must be an array"),
            (r#"{"model":"m","messages":[],"stream":"yes"}"#,                    Some("stream"),         "true or false"),
            (r#"{"model":"m","messages":[],"stream":1}"#,                        Some("stream"),         "true or false"),
            (r#"{"model":"m","messages":[],"store":"no"}"#,                      Some("store"),          "true or false"),
            (r#"{"model":"m","messages":[],"n":0}"#,                             Some("n"),              "1 to 128"),
            (r#"{"model":"m","messages":[],"n":129}"#,                           Some("n"),              "1 to 128"),
            (r#"{"model":"m","messages":[],"n":1.5}"#,                           Some("n"),              "1 to 128"),
            (r#"{"model":"m","messages":[],"n":-1}"#,                            Some("n"),              "1 to 128"),
            (r#"{"model":"m","messages":[],"stream_options":[true]}"#,           Some("stream_options"), "include_usage"),
            (r#"{"model":"m","messages":[],"stream_options":{"include_usage":1}}"#, Some("stream_options"), "include_usage"),
        ];
        for (body, field, words) in table {
            let error = parse(body).unwrap_err();
            assert_eq!(error.field, field, "{body}");
            assert!(error.message.contains(words), "{body}: {error}");
        }
    }

    #[test]
    fn absent_and_null_fields_have_their_defaults() {
        let body = r#"{"model":"m","messages":[],"stream":null,"n":null,"store":null,"stream_options":null}"#;
        for body in [body, r#"{"model":"m","messages":[]}"#] {
            let request = parse(body).unwrap();
            assert!(!request.stream() && !request.include_usage());
            assert_eq!(request.choices(), 1);
        }
        let asked = r#"{"model":"m","messages":[],"stream":true,"n":3,"stream_options":{"include_usage":true}}"#;
        let request = parse(asked).unwrap();
        assert!(request.stream() && request.include_usage());
        assert_eq!(request.choices(), 3);
    }

    #[test]
    fn only_the_bytes_that_must_change_are_changed() {
        let (forced, sent) = (Store::Forced, Store::OnlyIfSent);
        // upstream's name, store | the client's body                                   | the upstream's body
        #[rustfmt::skip]
        let table = [
            ("m", sent,   r#"{"model":"m","messages":[]}"#,                               r#"{"model":"m","messages":[]}"#),
            ("m", forced, r#"{"model":"m","messages":[]}"#,                               r#"{"store":false,"model":"m","messages":[]}"#),
            ("m", forced, r#"{"model":"m","store":false,"messages":[]}"#,                 r#"{"model":"m","store":false,"messages":[]}"#),
            ("m", sent,   r#"{"model":"m","store": true ,"messages":[]}"#,                r#"{"model":"m","store": false ,"messages":[]}"#),
            ("m", forced, r#"{"model":"m","store":null,"messages":[]}"#,                  r#"{"model":"m","store":false,"messages":[]}"#),
            ("é", sent,   " { \"x\" : 1e400, \"model\" :\t\"m\"\n,\"messages\":[1.0]} ",  " { \"x\" : 1e400, \"model\" :\t\"é\"\n,\"messages\":[1.0]} "),
            ("a\"", sent, r#"{"store":true,"model":"m","messages":[{"model":"m"}]}"#,     r#"{"store":false,"model":"a\"","messages":[{"model":"m"}]}"#),
        ];
        for (name, store, body, expected) in table {
            let request = parse(body).unwrap();
            let rewritten = request.body_for_upstream(name, store);
            assert_eq!(rewritten, expected, "{body}");
            assert_eq!(parse(expected).unwrap().model(), name);
        }
    }

    #[test]
    fn a_request_is_shown_without_its_prompt() {
        let request = parse(r#"{"model":"m","messages":[{"content":"secret"}]}"#).unwrap();
        assert!(!format!("{request:?}").contains("secret"));
    }
}
