//! What codec a topic's batches are stored in, whoever compressed them and however.

use std::path::Path;
use std::sync::Arc;

use logstead::Error;
use logstead::cluster::{Cluster, Driver};
use logstead::config::{Durability, LogConfig, ProducerConfig, TopicCompression, TopicConfig};
use logstead::producer::Record;
use logstead::record::{
    BatchBuilder, BatchOptions, BuiltBatch, Codec, Compression, EndTransactionMarker, RecordBatch, TransactionOutcome,
};
use logstead::storage::MemStorage;
use logstead::time::{Clock, ManualClock};
use logstead::types::{ProducerEpoch, ProducerId, TimestampType};

use crate::support::{Home, all_bytes, bytes_of, epoch, now};

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// Each setting of a topic, and the codec that it asks for.
const TOPICS: [(TopicCompression, Option<Compression>); 6] = [
    (TopicCompression::Producer, None),
    (TopicCompression::Uncompressed, Some(Compression::None)),
    (TopicCompression::Gzip, Some(Compression::Gzip)),
    (TopicCompression::Snappy, Some(Compression::Snappy)),
    (TopicCompression::Lz4, Some(Compression::Lz4)),
    (TopicCompression::Zstd, Some(Compression::Zstd)),
];

/// The batches that were stored one after the other: codec and values of each.
fn stored(mut bytes: &[u8]) -> Vec<(Compression, Vec<Vec<u8>>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let batch = RecordBatch::from_bytes(bytes).unwrap();
        let values = batch.records().map(|record| record.value().unwrap().to_vec()).collect();
        found.push((batch.header().codec(), values));
        bytes = &bytes[batch.header().size_in_bytes()..];
    }
    found
}

fn values() -> Vec<Vec<u8>> {
    (0..50).map(|number| format!("{{\"order\":{number},\"state\":\"paid\"}}").into_bytes()).collect()
}

fn batch_with(codec: impl Into<Codec>) -> BuiltBatch {
    let mut builder = BatchBuilder::new(BatchOptions { codec: codec.into(), ..BatchOptions::default() });
    for value in values() {
        builder.append(Some(now().wall), None, Some(&value), &[]).unwrap();
    }
    builder.build().unwrap()
}

/// The same batch with its offset and epoch stamped, as a log stores it unchanged.
fn stamped(mut batch: BuiltBatch) -> Vec<u8> {
    batch.stamp(0.into(), epoch(0));
    batch.into_buffer()
}

struct Clustered {
    storage: MemStorage,
    cluster: Cluster,
}

impl Clustered {
    fn with_topic(config: TopicConfig) -> Clustered {
        let (storage, clock) = (MemStorage::new(), Arc::new(ManualClock::new()));
        let builder = Cluster::builder().storage(storage.clone()).clock(clock as Arc<dyn Clock>);
        let cluster = builder.driver(Driver::Manual).seed(1).open("/data").unwrap();
        cluster.create_topic("orders", config.durability(Durability::Os)).unwrap();
        Clustered { storage, cluster }
    }

    fn stored(&self) -> Vec<(Compression, Vec<Vec<u8>>)> {
        stored(&bytes_of(&self.storage, Path::new("/data/orders-0/00000000000000000000.log")))
    }
}

#[test]
fn a_producer_compresses_with_the_topics_codec_or_its_own() {
    for (topic, wanted) in TOPICS {
        for own in CODECS {
            let home = Clustered::with_topic(TopicConfig::new().compression(topic));
            let producer = home.cluster.producer().compression(own).build().unwrap();
            for (offset, value) in values().iter().enumerate() {
                let delivery = producer.send(Record::to("orders").value(value)).unwrap();
                if offset == 49 {
                    assert_eq!(delivery.wait().unwrap().offset.unwrap().get(), 49);
                }
            }
            assert_eq!(home.stored(), [(wanted.unwrap_or(own), values())], "{topic:?}, {own:?}");
            let metrics = producer.metrics();
            assert_eq!((metrics.records, metrics.batches, metrics.buffered_bytes), (50, 1, 0));
        }
    }
}

#[test]
fn a_log_stores_batches_in_the_topics_codec() {
    for (topic, wanted) in TOPICS {
        for codec in CODECS {
            let home = Home::leading(LogConfig::new().compression(topic));
            let mut batch = BuiltBatch::from_foreign(batch_with(codec).into_buffer()).unwrap();
            home.log.append_as_leader(&mut batch, now()).unwrap();
            let bytes = all_bytes(&home.log);
            assert_eq!(batch.bytes(), bytes, "the caller sees what was stored");
            assert_eq!(stored(&bytes), [(wanted.unwrap_or(codec), values())], "{topic:?}, {codec:?}");
            if wanted.is_none_or(|wanted| wanted == codec) {
                assert_eq!(bytes, stamped(batch_with(codec)), "{topic:?}, {codec:?}: byte for byte");
            }
        }
    }
}

#[test]
fn a_level_alone_is_no_reason_to_compress_anew() {
    let fast = Codec { compression: Compression::Gzip, level: Some(1) };
    let hard = stamped(batch_with(Codec { level: Some(9), ..fast }));
    assert_ne!(stamped(batch_with(fast)), hard, "the level makes a difference");
    let config = LogConfig::new().compression(TopicCompression::Gzip).compression_gzip_level(9);
    let home = Home::leading(config.clone());
    home.log.append_as_leader(&mut batch_with(fast), now()).unwrap();
    assert_eq!(all_bytes(&home.log), stamped(batch_with(fast)));
    let home = Home::leading(config);
    home.log.append_as_leader(&mut batch_with(Codec::NONE), now()).unwrap();
    assert_eq!(all_bytes(&home.log), hard, "what is compressed anew is, at the topic's level");
}

#[test]
fn the_levels_of_topic_and_producer_are_used() {
    let sizes = |topic: TopicConfig, producer: ProducerConfig| {
        let home = Clustered::with_topic(topic);
        let producer = home.cluster.producer().config(producer).build().unwrap();
        values().iter().for_each(|value| drop(producer.send(Record::to("orders").value(value)).unwrap()));
        producer.flush().unwrap();
        bytes_of(&home.storage, Path::new("/data/orders-0/00000000000000000000.log")).len()
    };
    let gzip = |level| ProducerConfig::new().compression(Compression::Gzip).compression_gzip_level(level);
    let of_topic = |level| TopicConfig::new().compression(TopicCompression::Gzip).compression_gzip_level(level);
    let (fast, hard) = (sizes(TopicConfig::new(), gzip(1)), sizes(TopicConfig::new(), gzip(9)));
    assert!(hard < fast, "{hard} {fast}");
    assert_eq!(sizes(of_topic(9), gzip(1)), hard, "the topic's level goes with the topic's codec");
    assert_eq!(sizes(of_topic(1), ProducerConfig::new()), fast);
}

#[test]
fn a_changed_codec_holds_from_the_next_batch_on() {
    let home = Clustered::with_topic(TopicConfig::new());
    let producer = home.cluster.producer().compression(Compression::Lz4).build().unwrap();
    let mut expected = Vec::new();
    for (word, codec) in [
        (None, Compression::Lz4),
        (Some("zstd"), Compression::Zstd),
        (Some("uncompressed"), Compression::None),
        (Some("gzip"), Compression::Gzip),
        (Some("producer"), Compression::Lz4),
    ] {
        // A batch that is open already is compressed when it is appended, hence with the new codec.
        let open = producer.send(Record::to("orders").value(codec.as_str())).unwrap();
        home.cluster.alter_topic("orders", [("compression.type", word)]).unwrap();
        open.wait().unwrap();
        expected.push((codec, vec![codec.as_str().as_bytes().to_vec()]));
        assert_eq!(home.stored(), expected);
    }
    drop(producer);
    let config = home.cluster.topic("orders").unwrap().config().clone();
    assert_eq!(config.get_compression(), TopicCompression::Producer);
}

#[test]
fn the_codec_of_a_topic_is_there_after_a_restart() {
    let home = Clustered::with_topic(
        TopicConfig::new().compression(TopicCompression::Zstd).compression_zstd_level(-5).compression_gzip_level(9),
    );
    let before = home.cluster.topic("orders").unwrap();
    home.cluster.close().unwrap();
    let cluster = Cluster::builder().storage(home.storage).driver(Driver::Manual).seed(1).open("/data").unwrap();
    let after = cluster.topic("orders").unwrap();
    assert_eq!(after, before);
    assert_eq!(after.config().get_compression(), TopicCompression::Zstd);
    assert_eq!((after.config().get_compression_zstd_level(), after.config().get_compression_gzip_level()), (-5, 9));
}

#[test]
fn a_log_follows_a_changed_codec() {
    let home = Home::leading(LogConfig::new());
    let sent = [TopicCompression::Producer, TopicCompression::Snappy, TopicCompression::Uncompressed];
    for topic in sent {
        home.log.update_config(LogConfig::new().compression(topic)).unwrap();
        home.log.append_as_leader(&mut batch_with(Compression::Gzip), now()).unwrap();
    }
    let codecs: Vec<_> = stored(&all_bytes(&home.log)).into_iter().map(|(codec, _)| codec).collect();
    assert_eq!(codecs, [Compression::Gzip, Compression::Snappy, Compression::None]);
}

#[test]
fn the_size_limit_is_that_of_what_is_stored() {
    let (plain, packed) = (batch_with(Codec::NONE), batch_with(Compression::Zstd));
    let max = packed.size_in_bytes() as u64;
    let limited = |topic| Home::leading(LogConfig::new().batch_bytes_max(max).compression(topic)).log;
    limited(TopicCompression::Zstd).append_as_leader(&mut plain.clone(), now()).unwrap();
    limited(TopicCompression::Producer).append_as_leader(&mut packed.clone(), now()).unwrap();
    for (topic, mut batch) in [(TopicCompression::Producer, plain.clone()), (TopicCompression::Uncompressed, packed)] {
        let refused = limited(topic).append_as_leader(&mut batch, now());
        let Err(Error::RecordTooLarge { size, limit: "max.message.bytes", .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(size, plain.size_in_bytes() as u64);
    }
}

#[test]
fn incompressible_records_fit_the_topics_limit() {
    let mut noise = vec![0; 400];
    logstead::rng::Rng::from_seed(1).fill(&mut noise);
    for (topic, _) in TOPICS {
        let home = Clustered::with_topic(TopicConfig::new().compression(topic).batch_bytes_max(4_096));
        let producer = home.cluster.producer().build().unwrap();
        for start in 0..100 {
            let value: Vec<u8> = noise.iter().cycle().skip(start * 7).take(300).map(|b| b ^ start as u8).collect();
            drop(producer.send(Record::to("orders").value(&value)).unwrap());
        }
        producer.close().unwrap();
    }
}

#[test]
fn the_append_time_is_stamped_on_what_is_stored() {
    let config = LogConfig::new().compression(TopicCompression::Gzip).timestamp_type(TimestampType::LogAppendTime);
    for codec in CODECS {
        let home = Home::leading(config.clone());
        home.log.append_as_leader(&mut batch_with(codec), now()).unwrap();
        let bytes = all_bytes(&home.log);
        let batch = RecordBatch::from_bytes(&bytes).unwrap();
        assert_eq!(batch.header().timestamp_type(), TimestampType::LogAppendTime);
        assert!(batch.records().all(|record| record.timestamp() == Some(now().wall)));
    }
}

#[test]
fn markers_and_what_a_leader_sent_stay_as_they_are() {
    let home = Home::leading(LogConfig::new().compression(TopicCompression::Zstd));
    let marker = EndTransactionMarker { outcome: TransactionOutcome::Commit, coordinator_epoch: 0 };
    let mut marker = marker.to_batch(ProducerId::ZERO, ProducerEpoch::ZERO, now().wall);
    home.log.append_as_leader(&mut marker, now()).unwrap();
    let bytes = all_bytes(&home.log);
    assert_eq!((bytes.len(), RecordBatch::from_bytes(&bytes).unwrap().header().codec()), (78, Compression::None));
    for codec in CODECS {
        let home = Home::new(LogConfig::new().compression(TopicCompression::Zstd));
        home.log.append_as_follower(&stamped(batch_with(codec)), now()).unwrap();
        assert_eq!(all_bytes(&home.log), stamped(batch_with(codec)));
    }
}
