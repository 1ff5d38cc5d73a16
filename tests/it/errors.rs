//! The errors that no other test produces, and the list of those that none can.
//!
//! | variant | produced by |
//! |---|---|
//! | `InvalidConfig`, `InvalidTopicName`, `InvalidTopicId`, `InvalidPartition`, `Io`, `Closed` | here |
//! | `UnsupportedCodec` | here, in a build without a codec; the tests' own build has them all |
//! | `RecordTooLarge`, `InvalidRecord`, `InvalidTimestamp`, `UnexpectedAppendOffset`, `ProducerFenced`, `TransactionCoordinatorFenced`, `OutOfSpace` | `append` |
//! | `FencedLeaderEpoch`, `InvalidState` | `epochs` |
//! | `OffsetOutOfRange` | `read` |
//! | `InconsistentTopicId`, `InconsistentIdentity`, `UnsupportedFormat`, `AlreadyOpen` | `directory` |
//! | `Corrupt`, `Offline` | `damage` |
//! | `UnsupportedMetadataRecord` | unit tests of `controller` and `broker` |
//! | `UnreadableBatch`, `PinnedMemory` | `consumer`, here and in `src` |
//! | `TopicAlreadyExists`, `InvalidPartitions`, `InvalidReplicationFactor` | `topics` |
//! | `UnknownTopicOrPartition`, `Timeout`, `BufferFull`, `CallbackPanicked`, `DeliveriesFailed` | `producer` |
//! | `NoProgress` | no call: only a sync that fails without taking its log offline could, and none is injected yet |
//! | `Internal` | no call: it would be a bug |

use logstead::Error;
use logstead::cluster::{Cluster, Driver};
use logstead::config::{LogConfig, ProducerConfig, TopicCompression, TopicConfig};
use logstead::error::{ErrorClass, Written};
use logstead::log::LogDirectory;
use logstead::record::{BatchHeader, Compression, RecordBatchRef};
use logstead::storage::{MemStorage, OpenMode, Storage};
use logstead::sync::completion;
use logstead::types::{TopicId, TopicName, TopicPartition};

use crate::support::{batch_of, now};

#[test]
fn every_bad_value_of_a_configuration_is_named() {
    let refused = LogConfig::from_pairs([("segment.bytes", "1"), ("segment.bites", "1")]);
    let Err(Error::InvalidConfig { violations }) = refused else { panic!("{refused:?}") };
    assert_eq!(violations.len(), 2);
}

#[test]
fn a_log_is_not_opened_with_a_bad_configuration() {
    let directory = LogDirectory::options().storage(MemStorage::new()).open("/data").unwrap();
    let config = LogConfig::new().segment_bytes(1);
    let refused = directory.open_log(&TopicPartition::new("orders", 0).unwrap(), None, config, now());
    assert!(matches!(refused, Err(Error::InvalidConfig { .. })), "{refused:?}");
    assert!(directory.partitions().unwrap().is_empty());
}

#[test]
fn names_and_numbers_are_checked() {
    assert!(matches!(TopicName::new("a/b"), Err(Error::InvalidTopicName { .. })));
    assert!(matches!("short".parse::<TopicId>(), Err(Error::InvalidTopicId { .. })));
    assert!(matches!(TopicPartition::new("orders", -1), Err(Error::InvalidPartition { partition: -1 })));
}

#[test]
fn a_compressed_batch_shows_its_header_and_names_its_codec() {
    let mut bytes = batch_of(1, b"value").into_buffer();
    bytes[22] |= 3;
    let crc = logstead::record::crc32c(&bytes[21..]).to_be_bytes();
    bytes[17..21].copy_from_slice(&crc);
    assert_eq!(BatchHeader::parse(&bytes).unwrap().record_count(), 1);
    let refused = RecordBatchRef::from_bytes(&bytes);
    assert!(matches!(refused, Err(Error::InvalidRecord { what: "the records are compressed", .. })), "{refused:?}");
}

#[test]
fn a_codec_that_is_not_built_in_is_refused_and_one_that_is_is_taken() {
    use TopicCompression::{Gzip, Lz4, Snappy, Uncompressed, Zstd};
    let storage = MemStorage::new();
    let cluster = Cluster::builder().storage(storage).driver(Driver::Manual).seed(1).open("/data").unwrap();
    cluster.create_topic("altered", TopicConfig::new()).unwrap();
    let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for (codec, topic) in codecs.into_iter().zip([Uncompressed, Gzip, Snappy, Lz4, Zstd]) {
        let config = ProducerConfig::from_pairs([("compression.type", codec.as_str())]).unwrap();
        let outcomes = [
            cluster.create_topic(codec.as_str(), TopicConfig::new().compression(topic)).map(drop),
            cluster.alter_topic("altered", [("compression.type", Some(topic.as_str()))]).map(drop),
            cluster.producer().config(config).build().map(drop),
        ];
        for outcome in outcomes {
            match outcome {
                Ok(()) => assert!(codec.is_writable()),
                Err(Error::UnsupportedCodec { codec: named }) => {
                    assert_eq!((named, codec.is_writable()), (codec.as_str(), false))
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn the_operating_systems_refusal_names_the_path() {
    let storage = MemStorage::new();
    storage.open("/data".as_ref(), OpenMode::CreateNew).unwrap();
    let refused = LogDirectory::options().storage(storage).open("/data");
    let Err(Error::Io { path, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!(path.as_path(), std::path::Path::new("/data"));
    assert_eq!(refused.unwrap_err().written(), Written::Maybe);
}

#[test]
fn what_was_dropped_before_it_finished_is_closed() {
    let (promise, handle) = completion::<()>();
    drop(promise);
    let refused = handle.wait();
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
    assert_eq!(refused.unwrap_err().class(), ErrorClass::Fatal);
}
