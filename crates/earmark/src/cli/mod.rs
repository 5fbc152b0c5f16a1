//! The catalogue of commands: help, man page and completions come from here.

mod bench;
mod control;
mod described;
mod events;
mod look;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use bench::{BenchArgs, BenchArrivals, BenchCommand, BenchSpread};
pub(crate) use control::{
    AdjustArgs, ApplyArgs, GrantArgs, ImportArgs, KeyCommand, PlanCommand, TenantCommand,
    TenantFieldsArgs,
};
pub(crate) use described::described;
pub(crate) use events::{EventsArgs, EventsCommand, WebhookCommand};
pub(crate) use look::{
    BackupArgs, EntriesArgs, HistoryArgs, HoldsArgs, RestoreArgs, UsageArgs, VerifyArgs,
};

/// Called wrongly: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Exact usage quotas for AI: allowance is held before a call and settled after it.
#[derive(Debug, Parser)]
#[command(
    name = "earmark",
    version,
    about,
    after_help = "Examples:\n  \
        earmark serve                      start on an empty directory, with a demo tenant\n  \
        earmark usage demo                 what the demo tenant has used\n  \
        earmark grant demo ai_messages 20 --reason thanks\n\n\
        Every command takes --json. Settings come from flags, then the environment, then the \
        configuration file."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Settings that every command knows.
#[derive(Debug, Clone, Args)]
pub(crate) struct SettingsArgs {
    /// Data directory [default: ./earmark-data]
    #[arg(long, env = "EARMARK_DATA", global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Configuration file [default: ./earmark.toml if it is there]
    #[arg(long, env = "EARMARK_CONFIG", global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Store: sqlite, or postgres://user:password@host:5432/database [default: sqlite]
    #[arg(
        long,
        env = "EARMARK_STORE",
        global = true,
        value_name = "STORE",
        hide_env_values = true
    )]
    pub(crate) store: Option<String>,
    /// Address to listen on [default: 127.0.0.1:4050]
    #[arg(long, env = "EARMARK_LISTEN", global = true, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Certificate chain for TLS, PEM, with --tls-key [default: no TLS]
    #[arg(long, env = "EARMARK_TLS_CERT", global = true, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of the first certificate of --tls-cert, PEM
    #[arg(long, env = "EARMARK_TLS_KEY", global = true, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Days for which the ledger is kept, at least 7; what is older is folded [default: 400]
    #[arg(long, env = "EARMARK_LEDGER_RETENTION_DAYS", global = true, value_name = "DAYS")]
    pub(crate) ledger_retention_days: Option<u32>,
    /// Admin key instead of the generated one, at least 32 characters
    #[arg(long, env = "EARMARK_ADMIN_KEY", global = true, hide_env_values = true, hide = true)]
    pub(crate) admin_key: Option<String>,
    /// Let webhook endpoints be at private addresses, and speak http [default: false]
    #[arg(
        long,
        env = "EARMARK_WEBHOOK_ALLOW_PRIVATE",
        global = true,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) webhook_allow_private: Option<bool>,
    /// What is logged: error, warn, info, debug or trace, also for single parts, such as
    /// warn,earmark_engine=debug [default: info]
    #[arg(long, env = "EARMARK_LOG", global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server and the gateway (also what no command does)
    #[command(after_help = "Examples:\n  earmark serve\n  \
        earmark serve --listen 0.0.0.0:4050 --data /var/lib/earmark --config /etc/earmark.toml\n\n\
        SIGTERM or Ctrl-C finishes what has begun (streams for 30 s at most) and ends with exit \
        code 0; a second one cuts what is still open and ends with exit code 1.")]
    Serve(ServeArgs),
    /// Put the configuration file's meters and plans into the store, difference first
    Apply(ApplyArgs),
    /// Plans
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Tenants
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Webhook endpoints: who is told of events
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Give a tenant extra allowance
    #[command(
        after_help = "Example:\n  earmark grant acme ai_messages 20 --reason \"sorry for the outage\""
    )]
    Grant(GrantArgs),
    /// Correct a counter of a tenant
    #[command(
        after_help = "Example:\n  earmark adjust acme ai_messages/month -3 --reason \"duplicate calls\""
    )]
    Adjust(AdjustArgs),
    /// What a tenant has used, holds and has left
    #[command(after_help = "Examples:\n  earmark usage acme\n  earmark usage acme --user u_17")]
    Usage(UsageArgs),
    /// What a tenant has used of a meter, over time
    #[command(after_help = "Examples:\n  earmark history acme ai_messages\n  \
        earmark history acme ai_messages --bucket month --from 2026-01-01T00:00:00Z")]
    History(HistoryArgs),
    /// A tenant's ledger, newest first
    #[command(after_help = "Example:\n  earmark entries acme --count 20")]
    Entries(EntriesArgs),
    /// A tenant's holds, newest first
    #[command(after_help = "Example:\n  earmark holds acme --state open")]
    Holds(HoldsArgs),
    /// Alerts and first refusals, newest first, with their deliveries
    #[command(
        after_help = "Examples:\n  earmark events --state dead\n  earmark events --tenant acme\n  \
        earmark events resend evt_9f86"
    )]
    Events(EventsArgs),
    /// Recompute every counter from the ledger and the open holds, and name each difference
    #[command(after_help = "Examples:\n  earmark verify\n  earmark verify --tenant acme\n\n\
        Works beside a running server. Exit code 1 when something differs.")]
    Verify(VerifyArgs),
    /// Copy the store into one file, beside a running server
    #[command(
        after_help = "Examples:\n  earmark backup\n  earmark backup /mnt/backups/monday.db\n\n\
        Without a file it stays in the data directory, in backups. It holds everything that was \
        acknowledged before; `earmark restore` makes a store of it."
    )]
    Backup(BackupArgs),
    /// Make a backup the store of the data directory
    #[command(after_help = "Examples:\n  earmark restore /mnt/backups/monday.db --data ./new\n  \
        earmark restore monday.db --replace\n\n\
        The server must be stopped. Keys, plans and the admin key's file are as in the backup and \
        in the directory.")]
    Restore(RestoreArgs),
    /// Load a server and measure how it answers, from the times at which requests were planned
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Demonstrations
    #[command(subcommand)]
    Demo(DemoCommand),
    /// Print the API's OpenAPI description
    #[command(after_help = "Example:\n  earmark openapi > openapi.json")]
    Openapi,
    /// Print commands, settings, refusals and metrics as JSON: what the reference is made from
    #[command(hide = true)]
    Describe,
}

/// What `serve` takes beside the settings.
#[derive(Debug, Clone, Args, Default)]
pub(crate) struct ServeArgs {
    /// Log as JSON lines
    #[arg(long)]
    pub(crate) log_json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DemoCommand {
    /// 100 chats at once, 40 of 50 used: what each way of counting ends at
    #[command(
        after_help = "Examples:\n  earmark demo race\n  earmark demo race --chats 500 --rounds 3"
    )]
    Race {
        /// Chats at once
        #[arg(long, default_value_t = 100)]
        chats: usize,
        /// Rounds
        #[arg(long, default_value_t = 1)]
        rounds: usize,
    },
}
