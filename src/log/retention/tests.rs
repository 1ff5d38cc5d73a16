//! [P] Tests of the decision, and of the clock that it goes by.

use super::*;
use crate::time::Instant;

const DAY: i64 = 86_400_000;
const START: i64 = 1_700_000_000_000;

fn at(mono_ms: i64, wall_ms: i64) -> Now {
    let mono = Instant::from_nanos(u64::try_from(mono_ms).unwrap() * 1_000_000);
    Now { mono, wall: Timestamp::from_millis(START + wall_ms) }
}

fn confirmed(wall_ms: i64) -> RetentionTime {
    RetentionTime { now: at(0, wall_ms), is_confirmed: true }
}

fn limits(time_ms: Option<u64>, bytes: Option<u64>) -> RetentionLimits {
    RetentionLimits { time: time_ms.map(Duration::from_millis), bytes }
}

/// Segments of ten offsets each, the newest one last.
fn segments(sizes: &[u64]) -> Vec<SegmentFacts> {
    let facts = |(at, size): (u32, &u64)| SegmentFacts {
        next: Offset::from(if *size == 0 { at * 10 } else { at * 10 + 10 }),
        size: *size,
    };
    (0..).zip(sizes).map(facts).collect()
}

/// The plan for segments that were last written this long after the start.
fn decide(
    sizes: &[u64],
    (log_start, high_watermark): (u32, u32),
    limits: RetentionLimits,
    time: RetentionTime,
    written_ms: &[i64],
) -> (Vec<RetentionReason>, NextLook) {
    let segments = segments(sizes);
    let subject = RetentionSubject {
        segments: &segments,
        log_start: Offset::from(log_start),
        high_watermark: Offset::from(high_watermark),
        limits,
    };
    let age = |place: usize| {
        let largest = Timestamp::from_millis(START + written_ms[place]);
        Ok(SegmentAge { largest: Some(largest), modified: largest })
    };
    let plan = plan(subject, time, age).unwrap();
    (plan.reasons, plan.next)
}

#[test]
fn what_is_below_the_log_start_goes_first_then_what_is_too_much_then_what_is_too_old() {
    use RetentionReason::{BelowLogStart, Size, Time};
    let written = [0, 0, 0, 3 * DAY, 3 * DAY];
    let (reasons, next) =
        decide(&[100; 5], (12, 50), limits(Some(86_400_000), Some(350)), confirmed(2 * DAY), &written);
    // 400 bytes are left above the log start: a whole segment more than may be is not among them.
    assert_eq!(reasons, [BelowLogStart, Time, Time]);
    assert_eq!(next.at, Some(Timestamp::from_millis(START + 4 * DAY + 1)));
    let (reasons, _) = decide(&[100; 5], (12, 50), limits(Some(86_400_000), Some(300)), confirmed(2 * DAY), &written);
    assert_eq!(reasons, [BelowLogStart, Size, Time]);
    let (reasons, next) = decide(&[100; 5], (12, 50), limits(None, None), confirmed(2 * DAY), &written);
    assert_eq!((reasons, next), (vec![BelowLogStart], NextLook::default()));
}

#[test]
fn size_leaves_no_less_than_the_limit() {
    let sized = |bytes| decide(&[100; 4], (0, 40), limits(None, Some(bytes)), confirmed(0), &[0; 4]);
    assert_eq!(sized(400), (vec![], NextLook { at: None, after_bytes: Some(100) }));
    assert_eq!(sized(301), (vec![], NextLook { at: None, after_bytes: Some(1) }));
    assert_eq!(sized(300).0.len(), 1);
    assert_eq!(sized(0).0.len(), 4, "the newest one too: it is rolled first");
    assert_eq!(sized(0).1, NextLook { at: None, after_bytes: Some(1) });
}

#[test]
fn only_what_is_older_than_the_limit_goes_and_only_a_prefix() {
    let timed = |now| decide(&[100; 3], (0, 30), limits(Some(1_000), None), confirmed(now), &[0, 2_000, 500]);
    assert_eq!(timed(1_000).0.len(), 0);
    assert_eq!(timed(1_000).1.at, Some(Timestamp::from_millis(START + 1_001)));
    assert_eq!(timed(1_001).0.len(), 1);
    assert_eq!(timed(3_000).0.len(), 1, "the last one waits for the one before it");
    assert_eq!(timed(3_001).0.len(), 3);
}

#[test]
fn only_what_is_committed_goes() {
    let (reasons, next) = decide(&[100; 3], (0, 19), limits(None, Some(0)), confirmed(5), &[0; 3]);
    assert_eq!((reasons.len(), next.at), (1, Some(Timestamp::from_millis(START + 5))));
}

#[test]
fn an_empty_newest_segment_stays() {
    let (reasons, next) = decide(&[100, 0], (0, 10), limits(Some(0), Some(0)), confirmed(5), &[0; 2]);
    assert_eq!((reasons.len(), next), (1, NextLook { at: None, after_bytes: Some(1) }));
    let (reasons, next) = decide(&[0], (0, 0), limits(None, None), confirmed(5), &[0]);
    assert_eq!((reasons.len(), next), (0, NextLook::default()));
}

#[test]
fn a_time_that_never_comes_asks_for_no_look() {
    let (reasons, next) = decide(&[100], (0, 10), limits(Some(i64::MAX.unsigned_abs()), None), confirmed(5), &[0]);
    assert_eq!((reasons.len(), next), (0, NextLook::default()));
}

#[test]
fn at_a_time_that_is_not_confirmed_only_size_counts() {
    let time = RetentionTime { now: at(0, DAY), is_confirmed: false };
    let (reasons, next) = decide(&[100; 3], (0, 30), limits(Some(1), Some(200)), time, &[0; 3]);
    assert_eq!(reasons, [RetentionReason::Size]);
    assert_eq!(next.at, Some(Timestamp::from_millis(START + 2)));
}

#[test]
fn a_date_in_the_future_counts_once_its_time_has_come() {
    let now = Timestamp::from_millis(START);
    let time = |ms| Timestamp::from_millis(START + ms);
    let newest = |largest: Option<i64>, modified| {
        SegmentAge { largest: largest.map(time), modified: time(modified) }.newest(now).as_millis() - START
    };
    assert_eq!(newest(Some(-5), -9), -5);
    assert_eq!(newest(Some(FUTURE_MAX_MS), -9), FUTURE_MAX_MS);
    assert_eq!(newest(Some(FUTURE_MAX_MS + 1), -9), -9);
    assert_eq!(newest(Some(3 * DAY), 4 * DAY), 3 * DAY, "the clock itself is behind");
    assert_eq!(newest(None, -9), -9);
}

#[test]
fn a_jump_of_the_wall_clock_confirms_nothing() {
    const HOUR: i64 = 3_600_000;
    const YEARS: i64 = 10 * 365 * DAY;
    for jump in [HOUR, -HOUR, YEARS, -YEARS, 2 * TOLERANCE_MS, -2 * TOLERANCE_MS] {
        let mut clock = RetentionClock::new(Duration::from_secs(300));
        let mut look = |mono, wall| clock.look(at(mono, wall)).is_confirmed();
        assert!(!look(0, 0), "nobody has looked before");
        assert!(!look(299_999, 299_999));
        assert!(look(300_000, 300_000));
        for again in 0..3 {
            assert!(!look(400_000, 400_000 + jump), "{jump} {again}");
        }
        assert!(!look(699_999, 699_999 + jump), "{jump}");
        assert!(look(700_000, 700_000 + jump), "{jump}: it lasts");
        assert!(!look(800_000, 800_000), "{jump}: and back");
    }
}

#[test]
fn a_clock_that_stands_still_or_strays_is_not_confirmed() {
    let mut clock = RetentionClock::new(Duration::from_secs(300));
    assert!((0..100).all(|look| !clock.look(at(look * 300_000, 0)).is_confirmed()));
    let mut clock = RetentionClock::new(Duration::from_secs(300));
    // Many small steps do not add up to a jump that nobody noticed.
    let confirmed = (0..100).filter(|look| clock.look(at(look * 10_000, look * 30_000)).is_confirmed()).count();
    assert_eq!(confirmed, 0);
    let mut clock = RetentionClock::new(Duration::from_secs(300));
    let slewed = (1..100).filter(|look| clock.look(at(look * 300_000, look * 300_150)).is_confirmed()).count();
    assert_eq!(slewed, 98, "a clock that is being adjusted slowly");
}
