//! The body of a request as a typed value.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_json::error::Category;
use serde_path_to_error::{Deserializer, Path, Track};

use super::strict::Strict;
use crate::bounds::{BODY_BYTES_MAX, BODY_READ_MAX};
use crate::error::{Code, Problem};
use crate::state::App;

/// A JSON body of at most `BYTES` bytes. An empty one stands for `{}`.
pub(crate) struct JsonBody<T, const BYTES: usize = BODY_BYTES_MAX>(pub(crate) T);

impl<T: DeserializeOwned, const BYTES: usize> FromRequest<Arc<App>> for JsonBody<T, BYTES> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Problem> {
        let bytes = read(request.into_body(), BYTES).await?;
        parse(&bytes, || PhantomData).map(Self)
    }
}

/// A body of at most `BYTES` bytes that is read into pieces by its route.
pub(crate) struct WholeBody<const BYTES: usize>(pub(crate) Bytes);

impl<const BYTES: usize> FromRequest<Arc<App>> for WholeBody<BYTES> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Problem> {
        read(request.into_body(), BYTES).await.map(Self)
    }
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let collected = tokio::time::timeout(BODY_READ_MAX, Limited::new(body, bytes_max).collect());
    match collected.await {
        Ok(Ok(collected)) => {
            let bytes = collected.to_bytes();
            Ok(if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes })
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Code::BodyTooLarge, format!("at most {bytes_max} bytes")))
        }
        Ok(Err(_)) => Err(Problem::new(Code::MalformedRequest, "the body ended early")),
        Err(_) => {
            let seconds = BODY_READ_MAX.as_secs();
            Err(Problem::new(Code::RequestTimeout, format!("the body took over {seconds} s")))
        }
    }
}

/// Reads JSON strictly, as that seed does.
pub(crate) fn parse<'de, S: DeserializeSeed<'de>>(
    bytes: &'de [u8],
    seed: impl Fn() -> S,
) -> Result<S::Value, Problem> {
    parse_once(bytes, Strict::value)?;
    parse_once(bytes, seed)
}

/// Reads JSON that is known to be strict, or whose parts are kept raw to be read strictly later.
pub(crate) fn parse_once<'de, S: DeserializeSeed<'de>>(
    bytes: &'de [u8],
    seed: impl Fn() -> S,
) -> Result<S::Value, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    if let Ok(value) = seed().deserialize(&mut json)
        && json.end().is_ok()
    {
        return Ok(value);
    }
    // Only what is wrong is read a second time, to say where: following the path costs more
    // than reading.
    let mut track = Track::new();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = seed().deserialize(Deserializer::new(&mut json, &mut track));
    let read = read.and_then(|value| json.end().map(|()| value));
    read.map_err(|error| problem(&error, &track.path()))
}

/// The refusal of a body: 400 where it is no JSON, else 422 with the field.
fn problem(error: &serde_json::Error, path: &Path) -> Problem {
    let text = error.to_string();
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::new(Code::MalformedRequest, format!("the body is no JSON: {text}"))
        }
        Category::Data => {
            let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
            Problem::invalid(field_of(path, message), plain(message))
        }
    }
}

/// The field that an error is about. Of unknown, missing and doubled ones only the message
/// knows the name; the path then ends at the object around it.
fn field_of(path: &Path, message: &str) -> String {
    let mut around = path.to_string();
    let named = ["unknown field `", "missing field `", "duplicate field `", "`"]
        .into_iter()
        .find_map(|prefix| message.strip_prefix(prefix)?.split_once('`'))
        .map(|(name, _)| name);
    let Some(name) = named else {
        return if around == "." { "body".to_owned() } else { around };
    };
    if around == "." {
        return name.to_owned();
    }
    if around != name && !around.ends_with(&format!(".{name}")) {
        around.push('.');
        around.push_str(name);
    }
    around
}

/// Says in JSON's words what the parser says in Rust's.
fn plain(message: &str) -> String {
    let words = [
        ("floating point ", "the number "),
        ("expected i64", "expected a whole number"),
        ("expected i32", "expected a whole number"),
        ("expected u64", "expected a whole number"),
        ("expected a map", "expected an object"),
        ("expected struct ", "expected an object, "),
        ("expected a sequence", "expected an array"),
    ];
    words.iter().fold(message.to_owned(), |text, (rust, json)| text.replace(rust, json))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Sample {
        amounts: BTreeMap<String, i64>,
        #[serde(default)]
        list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Inner {
        name: String,
    }

    fn refused(text: &str) -> (String, Option<String>, String) {
        let body = parse(text.as_bytes(), || PhantomData::<Sample>).unwrap_err().body(None);
        (body.code.to_owned(), body.field, body.detail)
    }

    #[test]
    fn what_is_wrong_is_named() {
        // body, code, field, part of the detail
        let deep = format!(r#"{{"amounts":{}{}}}"#, "[".repeat(40), "]".repeat(40));
        let cases = [
            ("{", "malformed_request", None, "EOF"),
            ("{}x", "malformed_request", None, "trailing"),
            ("", "malformed_request", None, "EOF"),
            ("[]", "invalid_request", Some("body"), "expected"),
            ("{}", "invalid_request", Some("amounts"), "missing field"),
            (r#"{"amounts":{},"x":1}"#, "invalid_request", Some("x"), "unknown field `x`"),
            (r#"{"amounts":{"m":1.5}}"#, "invalid_request", Some("amounts.m"), "whole number"),
            (r#"{"amounts":{"m":"1"}}"#, "invalid_request", Some("amounts.m"), "whole number"),
            (r#"{"amounts":{"m":1,"m":2}}"#, "invalid_request", Some("amounts.m"), "twice"),
            (r#"{"amounts":{},"amounts":{}}"#, "invalid_request", Some("amounts"), "twice"),
            (r#"{"amounts":{},"list":[{}]}"#, "invalid_request", Some("list[0].name"), "missing"),
            (
                r#"{"amounts":{},"list":[{"name":"a","n":1}]}"#,
                "invalid_request",
                Some("list[0].n"),
                "unknown",
            ),
            (&deep, "invalid_request", None, "deeper"),
        ];
        for (text, code, field, part) in cases {
            let (got_code, got_field, detail) = refused(text);
            assert_eq!(got_code, code, "{text}: {detail}");
            if field.is_some() {
                assert_eq!(got_field.as_deref(), field, "{text}: {detail}");
            }
            assert!(detail.contains(part), "{text}: {detail}");
        }
    }
}
