//! The program as a process: started, loaded, killed, stopped, fed with nonsense, and asked by
//! its own commands.
//!
//! Each test has a directory of its own and servers that end with it. Nothing depends on how
//! fast anything is: what must become true is waited for, up to a generous bound.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do; clippy knows only the functions marked as tests"
)]

mod applying;
mod auditor;
mod backups;
mod bad_input;
mod benching;
mod commands;
mod crashed;
mod data_trouble;
mod dice;
mod events;
mod example;
#[cfg(target_os = "linux")]
mod faulty_disk;
mod first_start;
mod importing;
mod kills;
mod load;
mod on_postgres;
#[path = "../../../earmark-postgres/tests/it/server.rs"]
mod postgres_server;
mod races;
mod raw;
mod recorded;
mod running;
mod settings;
#[cfg(target_os = "linux")]
#[path = "../../../earmark-sqlite/tests/disk/small_disk.rs"]
mod small_disk;
mod stopping;
mod tls;
mod two_processes;
