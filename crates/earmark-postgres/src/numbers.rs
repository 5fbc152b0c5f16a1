//! Numbers of events: unique over all tenants and nodes, without anything that counts.
//!
//! ```text
//! 63                               21              6        0
//! ┌──────────────────────────────────┬──────────────┬────────┐
//! │ milliseconds since 1970 (until   │ order within │ bucket │
//! │ 2109)                            │ a millisecond│        │
//! └──────────────────────────────────┴──────────────┴────────┘
//! ```
//!
//! Numbers of one node grow: each is at least one place above the one before, and begins anywhere
//! in the lower half of its millisecond. Those of two nodes are in order of the database's
//! clock, to the millisecond. Should two meet on one number, the key of `outbox` refuses the
//! later commit, and its batch is decided again with another number.
//!
//! Commits do not end in the order of their numbers, so a number says nothing about what is
//! still to come. Whether deliveries of an event are planned is therefore kept with each event
//! (`planned`, with an index of those that are not), and never as "all up to this number".

use std::sync::Mutex;
use std::sync::PoisonError;

use earmark_core::TimestampMs;
use earmark_store::bucket::BUCKETS;

/// Bits below the milliseconds.
const MILLISECOND_BITS: u32 = 21;

/// The largest time that fits.
const MS_MAX: i64 = i64::MAX >> MILLISECOND_BITS;

const _: () = assert!(BUCKETS == 1 << 6, "the lowest six bits are the bucket");

/// One above another in the same bucket.
const PLACE: i64 = BUCKETS as i64;

/// Gives out numbers.
#[derive(Debug, Default)]
pub(crate) struct EventNumbers {
    /// The last place given out, with its bucket's bits at zero.
    last: Mutex<i64>,
}

impl EventNumbers {
    /// Goes on behind a number that is there already.
    pub(crate) fn after(number: i64) -> Self {
        Self { last: Mutex::new(number & !(PLACE - 1)) }
    }

    /// So many numbers for events of a bucket, in order.
    pub(crate) fn next(
        &self,
        bucket: usize,
        now: TimestampMs,
        count: usize,
    ) -> impl Iterator<Item = i64> + use<> {
        let (bucket, count) =
            (i64::try_from(bucket).unwrap_or(0), i64::try_from(count).unwrap_or(0));
        let begin = now.0.clamp(0, MS_MAX) << MILLISECOND_BITS;
        let lower_half = 1 << (MILLISECOND_BITS - 1);
        let anywhere = (begin + fastrand::i64(0..lower_half)) & !(PLACE - 1);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Behind its own last one a little chance, too: two nodes that met may meet only once.
        let behind = last.saturating_add(PLACE * fastrand::i64(1..16));
        let first = if *last < begin { anywhere } else { behind };
        *last = first.saturating_add(PLACE * count);
        (0..count).map(move |place| first.saturating_add(PLACE * place) | bucket)
    }
}

/// The bucket of an event.
pub(crate) fn bucket_of_event(number: i64) -> i16 {
    i16::try_from(number & (PLACE - 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_whatever_the_clock_does_and_name_their_bucket() {
        let numbers = EventNumbers::default();
        let mut all = Vec::new();
        for (bucket, ms, count) in [(3, 5, 3), (63, 5, 2), (0, 5, 1_000), (7, 4, 1), (9, 6, 1)] {
            let given: Vec<i64> = numbers.next(bucket, TimestampMs(ms), count).collect();
            assert_eq!(given.len(), count);
            assert!(
                given.iter().all(|number| usize::try_from(bucket_of_event(*number)) == Ok(bucket))
            );
            all.extend(given);
        }
        assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
        let again = EventNumbers::after(*all.last().unwrap());
        assert!(again.next(0, TimestampMs(0), 1).all(|number| number > all[all.len() - 1]));
    }

    #[test]
    fn a_number_tells_its_millisecond() {
        for ms in [0, 1, 1_795_500_000_000, MS_MAX] {
            let number = EventNumbers::default().next(5, TimestampMs(ms), 1).next().unwrap();
            assert_eq!(number >> MILLISECOND_BITS, ms);
        }
    }

    #[test]
    fn two_nodes_rarely_meet() {
        let number = || EventNumbers::default().next(1, TimestampMs(77), 1).next();
        let mut numbers: Vec<_> = (0..20).map(|_| number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.len() > 15, "{numbers:?}");
    }
}
