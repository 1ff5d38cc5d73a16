//! [P] The configuration of a producer.
//!
//! Kafka's counterpart: `ProducerConfig`, as far as it is implemented.

use super::value::{Value, parse_word};
use super::{Accepts, config};

config! {
    /// How a producer collects records into batches, and when they count as delivered.
    ///
    /// ```
    /// use logstead::config::{Acks, ProducerConfig};
    /// use std::time::Duration;
    /// let config = ProducerConfig::from_pairs([("acks", "1"), ("linger.ms", "20")])?;
    /// assert_eq!((config.get_acks(), config.get_linger()), (Acks::Leader, Duration::from_millis(20)));
    /// assert_eq!(config.get_batch_bytes(), 16_384);
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub struct ProducerConfig {
        /// When a record counts as delivered.
        acks / get_acks: Acks("acks", "", ["all" | "-1" | "1" | "0"], All),

        /// The size that a batch does not exceed, unless a single record does. 0 makes every record a batch of its own.
        batch_bytes / get_batch_bytes: Bytes("batch.size", "bytes", [0..=2_147_483_647], 16_384),

        /// How long a batch that is not full waits for more records, while nobody waits for it. 0 appends inside `send`.
        linger / get_linger: Millis("linger.ms", "ms", [0..], 5),

        /// Bytes that batches may occupy, over the whole producer, from their opening until they are acknowledged.
        buffer_bytes / get_buffer_bytes: Bytes("buffer.memory", "bytes", [1..], 33_554_432),

        /// How long a `send` waits for memory.
        block_time_max / get_block_time_max: Millis("max.block.ms", "ms", [0..], 60_000),

        /// The size of the largest record accepted, as a batch of its own.
        request_bytes_max / get_request_bytes_max: Bytes("max.request.size", "bytes", [0..=2_147_483_647], 1_048_576),

        /// The time from the opening of a batch after which it fails if it is not acknowledged. Not less than `linger`.
        delivery_timeout / get_delivery_timeout: Millis("delivery.timeout.ms", "ms", [0..], 120_000),

        /// The codec that batches are compressed with. Only `none` is built in yet.
        compression / get_compression:
            CompressionType("compression.type", "", ["none" | "gzip" | "snappy" | "lz4" | "zstd"], None),
    }
}

/// When a record counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Acks {
    /// When every in-sync replica holds it, which with [`Durability::Synced`](super::Durability::Synced) means on disk. The
    /// default.
    #[default]
    All,
    /// When it is in the leader's log file: survives the death of the process, not a power cut.
    Leader,
    /// As soon as its batch is handed on; no offset is known. Errors are counted, and told by `flush` and `close`.
    None,
}

impl Acks {
    /// The value of Kafka's `acks`.
    ///
    /// ```
    /// assert_eq!(logstead::config::Acks::Leader.as_str(), "1");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Acks::All => "all",
            Acks::Leader => "1",
            Acks::None => "0",
        }
    }
}

impl Value for Acks {
    fn parse(text: &str, accepts: Accepts) -> Result<Acks, String> {
        // Kafka's other spelling of all.
        let text = if text == "-1" { "all" } else { text };
        parse_word(text, accepts, [Acks::All, Acks::Leader, Acks::None], Acks::as_str)
    }

    fn to_kafka(&self) -> String {
        self.as_str().to_owned()
    }

    fn check(&self, _: Accepts) -> Result<(), String> {
        Ok(())
    }
}

/// Kafka's codecs, as a producer is configured with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CompressionType {
    /// Batches are not compressed. The default.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl CompressionType {
    const ALL: [CompressionType; 5] = [
        CompressionType::None,
        CompressionType::Gzip,
        CompressionType::Snappy,
        CompressionType::Lz4,
        CompressionType::Zstd,
    ];

    /// The value of Kafka's `compression.type`.
    ///
    /// ```
    /// assert_eq!(logstead::config::CompressionType::Lz4.as_str(), "lz4");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            CompressionType::None => "none",
            CompressionType::Gzip => "gzip",
            CompressionType::Snappy => "snappy",
            CompressionType::Lz4 => "lz4",
            CompressionType::Zstd => "zstd",
        }
    }
}

impl Value for CompressionType {
    fn parse(text: &str, accepts: Accepts) -> Result<CompressionType, String> {
        parse_word(text, accepts, CompressionType::ALL, CompressionType::as_str)
    }

    fn to_kafka(&self) -> String {
        self.as_str().to_owned()
    }

    fn check(&self, _: Accepts) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_kafka_4_0() {
        let defaults: Vec<_> = ProducerConfig::FIELDS.iter().map(|field| (field.key, field.default)).collect();
        let expected = [
            (Some("acks"), "all"),
            (Some("batch.size"), "16384"),
            (Some("linger.ms"), "5"),
            (Some("buffer.memory"), "33554432"),
            (Some("max.block.ms"), "60000"),
            (Some("max.request.size"), "1048576"),
            (Some("delivery.timeout.ms"), "120000"),
            (Some("compression.type"), "none"),
        ];
        assert_eq!(
            defaults.iter().map(|(key, text)| (*key, text.replace('_', ""))).collect::<Vec<_>>(),
            expected.map(|(key, text)| (key, text.to_owned()))
        );
        let pairs = ProducerConfig::new().to_pairs();
        assert!(pairs.iter().zip(expected).all(|((key, value), (known, text))| Some(*key) == known && value == text));
    }

    #[test]
    fn words_are_kafkas() {
        let acks = |text| ProducerConfig::from_pairs([("acks", text)]).map(|config| config.get_acks());
        assert_eq!(
            ["all", "-1", "1", "0"].map(|text| acks(text).unwrap()),
            [Acks::All, Acks::All, Acks::Leader, Acks::None]
        );
        assert!(acks("2").is_err());
        let codec = |text| ProducerConfig::from_pairs([("compression.type", text)]).map(|c| c.get_compression());
        assert_eq!(codec("zstd").unwrap(), CompressionType::Zstd);
        assert!(codec("brotli").is_err());
    }
}
