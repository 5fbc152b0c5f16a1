//! Sizes: lines per file, their distribution, and the depth of paths.
//!
//! Functions are limited by clippy (`too_many_lines`).

use super::{Exception, Finding, SourceFile, Tree};

/// Half of the files are at most this long: what one reads in one go.
const LINES_MEDIAN_MAX: usize = 200;
/// Nine in ten files are at most this long.
const LINES_P90_MAX: usize = 450;
/// No file is longer.
const LINES_MAX: usize = 800;
/// Folders below `src`: deeper, and a path no longer tells where something is.
const FOLDERS_MAX: usize = 4;

pub(super) fn check(tree: &Tree, exceptions: &[Exception]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.is_rust()) {
        let lines = lines_of_code(file);
        if !file.is_test() && lines > LINES_MAX {
            let message = format!("{lines} lines without tests; at most {LINES_MAX}: split it");
            findings.push(Finding::new("file-size", &file.path, 0, message));
        }
        let below = file.path.split("src/").nth(1).unwrap_or_default();
        let folders = below.matches('/').count();
        if folders > FOLDERS_MAX {
            let message = format!("{folders} folders below src; at most {FOLDERS_MAX}");
            findings.push(Finding::new("path-depth", &file.path, 0, message));
        }
    }
    let sizes = sorted(tree, exceptions);
    for (share, max, name) in [(50, LINES_MEDIAN_MAX, "median"), (90, LINES_P90_MAX, "p90")] {
        let lines = percentile(&sizes, share);
        if lines > max {
            let message = format!("the {name} of all files is {lines} lines; at most {max}");
            findings.push(Finding::new("file-size", "", 0, message));
        }
    }
    findings
}

/// One line for people.
pub(super) fn summary(tree: &Tree, exceptions: &[Exception]) -> String {
    let sizes = sorted(tree, exceptions);
    format!(
        "tidy: {} Rust files without tests, lines: median {}, p90 {}, max {}",
        sizes.len(),
        percentile(&sizes, 50),
        percentile(&sizes, 90),
        sizes.last().copied().unwrap_or_default(),
    )
}

fn sorted(tree: &Tree, exceptions: &[Exception]) -> Vec<usize> {
    let is_excepted = |file: &SourceFile| {
        exceptions.iter().any(|one| one.check == "file-size" && one.path == file.path)
    };
    let files = tree.files.iter().filter(|file| file.is_rust() && !file.is_test());
    let mut sizes: Vec<usize> =
        files.filter(|file| !is_excepted(file)).map(lines_of_code).collect();
    sizes.sort_unstable();
    sizes
}

/// Lines before the tests at the end of a file.
fn lines_of_code(file: &SourceFile) -> usize {
    file.text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

/// The smallest size that `share` percent of the files do not exceed (0 for none).
fn percentile(sorted: &[usize], share: usize) -> usize {
    let rank = (sorted.len() * share).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        assert_eq!(percentile(&[], 50), 0);
        assert_eq!(percentile(&[7], 90), 7);
        assert_eq!(percentile(&[1, 2, 3, 4], 50), 2);
        assert_eq!(percentile(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 90), 9);
    }
}
