//! [P] The high watermark as one function of what the in-sync replicas hold (Kafka: `Partition.maybeIncrementLeaderHW`).

use crate::types::Offset;

/// Where the high watermark goes: up to what every in-sync replica holds, and never down. `held` are the offsets below
/// which each in-sync replica, the leader included, has everything.
pub(super) fn compute(current: Offset, held: &[Offset]) -> Offset {
    held.iter().copied().min().map_or(current, |lowest| lowest.max(current))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_all_hold_and_never_falls() {
        let offsets = |raw: &[u32]| raw.iter().map(|&raw| Offset::from(raw)).collect::<Vec<_>>();
        for (current, held, expected) in [(0, vec![], 0), (0, vec![5], 5), (7, vec![5], 7), (0, vec![9, 4, 6], 4)] {
            let found = compute(Offset::from(current), &offsets(&held));
            assert_eq!(found, Offset::from(expected), "{current} {held:?}");
        }
    }
}
