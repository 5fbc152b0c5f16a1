//! The command line tool: parses, runs, and knows the exit codes.
//!
//! 0: done. 1: it did not work, was refused, or was cut by a second signal. 2: it was called
//! wrongly.

#![expect(clippy::print_stderr, reason = "a command line tool")]

mod cli;
mod client;
mod commands;
mod data_dir;
mod first_start;
mod output;
mod pinned;
mod serve;
mod settings;
mod signals;
mod stores;
mod tls_files;
mod upstreams;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One provider for every TLS connection of the process; ring needs nothing but a C compiler.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = cli::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("earmark: cannot start: {error}");
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(commands::run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let is_usage = error.downcast_ref::<cli::UsageError>().is_some();
            eprintln!("earmark: {error:#}");
            ExitCode::from(if is_usage { 2 } else { 1 })
        }
    }
}
