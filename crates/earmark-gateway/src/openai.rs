//! The OpenAI shapes: what the gateway reads of a request and a reply, and what it writes itself.
//!
//! Bytes of the provider pass through untouched; only what must change is changed. What the
//! gateway makes up on its own is complete, because strict clients fail on gaps that the
//! official SDKs forgive.
//!
//! Not here: HTTP to the upstream (`upstream`), passing bytes on (`relay`), the Responses API.

pub mod completion;
pub mod error;
pub mod models;
pub mod observer;
pub mod request;
