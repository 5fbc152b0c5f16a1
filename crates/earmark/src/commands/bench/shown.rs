//! How a load and its report are shown to people.

#![expect(clippy::print_stderr, reason = "progress is not the result")]

use std::fmt::Display;

use earmark_load::{Calibration, Counts, Percentiles, Progress, Report};

use super::Bench;
use crate::output;

/// Says something beside the result.
pub(super) fn note(text: impl Display) {
    eprintln!("{text}");
}

/// The line of a second.
pub(super) fn progress(progress: &Progress) {
    let part = if progress.is_warm_up { "warm-up" } else { "measured" };
    note(format_args!(
        "{:>4} s {part:<8} {:>7} of {} arrivals/s  p99 {:>8}  in flight {:>5}  dropped {}  refused {}",
        progress.elapsed.as_secs(),
        progress.ended_per_s,
        progress.planned_per_s,
        progress.p99_us.map_or_else(|| "-".to_owned(), duration),
        progress.in_flight,
        progress.dropped,
        progress.refused,
    ));
}

/// What the generator can do alone.
pub(super) fn alone(alone: &Calibration) -> String {
    let p99 = |series: Option<Percentiles>| {
        series.map_or_else(|| "-".to_owned(), |series| duration(series.p99_us))
    };
    let rate = alone.rate_percent;
    format!(
        "p99 {}, p99 lateness {}, {rate:.1} % of the rate",
        p99(alone.latency),
        p99(alone.lateness)
    )
}

/// Microseconds with three digits, in the unit that suits them.
fn duration(us: u64) -> String {
    let scaled = |value: f64, unit: &str| match value {
        ..10.0 => format!("{value:.2} {unit}"),
        10.0..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    };
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => scaled(us as f64 / 1e3, "ms"),
        _ => scaled(us as f64 / 1e6, "s"),
    }
}

impl Bench {
    /// Prints a report.
    pub(super) fn show(&self, report: &Report) {
        let arguments = &self.arguments;
        let arrivals = format!("{:?}", arguments.arrivals).to_lowercase();
        output::line(format_args!(
            "\n{} at {}: {} arrivals/s, {arrivals}, for {:?} after {:?} of warm-up, over {} connections",
            self.target.name(),
            self.endpoint.url(),
            arguments.rate,
            arguments.duration,
            arguments.warm_up,
            arguments.connections,
        ));
        if report.is_stopped_early {
            output::line("stopped before its end");
        }
        output::line("");
        show_counts(report);
        output::line("");
        show_latencies(report);
        output::line("");
        show_generator(report);
        self.show_advice(report);
        output::line(format_args!(
            "left behind: {}, with what they used{}",
            self.tenants_shown(),
            open_holds(&[report.counts, report.warm_up]),
        ));
    }

    fn show_advice(&self, report: &Report) {
        let Counts { arrivals, done, denied, failed } = report.counts;
        if 0 < arrivals.dropped {
            output::line(format_args!(
                "{} of {} arrivals were dropped: more came than was carried, and latencies are of \
                 the others; --in-flight {} and --wait {:?} are how many and how long they wait",
                arrivals.dropped, arrivals.planned, self.arguments.in_flight, self.arguments.wait,
            ));
        }
        if done < denied {
            output::line(
                "most lifecycles were denied: for their latencies, take a plan with more room, or \
                 more --tenants; `earmark usage` of a tenant above shows what it has left",
            );
        }
        if 0 < failed {
            output::line(format_args!("{failed} lifecycles failed, and no latency includes them"));
        }
    }
}

fn show_counts(report: &Report) {
    let Counts { arrivals, done, denied, failed } = report.counts;
    output::line(format_args!(
        "arrivals    {} planned, {} sent, {} dropped",
        arrivals.planned, arrivals.sent, arrivals.dropped
    ));
    output::line(format_args!(
        "lifecycles  {done} done ({:.0}/s), {denied} denied, {failed} failed",
        report.done_per_s
    ));
    for (what, of) in [("denied", &report.denials), ("failed", &report.failures)] {
        for (name, count) in of {
            output::line(format_args!("  {what:<8}  {name}: {count}"));
        }
    }
}

fn show_latencies(report: &Report) {
    let latency = &report.latency;
    let series = [
        ("latency", "planned", latency.latency),
        ("first byte", "planned", latency.first_byte),
        ("service", "sent", latency.service),
        ("hold", "sent", latency.hold),
        ("settle", "held", latency.settle),
        ("denied", "planned", latency.denied),
        ("lateness", "due", report.generator.lateness),
    ];
    let row = |(what, from, series): (&str, &str, Option<Percentiles>)| {
        let Percentiles { count, min_us, p50_us, p90_us, p99_us, p99_9_us, max_us } = series?;
        let times = [min_us, p50_us, p90_us, p99_us, p99_9_us, max_us].map(duration);
        let named = [what.to_owned(), from.to_owned(), count.to_string()];
        Some([named.as_slice(), times.as_slice()].concat())
    };
    let header = ["", "from", "count", "min", "p50", "p90", "p99", "p99.9", "max"];
    output::table(&header, series.into_iter().filter_map(row).collect());
}

fn show_generator(report: &Report) {
    let generator = &report.generator;
    let late = generator.lateness.map_or_else(|| "-".to_owned(), |late| duration(late.p99_us));
    let core = generator.core_percent.map(|core| format!(", {core:.0} % of a core"));
    output::line(format_args!("generator   p99 lateness {late}{}", core.unwrap_or_default()));
    if let Some(calibration) = &generator.calibration {
        output::line(format_args!("  alone     {}", alone(calibration)));
    }
    output::line(match (generator.kept_schedule, generator.reaches_rate_alone()) {
        (true, _) => "the generator kept its schedule: the figures are the server's",
        (false, true) => {
            "WARNING: the generator was late: the figures describe it as much as the server; ask \
             for a lower --rate, or wait until nothing else wants this machine's cores"
        }
        (false, false) => {
            "WARNING: the generator cannot send this rate on this machine, whoever answers: the \
             figures describe it, not the server; ask for a lower --rate"
        }
    });
}

/// What is said of holds that may still be open.
fn open_holds(parts: &[Counts]) -> &'static str {
    match parts.iter().map(|part| part.failed).sum() {
        0_u64 => "",
        _ => "; holds of failed lifecycles expire within 5 minutes",
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_have_three_digits_and_their_unit() {
        let cases = [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_234, "1.23 ms"),
            (45_670, "45.7 ms"),
            (999_400, "999 ms"),
            (12_345_678, "12.3 s"),
        ];
        for (us, expected) in cases {
            assert_eq!(duration(us), expected);
        }
    }
}
