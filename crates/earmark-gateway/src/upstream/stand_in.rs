//! The stand-in: a built-in upstream that makes a first start useful without any account.
//!
//! It answers in OpenAI's shape, plain or streamed, and says in every reply that no model is
//! behind it. Delay, length and failures are configured; which calls fail follows from counting
//! them, so a test knows beforehand.
//!
//! Always holds: what it gives looks to the relay like any upstream's reply; its memory does not
//! grow with the length of a stream.
//! Not here: chance. A word is taken for a token.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{UpstreamBody, UpstreamReply, config::StandInConfig, failure::UpstreamFailure};
use crate::{
    bounds::ECHO_CHARS_MAX,
    observation::Usage,
    openai::{completion::Completion, request::ChatRequest},
};

const INTRODUCTION: &str = "This is Earmark's built-in stand-in, not a real model.";
const PADDING: [&str; 6] = ["These", "words", "only", "fill", "the", "reply."];

#[derive(Debug)]
pub(super) struct StandIn {
    config: StandInConfig,
    calls: AtomicU64,
}

impl StandIn {
    pub(super) fn new(config: StandInConfig) -> StandIn {
        StandIn { config, calls: AtomicU64::new(0) }
    }

    pub(super) async fn chat(
        &self,
        request: &ChatRequest,
        created_s: u64,
    ) -> Result<UpstreamReply, UpstreamFailure> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.fails(call) {
            return Ok(failed_reply());
        }
        let prompt = Prompt::read(request.body());
        let text = Text { opening: prompt.opening(), words_min: self.config.words_min };
        let word_count = text.word_count();
        let usage = Usage {
            input_tokens: prompt.word_count,
            output_tokens: word_count * u64::from(request.choices()),
            ..Usage::default()
        };
        let id = format!("chatcmpl-standin{}-{call}", self.config.seed);
        let completion = Completion { usage, ..Completion::answering(request, id, created_s) };
        let delay = Duration::from_millis(self.config.word_delay_ms);
        if request.stream() {
            let body = streamed(completion, text, delay);
            return Ok(reply(StatusCode::OK, "text/event-stream; charset=utf-8", body));
        }
        let total = self.config.word_delay_ms.saturating_mul(word_count);
        pause(Duration::from_millis(total)).await;
        Ok(plain_reply(StatusCode::OK, completion.plain(&text.whole())))
    }

    /// Spreads the failures evenly: of any 1,000 calls in a row exactly the configured number
    /// fail, the first after the longest wait.
    fn fails(&self, call: u64) -> bool {
        let per_mille = u64::from(self.config.failures_per_mille);
        let place = (self.config.seed % 1_000 + call % 1_000) % 1_000;
        (place + 1) * per_mille / 1_000 > place * per_mille / 1_000
    }
}

/// What the stand-in understands of a request: almost nothing.
struct Prompt {
    word_count: u64,
    last_user_text: String,
}

impl Prompt {
    fn read(body: &[u8]) -> Prompt {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut prompt = Prompt { word_count: 0, last_user_text: String::new() };
        for message in body["messages"].as_array().into_iter().flatten() {
            let text = message_text(&message["content"]);
            prompt.word_count += text.split_whitespace().count() as u64;
            if message["role"] == "user" {
                prompt.last_user_text = text;
            }
        }
        prompt
    }

    /// The words that every reply begins with.
    fn opening(&self) -> String {
        let said = self.last_user_text.split_whitespace().collect::<Vec<_>>().join(" ");
        if said.is_empty() {
            return INTRODUCTION.to_owned();
        }
        let mut echo: String =
            said.chars().filter(|letter| !letter.is_control()).take(ECHO_CHARS_MAX).collect();
        if said.chars().count() > ECHO_CHARS_MAX {
            echo.push('…');
        }
        format!("{INTRODUCTION} You said: \"{echo}\"")
    }
}

/// The text of a message's content: a string, or the text parts of an array.
fn message_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            texts.join(" ")
        }
        _ => String::new(),
    }
}

/// The text of a reply, word by word.
struct Text {
    opening: String,
    words_min: u32,
}

impl Text {
    fn words(&self) -> impl Iterator<Item = &str> {
        let opening_count = self.opening.split_whitespace().count();
        let words_min = usize::try_from(self.words_min).unwrap_or(usize::MAX);
        let padding = PADDING.iter().copied().cycle().take(words_min.saturating_sub(opening_count));
        self.opening.split_whitespace().chain(padding)
    }

    fn word_count(&self) -> u64 {
        self.words().count() as u64
    }

    fn whole(&self) -> String {
        self.words().collect::<Vec<_>>().join(" ")
    }

    /// The word at a place, with the space before it.
    fn piece(&self, index: usize) -> Option<String> {
        let opening_count = self.opening.split_whitespace().count();
        let word = match index.checked_sub(opening_count) {
            None => self.opening.split_whitespace().nth(index)?,
            Some(place) if index < usize::try_from(self.words_min).unwrap_or(usize::MAX) => {
                PADDING[place % PADDING.len()]
            }
            Some(_) => return None,
        };
        Some(if index == 0 { word.to_owned() } else { format!(" {word}") })
    }
}

/// Where a stream of the stand-in stands.
enum At {
    Role,
    Word(usize),
    End,
}

fn streamed(completion: Completion, text: Text, delay: Duration) -> UpstreamBody {
    let start = (completion, text, At::Role);
    Box::pin(stream::unfold(start, move |(completion, text, at)| async move {
        let (events, next) = match at {
            At::Role => (completion.role_event(), At::Word(0)),
            At::Word(index) => match text.piece(index) {
                Some(piece) => {
                    pause(delay).await;
                    (completion.text_event(&piece), At::Word(index + 1))
                }
                None => (completion.end_events(), At::End),
            },
            At::End => return None,
        };
        Some((Ok(events), (completion, text, next)))
    }))
}

/// Waits; not even for a tick of the timer (1 ms) if there is nothing to wait for.
async fn pause(delay: Duration) {
    if !delay.is_zero() {
        sleep(delay).await;
    }
}

fn failed_reply() -> UpstreamReply {
    let body = json!({ "error": {
        "message": "The stand-in failed, as it is configured to do now and then.",
        "type": "server_error",
        "param": null,
        "code": "stand_in_failure",
    } });
    plain_reply(StatusCode::INTERNAL_SERVER_ERROR, Bytes::from(body.to_string()))
}

fn plain_reply(status: StatusCode, body: Bytes) -> UpstreamReply {
    reply(status, "application/json", Box::pin(stream::iter([Ok(body)])))
}

fn reply(status: StatusCode, content_type: &'static str, body: UpstreamBody) -> UpstreamReply {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    UpstreamReply { status, headers, body }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    fn request(more: &str) -> ChatRequest {
        let body = format!(
            r#"{{"model":"stand-in","messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"first"}},{{"role":"user","content":[{{"type":"text","text":"How are\n you?"}}]}}]{more}}}"#
        );
        ChatRequest::parse(body.into()).unwrap()
    }

    async fn answer(stand_in: &StandIn, more: &str) -> (u16, String) {
        let reply = stand_in.chat(&request(more), 7).await.unwrap();
        let chunks: Vec<Bytes> = reply.body.try_collect().await.unwrap();
        (reply.status.as_u16(), String::from_utf8(chunks.concat()).unwrap())
    }

    #[tokio::test]
    async fn a_plain_reply_says_what_it_is_and_repeats_the_last_user_message() {
        let (status, body) = answer(&StandIn::new(StandInConfig::default()), "").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200);
        assert_eq!(
            body["choices"][0]["message"]["content"],
            "This is Earmark's built-in stand-in, not a real model. You said: \"How are you?\""
        );
        assert_eq!(body["usage"]["prompt_tokens"], 2 + 1 + 3);
        assert_eq!(body["usage"]["completion_tokens"], 9 + 2 + 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_gives_the_same_text_word_by_word() {
        let config = StandInConfig { words_min: 20, word_delay_ms: 50, ..Default::default() };
        let stand_in = StandIn::new(config);
        let (_, plain) = answer(&stand_in, "").await;
        let plain: Value = serde_json::from_str(&plain).unwrap();
        let whole = plain["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(whole.split(' ').count(), 20);
        let (_, events) = answer(&stand_in, r#","stream":true"#).await;
        let mut text = String::new();
        for data in events.split("data: ").filter(|data| data.starts_with('{')) {
            let chunk: Value = serde_json::from_str(data).unwrap();
            text += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or("");
        }
        assert_eq!(text, whole);
        assert!(events.ends_with("data: [DONE]\n\n"));
    }

    #[tokio::test]
    async fn as_many_calls_fail_as_configured_and_always_the_same_ones() {
        // failures of 1,000 | seed | calls | how many fail
        for (failures_per_mille, seed, calls, expected) in [
            (0, 0, 1_000, 0),
            (1, 0, 1_000, 1),
            (250, 3, 1_000, 250),
            (250, 0, 8, 2),
            (1_000, 0, 5, 5),
        ] {
            let config = StandInConfig { failures_per_mille, seed, ..Default::default() };
            let (stand_in, again) = (StandIn::new(config.clone()), StandIn::new(config));
            let mut failed = 0;
            for _ in 0..calls {
                let (status, body) = answer(&stand_in, "").await;
                assert_eq!(answer(&again, "").await.0, status);
                failed += u32::from(status == 500);
                assert_eq!(status == 500, body.contains("stand_in_failure"));
            }
            assert_eq!(failed, expected, "{failures_per_mille} per mille, seed {seed}");
        }
    }

    #[tokio::test]
    async fn the_echo_is_bounded_and_a_missing_message_is_no_error() {
        let opening = |text: &str| Prompt { word_count: 0, last_user_text: text.into() }.opening();
        let long = opening(&"é ".repeat(1_000));
        assert!(long.ends_with("é …\"") || long.ends_with(" é…\""), "{long}");
        assert!(long.chars().count() < INTRODUCTION.len() + ECHO_CHARS_MAX + 20);
        assert_eq!(opening("  "), INTRODUCTION);
    }
}
