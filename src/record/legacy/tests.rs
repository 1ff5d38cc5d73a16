//! Message sets of magic 0 and 1: golden bytes, the rules of sets, round trips and hostile bytes.

use proptest::prelude::*;

use super::super::compression::compress;
use super::super::{RecordBatch, golden};
use super::*;

type Fields = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// One message; the timestamp counts in magic 1.
fn message(magic: u8, attributes: u8, (offset, millis, key, value): &Fields) -> Vec<u8> {
    let mut checked = vec![magic, attributes];
    if magic == 1 {
        checked.extend(millis.to_be_bytes());
    }
    for field in [key, value] {
        checked.extend(field.as_ref().map_or(-1, |field| field.len() as i32).to_be_bytes());
        checked.extend(field.iter().flatten());
    }
    let mut bytes = offset.to_be_bytes().to_vec();
    bytes.extend((checked.len() as i32 + 4).to_be_bytes());
    bytes.extend(crc32fast::hash(&checked).to_be_bytes());
    bytes.extend(checked);
    bytes
}

/// A gzip set of these bytes.
fn set_of(magic: u8, attributes: u8, offset: i64, millis: i64, inner: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    compress(Compression::Gzip, None, inner, &mut packed).unwrap();
    message(magic, attributes | 1, &(offset, millis, None, Some(packed)))
}

fn plain(offset: i64) -> Fields {
    (offset, 5, None, Some(b"v".to_vec()))
}

fn inner(magic: u8, offsets: &[i64]) -> Vec<u8> {
    offsets.iter().flat_map(|offset| message(magic, 0, &plain(*offset))).collect()
}

fn offsets_of(bytes: &[u8]) -> Vec<i64> {
    RecordBatch::from_bytes(bytes).unwrap().records().map(|record| record.offset().get()).collect()
}

/// The rule that a set breaks.
fn rule_of(bytes: &[u8]) -> &'static str {
    match golden::damage(RecordBatch::from_bytes(bytes)).1 {
        Damage::Structure(rule) => rule,
        other => panic!("{other}"),
    }
}

/// Offset 7, magic 0, key `k`, value `v`; and the same of magic 1 at 1,700,000,000,000 ms.
const MAGIC_0: &str = "0000000000000007 00000010 00000000 00 00 00000001 6b 00000001 76";
const MAGIC_1: &str = "0000000000000007 00000018 00000000 01 00 0000018bcfe56800 00000001 6b 00000001 76";

#[test]
fn messages_are_laid_out_as_documented() {
    let fields = (7, 1_700_000_000_000, Some(b"k".to_vec()), Some(b"v".to_vec()));
    for (magic, hex) in [(0, MAGIC_0), (1, MAGIC_1)] {
        let (ours, golden) = (message(magic, 0, &fields), golden::bytes(hex));
        assert_eq!((&ours[..12], &ours[16..]), (&golden[..12], &golden[16..]));
        let header = BatchHeader::parse(&ours).unwrap();
        assert_eq!((header.magic(), header.size_in_bytes(), header.record_count()), (magic, ours.len(), 1));
        assert_eq!((header.base_offset().get(), header.last_offset().get()), (7, 7));
        assert_eq!((header.leader_epoch(), header.producer()), (None, None));
        let millis = header.max_timestamp().map(|time| time.as_millis());
        assert_eq!(millis, (magic == 1).then_some(1_700_000_000_000));
    }
}

#[test]
fn every_byte_from_the_magic_on_is_in_the_checksum() {
    let intact = message(1, 0, &plain(3));
    for at in CRC_AT..intact.len() {
        let mut bytes = intact.clone();
        bytes[at] ^= 1;
        assert!(RecordBatch::from_bytes(&bytes).is_err(), "{at}");
    }
}

#[test]
fn truncated_messages_are_damage() {
    let intact = set_of(1, 0, 4, 5, &inner(1, &[0, 1]));
    for len in 0..intact.len() {
        assert!(matches!(RecordBatch::from_bytes(&intact[..len]), Err(Error::Corrupt(_))), "{len}");
    }
}

#[test]
fn offsets_in_a_set_are_absolute_in_magic_0_and_relative_in_magic_1() {
    assert_eq!(offsets_of(&set_of(0, 0, 12, -1, &inner(0, &[10, 11, 12]))), [10, 11, 12]);
    assert_eq!(offsets_of(&set_of(1, 0, 12, 5, &inner(1, &[0, 1, 2]))), [10, 11, 12]);
    // What compaction left.
    assert_eq!(offsets_of(&set_of(0, 0, 12, -1, &inner(0, &[9, 12]))), [9, 12]);
    assert_eq!(offsets_of(&set_of(1, 0, 12, 5, &inner(1, &[1, 4]))), [9, 12]);
    // What no broker has numbered.
    assert_eq!(offsets_of(&set_of(1, 0, 0, 5, &inner(1, &[0, 1, 2]))), [0, 1, 2]);
}

#[test]
fn the_base_offset_is_known_only_when_the_set_was_read() {
    let bytes = set_of(1, 0, 12, 5, &inner(1, &[0, 1, 2]));
    let header = BatchHeader::parse(&bytes).unwrap();
    assert!(!header.is_base_offset_known());
    assert_eq!((header.last_offset().get(), header.record_count()), (12, 0));
    assert_eq!(header.base_offset_or(Offset::from(11)), Offset::from(11));
    assert_eq!(header.base_offset_or(Offset::from(99)), Offset::from(12));
    let resolved = resolve(&header, &bytes, 1 << 20, &mut Vec::new()).unwrap();
    assert_eq!((resolved.base_offset().get(), resolved.last_offset().get(), resolved.record_count()), (10, 12, 3));
    assert!(header.is_of_same_bytes(&resolved) && resolved.is_base_offset_known());
}

#[test]
fn the_append_time_of_a_set_counts_for_all_its_messages() {
    let bytes = set_of(1, LOG_APPEND_TIME_BIT, 1, 99, &inner(1, &[0, 1]));
    let batch = RecordBatch::from_bytes(&bytes).unwrap();
    assert!(batch.records().all(|record| record.timestamp().unwrap().as_millis() == 99));
}

#[test]
fn sets_that_break_a_rule_are_damage() {
    let nested = set_of(1, 0, 0, 5, &inner(1, &[0]));
    assert_eq!(rule_of(&set_of(1, 0, 0, 5, &nested)), "compressed message sets are nested");
    assert_eq!(rule_of(&set_of(1, 0, 0, 5, &[])), "a compressed message set has no messages");
    assert_eq!(rule_of(&set_of(1, 0, 0, 5, &inner(0, &[0]))), "a message has another magic than its compressed set");
    let too_low = "the offset of a compressed message set is below that of its last message";
    assert_eq!(rule_of(&set_of(1, 0, 1, 5, &inner(1, &[0, 1, 2]))), too_low);
    assert_eq!(rule_of(&set_of(0, 0, 1, 5, &inner(0, &[0, 1, 2]))), too_low);
    let unordered = "offsets within a compressed message set do not increase";
    assert_eq!(rule_of(&set_of(1, 0, 9, 5, &inner(1, &[1, 1]))), unordered);
    assert_eq!(rule_of(&set_of(1, 0, 9, 5, &inner(1, &[-1]))), "a message in a compressed set has a negative offset");
    assert_eq!(rule_of(&message(1, 1, &(0, 5, None, None))), "a compressed message set has no value");
    let mut wrong = inner(1, &[0]);
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(rule_of(&set_of(1, 0, 0, 5, &wrong)), "the checksum of a message in a compressed set is wrong");
    let past_all = "the last offset is past the largest possible offset";
    assert_eq!(rule_of(&set_of(1, 0, 0, 5, &inner(1, &[i64::MAX]))), past_all);
    let far = [inner(0, &[0]), inner(0, &[1 << 40])].concat();
    assert_eq!(rule_of(&set_of(0, 0, 1 << 40, 5, &far)), "a compressed message set spans too many offsets");
}

#[test]
fn no_codec_but_those_of_old_clients_is_known() {
    for attributes in 4..8 {
        assert_eq!(golden::damage(BatchHeader::parse(&message(1, attributes, &plain(0)))).0, 17);
    }
}

#[test]
fn a_set_is_not_decompressed_past_the_limit() {
    let value = vec![0; 1 << 20];
    let bytes = set_of(1, 0, 0, 5, &message(1, 0, &(0, 5, None, Some(value))));
    let header = BatchHeader::parse(&bytes).unwrap();
    let refused = unpack(&mut Decompressor::default(), &header, &bytes, 1 << 16, &mut Vec::new());
    assert!(matches!(refused, Err(Error::DecompressedTooLarge { .. })), "{refused:?}");
}

fn fields() -> impl Strategy<Value = Vec<Fields>> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    let one = (1..50i64, -1..i64::from(i32::MAX), bytes(), bytes());
    proptest::collection::vec(one, 1..20).prop_map(|mut all| {
        let mut offset = -1;
        for (gap, ..) in &mut all {
            offset += *gap;
            *gap = offset;
        }
        all
    })
}

proptest! {
    #[test]
    fn what_was_put_into_a_set_comes_out(magic in 0..2u8, all in fields(), base in 1..1_000_000_000i64) {
        let shift = if magic == 0 { 0 } else { base };
        let set: Vec<u8> = all.iter().flat_map(|fields| message(magic, 0, fields)).collect();
        let last = all.last().unwrap().0;
        let millis = all.iter().map(|fields| fields.1).max().unwrap();
        let bytes = set_of(magic, 0, last + shift, millis, &set);
        let header = BatchHeader::parse(&bytes).unwrap();
        let mut area = Vec::new();
        let header = unpack(&mut Decompressor::default(), &header, &bytes, set.len(), &mut area).unwrap();
        prop_assert!(area.len() <= set.len());
        super::super::view::check_records(&header, &area).unwrap();
        let found: Vec<Fields> = super::super::Records::resume(&header, &area, header.record_count())
            .map(|record| {
                let millis = record.timestamp().map_or(-1, |time| time.as_millis());
                let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                (record.offset().get() - shift, millis, owned(record.key()), owned(record.value()))
            })
            .collect();
        let wanted: Vec<Fields> = all
            .into_iter()
            .map(|(offset, millis, key, value)| (offset, if magic == 0 { -1 } else { millis }, key, value))
            .collect();
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(checksums(&header, &bytes, set.len()).unwrap().len(), header.record_count() as usize);
    }

    #[test]
    fn hostile_sets_are_refused_or_read_and_nothing_else(
        magic in 0..2u8,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut set = inner(magic, &[3, 4, 7]);
        for (at, byte) in flips {
            let at = at.index(set.len());
            set[at] = byte;
        }
        set.truncate(cut.index(set.len()) + 1);
        let bytes = set_of(magic, 0, 7, 5, &set);
        match RecordBatch::from_bytes(&bytes) {
            Ok(batch) => prop_assert_eq!(batch.records().count(), batch.header().record_count() as usize),
            Err(error) => prop_assert!(matches!(error, Error::Corrupt(_)), "{error}"),
        }
    }
}
