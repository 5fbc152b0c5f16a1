//! `cargo xtask test`: the suites that CI runs, cheapest first.
//!
//! All suites run even when one has failed, so that one run shows all that is wrong; those
//! that need a build are skipped when it failed.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::process::Stopwatch;
use crate::repo::Repo;
use crate::{audit, checks, openapi, readme, reference, sdk, tidy};

/// One named part of the tests.
pub struct Suite {
    /// What `--only` and `--from` take.
    pub name: &'static str,
    /// What it checks, in a few words.
    pub about: &'static str,
    /// Whether it runs the server's binary, which the suite `build` makes.
    pub needs_build: bool,
    /// Runs it; an error is a failure.
    pub run: fn(&Repo) -> Result<()>,
}

const BUILD: &str = "build";

/// All suites, in the order in which they run.
#[rustfmt::skip]
pub const SUITES: &[Suite] = &[
    Suite { name: "fmt", about: "formatting", needs_build: false, run: checks::fmt },
    Suite { name: "tidy", about: "house rules", needs_build: false, run: tidy::run },
    Suite { name: "audit", about: "dependencies and their licences", needs_build: false, run: audit::run },
    Suite { name: "clippy", about: "lints", needs_build: false, run: checks::clippy },
    Suite { name: "docs", about: "API documentation builds", needs_build: false, run: checks::docs },
    Suite { name: BUILD, about: "the binary", needs_build: false, run: checks::build },
    Suite { name: "cargo", about: "all Rust tests, doctests too", needs_build: false, run: checks::cargo_test },
    Suite { name: "openapi", about: "docs/openapi.json is current", needs_build: true, run: openapi::check },
    Suite { name: "reference", about: "docs/reference is current", needs_build: true, run: reference::check },
    Suite { name: "readme", about: "README.md and docs/start.md run as printed", needs_build: true, run: readme::check },
    Suite { name: "sdk", about: "OpenAI's Python and Node SDKs", needs_build: true, run: sdk::run },
];

/// Which suites to run.
#[derive(Args)]
pub struct Options {
    /// Run only this suite
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    only: Option<String>,
    /// Run this suite and all after it
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// Print the suites and stop
    #[arg(long)]
    list: bool,
}

enum Outcome {
    Passed(Duration),
    Failed(Duration, String),
    Skipped,
}

/// Runs the chosen suites and prints a summary.
///
/// # Errors
/// When a suite failed, was skipped, or does not exist.
pub fn run(repo: &Repo, options: &Options) -> Result<()> {
    if options.list {
        for suite in SUITES {
            println!("{:<10} {}", suite.name, suite.about);
        }
        return Ok(());
    }
    let mut results: Vec<(&Suite, Outcome)> = Vec::new();
    for suite in chosen(SUITES, options)? {
        let build_failed = results.iter().any(|(before, outcome)| {
            before.name == BUILD && matches!(outcome, Outcome::Failed(..))
        });
        let outcome =
            if suite.needs_build && build_failed { Outcome::Skipped } else { run_one(repo, suite) };
        results.push((suite, outcome));
    }
    println!("\n{}", summary(&results));
    let bad = results.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Passed(_))).count();
    if bad > 0 {
        bail!("{bad} of {} suites did not pass", results.len());
    }
    Ok(())
}

fn run_one(repo: &Repo, suite: &Suite) -> Outcome {
    println!("\n=== {}: {}", suite.name, suite.about);
    let watch = Stopwatch::start();
    let result = (suite.run)(repo);
    let took = watch.elapsed();
    match result {
        Ok(()) => {
            println!("=== {} passed in {:.1} s", suite.name, took.as_secs_f64());
            Outcome::Passed(took)
        }
        Err(error) => {
            println!("{error:#}\n=== {} FAILED in {:.1} s", suite.name, took.as_secs_f64());
            Outcome::Failed(took, format!("{error:#}"))
        }
    }
}

fn chosen<'a>(suites: &'a [Suite], options: &Options) -> Result<&'a [Suite]> {
    let Some(name) = options.only.as_ref().or(options.from.as_ref()) else {
        return Ok(suites);
    };
    let Some(index) = suites.iter().position(|suite| suite.name == name.as_str()) else {
        let names: Vec<&str> = suites.iter().map(|suite| suite.name).collect();
        bail!("there is no suite {name}; there are: {}", names.join(", "));
    };
    Ok(if options.only.is_some() { &suites[index..=index] } else { &suites[index..] })
}

fn summary(results: &[(&Suite, Outcome)]) -> String {
    let mut table = String::new();
    for (suite, outcome) in results {
        let row = match outcome {
            Outcome::Passed(took) => format!("{:>7.1} s  passed", took.as_secs_f64()),
            Outcome::Failed(took, message) => {
                let first = message.lines().next().unwrap_or_default();
                format!("{:>7.1} s  FAILED  {first}", took.as_secs_f64())
            }
            Outcome::Skipped => format!("{:>9}  skipped, because the build failed", "-"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{:<10}{row}", suite.name);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: Option<&str>, from: Option<&str>) -> Result<Vec<&'static str>> {
        let options =
            Options { only: only.map(Into::into), from: from.map(Into::into), list: false };
        Ok(chosen(SUITES, &options)?.iter().map(|suite| suite.name).collect())
    }

    #[test]
    fn only_runs_one_suite_and_from_runs_the_rest() {
        assert_eq!(names(Some("tidy"), None).unwrap(), ["tidy"]);
        assert_eq!(names(None, Some("readme")).unwrap(), ["readme", "sdk"]);
        assert_eq!(names(None, None).unwrap().len(), SUITES.len());
        assert!(names(Some("nothing"), None).is_err());
    }

    #[test]
    fn the_summary_has_a_row_for_each_suite() {
        let took = Duration::from_millis(1_500);
        let table = summary(&[
            (&SUITES[0], Outcome::Passed(took)),
            (&SUITES[1], Outcome::Failed(took, "a\nb".into())),
            (&SUITES[2], Outcome::Skipped),
        ]);
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows[0], "fmt           1.5 s  passed");
        assert_eq!(rows[1], "tidy          1.5 s  FAILED  a");
        assert_eq!(rows[2], "audit             -  skipped, because the build failed");
    }
}
