//! Commands about events and who is told of them.

use clap::{Args, Subcommand};

/// Webhook endpoints.
#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Tell a URL of events; its secret is shown once
    #[command(
        after_help = "Examples:\n  earmark webhook add https://example.com/earmark\n  earmark webhook add https://example.com/earmark --event limit_denied --description billing"
    )]
    Add {
        /// Where: https, at a public address
        url: String,
        /// Only of these: limit_reached, limit_denied
        #[arg(long = "event", value_name = "EVENT")]
        events: Vec<String>,
        /// For people
        #[arg(long)]
        description: Option<String>,
    },
    /// All endpoints
    #[command(after_help = "Example:\n  earmark webhook list")]
    List,
    /// Change an endpoint
    #[command(
        after_help = "Examples:\n  earmark webhook set endpoint_06gf --url https://example.com/2\n  earmark webhook set endpoint_06gf --enabled false\n\n\
        What is pending for a disabled endpoint is given up; `earmark events resend` sends it again."
    )]
    Set {
        /// Its id, endpoint_…
        id: String,
        /// Where it is told
        #[arg(long)]
        url: Option<String>,
        /// Only of these; `all` for everything
        #[arg(long = "event", value_name = "EVENT")]
        events: Vec<String>,
        /// For people
        #[arg(long)]
        description: Option<String>,
        /// Whether it is told: true or false
        #[arg(long)]
        enabled: Option<bool>,
    },
    /// Replace an endpoint's secret; the new one is shown once
    #[command(
        after_help = "Examples:\n  earmark webhook rotate endpoint_06gf\n  earmark webhook rotate endpoint_06gf --overlap-ms 0\n\n\
        Until the overlap is over (a day unless named), deliveries have a signature by each."
    )]
    Rotate {
        /// Its id, endpoint_…
        id: String,
        /// How long the secret before signs, too, in milliseconds
        #[arg(long)]
        overlap_ms: Option<u64>,
    },
    /// Remove an endpoint with what is pending for it
    #[command(after_help = "Example:\n  earmark webhook remove endpoint_06gf")]
    Remove {
        /// Its id, endpoint_…
        id: String,
    },
}

/// What `events` takes.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<EventsCommand>,
    /// With a delivery that is pending, delivered or dead
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// Of that tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) count: u32,
    /// Go on where the last page ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

/// What is done about an event.
#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Send an event again, to all who ask for it or to one
    #[command(
        after_help = "Examples:\n  earmark events resend evt_9f86\n  earmark events resend evt_9f86 --endpoint endpoint_06gf"
    )]
    Resend {
        /// Its id, evt_…
        id: String,
        /// To this endpoint only
        #[arg(long)]
        endpoint: Option<String>,
    },
}
