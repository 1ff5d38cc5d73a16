//! [P] What a broker has done so far, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Totals since the cluster was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    // Each is a statistic of its own that orders nothing, hence `Relaxed` everywhere.
    records_appended: AtomicU64,
    bytes_appended: AtomicU64,
    batches_appended: AtomicU64,
    syncs: AtomicU64,
    sync_nanos: AtomicU64,
    records_read: AtomicU64,
    bytes_read: AtomicU64,
}

/// The values of the [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) records_appended: u64,
    pub(crate) bytes_appended: u64,
    pub(crate) batches_appended: u64,
    pub(crate) syncs: u64,
    pub(crate) sync_time: Duration,
    pub(crate) records_read: u64,
    pub(crate) bytes_read: u64,
}

impl Counters {
    pub(crate) fn on_append(&self, records: u32, bytes: usize) {
        self.records_appended.fetch_add(records.into(), Ordering::Relaxed);
        self.bytes_appended.fetch_add(bytes as u64, Ordering::Relaxed);
        self.batches_appended.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_sync(&self, took: Duration) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn on_read(&self, records: u64, bytes: u64) {
        self.records_read.fetch_add(records, Ordering::Relaxed);
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Counted {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            records_appended: load(&self.records_appended),
            bytes_appended: load(&self.bytes_appended),
            batches_appended: load(&self.batches_appended),
            syncs: load(&self.syncs),
            sync_time: Duration::from_nanos(load(&self.sync_nanos)),
            records_read: load(&self.records_read),
            bytes_read: load(&self.bytes_read),
        }
    }
}
