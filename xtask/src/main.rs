//! `cargo xtask`: the command line of the developer command. It only parses.

#![expect(clippy::print_stderr, reason = "a command for people: it says what went wrong")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{openapi, prove, readme, real_model, reference, test, tidy};

/// One command for tests, checks and generated files.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything that CI runs, cheapest first; installs what the tests need
    Test(test::Options),
    /// Check sizes, names, crate edges, links and other house rules
    Tidy,
    /// Write docs/openapi.json from the built server
    Openapi {
        /// Fail when the committed file differs, instead of writing it
        #[arg(long)]
        check: bool,
    },
    /// Write the pages in docs/reference from what the built binary says of itself
    Reference {
        /// Fail when a committed page differs, instead of writing them
        #[arg(long)]
        check: bool,
    },
    /// Execute the code blocks of Markdown files against a fresh server
    Readme {
        /// Files to execute, relative to the repository
        #[arg(default_value = "README.md")]
        files: Vec<String>,
    },
    /// Chat through the gateway with a real model and compare all counts
    RealModel {
        /// Only install and serve the model and call it directly, without Earmark
        #[arg(long)]
        direct: bool,
    },
    /// Run the heavy suites and record their results in docs/proof-runs.md
    Prove {
        /// Suites to run; all of them when none is named
        names: Vec<String>,
        /// Print the names and stop
        #[arg(long)]
        list: bool,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a backtrace: what fails here is what was checked, not this program.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let repo = xtask::repo::Repo::here()?;
    match Cli::parse().command {
        Command::Test(options) => test::run(&repo, &options),
        Command::Tidy => tidy::run(&repo),
        Command::Openapi { check: true } => openapi::check(&repo),
        Command::Openapi { check: false } => openapi::write(&repo),
        Command::Reference { check: true } => reference::check(&repo),
        Command::Reference { check: false } => reference::write(&repo),
        Command::Readme { files } => readme::run(&repo, &files),
        Command::RealModel { direct: true } => real_model::direct(&repo),
        Command::RealModel { direct: false } => real_model::run(&repo).map(drop),
        Command::Prove { list: true, .. } => {
            prove::list();
            Ok(())
        }
        Command::Prove { names, list: false } => prove::run(&repo, &names),
    }
}
