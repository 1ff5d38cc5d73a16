//! [P] How a producer and a topic are told to compress (`compression.type` of either).
//!
//! The levels are fields of their own, under the same keys for both. Kafka's counterparts: `CompressionType`,
//! `BrokerCompressionType`.

use super::value::word_value;
use crate::types::Compression;

word_value!(Compression, Compression::ALL);

/// How the batches of a topic are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TopicCompression {
    /// As the producer compressed them, or did not. The default.
    #[default]
    Producer,
    /// Not at all.
    Uncompressed,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl TopicCompression {
    const ALL: [TopicCompression; 6] = [
        TopicCompression::Producer,
        TopicCompression::Uncompressed,
        TopicCompression::Gzip,
        TopicCompression::Snappy,
        TopicCompression::Lz4,
        TopicCompression::Zstd,
    ];

    /// The value of Kafka's `compression.type`.
    ///
    /// ```
    /// assert_eq!(logstead::config::TopicCompression::Producer.as_str(), "producer");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            TopicCompression::Producer => "producer",
            TopicCompression::Uncompressed => "uncompressed",
            TopicCompression::Gzip => "gzip",
            TopicCompression::Snappy => "snappy",
            TopicCompression::Lz4 => "lz4",
            TopicCompression::Zstd => "zstd",
        }
    }
}

word_value!(TopicCompression, TopicCompression::ALL);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogConfig, ProducerConfig};

    #[test]
    fn words_are_kafkas() {
        let of_producer = |text| ProducerConfig::from_pairs([("compression.type", text)]).map(|c| c.get_compression());
        for codec in Compression::ALL {
            assert_eq!(of_producer(codec.as_str()).unwrap(), codec);
        }
        assert!(of_producer("uncompressed").is_err() && of_producer("Zstd").is_err());
        let of_topic = |text| LogConfig::from_pairs([("compression.type", text)]).map(|c| c.get_compression());
        for codec in TopicCompression::ALL {
            assert_eq!(of_topic(codec.as_str()).unwrap(), codec);
        }
        assert!(of_topic("none").is_err());
    }

    #[test]
    fn levels_are_those_that_kafka_accepts() {
        let accepted = |key: &str, level: &str| {
            let accepted = LogConfig::from_pairs([(key, level)]).is_ok();
            assert_eq!(ProducerConfig::from_pairs([(key, level)]).is_ok(), accepted, "{key}={level}");
            accepted
        };
        for (codec, good, bad) in [
            ("gzip", ["-1", "1", "9"], ["0", "10", "-2"]),
            ("lz4", ["1", "9", "17"], ["0", "18", "-1"]),
            ("zstd", ["-131072", "0", "22"], ["-131073", "23", "3.0"]),
        ] {
            let key = format!("compression.{codec}.level");
            assert!(good.iter().all(|level| accepted(&key, level)), "{codec}");
            assert!(bad.iter().all(|level| !accepted(&key, level)), "{codec}");
        }
    }

    #[test]
    fn levels_that_setters_gave_are_checked_too() {
        assert!(LogConfig::new().compression_gzip_level(0).validate().is_err());
        assert!(ProducerConfig::new().compression_zstd_level(23).validate().is_err());
        ProducerConfig::new().compression_gzip_level(9).compression_zstd_level(-7).validate().unwrap();
    }
}
