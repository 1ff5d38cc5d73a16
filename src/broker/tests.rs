//! [S] Tests of hosted partitions on a disk in memory.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{Acks, BrokerConfig, Durability};
use crate::error::Written;
use crate::log::{LogDirectory, ReadIsolation, ReadLimits};
use crate::record::{BatchBuilder, BatchOptions, BuiltBatch};
use crate::storage::{Fault, MemStorage, OperationKind};
use crate::sync::{Handle, Signal, completion};
use crate::time::{Clock, ManualClock};
use crate::types::Offset;

struct World {
    storage: MemStorage,
    clock: Arc<ManualClock>,
    broker: Broker,
}

fn world() -> World {
    let storage = MemStorage::new();
    let clock = Arc::new(ManualClock::new());
    let directory = LogDirectory::options().storage(storage.clone()).seed(1).open("/data").unwrap();
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let id = directory.identity().node_id;
    let broker = Broker::new(Arc::new(Host::new(id, directory, shared, &BrokerConfig::new())));
    World { storage, clock, broker }
}

impl World {
    fn partition(&self, durability: Durability) -> Arc<HostedPartition> {
        let config = LogConfig::new().durability(durability);
        let tp = TopicPartition::new("orders", 0).unwrap();
        self.broker.host_partition(tp, TopicId::from_bytes([1; 16]), LeaderEpoch::ZERO, config)
    }

    fn produce(&self, partition: &HostedPartition, acks: Acks, deadline: Option<Deadline>) -> Handle<Appended> {
        let (done, handle) = completion();
        let mut batch = batch();
        let produce = Produce { batch: &mut batch, acks, deadline, sync_by: SyncBy::Background, done };
        partition.produce(produce, self.clock.now());
        handle
    }

    /// Does what is due in the background.
    fn poll(&self) {
        let background = &self.broker.host().background;
        let _ = background.next_due(self.clock.now().mono);
        while let Some(job) = background.next_job() {
            self.broker.run(&job);
        }
    }
}

fn batch() -> BuiltBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(None, Some(b"key"), Some(b"value"), &[]).unwrap();
    builder.build().unwrap()
}

#[test]
fn an_append_is_acknowledged_when_its_acks_say_so() {
    let world = world();
    let partition = world.partition(Durability::Synced);
    assert!(world.produce(&partition, Acks::None, None).try_get().is_some());
    assert!(world.produce(&partition, Acks::Leader, None).try_get().is_some());
    let all = world.produce(&partition, Acks::All, None);
    assert!(all.try_get().is_none());
    assert_eq!(partition.offsets().unwrap().high_watermark, Offset::ZERO);
    world.poll();
    assert_eq!(all.try_get().unwrap().unwrap().base_offset, Offset::from(2));
    assert_eq!(partition.offsets().unwrap().high_watermark, Offset::from(3));
}

#[test]
fn with_the_page_cache_as_durability_nothing_waits_for_a_sync() {
    let world = world();
    let partition = world.partition(Durability::Os);
    assert!(world.produce(&partition, Acks::All, None).try_get().is_some());
    assert_eq!(world.broker.host().counters.snapshot().syncs, 0);
}

#[test]
fn what_nobody_waits_for_is_synced_within_the_flush_interval() {
    let world = world();
    let partition = world.partition(Durability::Synced);
    drop(world.produce(&partition, Acks::Leader, None));
    world.poll();
    assert_eq!(partition.offsets().unwrap().high_watermark, Offset::ZERO);
    world.clock.advance(Duration::from_millis(100));
    world.poll();
    assert_eq!(partition.offsets().unwrap().high_watermark, Offset::from(1));
}

#[test]
fn a_failed_sync_is_told_to_everybody_who_waits_and_later_appends_are_refused() {
    let world = world();
    let partition = world.partition(Durability::Synced);
    partition.log().unwrap();
    let waiting = [(); 3].map(|()| world.produce(&partition, Acks::All, None));
    world.storage.fail(Fault::nth(0).of_kind(OperationKind::Sync));
    world.poll();
    for handle in &waiting {
        let error = handle.try_get().unwrap().unwrap_err();
        assert!(matches!(error, Error::Io { .. }) && error.written() == Written::Maybe, "{error}");
    }
    let refused = world.produce(&partition, Acks::All, None).try_get().unwrap();
    assert!(matches!(refused, Err(Error::Offline { .. })), "{refused:?}");
    assert_eq!(world.broker.health().offline_logs, 1);
}

#[test]
fn an_acknowledgement_that_does_not_come_in_time_is_a_timeout_that_may_be_written() {
    let world = world();
    let partition = world.partition(Durability::Synced);
    let allowed = Duration::from_millis(5);
    let deadline = Deadline { at: world.clock.now().mono.after(allowed), allowed };
    let waiting = world.produce(&partition, Acks::All, Some(deadline));
    let background = &world.broker.host().background;
    while background.next_job().is_some() {} // nobody syncs
    world.clock.advance(allowed);
    world.poll();
    let error = waiting.try_get().unwrap().unwrap_err();
    assert!(matches!(error, Error::Timeout { after, written: Written::Maybe, .. } if after == allowed), "{error}");
}

#[test]
fn a_reader_that_has_seen_everything_is_told_of_more() {
    let world = world();
    let partition = world.partition(Durability::Synced);
    let signal = Arc::new(Signal::new());
    let bound = ReadIsolation::HighWatermark;
    assert_eq!(partition.park(&signal, Offset::ZERO, bound).unwrap(), Parked::Waiting);
    drop(world.produce(&partition, Acks::Leader, None));
    assert!(signal.take(), "nobody else sees to the sync");
    assert_eq!(partition.park(&signal, Offset::ZERO, bound).unwrap(), Parked::Unsynced);
    partition.make_visible().unwrap();
    assert!(signal.take());
    assert_eq!(partition.park(&signal, Offset::ZERO, bound).unwrap(), Parked::Ready);
    assert_eq!(partition.fetch(Offset::ZERO, ReadLimits::bytes(100)).unwrap().next_offset(), Offset::from(1));
}

#[test]
fn a_reader_is_not_woken_by_what_its_producer_has_yet_to_sync() {
    let world = world();
    let partition = world.partition(Durability::Synced);
    let signal = Arc::new(Signal::new());
    partition.park(&signal, Offset::ZERO, ReadIsolation::HighWatermark).unwrap();
    let waiting = world.produce(&partition, Acks::All, None);
    assert!(!signal.take() && waiting.try_get().is_none());
    world.poll();
    assert!(signal.take() && waiting.try_get().is_some());
}

#[test]
fn a_partition_that_is_given_up_answers_everybody() {
    let world = world();
    let partition = world.partition(Durability::Synced);
    let waiting = world.produce(&partition, Acks::All, None);
    let signal = Arc::new(Signal::new());
    partition.park(&signal, Offset::ZERO, ReadIsolation::HighWatermark).unwrap();
    let tp = partition.topic_partition().clone();
    world.broker.retire_partition(&tp, Error::Closed).resolve(&Err(Error::Closed));
    assert!(matches!(waiting.try_get(), Some(Err(Error::Closed))));
    assert!(signal.take());
    assert!(matches!(partition.fetch(Offset::ZERO, ReadLimits::bytes(1)), Err(Error::Closed)));
    assert!(matches!(world.produce(&partition, Acks::All, None).try_get(), Some(Err(Error::Closed))));
    assert!(world.broker.partitions().is_empty());
}

#[test]
fn an_append_may_roll_many_segments_that_wait_for_a_sync() {
    let world = world();
    let config = LogConfig::new().segment_bytes(100);
    let tp = TopicPartition::new("orders", 1).unwrap();
    let partition = world.broker.host_partition(tp, TopicId::from_bytes([1; 16]), LeaderEpoch::ZERO, config);
    for _ in 0..10 {
        world.produce(&partition, Acks::Leader, None).try_get().unwrap().unwrap();
    }
    partition.sync().unwrap();
    assert_eq!(partition.offsets().unwrap().high_watermark, Offset::from(10));
}
