//! A partition that behaves as a live one seldom does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::TOPIC;
use crate::broker::{Catalog, FetchSource, HostedPartition, Parked, PartitionOffsets};
use crate::consumer::{Consumer, ConsumerBuilder};
use crate::error::Result;
use crate::log::{AbortedTransaction, ListedOffset, LogSlice, OffsetSpec, ReadIsolation, ReadLimits};
use crate::sync::Signal;
use crate::time::{Clock, ManualClock};
use crate::types::{Offset, TopicPartition};

/// A partition that nobody tells about: what a folder opened read-only is.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) inner: Arc<HostedPartition>,
    pub(super) looks: AtomicUsize,
    /// Shows nothing before this many looks.
    pub(super) shy: usize,
    /// Is deleted up to here when somebody asks about aborted transactions.
    pub(super) fading: Option<Offset>,
    /// Is deleted up to here just before it is read for the first time.
    pub(super) fleeting: Option<Offset>,
}

impl Watched {
    pub(super) fn of(inner: &Arc<HostedPartition>) -> Watched {
        Watched { inner: Arc::clone(inner), looks: AtomicUsize::new(0), shy: 0, fading: None, fleeting: None }
    }

    /// A consumer of nothing else, on a clock that stands still.
    pub(super) fn consumer(self: &Arc<Self>) -> Consumer {
        let catalog = WatchedCatalog { source: Arc::clone(self), clock: Arc::new(ManualClock::new()) };
        ConsumerBuilder::new(Arc::new(catalog)).topic(TOPIC).build().unwrap()
    }
}

impl FetchSource for Watched {
    fn topic_partition(&self) -> &TopicPartition {
        self.inner.topic_partition()
    }
    fn offsets(&self) -> Result<PartitionOffsets> {
        self.inner.offsets()
    }
    fn fetch(&self, from: Offset, limits: ReadLimits) -> Result<LogSlice> {
        let look = self.looks.fetch_add(1, Ordering::SeqCst);
        if let Some(fleeting) = self.fleeting.filter(|_| look == 0) {
            self.inner.log()?.delete_before(fleeting)?;
        }
        let is_shy = look < self.shy;
        self.inner.fetch(from, if is_shy { ReadLimits::bytes(0).strict() } else { limits })
    }
    fn fetch_after(&self, slice: &LogSlice, limits: ReadLimits) -> Result<LogSlice> {
        self.inner.fetch_after(slice, limits)
    }
    fn aborted_transactions(&self, from: Offset, upper: Offset) -> Result<Vec<AbortedTransaction>> {
        if let Some(fading) = self.fading {
            self.inner.log()?.delete_before(fading)?;
        }
        self.inner.aborted_transactions(from, upper)
    }
    fn list_offset(&self, spec: OffsetSpec, isolation: ReadIsolation) -> Result<Option<ListedOffset>> {
        self.inner.list_offset(spec, isolation)
    }
    fn park(&self, _: &Arc<Signal>, _: Offset, _: ReadIsolation) -> Result<Parked> {
        Ok(Parked::LookAgain)
    }
    fn unpark(&self, _: &Arc<Signal>) {}
    fn make_visible(&self) -> Result<()> {
        Ok(())
    }
    fn make_visible_later(&self) {}
    fn on_read(&self, _: u64, _: u64) {}
}

#[derive(Debug)]
struct WatchedCatalog {
    source: Arc<Watched>,
    clock: Arc<dyn Clock>,
}

impl Catalog for WatchedCatalog {
    fn source(&self, _: &TopicPartition) -> Result<Arc<dyn FetchSource>> {
        Ok(Arc::clone(&self.source) as Arc<dyn FetchSource>)
    }
    fn partitions_of(&self, _: &str) -> Result<Vec<TopicPartition>> {
        Ok(vec![self.source.topic_partition().clone()])
    }
    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
    fn may_sleep(&self) -> bool {
        true
    }
}
