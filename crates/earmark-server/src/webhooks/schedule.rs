//! When a delivery that failed is tried again.

/// Waits before the second attempt and those after it: soon for what passes, then over about a
/// day for what somebody has to mend. After the last the delivery is dead.
const WAITS_MS: [i64; 10] = [
    5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 21_600_000,
    36_000_000,
];

/// How far a wait strays from its middle, in percent each way, so that what failed together
/// does not come back together.
const JITTER_PERCENT: i64 = 20;

/// How long to wait after that attempt, the first being 1; `None` after the last.
pub(super) fn retry_after_ms(attempt: i64) -> Option<i64> {
    let mut random = [0; 4];
    // Without randomness the middle is as good.
    let random = getrandom::fill(&mut random).map_or(u32::MAX / 2, |()| u32::from_le_bytes(random));
    wait_ms(attempt, random)
}

fn wait_ms(attempt: i64, random: u32) -> Option<i64> {
    let index = usize::try_from(attempt.checked_sub(1)?).ok()?;
    let middle = *WAITS_MS.get(index)?;
    let span = middle * 2 * JITTER_PERCENT / 100;
    let part = i128::from(span) * i128::from(random) / i128::from(u32::MAX);
    Some(middle - span / 2 + i64::try_from(part).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_over_about_a_day_and_end() {
        let middle = |attempt| wait_ms(attempt, u32::MAX / 2);
        let all: Vec<i64> = (1..).map_while(middle).collect();
        assert_eq!(all.len(), WAITS_MS.len());
        assert!(all.is_sorted());
        let hours = all.iter().sum::<i64>() / 3_600_000;
        assert!((20..=28).contains(&hours), "{hours}");
        for none in [i64::MIN, -1, 0, 11, i64::MAX] {
            assert_eq!(middle(none), None, "{none}");
        }
    }

    #[test]
    fn a_wait_strays_by_a_fifth_at_most() {
        assert_eq!(wait_ms(1, 0), Some(4_000));
        assert_eq!(wait_ms(1, u32::MAX), Some(6_000));
        for _ in 0..100 {
            assert!((4_000..=6_000).contains(&retry_after_ms(1).unwrap()));
        }
    }
}
