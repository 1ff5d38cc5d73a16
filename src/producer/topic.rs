//! [S] One topic as a producer sees it: its lanes, and which of them a record goes to.
//!
//! A topic's partitions are looked at without a lock: each change of them makes a new `View` behind the old one. Kafka's
//! counterparts: `ProducerMetadata`, `RecordAccumulator.TopicInfo`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::broker::{HostedPartition, TopicRoute};
use crate::error::{Error, Result};
use crate::producer::lane::{Append, Attempt, Chosen, IfFull, Lane, Receipt};
use crate::producer::partitioner::{self, Choice, Keyless};
use crate::producer::record::Fields;
use crate::producer::shared::{Metadata, Shared};
use crate::record::{Codec, Compression};
use crate::types::TopicName;

/// What does not compress grows by no more than this part of it, and this many bytes: it is stored in blocks with a length each
/// (3 to 9 bytes for each 16 KiB or more), in a frame (at most 34 bytes).
const EXPANSION_PART: u64 = 1024;
const EXPANSION_BYTES: u64 = 64;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Topic {
    name: TopicName,
    first: View,
    /// The router's version that the newest view is of.
    version: AtomicU64,
    /// Where records without a key go now.
    sticky: AtomicU32,
    /// Counts them, where they go to the partitions in turn.
    turns: AtomicU32,
}

/// The partitions as of one moment.
#[derive(Debug)]
struct View {
    lanes: Box<[Arc<Lane>]>,
    next: OnceLock<Box<View>>,
}

/// Where a record goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    index: u32,
    chosen: Chosen,
}

impl Topic {
    /// Looks the topic up. `random` decides where records without a key go first.
    pub(super) fn resolve(shared: &Shared, metadata: &mut Metadata, name: &str, random: u64) -> Result<Topic> {
        let version = shared.router.version();
        let route = shared.router.topic(name)?;
        let lanes = lanes_of(shared, metadata, &route, &[])?;
        let count = u64::try_from(lanes.len()).unwrap_or(u64::MAX);
        let sticky = u32::try_from(random.checked_rem(count).unwrap_or_default()).unwrap_or_default();
        Ok(Topic {
            name: route.name.clone(),
            first: View { lanes, next: OnceLock::new() },
            version: AtomicU64::new(version),
            sticky: AtomicU32::new(sticky),
            turns: AtomicU32::new(sticky),
        })
    }

    pub(super) fn name(&self) -> &TopicName {
        &self.name
    }

    /// How many partitions it has now.
    pub(super) fn partition_count(&self, shared: &Shared) -> Result<u32> {
        Ok(self.view(shared)?.count())
    }

    /// The lane of a partition, if it is known.
    pub(super) fn lane(&self, partition: i32) -> Option<&Arc<Lane>> {
        self.newest().lanes.get(usize::try_from(partition).ok()?)
    }

    #[inline]
    fn newest(&self) -> &View {
        let mut view = &self.first;
        while let Some(next) = view.next.get() {
            view = next;
        }
        view
    }

    /// The partitions now. What is looked at for each record is one number that seldom changes.
    #[inline]
    fn view(&self, shared: &Shared) -> Result<&View> {
        if self.version.load(Ordering::Acquire) != shared.router.version() {
            self.refresh(shared)?;
        }
        Ok(self.newest())
    }

    #[cold]
    fn refresh(&self, shared: &Shared) -> Result<()> {
        let mut metadata = shared.metadata.lock();
        if metadata.is_closed {
            return Err(Error::Closed);
        }
        let version = shared.router.version();
        let route = shared.router.topic(self.name.as_str())?;
        let newest = self.newest();
        let is_same = |(lane, partition): (&Arc<Lane>, &Arc<HostedPartition>)| Arc::ptr_eq(&lane.partition, partition);
        let has_changed = newest.lanes.len() != route.partitions.len()
            || !newest.lanes.iter().zip(route.partitions.iter()).all(is_same);
        if has_changed {
            let lanes = lanes_of(shared, &mut metadata, &route, &newest.lanes)?;
            // Nobody else adds one: the metadata is locked.
            let _ = newest.next.set(Box::new(View { lanes, next: OnceLock::new() }));
        }
        let limit = limit_of(shared, &route);
        self.newest().lanes.iter().for_each(|lane| lane.set_limit(limit));
        self.version.store(version, Ordering::Release);
        Ok(())
    }

    /// Where the record goes. Runs the user's code, if there is some.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`], [`Error::InvalidPartition`], [`Error::CallbackPanicked`], [`Error::Closed`].
    #[inline]
    pub(super) fn choose(&self, shared: &Shared, partition: Option<i32>, fields: &Fields<'_>) -> Result<Target> {
        let count = self.view(shared)?.count();
        let for_record = |index| Ok(Target { index, chosen: Chosen::ForRecord });
        match (partition, &shared.choice, fields.key) {
            (Some(partition), _, _) => {
                for_record(u32::try_from(partition).map_err(|_| Error::InvalidPartition { partition })?)
            }
            (None, Choice::Own(own), key) => {
                for_record(partitioner::ask(&**own, self.name.as_str(), key, fields.value, count)?)
            }
            (None, Choice::BuiltIn(_), Some(key)) => for_record(partitioner::for_key(key, count)),
            (None, Choice::BuiltIn(_), None) if count == 1 => for_record(0),
            (None, Choice::BuiltIn(Keyless::Sticky), None) => {
                Ok(Target { index: self.sticky.load(Ordering::Relaxed), chosen: Chosen::Sticky })
            }
            (None, Choice::BuiltIn(Keyless::RoundRobin), None) => {
                for_record(self.turns.fetch_add(1, Ordering::Relaxed).checked_rem(count).unwrap_or_default())
            }
        }
    }

    /// Adds the record to a batch of its partition.
    #[inline]
    pub(super) fn append<R: Receipt>(
        &self,
        shared: &Shared,
        target: Target,
        fields: &Fields<'_>,
        if_full: IfFull,
    ) -> Result<R> {
        let Target { mut index, chosen } = target;
        let append = Append { fields: *fields, chosen, if_full };
        loop {
            let view = self.view(shared)?;
            let lane = usize::try_from(index).ok().and_then(|index| view.lanes.get(index));
            let lane = lane.ok_or_else(|| self.unknown(index))?;
            match lane.append(&append)? {
                Attempt::Done(receipt) => return Ok(receipt),
                Attempt::NeedsBatch => {}
                Attempt::TurnAway => index = self.turn(shared, view, index),
            }
        }
    }

    #[cold]
    fn unknown(&self, partition: u32) -> Error {
        let partition = Some(i32::try_from(partition).unwrap_or(i32::MAX));
        Error::UnknownTopicOrPartition { topic: self.name.to_string(), partition, nearest: None }
    }

    /// The next partition for records without a key, unless another thread has chosen one already.
    fn turn(&self, shared: &Shared, view: &View, from: u32) -> u32 {
        let next = shared.rng.lock().below(view.count().max(1).into());
        let next = u32::try_from(next).unwrap_or_default();
        match self.sticky.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => next,
            Err(chosen) => chosen,
        }
    }
}

impl View {
    fn count(&self) -> u32 {
        u32::try_from(self.lanes.len()).unwrap_or(u32::MAX)
    }
}

/// The size that a batch of more than one record does not exceed before it is compressed.
fn limit_of(shared: &Shared, route: &TopicRoute) -> usize {
    let config = &route.config;
    let stored = config.get_batch_bytes_max().min(config.get_segment_bytes());
    let stored = match Codec::of_topic(config).unwrap_or(shared.codec).compression {
        Compression::None => stored,
        // What does not compress must not fail for the few bytes that a codec adds to it.
        _ => stored.saturating_sub(stored / EXPANSION_PART + EXPANSION_BYTES),
    };
    let limits = [shared.batch_bytes, stored].into_iter().chain(shared.record_limits.map(|(max, _)| max));
    usize::try_from(limits.min().unwrap_or_default()).unwrap_or(usize::MAX)
}

/// The lanes of a topic's partitions: those that are known already, or new ones.
fn lanes_of(
    shared: &Shared,
    metadata: &mut Metadata,
    route: &TopicRoute,
    known: &[Arc<Lane>],
) -> Result<Box<[Arc<Lane>]>> {
    let shared = shared.this.upgrade().ok_or(Error::Closed)?;
    let limit = limit_of(&shared, route);
    let mut lanes = Vec::with_capacity(route.partitions.len());
    for (index, partition) in route.partitions.iter().enumerate() {
        match known.get(index) {
            Some(lane) if Arc::ptr_eq(&lane.partition, partition) => lanes.push(Arc::clone(lane)),
            Some(_) | None => {
                let lane = Lane::new(Arc::clone(&shared), metadata.lanes_made, Arc::clone(partition), limit);
                metadata.lanes_made += 1;
                metadata.lanes.push(Arc::clone(&lane));
                lanes.push(lane);
            }
        }
    }
    Ok(lanes.into())
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::Pin;
    use std::sync::Weak;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;
    use crate::broker::{Due, Host, Router, TimedClient};
    use crate::config::{BrokerConfig, Durability, LogConfig};
    use crate::log::LogDirectory;
    use crate::producer::shared::{Unfinished, Work};
    use crate::producer::{Delivery, Producer, ProducerBuilder, Record, TopicProducer};
    use crate::storage::MemStorage;
    use crate::time::{Clock, ManualClock};
    use crate::types::{BrokerId, LeaderEpoch, TopicId, TopicPartition};

    /// A broker without a cluster around it, nobody driving it, and its only topic.
    struct Home {
        clock: Arc<ManualClock>,
        host: Arc<Host>,
        router: Arc<Router>,
        partitions: Vec<Arc<HostedPartition>>,
    }

    impl Home {
        fn new() -> Home {
            let directory = LogDirectory::options().storage(MemStorage::new()).seed(1).open("/data").unwrap();
            let clock = Arc::new(ManualClock::new());
            let host = Arc::new(Host::new(
                BrokerId::ZERO,
                directory,
                Arc::clone(&clock) as Arc<dyn Clock>,
                &BrokerConfig::new(),
            ));
            let router = Arc::new(Router::new(Arc::clone(&host), false));
            Home { clock, host, router, partitions: Vec::new() }
        }

        /// Routes the topic to so many partitions; those that exist stay.
        fn route(&mut self, count: usize, id: u8) {
            let config = LogConfig::new().durability(Durability::Os);
            let id = TopicId::from_bytes([id; 16]);
            for number in self.partitions.len()..count {
                let tp = TopicPartition::new("orders", number as i32).unwrap();
                let (host, epoch) = (Arc::clone(&self.host), LeaderEpoch::ZERO);
                self.partitions.push(HostedPartition::new(host, tp, id, epoch, config.clone()));
            }
            let name = TopicName::new("orders").unwrap();
            self.router.insert(TopicRoute {
                name,
                id,
                config,
                without_effect: std::collections::BTreeMap::new(),
                partitions: self.partitions.clone().into(),
            });
        }

        fn delete(&mut self) {
            self.router.remove("orders");
            for partition in self.partitions.drain(..) {
                let gone = Error::UnknownTopicOrPartition { topic: "orders".into(), partition: None, nearest: None };
                partition.retire(gone.clone()).resolve(&Err(gone));
            }
        }

        fn producer(&self) -> (Producer, TopicProducer) {
            let producer = ProducerBuilder::new(Arc::clone(&self.router)).build().unwrap();
            let orders = producer.topic("orders").unwrap();
            (producer, orders)
        }
    }

    #[test]
    fn partitions_that_are_added_are_seen_and_the_others_keep_their_lanes() {
        let mut home = Home::new();
        home.route(2, 1);
        let (_producer, orders) = home.producer();
        let waiting = orders.push_record(&Record::to("orders").partition(1)).unwrap();
        home.route(5, 1);
        assert_eq!(orders.partition_count().unwrap(), 5);
        let stored = orders.send_record(&Record::to("orders").partition(4)).unwrap().wait().unwrap();
        assert_eq!(stored.topic_partition.partition.get(), 4);
        assert_eq!(orders.wait(waiting).unwrap().offset.unwrap().get(), 0);
    }

    #[test]
    fn a_deleted_topic_is_unknown_to_the_next_send_and_to_what_waited() {
        let mut home = Home::new();
        home.route(1, 1);
        let (producer, orders) = home.producer();
        let waiting = orders.send((), "v").unwrap();
        home.delete();
        for refused in [orders.send((), "v"), producer.send(Record::to("orders"))] {
            assert!(matches!(refused, Err(Error::UnknownTopicOrPartition { .. })), "{refused:?}");
        }
        assert!(matches!(waiting.wait(), Err(Error::UnknownTopicOrPartition { .. })));
    }

    #[test]
    fn a_topic_that_is_created_again_starts_anew() {
        let mut home = Home::new();
        home.route(1, 1);
        let (_producer, orders) = home.producer();
        let old = orders.push((), "old").unwrap();
        home.delete();
        home.route(1, 2);
        assert_eq!(orders.push((), "new").unwrap(), old, "the first record of its lane again");
    }

    #[test]
    fn dropping_a_producer_leaves_nothing_in_memory() {
        let mut home = Home::new();
        home.route(2, 1);
        let (producer, orders) = home.producer();
        orders.push("k", "v").unwrap();
        let shared = shared_of(&producer);
        drop(orders);
        drop(producer);
        assert!(shared.upgrade().is_none());
    }

    fn poll_once(delivery: &mut Delivery, waker: &Waker) {
        assert!(Pin::new(delivery).poll(&mut Context::from_waker(waker)).is_pending());
    }

    #[test]
    fn polled_deliveries_do_not_fill_the_timer() {
        let mut home = Home::new();
        home.route(1, 1);
        let (producer, orders) = home.producer();
        let shared = &producer.shared;
        for _ in 0..1000 {
            // One record goes into the batch that is open already, and is asked for at once.
            poll_once(&mut orders.send((), "v").unwrap(), Waker::noop());
            TimedClient::step(&**shared, shared.now());
            // The next batch is open when the timer looks again.
            orders.push((), "v").unwrap();
            home.clock.advance(Duration::from_millis(1));
            TimedClient::step(&**shared, shared.now());
        }
        let armed = shared.timer.lock().take_all();
        assert_eq!(armed.len(), 1, "one lane, one time");
    }

    #[test]
    fn a_panic_in_the_call_of_the_timer_costs_no_lane_its_turn() {
        let mut home = Home::new();
        home.route(2, 1);
        let (producer, _) = home.producer();
        let send = |partition| producer.send(Record::to("orders").partition(partition).value("v")).unwrap();
        let (mut first, mut second) = (send(0), send(1));
        home.clock.advance(Duration::from_millis(5));
        let (shared, now, background) = (&producer.shared, home.clock.now(), &home.host.background);
        assert!(matches!(background.next_due(now.mono), (Some(Due::Client(_)), _)));
        let step = || {
            let lane = shared.timer.lock().take_due(now.mono).unwrap();
            let _unfinished = Unfinished { shared, work: Work::Lane(&lane), now: now.mono };
            panic!("the work of the lane panics");
        };
        assert!(catch_unwind(AssertUnwindSafe(step)).is_err());
        for _ in 0..2 {
            // Only who asked for a call is called.
            if let (Some(Due::Client(client)), _) = background.next_due(home.clock.now().mono)
                && let Some(next) = client.step(home.clock.now())
            {
                background.call_at(&Arc::downgrade(&client), next);
            }
            home.clock.advance(Duration::from_millis(5));
        }
        for delivery in [&mut first, &mut second] {
            assert!(matches!(delivery.try_get(), Some(Ok(_))), "{delivery:?}");
        }
    }

    fn shared_of(producer: &Producer) -> Weak<Shared> {
        Weak::clone(&producer.shared.this)
    }
}
