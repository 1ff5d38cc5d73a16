//! Latencies counted in buckets: whatever their number, memory is fixed and a quantile is at most 1.6 % too large.

use std::time::Duration;

/// Below it each value has a bucket of its own; above, each power of two is cut into half as many buckets.
const EXACT: u64 = 128;
const EXACT_BITS: u32 = EXACT.ilog2();
const BUCKETS: usize = 128 + (64 - 7) * 64;

/// How many latencies of each size there were.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }

    /// Counts a latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket_of(nanos)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds what another one counted.
    pub(crate) fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The largest, exactly.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The latency that `per_mille` thousandths of all do not exceed; zero when there are none.
    pub(crate) fn quantile(&self, per_mille: u64) -> Duration {
        let rank = (u128::from(self.total) * u128::from(per_mille)).div_ceil(1000);
        let mut seen = 0_u128;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if *count > 0 && seen >= rank {
                return Duration::from_nanos(largest_in(bucket).min(self.max));
            }
        }
        self.max()
    }
}

fn bucket_of(nanos: u64) -> usize {
    let bucket = if nanos < EXACT {
        nanos
    } else {
        let bits = nanos.ilog2();
        let within = (nanos >> (bits - EXACT_BITS + 1)) - EXACT / 2;
        EXACT + u64::from(bits - EXACT_BITS) * (EXACT / 2) + within
    };
    usize::try_from(bucket).unwrap_or(BUCKETS)
}

/// The largest value of a bucket.
fn largest_in(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let (power, within) = ((bucket - EXACT) / (EXACT / 2), (bucket - EXACT) % (EXACT / 2));
    let next = u128::from(EXACT / 2 + within + 1) << (power + 1);
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nanos: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::new();
        for nanos in nanos {
            histogram.record(Duration::from_nanos(nanos));
        }
        histogram
    }

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_are_narrow() {
        let around_powers = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + (1 << bit) / 3]);
        for nanos in around_powers.chain([u64::MAX]) {
            let bucket = bucket_of(nanos);
            assert!(bucket < BUCKETS, "{nanos}");
            assert!(largest_in(bucket) >= nanos, "{nanos}");
            assert!(bucket == 0 || largest_in(bucket - 1) < nanos, "{nanos}");
            assert!(largest_in(bucket) - nanos <= nanos / 64, "{nanos}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let histogram = of(1..=100);
        let nanos = |per_mille| histogram.quantile(per_mille).as_nanos();
        assert_eq!((nanos(0), nanos(500), nanos(990), nanos(999), nanos(1000)), (1, 50, 99, 100, 100));
        assert_eq!((histogram.total(), histogram.max().as_nanos()), (100, 100));
    }

    #[test]
    fn one_slow_record_is_the_maximum_and_no_lower_quantile() {
        let histogram = of(std::iter::repeat_n(1_000, 999).chain([1_000_000]));
        assert!(histogram.quantile(999) < Duration::from_nanos(1_016));
        assert_eq!(histogram.quantile(1000), Duration::from_millis(1));
    }

    #[test]
    fn merging_counts_as_one() {
        let mut left = of([1, 2]);
        left.merge(&of([3, 500]));
        assert_eq!((left.total(), left.max().as_nanos(), left.quantile(500).as_nanos()), (4, 500, 2));
    }

    #[test]
    fn nothing_counted_is_zero() {
        assert_eq!(Histogram::new().quantile(999), Duration::ZERO);
    }
}
