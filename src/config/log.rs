//! [P] The configuration of one log: segments, batches, timestamps, durability, reading.
//!
//! Kafka's counterpart: `LogConfig`, as far as it is implemented (`LogConfig::FIELDS`).

use super::value::{Value, parse_word, word_value};
use super::{Accepts, TopicCompression, config};
use crate::types::TimestampType;

config! {
    /// How one log is kept. The setters take the config and return it; nothing is checked until
    /// [`validate`](Self::validate), which whoever opens a log calls.
    ///
    /// ```
    /// use logstead::config::{Durability, LogConfig};
    /// use std::time::Duration;
    ///
    /// let config = LogConfig::new().segment_bytes(64 << 20).segment_time(Duration::from_secs(3600));
    /// config.validate()?;
    /// assert_eq!(config.get_segment_bytes(), 67_108_864);
    ///
    /// let config = LogConfig::from_pairs([("segment.ms", "3600000"), ("flush.messages", "1")])?;
    /// assert_eq!(config.get_segment_time(), Duration::from_secs(3600));
    /// assert_eq!(config.get_durability(), Durability::Synced);
    ///
    /// let error = LogConfig::from_pairs([("segment.byte", "1"), ("segment.ms", "0")]).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "invalid configuration: segment.byte: unknown; the nearest known key is segment.bytes; \
    ///      segment.ms: 0 is out of range: 1 or more is accepted"
    /// );
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub struct LogConfig {
        /// The size that a segment's log file does not exceed; a batch that would not fit starts the next segment.
        segment_bytes / get_segment_bytes: Bytes("segment.bytes", "bytes", [14..=2_147_483_647], 1_073_741_824),

        /// The time after which an append starts a new segment although the old one is not full.
        segment_time / get_segment_time: Millis("segment.ms", "ms", [1..], 604_800_000),

        /// The longest time that is taken off `segment_time`, at random for each segment, so that not all logs roll at
        /// once. 0 means none.
        segment_jitter / get_segment_jitter: Millis("segment.jitter.ms", "ms", [0..], 0),

        /// The size that a segment's offset index and time index do not exceed; a full index starts the next segment.
        segment_index_bytes / get_segment_index_bytes:
            Bytes("segment.index.bytes", "bytes", [4..=2_147_483_647], 10_485_760),

        /// An index entry is written when more than this many bytes were appended since the last one. 0 means one for
        /// each batch.
        index_interval_bytes / get_index_interval_bytes:
            Bytes("index.interval.bytes", "bytes", [0..=2_147_483_647], 4_096),

        /// The largest batch accepted, as it is stored.
        batch_bytes_max / get_batch_bytes_max: Bytes("max.message.bytes", "bytes", [0..=2_147_483_647], 1_048_588),

        /// How batches are compressed. What a producer hands over in another codec is compressed anew with this one; in the same
        /// codec it stays as it is, byte for byte, whatever its level.
        compression / get_compression: TopicCompression(
            "compression.type",
            "",
            ["uncompressed" | "gzip" | "snappy" | "lz4" | "zstd" | "producer"],
            Producer
        ),

        /// How hard gzip tries; -1 leaves it to gzip.
        compression_gzip_level / get_compression_gzip_level:
            Level("compression.gzip.level", "", ["-1" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"], (-1)),

        /// How hard LZ4 tries. There is one compressor here, the fast one, which Kafka means by 9: all levels are alike.
        compression_lz4_level / get_compression_lz4_level: Level("compression.lz4.level", "", [1..=17], (9)),

        /// How hard Zstandard tries.
        compression_zstd_level / get_compression_zstd_level: Level("compression.zstd.level", "", [-131_072..=22], (3)),

        /// Whose time the records carry: the producer's, or that of the append.
        timestamp_type / get_timestamp_type:
            TimestampType("message.timestamp.type", "", ["CreateTime" | "LogAppendTime"], CreateTime),

        /// How far a record's timestamp may lie in the past, with `TimestampType::CreateTime`. `None`, the default, means
        /// no limit; Kafka spells it 9223372036854775807.
        timestamp_before_max / get_timestamp_before_max:
            MillisLimit("message.timestamp.before.max.ms", "ms", [0..], 9_223_372_036_854_775_807),

        /// How far a record's timestamp may lie in the future, with `TimestampType::CreateTime`. `None`, which Kafka
        /// spells as 9223372036854775807, means no limit. The default is that of Kafka 4.0; before it was no limit.
        timestamp_after_max / get_timestamp_after_max:
            MillisLimit("message.timestamp.after.max.ms", "ms", [0..], 3_600_000),

        /// Whether the space of a whole segment is reserved when it is started.
        preallocate / get_preallocate: Flag("preallocate", "", ["true" | "false"], false),

        /// What an acknowledged record survives.
        ///
        /// Kept in Kafka's vocabulary: `flush.messages` is 1 for `Synced` and 9223372036854775807 for `Os`; other values,
        /// "sync every n-th record", are refused, because they promise nothing about any one record. `from_pairs` without
        /// the key gives `Os`, as Kafka means it, so that a topic that came from Kafka keeps its meaning; `new` gives
        /// `Synced`, and `to_pairs` always writes the key.
        durability / get_durability:
            Durability("flush.messages", "", ["1" | "9223372036854775807"], Synced, absent = Os),

        /// What becomes of old records.
        cleanup_policy / get_cleanup_policy: CleanupPolicy("cleanup.policy", "", ["delete"], Delete),

        /// How old the newest record of a segment may grow before the segment is deleted. `None`, the default, which Kafka
        /// spells -1, keeps records for ever.
        ///
        /// Nobody loses records for their age who has not asked for it: a topic made here stores -1. `from_pairs` without the
        /// key gives 7 days, as Kafka means it, so that a topic that came from Kafka keeps its meaning; `to_pairs` always
        /// writes the key.
        retention_time / get_retention_time:
            MillisUnlessNegative("retention.ms", "ms", [-1..], none, absent = 604_800_000),

        /// How large a partition's log may be: the oldest segments are deleted as long as what is left is not smaller than
        /// this. `None`, the default, which Kafka spells -1, means no limit.
        retention_bytes / get_retention_bytes: BytesUnlessNegative("retention.bytes", "bytes", [-1..], none),

        /// How long the files of deleted segments and partitions stay, under another name, for those who read them still.
        file_delete_delay / get_file_delete_delay: Millis("file.delete.delay.ms", "ms", [0..], 60_000),

        /// How sealed segments are read.
        read_mode / get_read_mode: ReadMode(none, "", ["positioned" | "mapped"], Positioned),
    }
}

/// What an acknowledged record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// A power cut: the record is synced before it is acknowledged. The default.
    #[default]
    Synced,
    /// The death of the process, but not a power cut: the record is in the operating system's page cache, which is what
    /// Kafka acknowledges unless told otherwise.
    Os,
}

impl Durability {
    /// The value of Kafka's `flush.messages`.
    ///
    /// ```
    /// assert_eq!(logstead::config::Durability::Synced.as_str(), "1");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Durability::Synced => "1",
            Durability::Os => "9223372036854775807",
        }
    }
}

impl Value for Durability {
    fn parse(text: &str, accepts: Accepts) -> Result<Durability, String> {
        // By value, not by spelling: Kafka reads a number here.
        match u64::parse(text, Accepts::Range { low: 1, high: i64::MAX })? {
            1 => Ok(Durability::Synced),
            number => parse_word(&number.to_string(), accepts, [Durability::Os], Durability::as_str),
        }
    }

    fn to_kafka(&self) -> String {
        self.as_str().to_owned()
    }
}

/// What becomes of old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CleanupPolicy {
    /// Whole segments are deleted, by age and by size. The default, and the only one that a topic can be given so far.
    #[default]
    Delete,
    /// Kafka keeps the newest record of each key. Only found in a folder that Kafka wrote: nothing is compacted here yet,
    /// and nothing is deleted by age or size.
    Compact,
    /// Both. Only found in a folder that Kafka wrote: segments are deleted, and nothing is compacted here yet.
    CompactAndDelete,
}

impl CleanupPolicy {
    /// Kafka's spelling.
    ///
    /// ```
    /// assert_eq!(logstead::config::CleanupPolicy::Delete.as_str(), "delete");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            CleanupPolicy::Delete => "delete",
            CleanupPolicy::Compact => "compact",
            CleanupPolicy::CompactAndDelete => "compact,delete",
        }
    }

    /// Whether segments are deleted by age and by size.
    pub const fn deletes(self) -> bool {
        matches!(self, CleanupPolicy::Delete | CleanupPolicy::CompactAndDelete)
    }

    /// Reads the list that Kafka stored.
    pub(super) fn from_stored(text: &str) -> Result<CleanupPolicy, String> {
        let (mut compacts, mut deletes) = (false, false);
        for word in text.split(',').map(str::trim) {
            match word {
                "compact" => compacts = true,
                "delete" => deletes = true,
                _ => return Err(format!("{text:?} is not accepted: a list of compact and delete is")),
            }
        }
        Ok(match (compacts, deletes) {
            (true, true) => CleanupPolicy::CompactAndDelete,
            (true, false) => CleanupPolicy::Compact,
            (false, _) => CleanupPolicy::Delete,
        })
    }
}

impl Value for CleanupPolicy {
    fn parse(text: &str, _: Accepts) -> Result<CleanupPolicy, String> {
        match CleanupPolicy::from_stored(text)? {
            CleanupPolicy::Delete => Ok(CleanupPolicy::Delete),
            compacting => Err(compacting.refusal()),
        }
    }

    fn to_kafka(&self) -> String {
        self.as_str().to_owned()
    }
}

impl CleanupPolicy {
    /// Why no topic can be given this policy.
    pub(super) fn refusal(self) -> String {
        format!("{} is not accepted: logstead does not implement compaction yet; delete is", self.as_str())
    }
}

/// How sealed segments, which never change any more, are read. The newest segment is always read with positioned reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReadMode {
    /// With positioned reads into buffers. A failing disk is an error that is returned. The default.
    #[default]
    Positioned,
    /// Through a memory map: no copy, which makes scans faster. The price: **a failing disk becomes the signal SIGBUS in the
    /// host process**, which ends it unless it handles that signal.
    Mapped,
}

impl ReadMode {
    /// Its name in lower case. Kafka has no such configuration.
    ///
    /// ```
    /// assert_eq!(logstead::config::ReadMode::Mapped.as_str(), "mapped");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            ReadMode::Positioned => "positioned",
            ReadMode::Mapped => "mapped",
        }
    }
}

word_value!(ReadMode, [ReadMode::Positioned, ReadMode::Mapped]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KAFKA_TOPIC_KEYS_NOT_IMPLEMENTED;
    use crate::error::{ConfigViolation, Error};
    use proptest::prelude::*;
    use std::time::Duration;

    const NO_PAIRS: [(&str, &str); 0] = [];

    fn violations(outcome: crate::Result<impl std::fmt::Debug>) -> Vec<ConfigViolation> {
        match outcome {
            Err(Error::InvalidConfig { violations }) => violations,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(key: &str, value: &str) -> String {
        let violations = violations(LogConfig::from_pairs([(key, value)]));
        assert_eq!((violations.len(), violations[0].field.as_str()), (1, key));
        violations[0].reason.clone()
    }

    #[test]
    fn the_defaults_are_kafkas_but_for_durability_and_retention() {
        let table: Vec<_> = LogConfig::FIELDS
            .iter()
            .map(|f| format!("{} | {} | {} {}| {}", f.name, f.key.unwrap_or("-"), f.accepts, f.unit, f.default))
            .collect();
        assert_eq!(
            table,
            [
                "segment_bytes | segment.bytes | 14 to 2147483647 bytes| 1073741824",
                "segment_time | segment.ms | 1 or more ms| 604800000",
                "segment_jitter | segment.jitter.ms | 0 or more ms| 0",
                "segment_index_bytes | segment.index.bytes | 4 to 2147483647 bytes| 10485760",
                "index_interval_bytes | index.interval.bytes | 0 to 2147483647 bytes| 4096",
                "batch_bytes_max | max.message.bytes | 0 to 2147483647 bytes| 1048588",
                "compression | compression.type | uncompressed or gzip or snappy or lz4 or zstd or producer | producer",
                "compression_gzip_level | compression.gzip.level | -1 or 1 or 2 or 3 or 4 or 5 or 6 or 7 or 8 or 9 | -1",
                "compression_lz4_level | compression.lz4.level | 1 to 17 | 9",
                "compression_zstd_level | compression.zstd.level | -131072 to 22 | 3",
                "timestamp_type | message.timestamp.type | CreateTime or LogAppendTime | CreateTime",
                "timestamp_before_max | message.timestamp.before.max.ms | 0 or more ms| 9223372036854775807",
                "timestamp_after_max | message.timestamp.after.max.ms | 0 or more ms| 3600000",
                "preallocate | preallocate | true or false | false",
                "durability | flush.messages | 1 or 9223372036854775807 | 1",
                "cleanup_policy | cleanup.policy | delete | delete",
                "retention_time | retention.ms | -1 or more ms| -1",
                "retention_bytes | retention.bytes | -1 or more bytes| -1",
                "file_delete_delay | file.delete.delay.ms | 0 or more ms| 60000",
                "read_mode | - | positioned or mapped | positioned",
            ]
        );
    }

    #[test]
    fn the_table_and_the_values_of_a_new_config_agree() {
        let table = LogConfig::FIELDS.iter().filter_map(|field| Some((field.key?, field.default.to_owned())));
        assert_eq!(LogConfig::new().to_pairs(), table.collect::<Vec<_>>());
        assert_eq!(LogConfig::default(), LogConfig::new());
        LogConfig::new().validate().unwrap();
    }

    #[test]
    fn the_table_carries_the_documentation() {
        assert!(LogConfig::FIELDS[0].doc.starts_with("The size that a segment's log file"));
        assert!(LogConfig::FIELDS.iter().all(|field| field.doc.ends_with('.')));
    }

    #[test]
    fn getters_return_what_setters_took() {
        let time = Duration::from_millis;
        let config = LogConfig::new()
            .segment_bytes(1)
            .segment_time(time(2))
            .segment_jitter(time(3))
            .segment_index_bytes(4)
            .index_interval_bytes(5)
            .batch_bytes_max(6)
            .timestamp_type(TimestampType::LogAppendTime)
            .timestamp_before_max(Some(time(7)))
            .timestamp_after_max(None)
            .preallocate(true)
            .durability(Durability::Os)
            .cleanup_policy(CleanupPolicy::Compact)
            .retention_time(None)
            .retention_bytes(Some(8))
            .file_delete_delay(time(9))
            .read_mode(ReadMode::Mapped);
        assert_eq!((config.get_segment_bytes(), config.get_segment_time()), (1, time(2)));
        assert_eq!((config.get_segment_jitter(), config.get_segment_index_bytes()), (time(3), 4));
        assert_eq!((config.get_index_interval_bytes(), config.get_batch_bytes_max()), (5, 6));
        assert_eq!(config.get_timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((config.get_timestamp_before_max(), config.get_timestamp_after_max()), (Some(time(7)), None));
        assert_eq!((config.get_preallocate(), config.get_durability()), (true, Durability::Os));
        assert_eq!(config.get_read_mode(), ReadMode::Mapped);
        assert_eq!((config.get_retention_time(), config.get_retention_bytes()), (None, Some(8)));
        assert_eq!(config.get_file_delete_delay(), time(9));
        assert_eq!(config.get_cleanup_policy(), CleanupPolicy::Compact);
    }

    #[test]
    fn only_deletion_is_accepted_as_a_policy() {
        let policy =
            |value| LogConfig::from_pairs([("cleanup.policy", value)]).map(|config| config.get_cleanup_policy());
        assert_eq!(policy(" delete ").unwrap(), CleanupPolicy::Delete);
        for value in ["compact", "compact,delete", "delete, compact"] {
            assert!(refusal("cleanup.policy", value).contains("does not implement compaction yet"), "{value}");
        }
        assert!(refusal("cleanup.policy", "Delete").contains("a list of compact and delete is"));
    }

    #[test]
    fn both_bounds_of_every_number_are_accepted_and_what_lies_beyond_is_not() {
        for field in LogConfig::FIELDS {
            let (Some(key), Accepts::Range { low, high }) = (field.key, field.accepts) else { continue };
            for inside in [low, high] {
                let config = LogConfig::from_pairs([(key, inside.to_string())]).unwrap();
                config.validate().unwrap();
                assert!(config.to_pairs().contains(&(key, inside.to_string())));
            }
            for outside in [i128::from(low) - 1, i128::from(high) + 1] {
                let reason = refusal(key, &outside.to_string());
                assert!(reason.contains(&outside.to_string()), "{key}: {reason}");
            }
        }
    }

    #[test]
    fn every_violation_of_the_setters_is_reported_at_once() {
        let config = LogConfig::new()
            .segment_bytes(13)
            .segment_time(Duration::ZERO)
            .segment_index_bytes(1 << 31)
            .timestamp_after_max(Some(Duration::from_nanos(1)));
        let violations = violations(config.validate());
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["segment.bytes", "segment.ms", "segment.index.bytes", "message.timestamp.after.max.ms"]);
        assert_eq!(violations[0].reason, "13 is out of range: 14 to 2147483647 is accepted");
    }

    #[test]
    fn every_violation_of_the_pairs_is_reported_at_once() {
        let pairs = [
            ("segment.bytes", "13"),
            ("segment.bytes", "14"),
            ("preallocate", "maybe"),
            ("flush.ms", "1000"),
            ("message.timestamp.type", "logappendtime"),
            ("indx.interval.bytes", "1"),
        ];
        assert_eq!(
            LogConfig::from_pairs(pairs).unwrap_err().to_string(),
            "invalid configuration: segment.bytes: 13 is out of range: 14 to 2147483647 is accepted; \
             segment.bytes: given more than once; \
             preallocate: \"maybe\" is neither true nor false; \
             flush.ms: a Kafka topic configuration that logstead does not implement yet; \
             message.timestamp.type: \"logappendtime\" is not accepted: CreateTime or LogAppendTime is; \
             indx.interval.bytes: unknown; the nearest known key is index.interval.bytes"
        );
    }

    #[test]
    fn an_unknown_key_near_one_that_is_not_implemented_says_both() {
        assert_eq!(
            refusal("delete.retention.m", "1"),
            "unknown; the nearest known key is delete.retention.ms, \
             a Kafka topic configuration that logstead does not implement yet"
        );
    }

    #[test]
    fn no_key_is_both_implemented_and_not() {
        let keys: Vec<_> = LogConfig::FIELDS.iter().filter_map(|field| field.key).collect();
        assert!(KAFKA_TOPIC_KEYS_NOT_IMPLEMENTED.iter().all(|key| !keys.contains(key)));
        assert!(KAFKA_TOPIC_KEYS_NOT_IMPLEMENTED.is_sorted());
    }

    #[test]
    fn own_fields_are_not_reachable_through_kafkas_pairs() {
        assert!(refusal("read_mode", "mapped").starts_with("unknown"));
    }

    #[test]
    fn durability_is_spelled_as_flush_messages() {
        let durability = |value| LogConfig::from_pairs([("flush.messages", value)]).unwrap().get_durability();
        assert_eq!(durability(" 1 "), Durability::Synced);
        assert_eq!(durability("9223372036854775807"), Durability::Os);
        assert_eq!(refusal("flush.messages", "10000"), "\"10000\" is not accepted: 1 or 9223372036854775807 is");
        assert_eq!(refusal("flush.messages", "0"), "0 is out of range: 1 or more is accepted");
    }

    #[test]
    fn no_pairs_mean_what_they_mean_to_kafka() {
        let config = LogConfig::from_pairs(NO_PAIRS).unwrap();
        let week = Some(Duration::from_secs(7 * 24 * 3600));
        assert_eq!(config, LogConfig::new().durability(Durability::Os).retention_time(week));
    }

    prop_compose! {
        fn valid()(
            bytes in 14..=i32::MAX as u64, time in 1..=i64::MAX as u64, jitter in 0..=i64::MAX as u64,
            index in 4..=i32::MAX as u64, interval in 0..=i32::MAX as u64, batch in 0..=i32::MAX as u64,
            before in proptest::option::of(0..i64::MAX as u64), after in proptest::option::of(0..i64::MAX as u64),
            append_time: bool, preallocate: bool, synced: bool,
            kept in proptest::option::of(0..=i64::MAX as u64), room in proptest::option::of(0..=i64::MAX as u64),
            delay in 0..=i64::MAX as u64,
        ) -> LogConfig {
            LogConfig::new()
                .segment_bytes(bytes)
                .segment_time(Duration::from_millis(time))
                .segment_jitter(Duration::from_millis(jitter))
                .segment_index_bytes(index)
                .index_interval_bytes(interval)
                .batch_bytes_max(batch)
                .timestamp_before_max(before.map(Duration::from_millis))
                .timestamp_after_max(after.map(Duration::from_millis))
                .timestamp_type(if append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime })
                .preallocate(preallocate)
                .retention_time(kept.map(Duration::from_millis))
                .retention_bytes(room)
                .file_delete_delay(Duration::from_millis(delay))
                .durability(if synced { Durability::Synced } else { Durability::Os })
        }
    }

    proptest! {
        #[test]
        fn a_valid_config_survives_the_round_trip_through_pairs(config in valid()) {
            config.validate().unwrap();
            prop_assert_eq!(LogConfig::from_pairs(config.to_pairs()).unwrap(), config);
        }

        #[test]
        fn arbitrary_pairs_are_read_or_refused(index in 0..LogConfig::FIELDS.len(), key in ".*", value in "[-+ 0-9a-z]{0,22}|.*") {
            let known = LogConfig::FIELDS[index].key.unwrap_or("");
            if let Ok(config) = LogConfig::from_pairs([(known, value.as_str())]) {
                config.validate().unwrap();
            }
            let _ = LogConfig::from_pairs([(key, value)]);
        }
    }
}
