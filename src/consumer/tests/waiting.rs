//! How a consumer waits, and what ends that.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::Duration;

use super::fake::Watched;
use super::{Rig, at, tp, values};
use crate::config::{Durability, LogConfig};
use crate::error::{Error, Result};
use crate::time::{Clock, ManualClock};

const FOREVER: Duration = Duration::MAX;

#[test]
fn a_parked_consumer_is_woken_by_what_is_appended() {
    let rig = Rig::new(2);
    let mut consumer = rig.consumer();
    let partition = Arc::clone(&rig.partitions[1]);
    let reader = thread::spawn(move || {
        let mut seen = Vec::new();
        while seen.len() < 50 {
            seen.extend(values(&consumer.poll(FOREVER).unwrap()));
        }
        seen
    });
    rig.append_numbered(1, 50);
    let seen = reader.join().unwrap();
    assert_eq!(seen, (0..50).map(|number| format!("1-{number}")).collect::<Vec<_>>());
    assert!(partition.opened_log().is_some());
}

#[test]
fn a_wake_up_ends_the_wait_it_meets_or_the_next_one() {
    let rig = Rig::new(1);
    let mut consumer = rig.consumer();
    let handle = consumer.wake_handle();
    handle.wake();
    handle.wake();
    assert!(consumer.poll(FOREVER).unwrap().is_empty());
    let other = thread::spawn(move || handle.wake());
    assert!(consumer.poll(FOREVER).unwrap().is_empty());
    other.join().unwrap();
    rig.append_values(0, &["a"]);
    consumer.wake_handle().wake();
    assert_eq!(values(&consumer.poll(FOREVER).unwrap()), ["a"]);
}

#[test]
fn a_poll_leads_the_sync_of_what_is_only_unsynced() {
    let rig = Rig::with(1, LogConfig::new().durability(Durability::Synced), true);
    rig.append_values(0, &["a"]);
    let mut consumer = rig.consumer();
    assert!(consumer.poll(Duration::ZERO).unwrap().is_empty());
    assert_eq!(rig.log(0).synced_offset(), at(0));
    assert_eq!(values(&consumer.poll(FOREVER).unwrap()), ["a"]);
    assert_eq!(rig.log(0).synced_offset(), at(1));
}

#[test]
fn a_consumer_that_may_not_sleep_returns_what_there_is() {
    let clock = Arc::new(ManualClock::new());
    let config = LogConfig::new().durability(Durability::Synced);
    let rig = Rig::with_clock(1, config, false, Arc::clone(&clock) as Arc<dyn Clock>);
    let mut consumer = rig.consumer();
    assert!(consumer.poll(FOREVER).unwrap().is_empty());
    rig.append_values(0, &["a"]);
    assert_eq!(values(&consumer.poll(FOREVER).unwrap()), ["a"]);
    assert!(consumer.iter().next().is_none());
}

#[test]
fn a_partition_that_goes_away_ends_the_wait() {
    let rig = Rig::new(1);
    let mut consumer = rig.consumer();
    let partition = Arc::clone(&rig.partitions[0]);
    let closer = thread::spawn(move || partition.retire(Error::Closed).resolve(&Err(Error::Closed)));
    assert!(matches!(consumer.poll(FOREVER), Err(Error::Closed)));
    closer.join().unwrap();
}

#[test]
fn nobody_waits_at_a_partition_after_the_poll() {
    let rig = Rig::new(1);
    let mut consumer = rig.consumer();
    assert!(consumer.poll(Duration::from_nanos(1)).unwrap().is_empty());
    let signal = Arc::clone(&consumer.alarm.signal);
    signal.take();
    rig.append_values(0, &["a"]);
    assert!(!signal.take());
}

#[test]
fn records_come_one_by_one_and_none_is_lost_between_iterators() {
    let rig = Rig::new(1);
    rig.append_values(0, &["a", "b", "c"]);
    let mut consumer = rig.consumer();
    let first = consumer.iter().next().unwrap().unwrap();
    assert_eq!((first.value(), consumer.position(&tp(0)).unwrap()), (Some(&b"a"[..]), at(1)));
    consumer.wake_handle().wake();
    let rest: Result<Vec<_>> = (&mut consumer).into_iter().collect();
    let rest: Vec<_> = rest.unwrap().iter().map(|record| record.offset().get()).collect();
    assert_eq!(rest, [1, 2]);
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_future_is_woken_by_records_by_the_background_sync_and_by_hand() {
    let rig = Rig::with(1, LogConfig::new().durability(Durability::Synced), true);
    let mut consumer = rig.consumer();
    let handle = consumer.wake_handle();
    let wakes = Arc::new(Wakes::default());
    let waker = Arc::clone(&wakes).into();
    let mut context = Context::from_waker(&waker);
    {
        let mut future = pin!(consumer.poll_async());
        assert!(future.as_mut().poll(&mut context).is_pending());
        rig.append_values(0, &["a"]);
        // Nobody waits for it to be synced but the future, which is woken to see to that.
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert!(future.as_mut().poll(&mut context).is_pending());
        rig.partitions[0].sync().unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
        let Poll::Ready(records) = future.as_mut().poll(&mut context) else { panic!("still pending") };
        assert_eq!(values(&records.unwrap()), ["a"]);
    }
    let mut future = pin!(consumer.poll_async());
    assert!(future.as_mut().poll(&mut context).is_pending());
    handle.wake();
    assert_eq!(wakes.0.load(Ordering::SeqCst), 3);
    assert!(matches!(future.as_mut().poll(&mut context), Poll::Ready(Ok(records)) if records.is_empty()));
}

#[test]
fn a_consumer_that_nobody_tells_looks_again_by_itself() {
    let rig = Rig::new(1);
    rig.append_values(0, &["a"]);
    let source = Arc::new(Watched { shy: 3, ..Watched::of(&rig.partitions[0]) });
    let mut consumer = source.consumer();
    // A millisecond of a clock that stands still passes all the same.
    assert!(consumer.poll(Duration::from_millis(1)).unwrap().is_empty());
    assert_eq!(source.looks.load(Ordering::SeqCst), 2);
    assert_eq!(values(&consumer.poll(FOREVER).unwrap()), ["a"]);
    assert_eq!(source.looks.load(Ordering::SeqCst), 4);
}

#[test]
fn a_future_does_not_wait_where_nobody_would_wake_it() {
    let rig = Rig::new(1);
    rig.append_values(0, &["a"]);
    let source = Arc::new(Watched { shy: 1, ..Watched::of(&rig.partitions[0]) });
    let mut consumer = source.consumer();
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut poll = || match pin!(consumer.poll_async()).poll(&mut context) {
        Poll::Ready(records) => values(&records.unwrap()),
        Poll::Pending => panic!("it waits"),
    };
    assert_eq!((poll(), poll()), (vec![], vec!["a".to_owned()]));
}
