//! Looking at a log beside its owner: what is seen, what is not, and that nothing is changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use logstead::Error;
use logstead::config::{Durability, LogConfig};
use logstead::log::{
    LogDirectory, ReadIsolation, ReadLimits, ReadOnlyDirectory, ReadOnlyLog, SegmentFile, WITNESS_FILE,
    WITNESS_SLOT_BYTES,
};
use logstead::record::{BatchBuilder, BatchOptions, EndTransactionMarker, ProducerStamp, TransactionOutcome};
use logstead::storage::{MemStorage, OpenMode, Storage};
use logstead::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicId, TopicPartition};

use crate::support::{FOLDER, Home, all_bytes, bytes_of, epoch, now, overwrite, partition_file, to_the_end, tp};

const SMALL: u64 = 400;

fn small() -> LogConfig {
    LogConfig::new().segment_bytes(SMALL)
}

fn look(storage: &MemStorage) -> ReadOnlyDirectory {
    ReadOnlyDirectory::options().storage(storage.clone()).open(FOLDER).unwrap()
}

fn look_at(home: &Home) -> ReadOnlyLog {
    look(&home.storage).open_log(&tp()).unwrap()
}

fn to_last_batch(storage: &MemStorage) -> ReadOnlyLog {
    let options = ReadOnlyDirectory::options().storage(storage.clone()).to_last_batch(true);
    options.open(FOLDER).unwrap().open_log(&tp()).unwrap()
}

fn offset(raw: i64) -> Offset {
    Offset::new(raw).unwrap()
}

fn commit(home: &Home) {
    home.log.flush().unwrap();
    home.log.advance_high_watermark(home.log.log_end_offset()).unwrap();
}

/// Values of all records from `from` to the end, and the offset behind them, batch by batch.
fn values(log: &ReadOnlyLog, from: i64) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut slice = log.read(offset(from), to_the_end(1)).unwrap();
    while !slice.is_empty() {
        for batch in slice.batches() {
            for record in batch.unwrap().records() {
                found.push((record.offset().get(), record.value().unwrap().to_vec()));
            }
        }
        slice = log.read_after(&slice, to_the_end(1)).unwrap();
    }
    found
}

fn offsets(log: &ReadOnlyLog, from: i64) -> Vec<i64> {
    values(log, from).into_iter().map(|(offset, _)| offset).collect()
}

#[test]
fn a_reader_follows_its_writer_through_appends_and_rolls() {
    for durability in [Durability::Synced, Durability::Os] {
        let home = Home::leading(small().durability(durability));
        let reader = look_at(&home);
        let mut seen = Vec::new();
        for round in 0..40u8 {
            home.append(1, &[round; 30]);
            if round % 3 == 0 {
                if durability == Durability::Synced {
                    home.log.flush().unwrap();
                }
                home.log.advance_high_watermark(home.log.log_end_offset()).unwrap();
            }
            assert_eq!(reader.refresh().unwrap(), round % 3 == 0, "{durability:?} {round}");
            assert!(!reader.refresh().unwrap());
            assert_eq!(reader.high_watermark(), home.log.high_watermark());
            let next = i64::try_from(seen.len()).unwrap();
            seen.extend(values(&reader, next));
        }
        assert!(home.bases().len() > 5);
        let expected: Vec<_> = (0..40u8).map(|round| (i64::from(round), vec![round; 30])).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn what_is_in_the_file_and_not_committed_is_not_seen() {
    for durability in [Durability::Synced, Durability::Os] {
        let home = Home::leading(LogConfig::new().durability(durability));
        home.append(2, b"committed");
        commit(&home);
        home.append(3, b"not committed");
        let reader = look_at(&home);
        assert_eq!((reader.log_end_offset(), reader.high_watermark()), (offset(2), offset(2)));
        assert_eq!(offsets(&reader, 0), [0, 1]);
        let beyond = reader.read(offset(3), to_the_end(1));
        assert!(matches!(beyond, Err(Error::OffsetOutOfRange { end, .. }) if end == offset(2)), "{beyond:?}");
        let all = to_last_batch(&home.storage);
        assert_eq!((all.log_end_offset(), all.high_watermark()), (offset(5), offset(2)));
        assert_eq!(offsets(&all, 0), [0, 1, 2, 3, 4]);
        assert_eq!(all.read(offset(2), ReadLimits::bytes(1)).unwrap().len(), 0);
    }
}

#[test]
fn a_high_watermark_inside_a_batch_hides_the_batch() {
    let home = Home::leading(LogConfig::new());
    home.append(2, b"first");
    home.append(3, b"second");
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(4)).unwrap();
    let reader = look_at(&home);
    assert_eq!((reader.high_watermark(), offsets(&reader, 0)), (offset(4), vec![0, 1]));
    home.log.advance_high_watermark(offset(5)).unwrap();
    assert!(reader.refresh().unwrap());
    assert_eq!(offsets(&reader, 0), [0, 1, 2, 3, 4]);
}

#[test]
fn deleted_segments_are_out_of_range_and_reading_goes_on_behind() {
    let home = Home::leading(small());
    for _ in 0..30 {
        home.append(1, &[7; 60]);
    }
    commit(&home);
    let reader = look_at(&home);
    let open_slice = reader.read(offset(0), to_the_end(1)).unwrap();
    home.log.delete_before(offset(21)).unwrap();
    // The first file is open and goes on; the second one is not, and is gone.
    assert!(reader.read(offset(1), to_the_end(1)).is_ok());
    let gone = reader.read(offset(12), to_the_end(1));
    assert!(matches!(gone, Err(Error::OffsetOutOfRange { start, .. }) if start == offset(21)), "{gone:?}");
    assert_eq!(reader.log_start_offset(), offset(21));
    assert_eq!(offsets(&reader, 21), (21..30).collect::<Vec<_>>());
    assert_eq!(open_slice.headers().count(), 1);
    assert!(matches!(reader.read_after(&open_slice, to_the_end(1)), Err(Error::OffsetOutOfRange { .. })));
}

#[test]
fn cutting_what_is_not_committed_takes_nothing_from_a_reader() {
    let home = Home::leading(small());
    for round in 0..12u8 {
        home.append(1, &[round; 60]);
    }
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(5)).unwrap();
    let (reader, all) = (look_at(&home), to_last_batch(&home.storage));
    assert_eq!((offsets(&reader, 0).len(), offsets(&all, 0).len()), (5, 12));
    home.log.truncate_to(offset(7), now()).unwrap();
    assert_eq!(offsets(&reader, 0).len(), 5);
    home.log.begin_epoch(epoch(1)).unwrap();
    for round in 100..120u8 {
        home.append(1, &[round; 50]);
    }
    commit(&home);
    assert!(reader.refresh().unwrap() && all.refresh().unwrap());
    for reader in [&reader, &all] {
        let found = values(reader, 0);
        assert_eq!(found.len(), 27);
        assert_eq!((found[6].1[0], found[7].1[0]), (6, 100));
    }
}

#[test]
fn a_log_that_starts_anew_is_followed() {
    let home = Home::leading(small());
    for _ in 0..9 {
        home.append(1, &[1; 60]);
    }
    commit(&home);
    let reader = look_at(&home);
    home.log.truncate_fully_and_start_at(offset(100), now()).unwrap();
    assert!(reader.refresh().unwrap());
    assert_eq!((reader.log_start_offset(), reader.log_end_offset()), (offset(100), offset(100)));
    home.log.begin_epoch(epoch(1)).unwrap();
    home.append(2, b"anew");
    commit(&home);
    assert!(reader.refresh().unwrap());
    assert_eq!(offsets(&reader, 100), [100, 101]);
    assert!(matches!(reader.read(offset(3), to_the_end(1)), Err(Error::OffsetOutOfRange { .. })));
}

#[test]
fn the_unfinished_tail_of_a_dead_writer_is_not_damage() {
    let home = Home::leading(LogConfig::new());
    home.append(2, b"committed");
    commit(&home);
    home.append(2, b"written, not committed");
    let path = home.path(SegmentFile::Log, 0);
    let storage = home.storage.clone();
    drop(home);
    let len = bytes_of(&storage, &path).len() as u64;
    storage.open(&path, OpenMode::Write).unwrap().set_len(len - 7).unwrap();
    let directory = look(&storage);
    assert_eq!(directory.owner().unwrap(), None);
    let reader = directory.open_log(&tp()).unwrap();
    assert_eq!((offsets(&reader, 0), reader.log_end_offset()), (vec![0, 1], offset(2)));
    // Without a witness as well: the torn batch is no batch.
    storage.remove(&Path::new(FOLDER).join(WITNESS_FILE)).unwrap();
    let reader = directory.open_log(&tp()).unwrap();
    assert_eq!((offsets(&reader, 0), reader.log_end_offset()), (vec![0, 1], offset(2)));
}

#[test]
fn a_reader_stays_with_a_writer_that_dies_and_comes_back() {
    let home = Home::leading(small());
    for _ in 0..8 {
        home.append(1, &[1; 60]);
    }
    commit(&home);
    let reader = look_at(&home);
    home.append(1, b"lost or kept");
    let home = home.crash();
    home.log.begin_epoch(epoch(1)).unwrap();
    home.append(4, b"after");
    commit(&home);
    assert!(reader.refresh().unwrap());
    assert_eq!(reader.high_watermark(), home.log.high_watermark());
    assert_eq!(offsets(&reader, 0), (0..13).collect::<Vec<_>>());
}

#[test]
fn without_a_witness_a_log_reaches_to_its_last_valid_batch_until_an_owner_comes() {
    let home = Home::leading(small());
    for _ in 0..7 {
        home.append(1, &[1; 60]);
    }
    let storage = home.close().0;
    storage.remove(&Path::new(FOLDER).join(WITNESS_FILE)).unwrap();
    let directory = look(&storage);
    let reader = directory.open_log(&tp()).unwrap();
    assert_eq!((reader.high_watermark(), reader.last_stable_offset()), (offset(7), offset(7)));
    assert_eq!(offsets(&reader, 0), (0..7).collect::<Vec<_>>());
    let home = Home::on(storage, small());
    home.log.begin_epoch(epoch(1)).unwrap();
    let committed = home.log.high_watermark();
    home.append(3, b"not committed");
    reader.refresh().unwrap();
    assert_eq!(reader.high_watermark(), committed);
    commit(&home);
    assert!(reader.refresh().unwrap());
    assert_eq!(offsets(&reader, 0).len(), 10);
}

#[test]
fn damage_in_the_middle_is_reported_and_reading_goes_on_behind() {
    let home = Home::leading(small());
    for _ in 0..12 {
        home.append(1, &[1; 60]);
    }
    commit(&home);
    let bases = home.bases();
    for (base, first) in [(bases[1], bases[1] + 1), (*bases.last().unwrap(), *bases.last().unwrap())] {
        let path = home.path(SegmentFile::Log, base);
        let intact = bytes_of(&home.storage, &path);
        let batch_len = home.log.read(offset(base), to_the_end(1)).unwrap().len();
        let mut bytes = intact.clone();
        bytes[batch_len * usize::try_from(first - base).unwrap() + 70] ^= 1;
        overwrite(&home.storage, &path, &bytes);
        let reader = look_at(&home);
        assert_eq!(reader.read(offset(first - 1), to_the_end(1)).unwrap().next_offset(), offset(first));
        match reader.read(offset(first), to_the_end(1)) {
            Err(Error::Corrupt(corrupt)) => {
                let offsets = corrupt.offsets.unwrap();
                assert_eq!((offsets.first, offsets.next_intact), (offset(first), offset(first + 1)));
                assert_eq!((corrupt.path, corrupt.tp), (Some(path.clone()), Some(tp())));
            }
            other => panic!("damage expected, got {other:?}"),
        }
        assert_eq!(offsets(&reader, first + 1), (first + 1..12).collect::<Vec<_>>());
        overwrite(&home.storage, &path, &intact);
        assert_eq!(offsets(&look_at(&home), 0).len(), 12);
    }
}

#[test]
fn a_committed_segment_that_is_gone_is_not_passed_over() {
    let home = Home::leading(small());
    for _ in 0..12 {
        home.append(1, &[1; 60]);
    }
    commit(&home);
    let bases = home.bases();
    for (lost, next) in [(bases[1], bases[2]), (*bases.last().unwrap(), 12)] {
        let image = home.storage.crash_image(&logstead::storage::CrashModel::KeepAll, 0);
        image.remove(&partition_file(&SegmentFile::Log.name(offset(lost)))).unwrap();
        let reader = look(&image).open_log(&tp()).unwrap();
        match reader.read(offset(lost), to_the_end(1)) {
            Err(Error::Corrupt(corrupt)) => {
                assert_eq!(corrupt.offsets.unwrap().next_intact, offset(next), "{corrupt:?}");
            }
            other => panic!("damage expected, got {other:?}"),
        }
        assert_eq!(offsets(&reader, next), (next..12).collect::<Vec<_>>());
    }
}

fn producer(raw: i64) -> ProducerId {
    ProducerId::new(raw).unwrap()
}

fn append_in_transaction(home: &Home, id: i64, sequence: i32) {
    let stamp = ProducerStamp { id: producer(id), epoch: ProducerEpoch::ZERO, base_sequence: Sequence::new(sequence) };
    let options = BatchOptions { producer: Some(stamp), transactional: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.append(Some(now().wall), None, Some(&[9; 40]), &[]).unwrap();
    home.log.append_as_leader(&mut builder.build().unwrap(), now()).unwrap();
}

fn end_transaction(home: &Home, id: i64, outcome: TransactionOutcome) {
    let marker = EndTransactionMarker { outcome, coordinator_epoch: 0 };
    home.log.append_as_leader(&mut marker.to_batch(producer(id), ProducerEpoch::ZERO, now().wall), now()).unwrap();
}

#[test]
fn open_transactions_are_hidden_from_readers_of_stable_records() {
    let home = Home::leading(small());
    let reader = look_at(&home);
    for round in 0..12 {
        home.append(1, b"plain");
        append_in_transaction(&home, 1, round);
        if round % 2 == 0 {
            append_in_transaction(&home, 2, round);
        }
        commit(&home);
        let fresh = look_at(&home);
        reader.refresh().unwrap();
        for reader in [&reader, &fresh] {
            assert_eq!(reader.last_stable_offset(), home.log.last_stable_offset(), "round {round}");
            let stable = ReadLimits::bytes(1 << 20).isolation(ReadIsolation::LastStable);
            assert!(reader.read(home.log.last_stable_offset(), stable).unwrap().is_empty());
        }
        if round % 4 == 3 {
            end_transaction(&home, 1, TransactionOutcome::Abort);
        }
        if round % 4 == 1 {
            end_transaction(&home, 2, TransactionOutcome::Commit);
        }
        // The markers are not committed yet: nothing has become stable.
        assert!(!reader.refresh().unwrap());
        commit(&home);
        assert_eq!(reader.refresh().unwrap(), round % 4 == 3 || round % 4 == 1);
        let upper = home.log.log_end_offset();
        let expected = home.log.aborted_transactions(Offset::ZERO, upper).unwrap();
        for reader in [&reader, &look_at(&home)] {
            assert_eq!(reader.last_stable_offset(), home.log.last_stable_offset(), "round {round}");
            assert_eq!(reader.aborted_transactions(Offset::ZERO, upper).unwrap(), expected, "round {round}");
        }
    }
    assert!(home.bases().len() > 3);
    assert_eq!(home.log.aborted_transactions(Offset::ZERO, Offset::MAX).unwrap().len(), 3);
}

#[test]
fn a_transaction_that_was_cut_off_holds_nobody_back() {
    let home = Home::leading(LogConfig::new());
    home.append(2, b"plain");
    commit(&home);
    append_in_transaction(&home, 1, 0);
    let all = to_last_batch(&home.storage);
    assert_eq!(all.log_end_offset(), offset(3));
    home.log.truncate_to(offset(2), now()).unwrap();
    home.log.begin_epoch(epoch(1)).unwrap();
    // As long as the batch that stood here.
    home.append(1, &[9; 40]);
    commit(&home);
    all.refresh().unwrap();
    assert_eq!((all.last_stable_offset(), home.log.last_stable_offset()), (offset(3), offset(3)));
}

#[test]
fn a_half_written_witness_block_is_passed_over() {
    let home = Home::leading(LogConfig::new());
    let reader = look_at(&home);
    let path = Path::new(FOLDER).join(WITNESS_FILE);
    for round in 0..6i64 {
        home.append(1, b"value");
        commit(&home);
        reader.refresh().unwrap();
        let file = home.storage.open(&path, OpenMode::Write).unwrap();
        for block in [0, 512] {
            let position = WITNESS_SLOT_BYTES as u64 + block;
            let mut intact = [0; 512];
            file.read_exact_at(position, &mut intact).unwrap();
            file.write_all_at(position + 300, &[0xaa; 212]).unwrap();
            reader.refresh().unwrap();
            assert_eq!(reader.high_watermark(), offset(round + 1), "what was seen stays");
            let fresh = look_at(&home).high_watermark();
            assert!(fresh <= offset(round + 1), "{fresh}");
            file.write_all_at(position, &intact).unwrap();
        }
    }
}

#[test]
fn a_slot_that_was_given_to_another_partition_is_not_believed() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"value");
    commit(&home);
    let other = TopicPartition::new("other", 0).unwrap();
    let other_log = home.directory.open_log(&other, None, LogConfig::new(), now()).unwrap();
    other_log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    let (reader, other_reader) = (look_at(&home), look(&home.storage).open_log(&other).unwrap());
    let path = Path::new(FOLDER).join(WITNESS_FILE);
    let mut bytes = bytes_of(&home.storage, &path);
    let (first, second) = bytes[WITNESS_SLOT_BYTES..3 * WITNESS_SLOT_BYTES].split_at_mut(WITNESS_SLOT_BYTES);
    first.swap_with_slice(second);
    home.storage.open(&path, OpenMode::Write).unwrap().write_all_at(0, &bytes).unwrap();
    reader.refresh().unwrap();
    other_reader.refresh().unwrap();
    assert_eq!((reader.high_watermark(), other_reader.high_watermark()), (offset(1), offset(0)));
}

#[test]
fn partitions_that_are_created_later_are_found_and_deleted_ones_are_unknown() {
    let home = Home::leading(LogConfig::new());
    let directory = look(&home.storage);
    assert_eq!(directory.partitions().unwrap(), [tp()]);
    assert_eq!(directory.topic_id(&tp()).unwrap(), Some(home.log.topic_id()));
    let later = TopicPartition::new("orders", 1).unwrap();
    match directory.open_log(&later) {
        Err(Error::UnknownTopicOrPartition { topic, partition, .. }) => {
            assert_eq!((topic.as_str(), partition), ("orders", Some(1)));
        }
        other => panic!("{other:?}"),
    }
    let unknown = TopicPartition::new("ordres", 0).unwrap();
    match directory.open_log(&unknown) {
        Err(Error::UnknownTopicOrPartition { nearest, .. }) => assert_eq!(nearest.as_deref(), Some("orders")),
        other => panic!("{other:?}"),
    }
    let log = home.directory.open_log(&later, None, LogConfig::new(), now()).unwrap();
    home.storage.create_dir(&Path::new(FOLDER).join("orders-2.0123-delete")).unwrap();
    home.storage.create_dir(&Path::new(FOLDER).join("orders-3.0123-stray")).unwrap();
    assert_eq!(directory.partitions().unwrap(), [tp(), later.clone()]);
    let reader = directory.open_log(&later).unwrap();
    assert_eq!(reader.topic_id(), Some(log.topic_id()));
    home.storage.rename(&Path::new(FOLDER).join("orders-1"), &Path::new(FOLDER).join("orders-1.77-delete")).unwrap();
    assert!(matches!(reader.refresh(), Err(Error::UnknownTopicOrPartition { .. })));
    assert!(matches!(reader.read(offset(0), to_the_end(1)), Err(Error::UnknownTopicOrPartition { .. })));
    assert_eq!(directory.partitions().unwrap(), [tp()]);
}

#[test]
fn a_topic_that_was_created_again_is_another_one() {
    let home = Home::leading(LogConfig::new());
    home.append(3, b"old");
    commit(&home);
    let (storage, config) = home.close();
    let reader = look(&storage).open_log(&tp()).unwrap();
    assert_eq!(offsets(&reader, 0).len(), 3);
    let folder = Path::new(FOLDER).join("orders-0");
    for entry in storage.list(&folder).unwrap() {
        storage.remove(&folder.join(entry.name)).unwrap();
    }
    for entry in storage.list(FOLDER.as_ref()).unwrap() {
        if entry.name.ends_with("-checkpoint") || entry.name == "logstead.manifest" {
            storage.remove(&Path::new(FOLDER).join(entry.name)).unwrap();
        }
    }
    let directory = LogDirectory::options().storage(storage.clone()).seed(1).open(FOLDER).unwrap();
    let topic_id = TopicId::from_bytes([5; 16]);
    let log = directory.open_log(&tp(), Some(topic_id), config, now()).unwrap();
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    assert!(matches!(reader.refresh(), Err(Error::UnknownTopicOrPartition { .. })));
    let reader = look(&storage).open_log(&tp()).unwrap();
    assert_eq!((reader.topic_id(), reader.high_watermark()), (Some(topic_id), log.high_watermark()));
}

#[test]
fn what_a_broker_did_since_makes_the_witness_worthless() {
    let home = Home::leading(LogConfig::new());
    home.append(2, b"ours");
    commit(&home);
    home.append(3, b"ours as well");
    home.log.flush().unwrap();
    let storage = home.storage.clone();
    assert_eq!(look_at(&home).log_end_offset(), offset(2));
    drop(home);
    overwrite(&storage, &Path::new(FOLDER).join("replication-offset-checkpoint"), b"0\n1\norders 0 5\n");
    assert_eq!(look(&storage).open_log(&tp()).unwrap().log_end_offset(), offset(5));
}

#[test]
fn lost_indexes_and_snapshots_change_no_answer() {
    let home = Home::leading(small().index_interval_bytes(0));
    for sequence in 0..10 {
        home.append(1, &[1; 60]);
        append_in_transaction(&home, 1, sequence);
    }
    end_transaction(&home, 1, TransactionOutcome::Abort);
    append_in_transaction(&home, 1, 10);
    commit(&home);
    let expected = values(&look_at(&home), 0);
    let aborted = home.log.aborted_transactions(Offset::ZERO, Offset::MAX).unwrap();
    let folder = Path::new(FOLDER).join("orders-0");
    for ending in [".index", ".timeindex", ".snapshot", ".seal", "leader-epoch-checkpoint"] {
        for entry in home.storage.list(&folder).unwrap() {
            if entry.name.ends_with(ending) {
                home.storage.remove(&folder.join(entry.name)).unwrap();
            }
        }
        let reader = look_at(&home);
        assert_eq!(values(&reader, 0), expected, "without {ending}");
        assert_eq!(reader.last_stable_offset(), home.log.last_stable_offset(), "without {ending}");
        assert_eq!(reader.aborted_transactions(Offset::ZERO, Offset::MAX).unwrap(), aborted, "without {ending}");
    }
}

#[test]
fn a_reader_makes_no_call_that_changes_anything() {
    let home = Home::leading(small());
    for sequence in 0..12 {
        home.append(1, &[1; 60]);
        append_in_transaction(&home, 1, sequence);
    }
    commit(&home);
    let before = home.storage.operation_count();
    let directory = look(&home.storage);
    directory.partitions().unwrap();
    directory.owner().unwrap();
    let reader = directory.open_log(&tp()).unwrap();
    reader.refresh().unwrap();
    assert_eq!(offsets(&reader, 0).len(), 24);
    reader.aborted_transactions(Offset::ZERO, Offset::MAX).unwrap();
    for segment in reader.segments() {
        segment.time_index().unwrap();
    }
    assert_eq!(offsets(&to_last_batch(&home.storage), 0).len(), 24);
    assert_eq!(home.storage.operation_count(), before);
    assert_eq!(home.storage.operations().len() as u64, before, "reads are not recorded, everything else is");
}

/// Every file below a folder, with its bytes and modification time.
fn everything_in(folder: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        if path.is_dir() {
            found.insert(path.display().to_string(), (Vec::new(), modified));
            found.extend(everything_in(&path));
        } else {
            found.insert(path.display().to_string(), (fs::read(&path).unwrap(), modified));
        }
    }
    found
}

#[test]
fn on_real_files_nothing_changes_and_the_owner_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let directory = LogDirectory::open(folder.path()).unwrap();
    let log = directory.open_log(&tp(), None, small(), now()).unwrap();
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    for _ in 0..12 {
        log.append_as_leader(&mut crate::support::batch_of(1, &[1; 60]), now()).unwrap();
    }
    log.flush().unwrap();
    log.advance_high_watermark(offset(11)).unwrap();
    let before = everything_in(folder.path());
    let looking = ReadOnlyDirectory::open(folder.path()).unwrap();
    assert_eq!(looking.owner().unwrap(), Some(std::process::id()));
    assert_eq!(looking.identity(), Some(directory.identity()));
    let reader = looking.open_log(&tp()).unwrap();
    assert_eq!(offsets(&reader, 0).len(), 11);
    reader.refresh().unwrap();
    assert_eq!(everything_in(folder.path()), before);
    assert!(LogDirectory::open(folder.path()).is_err(), "the owner still has its lock");
    log.append_as_leader(&mut crate::support::batch_of(1, &[1; 60]), now()).unwrap();
    assert_eq!(all_bytes(&log).len(), 13 * log.read(offset(0), to_the_end(1)).unwrap().len());
    directory.close().unwrap();
    assert_eq!(looking.owner().unwrap(), None);
}

#[test]
fn what_is_no_data_folder_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"text").unwrap();
    for missing in [folder.path().join("nothing"), file] {
        let error = ReadOnlyDirectory::open(&missing).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if *path == missing), "{error:?}");
    }
    let not_one = ReadOnlyDirectory::open(folder.path()).unwrap_err();
    assert!(matches!(not_one, Error::InvalidState { state, .. } if state.contains("no data folder")), "{not_one:?}");
    let home = Home::leading(LogConfig::new());
    let options = ReadOnlyDirectory::options().storage(home.storage.clone());
    let partition = options.open(Path::new(FOLDER).join("orders-0")).unwrap_err();
    assert!(matches!(partition, Error::InvalidState { state, .. } if state.contains("one partition")), "{partition:?}");
    let manifest = Path::new(FOLDER).join("logstead.manifest");
    let text = "logstead-manifest 9\n";
    let newer = format!("{text}crc32 {:08x}\n", crc32fast::hash(text.as_bytes()));
    overwrite(&home.storage, &manifest, newer.as_bytes());
    let options = ReadOnlyDirectory::options().storage(home.storage.clone());
    assert!(matches!(options.open(FOLDER), Err(Error::UnsupportedFormat { found: 9, .. })));
}

#[test]
fn folders_that_a_broker_wrote_are_read_to_their_end() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4.0");
    let before = everything_in(&folder);
    let directory = ReadOnlyDirectory::open(&folder).unwrap();
    assert_eq!((directory.identity(), directory.owner().unwrap()), (None, None));
    let partitions = directory.partitions().unwrap();
    assert!(partitions.len() >= 5, "{partitions:?}");
    for tp in partitions {
        let reader = directory.open_log(&tp).unwrap();
        assert!(reader.topic_id().is_some());
        let mut slice = reader.read(reader.log_start_offset(), to_the_end(1)).unwrap();
        let mut count = 0;
        while !slice.is_empty() {
            count += slice.headers().count();
            slice = reader.read_after(&slice, to_the_end(1)).unwrap();
        }
        assert!(count > 0, "{tp}");
        assert_eq!(slice.next_offset(), reader.log_end_offset(), "{tp}");
    }
    let transactions = directory.open_log(&TopicPartition::new("transactions", 0).unwrap()).unwrap();
    assert!(!transactions.aborted_transactions(Offset::ZERO, Offset::MAX).unwrap().is_empty());
    assert!(transactions.last_stable_offset() <= transactions.high_watermark());
    assert_eq!(everything_in(&folder), before);
}
