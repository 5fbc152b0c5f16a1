//! Reads along with a chat completion, plain or streamed, without changing it.
//!
//! Output is any delta or message field through which a model can say something; metering looks
//! at all of them, because a reply may be reasoning, a refusal or a tool call without a word of
//! `content`. Usage is taken from any chunk and the last one counts: some upstreams attach it to
//! the last chunk of content or repeat cumulative values, so a sum would count twice.
//!
//! Always holds: a stream is complete when `[DONE]` came or every choice that was asked for has
//! its `finish_reason`; an end of the bytes alone is never taken for it.
//! Not here: counting tokens, forcing or stripping usage chunks.

use bytes::Bytes;
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::{
    observation::{Observation, Observer, ReportedUsage, Step, Usage},
    openai::error::failure_event,
    sse::Frame,
    upstream::UpstreamFailure,
};

/// The data of the event that ends a stream.
pub(crate) const DONE: &[u8] = b"[DONE]";

/// Observes one reply to a chat completions request.
#[derive(Debug)]
pub struct ChatObserver {
    observation: Observation,
    /// By index of the choice: it has a `finish_reason`.
    finished: Vec<bool>,
}

impl ChatObserver {
    /// An observer for a reply of `choices` choices (the request's `n`).
    #[must_use]
    pub fn new(choices: u32) -> ChatObserver {
        ChatObserver {
            observation: Observation::default(),
            finished: vec![false; usize::try_from(choices).unwrap_or(usize::MAX)],
        }
    }

    fn see(&mut self, body: Body) {
        if body.error.0 {
            self.observation.error = true;
        }
        for choice in body.choices.into_iter().flatten() {
            if choice.delta.is_some_and(Said::anything)
                || choice.message.is_some_and(Said::anything)
            {
                self.observation.output = true;
            }
            let place = choice.index.and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
            if choice.finish_reason.0
                && let Some(finished) = self.finished.get_mut(place)
            {
                *finished = true;
            }
        }
        if let Some(usage) = body.usage {
            self.observation.usage = read_usage(&usage);
        }
    }
}

impl Observer for ChatObserver {
    fn see_event(&mut self, frame: &Frame) -> Step {
        let Some(data) = &frame.data else { return Step::Passing };
        let data = data.trim_ascii();
        if data == DONE {
            self.observation.complete = true;
            return Step::Terminal;
        }
        // Some OpenAI-like upstreams name their error events and put the text inside as it is.
        if frame.name.as_deref() == Some(b"error") {
            self.observation.error = true;
        }
        // What cannot be read passes all the same: the client may know what it is.
        if let Ok(body) = serde_json::from_slice(data) {
            self.see(body);
            self.observation.complete |= self.finished.iter().all(|finished| *finished);
        }
        Step::Passing
    }

    fn see_plain(&mut self, body: &[u8]) {
        if body.trim_ascii().is_empty() {
            return;
        }
        match serde_json::from_slice::<Body>(body) {
            Ok(body) => {
                let answered = body.choices.as_ref().is_some_and(|choices| !choices.is_empty());
                self.see(body);
                self.observation.complete = answered;
            }
            // A success that cannot be read may have cost everything that was held.
            Err(_) => {
                self.observation.unreadable = true;
                self.observation.output = true;
                self.observation.complete = true;
            }
        }
    }

    fn observation(&self) -> Observation {
        self.observation
    }

    fn failure_event(&self, failure: &UpstreamFailure) -> Bytes {
        failure_event(failure)
    }
}

/// What is read of a completion and of a chunk alike.
#[derive(Deserialize)]
struct Body {
    choices: Option<Vec<Choice>>,
    usage: Option<Value>,
    #[serde(default)]
    error: Present,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    #[serde(default)]
    finish_reason: Present,
    delta: Option<Said>,
    message: Option<Said>,
}

/// The fields through which a model can say something.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    content: Present,
    reasoning: Present,
    reasoning_content: Present,
    refusal: Present,
    tool_calls: Present,
    function_call: Present,
    audio: Present,
}

impl Said {
    fn anything(self) -> bool {
        self.content.0
            || self.reasoning.0
            || self.reasoning_content.0
            || self.refusal.0
            || self.tool_calls.0
            || self.function_call.0
            || self.audio.0
    }
}

/// Whether a value of any type says something: not null, false or empty.
#[derive(Clone, Copy, Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Present, D::Error> {
        deserializer.deserialize_any(PresentVisitor)
    }
}

struct PresentVisitor;

impl<'de> Visitor<'de> for PresentVisitor {
    type Value = Present;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Present, E> {
        Ok(Present(false))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Present, E> {
        Ok(Present(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Present, E> {
        Ok(Present(true))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Present, E> {
        Ok(Present(true))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Present, E> {
        Ok(Present(true))
    }

    fn visit_str<E>(self, value: &str) -> Result<Present, E> {
        Ok(Present(!value.is_empty()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Present, A::Error> {
        let mut present = false;
        while items.next_element::<IgnoredAny>()?.is_some() {
            present = true;
        }
        Ok(Present(present))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Present, A::Error> {
        let mut present = false;
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            present = true;
        }
        Ok(Present(present))
    }
}

/// Reads a usage object; a number that is negative, fractional or not a number rejects it whole.
fn read_usage(usage: &Value) -> ReportedUsage {
    let total = |name: &str| usage.get(name).and_then(Value::as_u64);
    let part = |details: &str, name: &str| match usage.get(details).and_then(|part| part.get(name))
    {
        None | Some(Value::Null) => Some(0),
        Some(value) => value.as_u64(),
    };
    let read = || {
        Some(Usage {
            input_tokens: total("prompt_tokens")?,
            cached_tokens: part("prompt_tokens_details", "cached_tokens")?,
            output_tokens: total("completion_tokens")?,
            reasoning_tokens: part("completion_tokens_details", "reasoning_tokens")?,
        })
    };
    read().map_or(ReportedUsage::Rejected, Usage::validated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::Scanner;

    /// Observes a stream of the given events' data.
    fn streamed(choices: u32, events: &[&str]) -> Observation {
        let mut observer = ChatObserver::new(choices);
        let text: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
        let mut frames = Vec::new();
        Scanner::new(10_000).push(&text.into(), &mut frames).unwrap();
        for frame in &frames {
            observer.see_event(frame);
        }
        observer.observation()
    }

    fn delta(fields: &str) -> String {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{{fields}}},"finish_reason":null}}],"usage":null}}"#
        )
    }

    fn valid(input_tokens: u64, output_tokens: u64) -> ReportedUsage {
        let usage = Usage { input_tokens, output_tokens, ..Usage::default() };
        ReportedUsage::Valid(usage)
    }

    #[test]
    fn every_way_to_say_something_is_output_and_nothing_else_is() {
        // delta                                               | output
        #[rustfmt::skip]
        let table = [
            (r#""role":"assistant""#,                            false),
            (r#""role":"assistant","content":"","refusal":null"#, false),
            (r#""tool_calls":[],"function_call":null,"audio":{}"#, false),
            (r#""obfuscation":"xxxx""#,                          false),
            (r#""content":" ""#,                                 true),
            (r#""content":"a\nb é""#,                            true),
            (r#""content":[{"type":"text","text":"a"}]"#,        true),
            (r#""reasoning":"hm""#,                              true),
            (r#""reasoning_content":"hm""#,                      true),
            (r#""refusal":"no""#,                                true),
            (r#""tool_calls":[{"index":0,"id":"call_1"}]"#,      true),
            (r#""function_call":{"name":"f"}"#,                  true),
            (r#""audio":{"data":"AAAA"}"#,                       true),
        ];
        for (fields, output) in table {
            let seen = streamed(1, &[&delta(fields)]);
            assert_eq!(seen.output, output, "{fields}");
            assert!(!seen.complete && !seen.error);
            assert_eq!(seen.usage, ReportedUsage::Missing);
        }
    }

    #[test]
    fn a_stream_is_complete_by_done_or_by_every_finish_reason() {
        let finish = |index| {
            format!(r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":"stop"}}]}}"#)
        };
        // choices, events                             | complete
        #[rustfmt::skip]
        let table = [
            (1, vec![delta(r#""content":"a""#)],         false),
            (1, vec![finish(0)],                         true),
            (2, vec![finish(0), finish(0), finish(7)],   false),
            (2, vec![finish(1), finish(0)],              true),
            (2, vec!["[DONE]".to_owned()],               true),
            (1, vec!["not json".to_owned()],             false),
        ];
        for (choices, events, complete) in table {
            let events: Vec<&str> = events.iter().map(String::as_str).collect();
            assert_eq!(streamed(choices, &events).complete, complete, "{events:?}");
        }
    }

    #[test]
    fn an_error_is_seen_in_a_stream_and_in_a_plain_reply() {
        assert!(streamed(1, &[r#"{"error":{"message":"overloaded"}}"#]).error);
        assert!(streamed(1, &[r#"{"error":"overloaded"}"#]).error);
        assert!(!streamed(1, &[r#"{"error":null,"choices":[]}"#]).error);
        let mut observer = ChatObserver::new(1);
        let mut frames = Vec::new();
        Scanner::new(99).push(&"event: error\ndata: oh\n\n".into(), &mut frames).unwrap();
        observer.see_event(&frames[0]);
        assert!(observer.observation().error);
        let seen = plain(r#"{"error":{"message":"overloaded"}}"#);
        assert!(seen.error && !seen.complete && !seen.output);
    }

    #[test]
    fn the_last_usage_counts_and_only_if_it_can_be_believed() {
        let usage = |fields: &str| format!(r#"{{"choices":[],"usage":{{{fields}}}}}"#);
        let both = |input: &str, output: &str| {
            usage(&format!(r#""prompt_tokens":{input},"completion_tokens":{output}"#))
        };
        let parts = |cached: u64, reasoning: u64| {
            usage(&format!(
                r#""prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{{"cached_tokens":{cached}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":null}}"#
            ))
        };
        let rejected = ReportedUsage::Rejected;
        // events | the usage that counts
        #[rustfmt::skip]
        let table = [
            (vec![both("9", "4")],                     valid(9, 4)),
            (vec![both("9", "1"), both("9", "4")],     valid(9, 4)),
            (vec![both("0", "0")],                     valid(0, 0)),
            (vec![both("9", "4"), delta("")],          valid(9, 4)),
            (vec![both("9", "4"), both("-1", "4")],    rejected),
            (vec![both("9", "4.5")],                   rejected),
            (vec![both("9", "1e3")],                   rejected),
            (vec![both("9", "\"4\"")],                 rejected),
            (vec![both("9", "null")],                  rejected),
            (vec![both("99999999999", "4")],           rejected),
            (vec![both("1e400", "4")],                 ReportedUsage::Missing),
            (vec![usage(r#""total_tokens":13"#)],      rejected),
            (vec![parts(10, 0)],                       rejected),
            (vec![parts(0, 5)],                        rejected),
        ];
        for (events, expected) in table {
            let events: Vec<&str> = events.iter().map(String::as_str).collect();
            assert_eq!(streamed(1, &events).usage, expected, "{events:?}");
        }
        let whole =
            Usage { input_tokens: 9, cached_tokens: 9, output_tokens: 4, reasoning_tokens: 4 };
        assert_eq!(streamed(1, &[&parts(9, 4)]).usage, ReportedUsage::Valid(whole));
    }

    fn plain(body: &str) -> Observation {
        let mut observer = ChatObserver::new(1);
        observer.see_plain(body.as_bytes());
        observer.observation()
    }

    #[test]
    fn a_plain_reply_is_complete_if_it_has_choices_or_cannot_be_read() {
        let answer = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
        // body                                     | output, complete, unreadable, usage
        #[rustfmt::skip]
        let table = [
            (answer,                                  true,  true,  false, valid(1, 2)),
            (r#"{"choices":[{"message":{}}]}"#,       false, true,  false, ReportedUsage::Missing),
            (r#"{"choices":[]}"#,                     false, false, false, ReportedUsage::Missing),
            ("{}",                                    false, false, false, ReportedUsage::Missing),
            ("  ",                                    false, false, false, ReportedUsage::Missing),
            ("<html>",                                true,  true,  true,  ReportedUsage::Missing),
            (r#"{"choices":7}"#,                      true,  true,  true,  ReportedUsage::Missing),
        ];
        for (body, output, complete, unreadable, usage) in table {
            let expected = Observation { output, complete, error: false, unreadable, usage };
            assert_eq!(plain(body), expected, "{body}");
        }
    }
}
