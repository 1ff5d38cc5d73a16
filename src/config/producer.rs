//! [P] The configuration of a producer.
//!
//! Kafka's counterpart: `ProducerConfig`, as far as it is implemented.

use super::value::{Value, parse_word};
use super::{Accepts, config};
use crate::types::Compression;

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

        /// The size that a batch does not exceed before it is compressed, unless a single record does. 0 makes every record a
        /// batch of its own. Kafka's client compares an estimate of the compressed size instead, so that with a codec its
        /// batches hold more records: larger batches compress better here too.
        batch_bytes / get_batch_bytes: Bytes("batch.size", "bytes", [0..=2_147_483_647], 16_384),

        /// How long a batch that is not full waits for more records, while nobody waits for it. 0 appends inside `send`.
        linger / get_linger: Millis("linger.ms", "ms", [0..], 5),

        /// Bytes that batches may occupy, over the whole producer, from their opening until they are acknowledged. A batch
        /// counts as it is before it is compressed; a thread that compresses one has a second buffer of that size meanwhile.
        buffer_bytes / get_buffer_bytes: Bytes("buffer.memory", "bytes", [1..], 33_554_432),

        /// How long a `send` waits for memory.
        block_time_max / get_block_time_max: Millis("max.block.ms", "ms", [0..], 60_000),

        /// The size of the largest record accepted, as a batch of its own.
        request_bytes_max / get_request_bytes_max: Bytes("max.request.size", "bytes", [0..=2_147_483_647], 1_048_576),

        /// The time from the opening of a batch after which it fails if it is not acknowledged. Not less than `linger`.
        delivery_timeout / get_delivery_timeout: Millis("delivery.timeout.ms", "ms", [0..], 120_000),

        /// The codec that batches are compressed with, for topics that leave it to the producer; for one with a codec of its
        /// own, batches are compressed with that.
        compression / get_compression:
            Compression("compression.type", "", ["none" | "gzip" | "snappy" | "lz4" | "zstd"], None),

        /// How hard gzip tries; -1 leaves it to gzip.
        compression_gzip_level / get_compression_gzip_level:
            Level("compression.gzip.level", "", ["-1" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"], (-1)),

        /// How hard LZ4 tries. There is one compressor here, the fast one, which Kafka means by 9: all levels are alike.
        compression_lz4_level / get_compression_lz4_level: Level("compression.lz4.level", "", [1..=17], (9)),

        /// How hard Zstandard tries.
        compression_zstd_level / get_compression_zstd_level: Level("compression.zstd.level", "", [-131_072..=22], (3)),
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
            (Some("compression.gzip.level"), "-1"),
            (Some("compression.lz4.level"), "9"),
            (Some("compression.zstd.level"), "3"),
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
    }
}
