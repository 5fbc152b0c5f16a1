//! Earmark's HTTP server: routes, keys, the table of errors, OpenAPI, metrics, TLS, shutdown.
//!
//! ```text
//! listener ─▶ edge (request id, span, bounds) ─▶ key and scope ─▶ route ─▶ engine
//!                                                    └─ /openai, /anthropic ─▶ gateway
//! store's outbox ─▶ webhooks ─▶ endpoints
//! ```
//!
//! # How a program uses it
//!
//! ```no_run
//! # async fn serve(store: earmark_store::memory::MemoryStore) -> Result<(), Box<dyn std::error::Error>> {
//! use earmark_engine::{EngineOptions, Quota};
//! use earmark_server::{AdminKey, Metrics, Server, ServerOptions};
//!
//! let metrics = Metrics::new();
//! let options = EngineOptions { observe: metrics.clone(), ..EngineOptions::default() };
//! let quota = Quota::open(store, options).await?;
//! let options = ServerOptions {
//!     admin_keys: vec![AdminKey::new("em_admin_0123456789abcdef0123456789abcdef")?],
//!     ..ServerOptions::new("127.0.0.1:4050".parse()?)
//! };
//! let server = Server::bind(quota, metrics, options).await?;
//! println!("listening on {}", server.local_addr());
//! // Once the first future is done, finishes what has begun, for as long as the second is not;
//! // then closes the quota. An error may mean that the store's disk failed: the program ends
//! // and recovers at its next start.
//! server.run(std::future::pending(), std::future::pending()).await?;
//! # Ok(()) }
//! ```
//!
//! [`openapi()`] is the description that is committed as a file; [`new_key`] makes a key before
//! there is a server (a first start's demo key).
//!
//! # Architecture invariants
//!
//! - No rule of quotas is here: a handler turns JSON into a command and an answer into JSON.
//! - Core types are not serialisable; what leaves is a type of `reply` or `routes`.
//! - One exhaustive table (`error::table`) turns every refusal into status, code and retry
//!   hint; no message that is not written in it or by the core leaves the process.
//!
//! Absent here: SQL, the clock (answers carry the store's), provider shapes.

mod auth;
pub mod bounds;
mod config_diff;
mod cursor;
mod edge;
mod error;
mod gateway;
mod idle;
mod json;
mod keys;
mod metrics;
mod openapi;
mod options;
mod rate_limit;
mod reply;
mod routes;
mod serve;
mod stalled;
mod state;
mod tls;
mod unread;
mod webhooks;

pub use error::{RefusalInfo, refusals};
pub use gateway::{GatewayCaller, GatewayFuture, GatewayRoutes};
pub use keys::{KeyOf, new_key};
pub use metrics::{MetricInfo, Metrics};
pub use openapi::openapi;
pub use options::{AdminKey, AdminKeyError, ServerOptions, UpstreamInfo};
pub use serve::{Bound, ServeError, Server, router};
pub use tls::{Certificate, Tls, TlsError, Validity};
pub use webhooks::WebhookOptions;
