//! [P] The configuration of the brokers of a cluster: when the background work is due.
//!
//! Kafka's counterpart: `KafkaConfig`, as far as it is implemented.

use super::config;

config! {
    /// How the brokers of a cluster run.
    ///
    /// ```
    /// use logstead::config::BrokerConfig;
    /// use std::time::Duration;
    /// let config = BrokerConfig::new().flush_interval(Duration::from_millis(20)).parallel_syncs_max(2);
    /// config.validate()?;
    /// assert_eq!(config.get_parallel_syncs_max(), 2);
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub struct BrokerConfig {
        /// With `Durability::Synced`, how long appended records that nobody waits for may stay unsynced, and so invisible.
        /// 0 syncs them at once.
        flush_interval / get_flush_interval: Millis(none, "ms", [0..], 100),

        /// How often, while something is appended, the positions are written from which a recovery starts.
        checkpoint_interval / get_checkpoint_interval:
            Millis("log.flush.offset.checkpoint.interval.ms", "ms", [1..], 60_000),

        /// The shortest time between two looks for records that have expired. Nobody looks while nothing can expire. It is
        /// also how long the wall clock must have run evenly before a record is deleted for its age.
        retention_check_interval / get_retention_check_interval:
            Millis("log.retention.check.interval.ms", "ms", [1..], 300_000),

        /// Syncs that run at a time. A disk takes several at once up to a point.
        parallel_syncs_max / get_parallel_syncs_max: Bytes(none, "", [1..=64], 4),

        /// Threads that sync what no caller waits for, with `Driver::Threads`.
        sync_threads / get_sync_threads: Bytes(none, "", [1..=64], 2),
    }
}
