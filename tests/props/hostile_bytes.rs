//! Every parser of the public API against arbitrary bytes, and against valid bytes that were changed: no panic, no hang, and
//! no more memory than four times the input.

use logstead::log::{
    FORMAT, FileSum, Manifest, ManifestPartition, OffsetIndex, Seal, SealSubject, SegmentFile, TimeIndex,
    TransactionIndex, Witness, decode_witness,
};
use logstead::record::{
    BatchBuilder, BatchHeader, BatchOptions, BuiltBatch, ControlRecord, EndTransactionMarker, Header, ProducerStamp,
    RecordBatch, RecordBatchRef, TransactionOutcome,
};
use logstead::types::{
    Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicName, TopicPartition,
};
use proptest::prelude::*;

use crate::allocation::peak_of;
use crate::packed::{CODECS, packed, seal as seal_batch};

/// What an error with its text and boxes may take beside the four times of the input.
const SLACK_BYTES: usize = 2_048;

type Parser = (&'static str, fn(&[u8]));

/// Walks everything that a parsed batch shows.
fn walk(batch: &RecordBatchRef<'_>) {
    for record in batch.records() {
        let _ = (record.offset(), record.timestamp(), record.sequence(), record.size_in_bytes());
        let _ = ControlRecord::parse(record.key(), record.value());
        for header in record.headers() {
            let _ = (header.key(), header.key_bytes(), header.value());
        }
    }
}

const PARSERS: [Parser; 14] = [
    ("BatchHeader::parse", |bytes| {
        if let Ok(header) = BatchHeader::parse(bytes) {
            let _ = header.verify_crc(bytes);
            let _ = (header.next_offset(), header.last_sequence(), header.max_timestamp(), header.record_count());
        }
    }),
    ("RecordBatchRef::from_bytes", |bytes| {
        let _ = RecordBatchRef::from_bytes(bytes).map(|batch| walk(&batch));
    }),
    ("RecordBatchRef::from_checked_bytes", |bytes| {
        let _ = RecordBatchRef::from_checked_bytes(bytes).map(|batch| walk(&batch));
    }),
    ("BuiltBatch::from_foreign", |bytes| {
        let _ = BuiltBatch::from_foreign(bytes.to_vec()).map(|batch| walk(&batch.decode().unwrap().view()));
    }),
    ("ControlRecord::parse", |bytes| {
        let (key, value) = bytes.split_at(bytes.len() / 2);
        let _ = ControlRecord::parse(Some(key), Some(value));
    }),
    ("OffsetIndex::from_bytes", |bytes| {
        if let Ok(index) = OffsetIndex::from_bytes(Offset::from(100), bytes) {
            let _ = (index.iter().count(), index.lookup(Offset::from(150)), index.first(), index.last());
        }
    }),
    ("OffsetIndex::from_bytes at the last offset", |bytes| {
        let _ = OffsetIndex::from_bytes(Offset::MAX, bytes).map(|index| index.lookup(Offset::MAX));
    }),
    ("TimeIndex::from_bytes", |bytes| {
        if let Ok(index) = TimeIndex::from_bytes(Offset::from(100), bytes) {
            let _ = (index.iter().count(), index.lookup(Timestamp::from_millis(7)), index.first(), index.last());
        }
    }),
    ("TransactionIndex::from_bytes", |bytes| {
        if let Ok(index) = TransactionIndex::from_bytes(Offset::ZERO, bytes) {
            let mut found = Vec::new();
            index.collect(Offset::from(5), Offset::from(50), &mut found);
        }
    }),
    ("decode_witness", |bytes| {
        let _ = decode_witness(bytes);
    }),
    ("Witness::from_block", |bytes| {
        let _ = Witness::from_block(bytes);
    }),
    ("Manifest::from_bytes", |bytes| {
        let _ = Manifest::format_of(bytes);
        let _ = Manifest::from_bytes(bytes).map(|manifest| manifest.first_foreign_file(|_| None).is_some());
    }),
    ("Seal::from_bytes", |bytes| {
        let _ = Seal::from_bytes(bytes).map(|seal| seal.first_difference(0, bytes));
    }),
    ("names", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let _ = (SegmentFile::parse(&text), TopicName::new(&text), TopicPartition::from_folder_name(&text));
        let _ = text.parse::<TopicId>();
    }),
];

fn feed(bytes: &[u8]) {
    for (name, parse) in PARSERS {
        let ((), peak) = peak_of(|| parse(bytes));
        assert!(peak <= 4 * bytes.len() + SLACK_BYTES, "{name} took {peak} bytes for {} of input", bytes.len());
    }
}

fn batch() -> Vec<u8> {
    let stamp = ProducerStamp { id: ProducerId::ZERO, epoch: ProducerEpoch::ZERO, base_sequence: Some(Sequence::ZERO) };
    let mut builder =
        BatchBuilder::new(BatchOptions { producer: Some(stamp), transactional: true, ..BatchOptions::default() });
    for (key, value) in [(Some(&b"key"[..]), Some(&b"value"[..])), (None, Some(&[7; 200])), (Some(b""), None)] {
        let headers = [Header { key: "trace", value: Some(b"1") }, Header { key: "", value: None }];
        builder.append(Some(Timestamp::from_millis(1_700_000_000_000)), key, value, &headers).unwrap();
    }
    builder.build().unwrap().into_buffer()
}

fn marker() -> Vec<u8> {
    let marker = EndTransactionMarker { outcome: TransactionOutcome::Abort, coordinator_epoch: 3 };
    marker.to_batch(ProducerId::ZERO, ProducerEpoch::ZERO, Timestamp::from_millis(5)).into_buffer()
}

fn seal() -> Vec<u8> {
    let sum = FileSum::of(b"index");
    let subject =
        SealSubject { topic_id: TopicId::from_bytes([7; 16]), partition: PartitionId::ZERO, base_offset: Offset::ZERO };
    Seal {
        subject,
        next_offset: Offset::from(10),
        log_len: 9_000,
        offset_index: sum,
        time_index: sum,
        transaction_index: None,
        snapshot: Some(sum),
        blocks: vec![1, 2, 3],
    }
    .to_bytes()
}

fn manifest() -> Vec<u8> {
    let mut manifest = Manifest { cluster_id: "a cluster".to_owned(), ..Manifest::default() };
    manifest.files.insert("meta.properties".to_owned(), vec![None, Some(FileSum::of(b"x"))]);
    for partition in 0..3 {
        let listed = ManifestPartition {
            topic_id: TopicId::from_bytes([9; 16]),
            slot: 1,
            log_start: Offset::ZERO,
            high_watermark: Offset::from(5),
            recovery_point: Offset::from(5),
        };
        manifest.partitions.insert(TopicPartition::new("orders", partition).unwrap(), listed);
    }
    manifest.to_bytes()
}

fn valid() -> Vec<Vec<u8>> {
    let index = [[0, 0, 0, 9, 0, 0, 0x10, 0x68], [0, 0, 0, 19, 0, 0, 0x20, 0xd0]].concat();
    let times = [[0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0, 0, 0, 0, 9], [0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 1, 0, 0, 0, 19]];
    let aborted = [&[0, 0][..], &7_i64.to_be_bytes(), &1_i64.to_be_bytes(), &2_i64.to_be_bytes(), &3_i64.to_be_bytes()];
    vec![batch(), marker(), seal(), manifest(), index, times.concat(), aborted.concat()]
}

/// Valid bytes with a few places changed, a piece cut out or doubled, and perhaps the checksum of a batch put right again,
/// so that what is behind the checksum is reached.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (
        0..valid().len(),
        prop::collection::vec(change, 0..4),
        prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(which, changes, piece, doubled, sealed)| {
            let mut bytes = valid().swap_remove(which);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some((from, to)) = piece {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let piece = from.min(to)..from.max(to);
                if doubled {
                    bytes.extend_from_within(piece);
                } else {
                    bytes.drain(piece);
                }
            }
            if sealed && bytes.len() > 21 {
                let crc = logstead::record::crc32c(&bytes[21..]);
                bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            }
            bytes
        })
}

/// Bytes that a compressed batch may become here, and what a codec may keep beside them.
const LIMIT_BYTES: usize = 64 << 10;
const CODEC_BYTES: usize = 256 << 10;

/// Reads a batch that may be compressed; the input says nothing about the memory that it takes, the limit does.
fn feed_packed(bytes: &[u8]) {
    let read = || {
        let batch = RecordBatch::from_bytes_with_limit(bytes, LIMIT_BYTES)?;
        walk(&batch.view());
        Ok::<_, logstead::Error>(batch.bytes().len())
    };
    let (_, peak) = peak_of(read);
    assert!(peak <= LIMIT_BYTES + CODEC_BYTES, "{peak} bytes for {}", bytes.len());
}

#[test]
fn what_is_valid_is_accepted() {
    let [batch, marker, seal, manifest, index, times, aborted] = valid().try_into().unwrap();
    assert_eq!(RecordBatchRef::from_bytes(&batch).unwrap().records().count(), 3);
    assert!(RecordBatchRef::from_bytes(&marker).unwrap().header().is_control());
    assert_eq!(Seal::from_bytes(&seal).unwrap().blocks.len(), 3);
    assert_eq!(Manifest::from_bytes(&manifest).unwrap().partitions.len(), 3);
    assert_eq!(Manifest::format_of(&manifest), Some(FORMAT));
    assert_eq!(OffsetIndex::from_bytes(Offset::ZERO, index).unwrap().len(), 2);
    assert_eq!(TimeIndex::from_bytes(Offset::ZERO, times).unwrap().len(), 2);
    assert_eq!(TransactionIndex::from_bytes(Offset::ZERO, aborted).unwrap().len(), 1);
}

#[test]
fn what_is_valid_is_accepted_compressed() {
    for codec in CODECS {
        let bytes = packed(batch(), codec);
        let read = RecordBatch::from_bytes_with_limit(&bytes, 1_000).unwrap();
        assert_eq!((read.records().count(), read.header().codec()), (3, codec));
        let refused = RecordBatch::from_bytes_with_limit(&bytes, 100).unwrap_err();
        assert!(matches!(refused, logstead::Error::DecompressedTooLarge { max: 100, .. }), "{refused}");
    }
}

#[test]
fn lengths_that_promise_gigabytes_allocate_nothing() {
    let mut batch = batch();
    batch[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    batch[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
    let crc = logstead::record::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    feed(&batch);
    let mut seal = seal();
    let count_at = seal.len() - 4 - 3 * 4 - 4;
    seal[count_at..count_at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    feed(&seal);
}

proptest! {
    #![proptest_config(crate::cases(256))]

    #[test]
    fn arbitrary_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..1_100)) {
        feed(&bytes);
    }

    #[test]
    fn changed_streams_are_read_or_refused(
        codec in prop::sample::select(CODECS.to_vec()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = packed(batch(), codec);
        let stream = 61..bytes.len();
        for (at, value) in changes {
            bytes[stream.start + at.index(stream.len())] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(stream.start + cut.index(stream.len()));
        }
        seal_batch(&mut bytes);
        feed_packed(&bytes);
    }

    #[test]
    fn arbitrary_streams_are_read_or_refused(
        codec in 1..5_u8,
        stream in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut bytes = batch();
        bytes.truncate(61);
        bytes[22] = bytes[22] & !7 | codec;
        bytes.extend(stream);
        seal_batch(&mut bytes);
        feed_packed(&bytes);
    }

    #[test]
    fn changed_bytes_are_parsed_or_refused(bytes in mutated()) {
        feed(&bytes);
    }
}
