//! Commands that only look, and copy.

use std::path::PathBuf;

use clap::Args;

/// What `usage` takes.
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Whose
    pub(crate) tenant: String,
    /// Limits per user: of that user
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Other dimensions: model=gpt-4o
    #[arg(long = "dimension", value_name = "NAME=VALUE")]
    pub(crate) dimensions: Vec<String>,
}

/// What `history` takes.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Whose
    pub(crate) tenant: String,
    /// Of which meter
    pub(crate) meter: String,
    /// hour, day or month
    #[arg(long, default_value = "day")]
    pub(crate) bucket: String,
    /// From when, RFC 3339 [default: two days, thirty days or a year ago]
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Up to before when, RFC 3339 [default: now]
    #[arg(long)]
    pub(crate) to: Option<String>,
}

/// What `entries` takes.
#[derive(Debug, Args)]
pub(crate) struct EntriesArgs {
    /// Whose
    pub(crate) tenant: String,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) count: u32,
    /// Go on where the last page ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

/// What `holds` takes.
#[derive(Debug, Args)]
pub(crate) struct HoldsArgs {
    /// Whose
    pub(crate) tenant: String,
    /// open, settled, released or expired
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) count: u32,
    /// Go on where the last page ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

/// What `verify` takes.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Only that tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
}

/// What `backup` takes.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Where it goes [default: a new file in <data>/backups]
    pub(crate) file: Option<PathBuf>,
}

/// What `restore` takes.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A file that `earmark backup` made
    pub(crate) file: PathBuf,
    /// Move the store that is there aside
    #[arg(long)]
    pub(crate) replace: bool,
}
