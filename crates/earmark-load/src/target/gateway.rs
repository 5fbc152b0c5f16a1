//! A chat through the gateway, plain or streamed.
//!
//! Always holds: a stream counts as done only when its last event says that it is whole; a
//! denial that a plan tells as a completion is a denial here, too.

use serde_json::json;

use crate::connection::Connection;
use crate::outcome::{Outcome, Refusal};

const PATH: &str = "/openai/v1/chat/completions";

/// The last event of OpenAI's streams.
const STREAM_END: &str = "data: [DONE]";

pub(super) struct Chat<'a> {
    pub(super) model: &'a str,
    pub(super) prompt: &'a str,
    pub(super) streams: bool,
}

pub(super) async fn drive(connection: &mut Connection, tenant: &str, chat: &Chat<'_>) -> Outcome {
    let body = json!({
        "model": chat.model,
        "stream": chat.streams,
        "messages": [{"role": "user", "content": chat.prompt}],
    });
    let headers = [("Earmark-Tenant", tenant)];
    let reply = match connection.call("POST", PATH, &headers, &body.to_string()).await {
        Ok(reply) => reply,
        Err(error) => return Outcome::refused(error.into(), 1),
    };
    if let Some(code) = reply.denied {
        return Outcome::refused(Refusal::Denied(code), 1);
    }
    if !reply.is_success() {
        return Outcome::refused(Refusal::by(&reply), 1);
    }
    if !chat.streams {
        return Outcome { done: 1, ..Outcome::default() };
    }
    if !reply.body.trim_end().ends_with(STREAM_END) {
        return Outcome::refused(Refusal::Failed("stream ended early".to_owned()), 1);
    }
    Outcome { done: 1, first_byte_at: Some(reply.first_byte_at), ..Outcome::default() }
}
