//! [P] The configuration of a topic: how many partitions and replicas, and how the log of each is kept.
//!
//! A topic's configuration is stored in the cluster's metadata under Kafka's keys, and only what differs from Kafka's
//! defaults; durability always, since its default differs from Kafka's: `flush.messages=1` is `Synced`, and its absence
//! is `Os`, which is what Kafka means by it. What has no key of Kafka's (`read_mode`) is not stored. Kafka's
//! counterparts: `NewTopic`, `LogConfig`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    CleanupPolicy, Durability, KAFKA_TOPIC_KEYS_NOT_IMPLEMENTED, LogConfig, ReadMode, TopicCompression, reject_key,
    verdict,
};
use crate::error::{ConfigViolation, Error, Result};
use crate::types::TimestampType;

/// The most partitions that all topics of a cluster may have together.
pub(crate) const PARTITIONS_MAX: u32 = 100_000;

/// The key of the durability.
const DURABILITY_KEY: &str = "flush.messages";
/// The key of the retention by age.
const RETENTION_KEY: &str = "retention.ms";
/// The key of the policy, of which more may be stored than a topic can be given here.
const POLICY_KEY: &str = "cleanup.policy";

/// How a topic is made: its partitions, its replicas, and the [`LogConfig`] of each of its logs, whose setters are here as
/// well. Nothing is checked until [`validate`](Self::validate), which whoever creates a topic calls.
///
/// ```
/// use logstead::config::{Durability, TopicConfig};
/// let config = TopicConfig::new().partitions(6).segment_bytes(64 << 20).durability(Durability::Os);
/// config.validate()?;
/// assert_eq!((config.get_partitions(), config.get_replication_factor()), (6, 1));
/// assert_eq!(config.get_log().get_segment_bytes(), 67_108_864);
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    partitions: u32,
    replication_factor: u16,
    log: LogConfig,
}

/// Declares the setters that are those of [`LogConfig`].
macro_rules! forward {
    ($($name:ident: $type:ty, $getter:literal;)+) => {$(
        #[doc = concat!("Sets [`LogConfig::", stringify!($name), "`] for every partition; see there. Read it back with \
                         [`get_log`](Self::get_log) and [`LogConfig::", $getter, "`].")]
        #[must_use]
        pub fn $name(mut self, $name: $type) -> TopicConfig {
            self.log = self.log.$name($name);
            self
        }
    )+};
}

impl TopicConfig {
    /// One partition, one replica, every other field at its default.
    pub fn new() -> TopicConfig {
        TopicConfig { partitions: 1, replication_factor: 1, log: LogConfig::new() }
    }

    /// How many partitions the topic has: 1 to 100,000, less those of the other topics; default 1. More can be added later.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> TopicConfig {
        self.partitions = partitions;
        self
    }

    /// On how many brokers each partition is kept: 1 up to the number of brokers; default 1.
    #[must_use]
    pub fn replication_factor(mut self, replication_factor: u16) -> TopicConfig {
        self.replication_factor = replication_factor;
        self
    }

    /// How the log of each partition is kept, all fields at once.
    #[must_use]
    pub fn log(mut self, log: LogConfig) -> TopicConfig {
        self.log = log;
        self
    }

    forward! {
        segment_bytes: u64, "get_segment_bytes";
        segment_time: Duration, "get_segment_time";
        segment_jitter: Duration, "get_segment_jitter";
        segment_index_bytes: u64, "get_segment_index_bytes";
        index_interval_bytes: u64, "get_index_interval_bytes";
        batch_bytes_max: u64, "get_batch_bytes_max";
        compression: TopicCompression, "get_compression";
        compression_gzip_level: i32, "get_compression_gzip_level";
        compression_lz4_level: i32, "get_compression_lz4_level";
        compression_zstd_level: i32, "get_compression_zstd_level";
        timestamp_type: TimestampType, "get_timestamp_type";
        timestamp_before_max: Option<Duration>, "get_timestamp_before_max";
        timestamp_after_max: Option<Duration>, "get_timestamp_after_max";
        preallocate: bool, "get_preallocate";
        durability: Durability, "get_durability";
        cleanup_policy: CleanupPolicy, "get_cleanup_policy";
        retention_time: Option<Duration>, "get_retention_time";
        retention_bytes: Option<u64>, "get_retention_bytes";
        file_delete_delay: Duration, "get_file_delete_delay";
        read_mode: ReadMode, "get_read_mode";
    }

    /// How many partitions the topic has.
    pub fn get_partitions(&self) -> u32 {
        self.partitions
    }

    /// On how many brokers each partition is kept.
    pub fn get_replication_factor(&self) -> u16 {
        self.replication_factor
    }

    /// How the log of each partition is kept.
    pub fn get_log(&self) -> &LogConfig {
        &self.log
    }

    /// Checks every field, as far as it can be without the cluster.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with every violation. Nothing is adjusted.
    pub fn validate(&self) -> Result<()> {
        let mut violations = match self.log.validate() {
            Err(Error::InvalidConfig { violations }) => violations,
            other => other.map(|()| Vec::new())?,
        };
        let mut refuse = |field: &str, reason| violations.push(ConfigViolation { field: field.to_owned(), reason });
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            refuse("partitions", format!("{} is out of range: 1 to {PARTITIONS_MAX} is accepted", self.partitions));
        }
        let policy = self.log.get_cleanup_policy();
        if policy != CleanupPolicy::Delete {
            refuse(POLICY_KEY, policy.refusal());
        }
        if self.replication_factor == 0 {
            refuse("replication_factor", "0 is out of range: 1 or more is accepted".to_owned());
        }
        verdict(violations)
    }

    /// Reads Kafka's topic configurations, as [`LogConfig::from_pairs`] does: without `flush.messages` the durability is
    /// `Os`, and without `retention.ms` records are kept for 7 days, as Kafka means it. Partitions and replicas, which Kafka does
    /// not count among them, are 1.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with every violation.
    ///
    /// # Examples
    /// ```
    /// use logstead::config::TopicConfig;
    /// let config = TopicConfig::from_pairs([("segment.ms", "60000"), ("flush.messages", "1")])?.partitions(3);
    /// let seconds = std::time::Duration::from_secs;
    /// let made_here = TopicConfig::new().partitions(3).segment_time(seconds(60));
    /// assert_eq!(config, made_here.retention_time(Some(seconds(7 * 24 * 3600))));
    /// assert!(TopicConfig::from_pairs([("segment.msec", "60000")]).is_err());
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn from_pairs<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<TopicConfig> {
        Ok(TopicConfig::new().log(LogConfig::from_pairs(pairs)?))
    }

    /// Every field that has a key of Kafka's, as a pair that [`from_pairs`](Self::from_pairs) reads back.
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        self.log.to_pairs()
    }

    /// What the metadata store of it.
    pub(crate) fn to_stored_pairs(&self) -> BTreeMap<String, String> {
        stored_pairs(&self.log)
    }
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig::new()
    }
}

/// What the metadata say of a topic's logs, which may be more than is implemented here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredConfig {
    /// What is implemented.
    pub(crate) log: LogConfig,
    /// Keys that have no effect here: configurations of Kafka's that are not implemented, or that a newer Kafka brought.
    pub(crate) without_effect: BTreeMap<String, String>,
}

impl StoredConfig {
    /// Reads the configurations of a topic, whoever made it. Of `flush.messages` only 1 promises anything of a single record:
    /// all other values are `Os`. A policy that compacts is kept, so that nothing is deleted which Kafka would have kept.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when a value of a key that is implemented cannot be.
    pub(crate) fn from_pairs(stored: &BTreeMap<String, String>) -> Result<StoredConfig> {
        let (known, others): (Vec<_>, Vec<_>) = stored.iter().partition(|(key, _)| is_implemented(key));
        let is_read = |key: &str, value: &str| match key {
            DURABILITY_KEY => value.trim() == "1",
            _ => key != POLICY_KEY,
        };
        let policy =
            stored.get(POLICY_KEY).map_or(Ok(CleanupPolicy::Delete), |value| CleanupPolicy::from_stored(value));
        let policy = policy.map_err(|reason| Error::InvalidConfig {
            violations: vec![ConfigViolation { field: POLICY_KEY.to_owned(), reason }],
        })?;
        let log = LogConfig::from_pairs(known.into_iter().filter(|(key, value)| is_read(key, value)))?;
        let others = others.into_iter().map(|(key, value)| (key.clone(), value.clone()));
        let mut without_effect: BTreeMap<String, String> = others.collect();
        if let Some(value) = stored.get(POLICY_KEY).filter(|_| policy != CleanupPolicy::Delete) {
            without_effect.insert(POLICY_KEY.to_owned(), value.clone());
        }
        Ok(StoredConfig { log: log.cleanup_policy(policy), without_effect })
    }

    /// What is stored once `changes` are made: `None` sets a key back to its default. A key that is stored already may be
    /// set back even where it has no effect here.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with every violation.
    pub(crate) fn altered(
        stored: &BTreeMap<String, String>,
        changes: &[(String, Option<String>)],
    ) -> Result<BTreeMap<String, String>> {
        let set = changes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        let mut violations = match LogConfig::from_pairs(set) {
            Err(Error::InvalidConfig { violations }) => violations,
            other => other.map(|_| Vec::new())?,
        };
        let mut seen = BTreeSet::new();
        for (key, value) in changes {
            let is_repeated = !seen.insert(key) && !violations.iter().any(|violation| violation.field == *key);
            let reason = match value {
                _ if is_repeated => "given more than once".to_owned(),
                None if !is_implemented(key) && !stored.contains_key(key) && !is_kafkas(key) => {
                    reject_key(key, LogConfig::FIELDS)
                }
                Some(_) | None => continue,
            };
            violations.push(ConfigViolation { field: key.clone(), reason });
        }
        verdict(violations)?;
        let mut wanted = stored.clone();
        for (key, value) in changes {
            match value {
                Some(value) => wanted.insert(key.clone(), value.clone()),
                None => wanted.remove(key),
            };
        }
        let is_reset = |reset: &str| changes.iter().any(|(key, value)| key == reset && value.is_none());
        let mut config = StoredConfig::from_pairs(&wanted)?;
        // What no key means to Kafka is not what it means to whoever sets a key back here.
        if is_reset(DURABILITY_KEY) {
            config.log = config.log.durability(LogConfig::new().get_durability());
        }
        if is_reset(RETENTION_KEY) {
            config.log = config.log.retention_time(LogConfig::new().get_retention_time());
        }
        wanted.retain(|key, _| !is_implemented(key));
        wanted.extend(stored_pairs(&config.log));
        Ok(wanted)
    }
}

fn is_implemented(key: &str) -> bool {
    LogConfig::FIELDS.iter().any(|field| field.key == Some(key))
}

fn is_kafkas(key: &str) -> bool {
    KAFKA_TOPIC_KEYS_NOT_IMPLEMENTED.contains(&key)
}

/// What is not Kafka's default.
fn stored_pairs(log: &LogConfig) -> BTreeMap<String, String> {
    let defaults = LogConfig::absent().to_pairs();
    let changed = log.to_pairs().into_iter().zip(defaults).filter(|(pair, default)| pair != default);
    changed.map(|((key, value), _)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn changes(list: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
        list.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
    }

    #[test]
    fn every_setter_of_the_log_config_is_forwarded() {
        let source = include_str!("topic.rs");
        for field in LogConfig::FIELDS {
            assert!(source.contains(&format!("        {}: ", field.name)), "{}", field.name);
        }
        let time = Duration::from_millis;
        let log = LogConfig::new()
            .segment_bytes(100)
            .segment_time(time(2))
            .segment_jitter(time(3))
            .segment_index_bytes(4)
            .index_interval_bytes(5)
            .batch_bytes_max(6)
            .compression(TopicCompression::Zstd)
            .compression_gzip_level(8)
            .compression_lz4_level(9)
            .compression_zstd_level(10)
            .timestamp_type(TimestampType::LogAppendTime)
            .timestamp_before_max(Some(time(7)))
            .timestamp_after_max(None)
            .preallocate(true)
            .durability(Durability::Os)
            .cleanup_policy(CleanupPolicy::Compact)
            .retention_time(Some(time(8)))
            .retention_bytes(Some(9))
            .file_delete_delay(time(10))
            .read_mode(ReadMode::Mapped);
        let topic = TopicConfig::new()
            .segment_bytes(100)
            .segment_time(time(2))
            .segment_jitter(time(3))
            .segment_index_bytes(4)
            .index_interval_bytes(5)
            .batch_bytes_max(6)
            .compression(TopicCompression::Zstd)
            .compression_gzip_level(8)
            .compression_lz4_level(9)
            .compression_zstd_level(10)
            .timestamp_type(TimestampType::LogAppendTime)
            .timestamp_before_max(Some(time(7)))
            .timestamp_after_max(None)
            .preallocate(true)
            .durability(Durability::Os)
            .cleanup_policy(CleanupPolicy::Compact)
            .retention_time(Some(time(8)))
            .retention_bytes(Some(9))
            .file_delete_delay(time(10))
            .read_mode(ReadMode::Mapped);
        assert_eq!(topic, TopicConfig::new().log(log));
    }

    #[test]
    fn every_violation_is_reported_at_once() {
        let config = TopicConfig::new().partitions(0).replication_factor(0).segment_bytes(1);
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "invalid configuration: segment.bytes: 1 is out of range: 14 to 2147483647 is accepted; \
             partitions: 0 is out of range: 1 to 100000 is accepted; \
             replication_factor: 0 is out of range: 1 or more is accepted"
        );
        assert!(TopicConfig::new().partitions(PARTITIONS_MAX + 1).validate().is_err());
        TopicConfig::new().partitions(PARTITIONS_MAX).validate().unwrap();
    }

    #[test]
    fn only_what_differs_from_kafka_is_stored() {
        assert_eq!(TopicConfig::new().to_stored_pairs(), pairs(&[("flush.messages", "1"), ("retention.ms", "-1")]));
        let kafkas = TopicConfig::new().durability(Durability::Os).retention_time(Some(Duration::from_secs(604_800)));
        assert_eq!(kafkas.to_stored_pairs(), pairs(&[]));
        let mapped = TopicConfig::new().read_mode(ReadMode::Mapped).segment_bytes(99);
        let stored = pairs(&[("flush.messages", "1"), ("retention.ms", "-1"), ("segment.bytes", "99")]);
        assert_eq!(mapped.to_stored_pairs(), stored);
    }

    #[test]
    fn what_is_stored_is_read_back() {
        for config in [TopicConfig::new(), TopicConfig::new().durability(Durability::Os).index_interval_bytes(0)] {
            let read = StoredConfig::from_pairs(&config.to_stored_pairs()).unwrap();
            assert_eq!((&read.log, read.without_effect.len()), (config.get_log(), 0));
        }
    }

    #[test]
    fn what_kafka_stored_and_is_not_implemented_has_no_effect() {
        let stored = pairs(&[("flush.ms", "1"), ("flush.messages", "10000"), ("next.kafka", "x"), ("segment.ms", "9")]);
        let read = StoredConfig::from_pairs(&stored).unwrap();
        assert!(read.without_effect.keys().eq(&["flush.ms", "next.kafka"]), "{read:?}");
        assert_eq!(read.log, LogConfig::absent().segment_time(Duration::from_millis(9)));
        assert_eq!(read.log.get_durability(), Durability::Os);
        assert_eq!(read.log.get_retention_time(), Some(Duration::from_secs(604_800)));
        assert!(StoredConfig::from_pairs(&pairs(&[("segment.ms", "soon")])).is_err());
    }

    #[test]
    fn what_kafka_compacts_is_not_deleted_here() {
        for (value, policy) in
            [("compact", CleanupPolicy::Compact), ("delete,compact", CleanupPolicy::CompactAndDelete)]
        {
            let stored = pairs(&[("cleanup.policy", value), ("retention.ms", "1")]);
            let read = StoredConfig::from_pairs(&stored).unwrap();
            let without_effect: Vec<_> = read.without_effect.into_keys().collect();
            assert_eq!((read.log.get_cleanup_policy(), without_effect), (policy, vec!["cleanup.policy".into()]));
            let altered = StoredConfig::altered(&stored, &changes(&[("segment.ms", Some("5"))])).unwrap();
            assert_eq!(StoredConfig::from_pairs(&altered).unwrap().log.get_cleanup_policy(), policy);
        }
        assert!(StoredConfig::from_pairs(&pairs(&[("cleanup.policy", "shred")])).is_err());
        let refused = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact).validate().unwrap_err();
        assert!(refused.to_string().contains("cleanup.policy: compact is not accepted"), "{refused}");
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let stored = pairs(&[("flush.ms", "1"), ("segment.ms", "9"), ("flush.messages", "1")]);
        let altered = StoredConfig::altered(&stored, &changes(&[("segment.bytes", Some("99"))])).unwrap();
        assert_eq!(altered, [stored, pairs(&[("segment.bytes", "99")])].into_iter().flatten().collect());
    }

    #[test]
    fn a_key_goes_back_to_the_default_of_logstead() {
        let stored = pairs(&[("flush.ms", "1"), ("retention.ms", "1"), ("segment.ms", "9")]);
        let all =
            changes(&[("flush.ms", None), ("retention.ms", None), ("segment.ms", None), ("flush.messages", None)]);
        let safe = pairs(&[("flush.messages", "1"), ("retention.ms", "-1")]);
        assert_eq!(StoredConfig::altered(&stored, &all).unwrap(), safe);
        let weaker = changes(&[("flush.messages", Some("9223372036854775807"))]);
        assert_eq!(StoredConfig::altered(&pairs(&[("flush.messages", "1")]), &weaker).unwrap(), pairs(&[]));
    }

    #[test]
    fn every_bad_change_is_reported_at_once() {
        let bad = changes(&[
            ("segment.bytes", Some("1")),
            ("flush.ms", Some("1")),
            ("segment.msec", None),
            ("preallocate", Some("true")),
            ("preallocate", None),
        ]);
        assert_eq!(
            StoredConfig::altered(&pairs(&[]), &bad).unwrap_err().to_string(),
            "invalid configuration: segment.bytes: 1 is out of range: 14 to 2147483647 is accepted; \
             flush.ms: a Kafka topic configuration that logstead does not implement yet; \
             segment.msec: unknown; the nearest known key is segment.ms; \
             preallocate: given more than once"
        );
    }
}
