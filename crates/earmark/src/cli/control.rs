//! Commands that change something.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What `apply` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  earmark apply --dry-run\n  earmark apply --yes --config plans.toml\n\n\
    What the file names is set. Plans and meters that it does not name stay; retire a plan with \
    `earmark plan retire`."
)]
pub(crate) struct ApplyArgs {
    /// Only show what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// Plans.
#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// All plans
    #[command(after_help = "Example:\n  earmark plan list")]
    List,
    /// One plan with its limits
    Show {
        /// Its name
        plan: String,
    },
    /// Take a plan out of use for new tenants; its tenants keep it
    Retire {
        /// Its name
        plan: String,
    },
}

/// Tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// All tenants
    #[command(after_help = "Examples:\n  earmark tenant list\n  earmark tenant list --plan free")]
    List {
        /// Ids that begin so
        #[arg(long, default_value = "")]
        prefix: String,
        /// On that plan
        #[arg(long)]
        plan: Option<String>,
        /// How many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        count: u32,
        /// Go on where the last page ended
        #[arg(long)]
        cursor: Option<String>,
    },
    /// One tenant
    Show {
        /// Its id
        tenant: String,
    },
    /// Create a tenant, or set every field of one
    #[command(
        after_help = "Example:\n  earmark tenant create acme --plan free --time-zone Europe/Berlin"
    )]
    Create {
        /// Its id
        tenant: String,
        #[command(flatten)]
        fields: TenantFieldsArgs,
    },
    /// Change some fields of a tenant
    #[command(after_help = "Example:\n  earmark tenant set acme --plan pro --anchor 2026-11-24")]
    Set {
        /// Its id
        tenant: String,
        #[command(flatten)]
        fields: TenantFieldsArgs,
    },
    /// Create or change the tenants of a file, with what they have used already
    #[command(after_help = "Examples:\n  earmark tenant import tenants.csv --dry-run\n  \
        earmark tenant import tenants.jsonl\n\n\
        CSV: a header with tenant, plan, time_zone, anchor, status and used:<limit>, for example \
        used:ai_messages/month.\nJSON: an array, or one object a line, with the same names and \
        \"used\": {\"ai_messages/month\": 31}.\n\n\
        What a row names is set, other fields stay. What is used is raised to the row's number \
        and never lowered, so importing a file again changes nothing.")]
    Import(ImportArgs),
    /// Refuse new holds and charges; calls in flight end normally
    Suspend {
        /// Its id
        tenant: String,
    },
    /// Admit again
    Resume {
        /// Its id
        tenant: String,
    },
    /// Open fresh calendar windows now
    Restart {
        /// Its id
        tenant: String,
        /// day, week, month or year; month and year unless named
        #[arg(long = "window")]
        windows: Vec<String>,
    },
    /// Erase a tenant for good: its usage, ledger, holds, grants and keys
    #[command(
        long_about = "Erase a tenant for good: its usage, ledger, holds, grants and keys.\n\n\
        At once it is not there for anybody, calls in flight included; nothing brings it back. \
        What stays is its name with a number, so that one of the same name that is created \
        later begins anew behind it. Backups that were made before still have it."
    )]
    Erase {
        /// Its id
        tenant: String,
        /// Its id once more
        #[arg(long, value_name = "TENANT")]
        confirm: String,
    },
    /// Set a tenant's time back to the store's clock
    RepairClock {
        /// Its id
        tenant: String,
    },
    /// Let a tenant that is refused as tenant_faulted try again
    ClearFault {
        /// Its id
        tenant: String,
    },
}

/// Fields of a tenant.
#[derive(Debug, Args)]
pub(crate) struct TenantFieldsArgs {
    /// Its plan
    #[arg(long)]
    pub(crate) plan: Option<String>,
    /// IANA name, for example Europe/Berlin
    #[arg(long)]
    pub(crate) time_zone: Option<String>,
    /// Civil day on which months and years begin, for example 2026-11-24
    #[arg(long)]
    pub(crate) anchor: Option<String>,
}

/// What `tenant import` takes.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file: .csv, .json or .jsonl
    pub(crate) file: PathBuf,
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key; it is shown once
    #[command(
        after_help = "Examples:\n  earmark key create --tenant acme\n  earmark key create --kind service"
    )]
    Create {
        /// The tenant that it is bound to
        #[arg(long)]
        tenant: Option<String>,
        /// The user that it is bound to
        #[arg(long, requires = "tenant")]
        user: Option<String>,
        /// admin or service, for keys without a tenant
        #[arg(long, conflicts_with = "tenant")]
        kind: Option<String>,
        /// For people
        #[arg(long)]
        name: Option<String>,
        /// From when on it is refused: RFC 3339, for example 2027-01-01T00:00:00Z
        #[arg(long)]
        revoked_at: Option<String>,
    },
    /// All keys that are not bound to a tenant, or one tenant's
    #[command(after_help = "Examples:\n  earmark key list\n  earmark key list --tenant acme")]
    List {
        /// Of that tenant
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Revoke a key, now or at a time
    #[command(
        after_help = "Examples:\n  earmark key revoke key_06gf\n  earmark key revoke key_06gf --revoked-at 2027-01-01T00:00:00Z"
    )]
    Revoke {
        /// Its id, key_…
        id: String,
        /// The tenant that it is bound to
        #[arg(long)]
        tenant: Option<String>,
        /// From when on it is refused: RFC 3339 [default: now]
        #[arg(long)]
        revoked_at: Option<String>,
    },
}

/// What `grant` takes.
#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// To whom
    pub(crate) tenant: String,
    /// On which meter
    pub(crate) meter: String,
    /// How much
    pub(crate) amount: i64,
    /// Lower numbers are used first
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) priority: Option<i32>,
    /// RFC 3339, for example 2027-01-01T00:00:00Z
    #[arg(long)]
    pub(crate) expires_at: Option<String>,
    /// For the ledger
    #[arg(long)]
    pub(crate) reason: String,
}

/// What `adjust` takes.
#[derive(Debug, Args)]
pub(crate) struct AdjustArgs {
    /// Whose
    pub(crate) tenant: String,
    /// Which limit, for example ai_messages/month
    pub(crate) limit: String,
    /// By how much, for example -3
    #[arg(allow_negative_numbers = true)]
    pub(crate) delta: i64,
    /// Which counter of a `per` limit: user=u_17
    #[arg(long = "dimension", value_name = "NAME=VALUE")]
    pub(crate) dimensions: Vec<String>,
    /// For the ledger
    #[arg(long)]
    pub(crate) reason: String,
}
