//! Chat completions that the gateway writes itself, plain and as the events of a stream.
//!
//! Two replies are made here: those of the stand-in model, and the friendly message in place of
//! a denial, for plans that want one. Both must satisfy every client, so no field is left out
//! that any of them asks for.
//!
//! ```text
//! role ─► text… ─► finish ─► usage (only if asked for) ─► [DONE]
//! ```
//!
//! Always holds: each choice gets its role first and its `finish_reason` last; nothing but
//! `[DONE]` follows the usage, because SDK helpers lose a usage that is not last.
//! Not here: when the events are sent.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};
use serde_json::{Value, json};

use crate::{observation::Usage, openai::request::ChatRequest};

/// The header that tells a friendly message from a model's reply; its value is the denial's code.
pub const DENIED: HeaderName = HeaderName::from_static("earmark-denied");

/// A completion to write: the same text in every choice.
#[derive(Clone, Debug)]
pub struct Completion {
    /// Unique, by custom `chatcmpl-…`.
    pub id: String,
    /// Unix time in seconds.
    pub created_s: u64,
    /// The model, as the client named it.
    pub model: String,
    /// How many choices (`n`).
    pub choices: u32,
    /// What the call is said to have used.
    pub usage: Usage,
    /// Whether a stream carries usage.
    pub include_usage: bool,
}

impl Completion {
    /// An answer to `request` that used nothing.
    #[must_use]
    pub fn answering(request: &ChatRequest, id: String, created_s: u64) -> Completion {
        Completion {
            id,
            created_s,
            model: request.model().to_owned(),
            choices: request.choices(),
            usage: Usage::default(),
            include_usage: request.include_usage(),
        }
    }

    /// Returns the body of a plain reply.
    #[must_use]
    pub fn plain(&self, text: &str) -> Bytes {
        let choice = |index| {
            json!({
                "index": index,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": null,
                "finish_reason": "stop",
            })
        };
        let choices: Vec<Value> = (0..self.choices).map(choice).collect();
        let body = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created_s,
            "model": self.model,
            "choices": choices,
            "usage": usage_object(self.usage),
        });
        Bytes::from(body.to_string())
    }

    /// Returns the first event: who speaks.
    #[must_use]
    pub fn role_event(&self) -> Bytes {
        self.choice_events(&json!({ "role": "assistant", "content": "", "refusal": null }), None)
    }

    /// Returns an event with the next piece of the text.
    #[must_use]
    pub fn text_event(&self, piece: &str) -> Bytes {
        self.choice_events(&json!({ "content": piece }), None)
    }

    /// Returns the events that end a stream.
    #[must_use]
    pub fn end_events(&self) -> Bytes {
        let mut events = self.choice_events(&json!({}), Some("stop")).to_vec();
        if self.include_usage {
            events.extend_from_slice(&self.event(&[], &usage_object(self.usage)));
        }
        events.extend_from_slice(b"data: [DONE]\n\n");
        Bytes::from(events)
    }

    /// One event for each choice.
    fn choice_events(&self, delta: &Value, finish_reason: Option<&str>) -> Bytes {
        let mut events = Vec::new();
        for index in 0..self.choices {
            let choice = json!({
                "index": index,
                "delta": delta,
                "logprobs": null,
                "finish_reason": finish_reason,
            });
            events.extend_from_slice(&self.event(&[choice], &Value::Null));
        }
        Bytes::from(events)
    }

    fn event(&self, choices: &[Value], usage: &Value) -> Vec<u8> {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created_s,
            "model": self.model,
            "choices": choices,
        });
        // Who asked for usage finds the field in every chunk, who did not finds it in none.
        if self.include_usage {
            chunk["usage"] = usage.clone();
        }
        format!("data: {chunk}\n\n").into_bytes()
    }
}

/// Returns the friendly reply to a denied request, streamed if the request asked for a stream.
/// `message` is the plan's text, `code` the denial's.
#[must_use]
pub fn denied_reply(
    request: &ChatRequest,
    completion: &Completion,
    message: &str,
    code: &'static str,
) -> Response<Bytes> {
    let (content_type, body) = if request.stream() {
        let text = completion.text_event(message);
        let events = [completion.role_event(), text, completion.end_events()];
        ("text/event-stream; charset=utf-8", Bytes::from(events.concat()))
    } else {
        ("application/json", completion.plain(message))
    };
    let mut reply = Response::new(body);
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(DENIED, HeaderValue::from_static(code));
    reply
}

fn usage_object(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": { "cached_tokens": usage.cached_tokens },
        "completion_tokens_details": { "reasoning_tokens": usage.reasoning_tokens },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observation::{Observer, ReportedUsage, Step},
        openai::observer::ChatObserver,
        sse::Scanner,
    };

    fn request(more: &str) -> ChatRequest {
        let body = format!(r#"{{"model":"fast","messages":[]{more}}}"#);
        ChatRequest::parse(body.into()).unwrap()
    }

    fn completion(request: &ChatRequest) -> Completion {
        let usage = Usage { input_tokens: 3, output_tokens: 2, ..Usage::default() };
        Completion { usage, ..Completion::answering(request, "chatcmpl-1".into(), 7) }
    }

    fn stream_data(request: &ChatRequest) -> Vec<Bytes> {
        let reply = denied_reply(request, &completion(request), "no more", "limit_exhausted");
        let mut frames = Vec::new();
        Scanner::new(10_000).push(reply.body(), &mut frames).unwrap();
        let mut observer = ChatObserver::new(request.choices());
        let last = frames.iter().map(|frame| observer.see_event(frame)).last();
        assert_eq!(last, Some(Step::Terminal));
        let seen = observer.observation();
        assert!(seen.output && seen.complete && !seen.error);
        assert_eq!(matches!(seen.usage, ReportedUsage::Valid(_)), request.include_usage());
        frames.into_iter().filter_map(|frame| frame.data).collect()
    }

    #[test]
    fn a_plain_denied_reply_is_a_whole_completion_with_the_header() {
        let request = request(r#","n":2"#);
        let reply = denied_reply(&request, &completion(&request), "no more", "limit_exhausted");
        assert_eq!(reply.headers()["earmark-denied"], "limit_exhausted");
        assert_eq!(reply.headers()["content-type"], "application/json");
        let body: Value = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!(body["object"], "chat.completion");
        assert_eq!(body["choices"][1]["index"], 1);
        assert_eq!(body["choices"][1]["message"]["content"], "no more");
        assert_eq!(body["choices"][1]["finish_reason"], "stop");
        assert_eq!(body["usage"]["total_tokens"], 5);
    }

    #[test]
    fn a_stream_has_role_text_finish_and_done() {
        let data = stream_data(&request(r#","stream":true"#));
        let chunks: Vec<Value> =
            data[..3].iter().map(|data| serde_json::from_slice(data).unwrap()).collect();
        assert_eq!(data[3], "[DONE]");
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(chunks[1]["choices"][0]["delta"]["content"], "no more");
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
        for chunk in &chunks {
            assert_eq!(chunk["object"], "chat.completion.chunk");
            assert_eq!(chunk["created"], 7);
            assert!(chunk.get("usage").is_none());
        }
    }

    #[test]
    fn usage_comes_right_before_done_if_it_was_asked_for() {
        let asked = r#","stream":true,"n":2,"stream_options":{"include_usage":true}"#;
        let data = stream_data(&request(asked));
        assert_eq!(data.len(), 2 + 2 + 2 + 1 + 1);
        let first: Value = serde_json::from_slice(&data[0]).unwrap();
        assert!(first["usage"].is_null() && first.get("usage").is_some());
        let usage: Value = serde_json::from_slice(&data[6]).unwrap();
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(usage["usage"]["prompt_tokens"], 3);
    }
}
