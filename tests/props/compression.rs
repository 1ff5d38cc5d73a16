//! Records that went through any codec, in batches of any size, into a topic of any codec, are the records.

use logstead::config::{Durability, LogConfig, TopicCompression};
use logstead::log::{LogDirectory, ReadIsolation, ReadLimits};
use logstead::record::{BatchBuilder, BatchOptions, BuiltBatch, Codec, Compression, Header, RecordBatch};
use logstead::storage::MemStorage;
use logstead::time::{Clock, ManualClock};
use logstead::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use proptest::prelude::*;

/// Timestamp, key, value and header of a record.
type Content = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<String>);

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        Just(None),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        // What compresses well, up to several blocks of every codec.
        (any::<u8>(), 0..100_000usize).prop_map(|(byte, len)| Some(vec![byte; len])),
    ]
}

fn record() -> impl Strategy<Value = Content> {
    (0..2_000_000_000_000i64, bytes(), bytes(), prop::option::of("[a-z]{0,5}"))
}

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![
        Just(Codec::NONE),
        prop_oneof![Just(-1), 1..=9].prop_map(|level| Codec { compression: Compression::Gzip, level: Some(level) }),
        Just(Codec::from(Compression::Snappy)),
        (1..=17).prop_map(|level| Codec { compression: Compression::Lz4, level: Some(level) }),
        (-7..=4).prop_map(|level| Codec { compression: Compression::Zstd, level: Some(level) }),
    ]
}

fn topic() -> impl Strategy<Value = TopicCompression> {
    use TopicCompression::{Gzip, Lz4, Producer, Snappy, Uncompressed, Zstd};
    prop::sample::select(vec![Producer, Uncompressed, Gzip, Snappy, Lz4, Zstd])
}

fn build(builder: &mut BatchBuilder, records: &[Content]) -> BuiltBatch {
    for (timestamp, key, value, header) in records {
        let headers: Vec<_> = header.iter().map(|key| Header { key, value: Some(b"1") }).collect();
        let timestamp = Some(Timestamp::from_millis(*timestamp));
        builder.append(timestamp, key.as_deref(), value.as_deref(), &headers).unwrap();
    }
    builder.build().unwrap()
}

fn contents(batch: &RecordBatch<'_>) -> Vec<Content> {
    let records = batch.records().map(|record| {
        let header = record.headers().next().map(|header| header.key().unwrap().to_owned());
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        (record.timestamp().unwrap().as_millis(), owned(record.key()), owned(record.value()), header)
    });
    records.collect()
}

proptest! {
    #![proptest_config(crate::cases(96))]

    #[test]
    fn what_is_appended_is_read(
        batches in prop::collection::vec((prop::collection::vec(record(), 1..8), codec(), topic(), any::<bool>()), 1..8),
    ) {
        let now = ManualClock::new().now();
        let config = LogConfig::new()
            .durability(Durability::Os)
            .batch_bytes_max(8 << 20)
            .timestamp_after_max(None);
        let directory = LogDirectory::options().storage(MemStorage::new()).open("/data").unwrap();
        let tp = TopicPartition::new("orders", 0).unwrap();
        let log = directory.open_log(&tp, None, config.clone(), now).unwrap();
        log.begin_epoch(LeaderEpoch::ZERO).unwrap();
        let mut spare = Vec::new();
        for (records, codec, topic, is_foreign) in &batches {
            log.update_config(config.clone().compression(*topic)).unwrap();
            let options = BatchOptions { codec: *codec, ..BatchOptions::default() };
            let mut built = build(&mut BatchBuilder::with_buffer(options, spare), records);
            prop_assert_eq!(built.header().codec(), codec.compression);
            if *is_foreign {
                built = BuiltBatch::from_foreign(built.into_buffer()).unwrap();
            }
            log.append_as_leader(&mut built, now).unwrap();
            let wanted = match topic {
                TopicCompression::Producer => codec.compression.as_str(),
                TopicCompression::Uncompressed => "none",
                other => other.as_str(),
            };
            prop_assert_eq!(built.header().codec().as_str(), wanted);
            prop_assert_eq!(contents(&built.decode().unwrap()), records.clone());
            spare = built.into_buffer();
        }
        log.flush().unwrap();
        let limits = ReadLimits::bytes(usize::MAX).isolation(ReadIsolation::LogEnd);
        let mut read = Vec::new();
        let mut next = Offset::ZERO;
        while next < log.log_end_offset() {
            let slice = log.read(next, limits).unwrap();
            for batch in slice.batches() {
                let batch = batch.unwrap();
                prop_assert_eq!(batch.header().base_offset(), next);
                next = batch.header().next_offset();
                read.extend(contents(&batch));
            }
        }
        prop_assert_eq!(read, batches.into_iter().flat_map(|(records, ..)| records).collect::<Vec<_>>());
    }
}
