//! [P] The configuration of a consumer.
//!
//! Kafka's counterpart: `ConsumerConfig`, as far as it is implemented.

use super::config;
use super::value::word_value;

config! {
    /// How a consumer reads.
    ///
    /// ```
    /// use logstead::config::{ConsumerConfig, Isolation};
    /// let config = ConsumerConfig::new().poll_records_max(100).isolation(Isolation::ReadUncommitted);
    /// config.validate()?;
    /// assert_eq!(ConsumerConfig::from_pairs(config.to_pairs())?, config);
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub struct ConsumerConfig {
        /// Which committed records are seen.
        isolation / get_isolation:
            Isolation("isolation.level", "", ["read_committed" | "read_uncommitted"], ReadCommitted),

        /// Records that one poll returns, at most.
        poll_records_max / get_poll_records_max: Bytes("max.poll.records", "", [1..=2_147_483_647], 500),

        /// Bytes of records that one poll returns, at most; a single record that is larger is returned alone. 0 means one
        /// record a poll.
        fetch_bytes_max / get_fetch_bytes_max: Bytes("fetch.max.bytes", "bytes", [0..=2_147_483_647], 52_428_800),

        /// Bytes that are read from one partition at a time, at most; a single batch that is larger is read whole. Less
        /// than this may be read where more would not be faster.
        partition_fetch_bytes_max / get_partition_fetch_bytes_max:
            Bytes("max.partition.fetch.bytes", "bytes", [0..=2_147_483_647], 1_048_576),

        /// Bytes that the records handed out, and what is fetched ahead of them, may keep in memory; above it, nothing more
        /// is fetched or decompressed until some are dropped.
        pinned_bytes_max / get_pinned_bytes_max: Bytes(none, "bytes", [1..], 67_108_864),

        /// Bytes that the records of one compressed batch may have when they are decompressed; a batch with more is
        /// [unreadable](crate::Error::UnreadableBatch), and no more than this is decompressed of it.
        decompressed_bytes_max / get_decompressed_bytes_max: Bytes(none, "bytes", [1..=2_147_483_647], 67_108_864),
    }
}

/// Which committed records a consumer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Isolation {
    /// Those of no transaction and of committed ones, up to the first transaction that is still open. The default (Kafka's
    /// is the other one).
    #[default]
    ReadCommitted,
    /// All, those of aborted and open transactions included.
    ReadUncommitted,
}

impl Isolation {
    /// The value of Kafka's `isolation.level`.
    ///
    /// ```
    /// assert_eq!(logstead::config::Isolation::ReadCommitted.as_str(), "read_committed");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

word_value!(Isolation, [Isolation::ReadCommitted, Isolation::ReadUncommitted]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_kafkas_but_for_the_isolation() {
        let row = |field: &crate::config::Field| format!("{} = {}", field.key.unwrap_or("-"), field.default);
        let table: Vec<_> = ConsumerConfig::FIELDS.iter().map(row).collect();
        assert_eq!(
            table,
            [
                "isolation.level = read_committed",
                "max.poll.records = 500",
                "fetch.max.bytes = 52428800",
                "max.partition.fetch.bytes = 1048576",
                "- = 67108864",
                "- = 67108864",
            ]
        );
        ConsumerConfig::new().validate().unwrap();
    }

    #[test]
    fn a_poll_of_no_records_is_refused() {
        assert!(ConsumerConfig::from_pairs([("max.poll.records", "0")]).is_err());
        assert!(ConsumerConfig::new().pinned_bytes_max(0).validate().is_err());
    }
}
