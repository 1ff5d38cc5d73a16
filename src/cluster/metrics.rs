//! [P] What a cluster has done and where it stands, as numbers.

use std::time::Duration;

use crate::cluster::Cluster;

/// Counters since the cluster was opened, and its state now. Taken without stopping anything: the numbers need not be of one
/// instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ClusterMetrics {
    /// Records appended.
    pub records_appended: u64,
    /// Bytes of the batches appended.
    pub bytes_appended: u64,
    /// Batches appended.
    pub batches_appended: u64,
    /// Syncs of logs that made something durable.
    pub syncs: u64,
    /// Time spent in them, over all threads.
    pub sync_time: Duration,
    /// Records handed to consumers.
    pub records_read: u64,
    /// Bytes fetched by consumers.
    pub bytes_read: u64,
    /// Bytes appended that no sync has begun for yet.
    pub unsynced_bytes: u64,
    /// Logs that are open; the others are opened on first use.
    pub open_logs: u64,
    /// Logs that take no writes any more, because of damage or after a failed write or sync.
    pub offline_logs: u64,
}

impl Cluster {
    /// The counters and gauges as of now.
    pub fn metrics(&self) -> ClusterMetrics {
        let broker = &self.inner.broker;
        let (counted, health) = (broker.host().counters.snapshot(), broker.health());
        ClusterMetrics {
            records_appended: counted.records_appended,
            bytes_appended: counted.bytes_appended,
            batches_appended: counted.batches_appended,
            syncs: counted.syncs,
            sync_time: counted.sync_time,
            records_read: counted.records_read,
            bytes_read: counted.bytes_read,
            unsynced_bytes: health.unsynced_bytes,
            open_logs: health.open_logs,
            offline_logs: health.offline_logs,
        }
    }
}
