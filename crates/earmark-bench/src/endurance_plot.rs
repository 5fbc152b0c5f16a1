//! Samples of a long run as a line of text and as a plot.

use std::fmt;
use std::path::Path;

use plotters::prelude::{
    ChartBuilder, Color, IntoDrawingArea, LineSeries, RGBColor, SVGBackend, WHITE,
};

const SIZE: (u32, u32) = (900, 1_300);
const BLUE: RGBColor = RGBColor(31, 95, 168);

/// What a long run looked like at one instant. Counts are since its beginning, latencies since
/// the sample before.
pub(crate) struct Sample {
    pub(crate) at_ms: u64,
    pub(crate) settled: u64,
    pub(crate) settled_per_second: u64,
    /// Messages that were not sent because too many were under way.
    pub(crate) dropped: u64,
    pub(crate) failed: u64,
    /// Rows that pruning has taken away.
    pub(crate) pruned: u64,
    /// Entries that are not in usage by hour yet.
    pub(crate) unsummed: u64,
    pub(crate) hold_p50_us: u64,
    pub(crate) hold_p99_us: u64,
    pub(crate) hold_max_us: u64,
    /// Of the whole process, which sends the messages, too.
    pub(crate) resident_mib: u64,
    /// All files of the store.
    pub(crate) store_mib: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>4} s: {} messages/s, dropped {}, failed {}; hold p50 {} us p99 {} us max {} us; \
             memory {} MiB, store {} MiB, {} rows pruned, {} entries not summed",
            self.at_ms / 1_000,
            self.settled_per_second,
            self.dropped,
            self.failed,
            self.hold_p50_us,
            self.hold_p99_us,
            self.hold_max_us,
            self.resident_mib,
            self.store_mib,
            self.pruned,
            self.unsummed
        )
    }
}

/// Writes one chart below the other, over the same time.
pub(crate) fn write(path: &Path, samples: &[Sample]) -> anyhow::Result<()> {
    let series = |figure: fn(&Sample) -> u64| {
        let points = samples.iter().map(|sample| (seconds(sample.at_ms), as_float(figure(sample))));
        points.collect::<Vec<_>>()
    };
    let charts = [
        ("messages settled per second", series(|sample| sample.settled_per_second)),
        ("hold, p50 in microseconds", series(|sample| sample.hold_p50_us)),
        ("hold, p99 in milliseconds", series(|sample| sample.hold_p99_us / 1_000)),
        ("memory of the process in MiB", series(|sample| sample.resident_mib)),
        ("files of the store in MiB", series(|sample| sample.store_mib)),
        ("rows pruned since the beginning, in thousands", series(|sample| sample.pruned / 1_000)),
    ];
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    for (place, (title, line)) in area.split_evenly((charts.len(), 1)).iter().zip(charts) {
        let end = line.iter().map(|(at, _)| *at).fold(1.0, f64::max);
        let top = line.iter().map(|(_, figure)| *figure).fold(1.0, f64::max) * 1.1;
        let mut chart = ChartBuilder::on(place)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        chart.configure_mesh().light_line_style(WHITE).x_labels(11).y_labels(5).draw()?;
        chart.draw_series(LineSeries::new(line, BLUE.stroke_width(2)))?;
    }
    area.present()?;
    Ok(())
}

fn seconds(at_ms: u64) -> f64 {
    as_float(at_ms) / 1_000.0
}

/// Figures of a plot are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "a plot has some hundred pixels")]
fn as_float(figure: u64) -> f64 {
    figure as f64
}
