//! Calls that fail, come late or meet damage: what a log has promised outlives them, and nothing else is touched.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak, mpsc};

use logstead::Error;
use logstead::config::{LogConfig, ReadMode};
use logstead::log::{BatchScanner, Log, LogDirectory, LogSlice, SegmentFile};
use logstead::record::{BatchBuilder, BatchOptions, EndTransactionMarker, ProducerStamp, TransactionOutcome, crc32c};
use logstead::storage::{
    CrashModel, DirEntry, Fault, FileIdentity, FileMetadata, FrozenBytes, Hint, LockGuard, MemStorage, OpenMode,
    OperationKind, StopPoint, Storage, StorageFile, SyncMode,
};
use logstead::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::support::{
    FOLDER, Home, all_bytes, batch_of, bytes_of, epoch, now, overwrite, partition_file, read, replicated, tp,
};

fn offset(raw: u32) -> Offset {
    Offset::from(raw)
}

fn in_folder(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

fn first_log() -> PathBuf {
    partition_file(&SegmentFile::Log.name(Offset::ZERO))
}

/// The process dies; what is left is the disk.
fn die(home: Home) -> (MemStorage, LogConfig) {
    let (storage, config) = (home.storage.clone(), LogConfig::clone(&home.log.config()));
    drop(home);
    (storage, config)
}

fn flip(storage: &MemStorage, path: &Path, at: usize) {
    let mut bytes = bytes_of(storage, path);
    bytes[at] ^= 1;
    overwrite(storage, path, &bytes);
}

/// A log that leads, with this many durable and committed batches of two records.
fn committed(batches: u32, config: LogConfig) -> Home {
    let home = Home::leading(config);
    (0..batches).for_each(|_| home.append(2, &[7; 100]));
    home.log.flush().unwrap();
    home.log.advance_high_watermark(home.log.log_end_offset()).unwrap();
    home
}

fn marker() -> logstead::record::BuiltBatch {
    let marker = EndTransactionMarker { outcome: TransactionOutcome::Abort, coordinator_epoch: 0 };
    marker.to_batch(ProducerId::new(7).unwrap(), ProducerEpoch::ZERO, now().wall)
}

/// A log of four batches: plain, in a transaction, the marker that aborts it, plain.
fn aborted(config: LogConfig) -> Home {
    let home = Home::leading(config);
    home.append(1, &[1; 100]);
    let id = ProducerId::new(7).unwrap();
    let stamp = ProducerStamp { id, epoch: ProducerEpoch::ZERO, base_sequence: Some(Sequence::ZERO) };
    let options = BatchOptions { producer: Some(stamp), transactional: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.append(Some(now().wall), None, Some(b"in a transaction"), &[]).unwrap();
    home.log.append_as_leader(&mut builder.build().unwrap(), now()).unwrap();
    home.log.append_as_leader(&mut marker(), now()).unwrap();
    home.append(1, &[2; 100]);
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(4)).unwrap();
    home
}

fn aborted_in(log: &Log) -> Vec<(i64, i64)> {
    let found = log.aborted_transactions(offset(0), offset(9)).unwrap();
    found.iter().map(|entry| (entry.first_offset.get(), entry.last_offset.get())).collect()
}

#[test]
fn a_flush_that_runs_after_a_truncation_touches_nothing() {
    let home = Home::leading(LogConfig::new().segment_bytes(300));
    (0..5).for_each(|_| home.append(1, &[7; 100]));
    let ticket = home.log.begin_flush().unwrap();
    home.log.truncate_to(offset(1), now()).unwrap();
    let before = home.storage.operation_count();
    ticket.run().unwrap();
    assert_eq!(home.storage.operations()[before as usize..], []);
}

#[test]
fn a_flush_that_completes_after_a_truncation_acknowledges_nothing() {
    let home = Home::leading(LogConfig::new());
    (0..5).for_each(|_| home.append(1, b"value"));
    let ticket = home.log.begin_flush().unwrap();
    let result = ticket.run();
    home.log.truncate_to(offset(0), now()).unwrap();
    home.log.begin_epoch(epoch(1)).unwrap();
    let synced = home.log.synced_offset();
    (0..5).for_each(|_| home.append(1, b"other"));
    assert_eq!(home.log.complete_flush(ticket, result).unwrap(), synced);
}

#[test]
fn a_closed_log_is_left_alone_by_a_late_flush() {
    let home = Home::leading(LogConfig::new().segment_bytes(300));
    (0..5).for_each(|_| home.append(1, &[7; 100]));
    let ticket = home.log.begin_flush().unwrap();
    home.log.close().unwrap();
    let before = home.storage.operation_count();
    ticket.run().unwrap();
    assert_eq!(home.storage.operations()[before as usize..], []);
}

#[test]
fn abort_entries_behind_damage_survive_an_open() {
    let plain = batch_of(1, &[1; 100]).size_in_bytes();
    for (what, at) in [("plain", 20), ("in the transaction", plain + 20), ("plain, its records", plain - 10)] {
        let (storage, config) = die(aborted(LogConfig::new()));
        flip(&storage, &first_log(), at);
        let home = Home::on(storage, config);
        assert_eq!(home.log.recovery_report().damage.len(), 1, "{what}");
        assert_eq!(aborted_in(&home.log), [(1, 2)], "{what}");
    }
}

#[test]
fn the_abort_entry_of_a_damaged_marker_survives_an_open() {
    let home = aborted(LogConfig::new());
    let at: usize = [0, 1].map(|from| read(&home.log, from).unwrap().as_bytes().len()).iter().sum();
    let (storage, config) = die(home);
    flip(&storage, &first_log(), at + 20);
    let home = Home::on(storage, config);
    assert_eq!(home.log.recovery_report().damage.len(), 1);
    assert_eq!(aborted_in(&home.log), [(1, 2)]);
}

#[test]
fn a_read_error_while_opening_forgets_no_aborted_transaction() {
    let mut refused = 0;
    for nth in 0..40 {
        let (storage, config) = die(aborted(LogConfig::new()));
        let directory = LogDirectory::options().storage(storage.clone()).open(FOLDER).unwrap();
        storage.fail(Fault::nth(nth).of_kind(OperationKind::Read));
        let opened = directory.open_log(&tp(), None, config.clone(), now());
        storage.clear_faults();
        refused += u32::from(opened.is_err());
        let log = opened.unwrap_or_else(|_| directory.open_log(&tp(), None, config, now()).unwrap());
        assert_eq!(aborted_in(&log), [(1, 2)], "read {nth}");
    }
    assert!(refused > 0);
}

#[test]
fn a_lost_transaction_index_of_a_sealed_segment_hides_no_aborted_transaction() {
    let (storage, config) = aborted(LogConfig::new().segment_bytes(450)).close();
    let path = partition_file(&SegmentFile::TransactionIndex.name(Offset::ZERO));
    storage.remove(&path).unwrap();
    let home = Home::on(storage, config);
    assert_eq!(home.bases().len(), 2);
    assert_eq!(aborted_in(&home.log), [(1, 2)]);
}

#[test]
fn a_failed_publish_of_the_epoch_file_takes_the_log_offline() {
    for (kind, path) in [
        (OperationKind::Sync, "leader-epoch-checkpoint.tmp"),
        (OperationKind::Rename, "leader-epoch-checkpoint"),
        (OperationKind::SyncDir, "orders-0"),
    ] {
        let home = committed(1, LogConfig::new());
        home.storage.fail(Fault::nth(0).of_kind(kind).on_paths_ending_with(path));
        let failed = home.log.begin_epoch(epoch(1));
        assert!(matches!(failed, Err(Error::Io { .. })), "{kind:?}: {failed:?}");
        let online = home.log.check_online();
        assert!(matches!(online, Err(Error::Offline { .. })), "{kind:?}: {online:?}");
    }
}

#[test]
fn an_epoch_file_without_space_leaves_the_log_online() {
    let home = committed(1, LogConfig::new());
    let full = Fault::nth(0).of_kind(OperationKind::Write).on_paths_ending_with("leader-epoch-checkpoint.tmp");
    home.storage.fail(full.with_error_kind(io::ErrorKind::StorageFull));
    let failed = home.log.begin_epoch(epoch(1));
    assert!(matches!(failed, Err(Error::OutOfSpace { .. })), "{failed:?}");
    home.log.check_online().unwrap();
    home.log.begin_epoch(epoch(1)).unwrap();
}

#[test]
fn a_failed_sync_of_the_witness_is_not_retried() {
    let home = committed(1, LogConfig::new());
    home.storage.fail(Fault::nth(0).of_kind(OperationKind::Sync).on_paths_ending_with("logstead.witness"));
    home.directory.checkpoint().unwrap_err();
    let before = home.storage.operation_count();
    home.directory.checkpoint().unwrap_err();
    let later = home.storage.operations().split_off(before as usize);
    let is_retry = |kind: OperationKind, path: &Path| kind == OperationKind::Sync && path.ends_with("logstead.witness");
    assert!(!later.iter().any(|operation| is_retry(operation.kind, &operation.path)), "{later:?}");
}

#[test]
fn after_a_failed_sync_of_the_witness_the_folder_is_not_marked_clean() {
    let home = committed(1, LogConfig::new());
    let (storage, config) = (home.storage.clone(), LogConfig::clone(&home.log.config()));
    storage.fail(Fault::nth(0).of_kind(OperationKind::Sync).on_paths_ending_with("logstead.witness"));
    home.directory.checkpoint().unwrap_err();
    home.directory.close().unwrap_err();
    drop(home.log);
    assert!(!Home::on(storage, config).directory.report().was_clean);
}

/// A folder that another owner left clean, without our files, and with damage in the last batch: offsets 8 and 9.
fn damaged_by_another_owner() -> (MemStorage, LogConfig) {
    let (storage, config) = committed(5, LogConfig::new()).close();
    for name in ["logstead.manifest", "logstead.witness"] {
        storage.remove(&in_folder(name)).unwrap();
    }
    let len = bytes_of(&storage, &first_log()).len();
    flip(&storage, &first_log(), len - 20);
    (storage, config)
}

#[test]
fn damage_found_at_one_open_is_still_damage_at_the_next() {
    let (mut storage, mut config) = damaged_by_another_owner();
    let bytes = bytes_of(&storage, &first_log());
    for round in 0..3 {
        let home = Home::on(storage, config);
        let report = home.log.recovery_report();
        assert_eq!((report.damage.len(), report.cuts.len()), (1, 0), "{round}: {report:?}");
        (storage, config) = home.close();
        assert_eq!(bytes_of(&storage, &first_log()), bytes, "{round}");
    }
}

#[test]
fn damage_at_the_end_of_the_log_is_told_to_whoever_reads_there() {
    let (storage, config) = damaged_by_another_owner();
    let home = Home::on(storage, config);
    assert_eq!(home.log.log_end_offset(), offset(10));
    for lost in [8, 9] {
        let refused = read(&home.log, lost);
        assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
    }
}

/// A marker with a good checksum whose key has a negative version.
fn senseless_marker() -> Vec<u8> {
    const KEY_AT: usize = 61 + 5;
    let mut batch = marker();
    batch.stamp(Offset::ZERO, epoch(0));
    let mut bytes = batch.into_buffer();
    bytes[KEY_AT] = 0xff;
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn a_marker_that_makes_no_sense_is_refused_before_it_is_written() {
    let home = Home::new(LogConfig::new());
    let refused = home.log.append_as_follower(&senseless_marker(), now());
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
    assert_eq!(bytes_of(&home.storage, &first_log()), []);
    home.log.check_online().unwrap();
}

#[test]
fn a_marker_that_makes_no_sense_does_not_keep_its_log_closed() {
    let (storage, config) = die(Home::new(LogConfig::new()));
    overwrite(&storage, &first_log(), &senseless_marker());
    let home = Home::on(storage, config);
    assert_eq!(home.log.log_end_offset(), offset(1));
    assert_eq!(all_bytes(&home.log), senseless_marker());
}

#[test]
fn a_read_error_does_not_pass_for_another_owner() {
    let mut refused = 0;
    for nth in 0..20 {
        let home = committed(5, LogConfig::new());
        home.directory.checkpoint().unwrap();
        let (storage, _) = die(home);
        storage.fail(Fault::nth(nth).of_kind(OperationKind::Read));
        match LogDirectory::options().storage(storage).open(FOLDER) {
            Ok(directory) => assert_eq!(directory.report().foreign_file, None, "read {nth}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_damaged_manifest_does_not_discard_the_witness() {
    let home = committed(5, LogConfig::new());
    home.log.delete_before(offset(5)).unwrap();
    let (storage, config) = die(home);
    flip(&storage, &in_folder("logstead.manifest"), 40);
    let home = Home::on(storage, config);
    let bounds = (home.log.log_start_offset(), home.log.high_watermark(), home.log.log_end_offset());
    assert_eq!(bounds, (offset(5), offset(10), offset(10)));
}

/// Bytes full of batch headers that each claim most of what follows, none with a good checksum.
fn imitations(len: usize) -> Vec<u8> {
    let header = &replicated(5, 0, 1)[..61];
    let mut bytes = Vec::new();
    while bytes.len() + header.len() <= len {
        let start = bytes.len();
        let claimed = i32::try_from(len - start).unwrap() - 100;
        bytes.extend_from_slice(header);
        bytes[start + 8..start + 12].copy_from_slice(&claimed.max(60).to_be_bytes());
    }
    bytes
}

fn scanner_over(bytes: &[u8]) -> BatchScanner {
    let storage = MemStorage::new();
    overwrite(&storage, Path::new("/damaged.log"), bytes);
    let file = storage.open(Path::new("/damaged.log"), OpenMode::Read).unwrap();
    BatchScanner::new(file, 0, bytes.len() as u64)
}

#[test]
fn a_search_behind_damage_gives_up_on_bytes_that_imitate_batches() {
    let mut scanner = scanner_over(&imitations(64 << 10));
    assert!(!scanner.skip_damage(Offset::ZERO, Offset::MAX).unwrap());
    assert!(scanner.gave_up());
}

#[test]
fn a_search_that_reaches_the_end_has_not_given_up() {
    let mut scanner = scanner_over(&[7; 64 << 10]);
    assert!(!scanner.skip_damage(Offset::ZERO, Offset::MAX).unwrap());
    assert!(!scanner.gave_up());
}

#[test]
fn a_tail_that_a_search_gave_up_on_is_kept_aside() {
    let home = committed(1, LogConfig::new());
    let whole = all_bytes(&home.log);
    home.append(1, &imitations(64 << 10));
    let (storage, config) = die(home);
    let len = bytes_of(&storage, &first_log()).len();
    flip(&storage, &first_log(), len - 5);
    let bytes = bytes_of(&storage, &first_log());
    let home = Home::on(storage, config);
    let cut = home.log.recovery_report().cuts[0].clone();
    assert_eq!(bytes_of(&home.storage, &cut.kept_in.unwrap()), bytes[whole.len()..]);
}

#[test]
fn a_follower_append_that_fails_half_way_is_published_up_to_there() {
    let size = replicated(0, 0, 1).len() as u64;
    let home = Home::new(LogConfig::new().segment_bytes(2 * size));
    home.log.append_as_follower(&replicated(0, 0, 1), now()).unwrap();
    let next_segment = Fault::nth(0).of_kind(OperationKind::Create).on_paths_ending_with(".log");
    home.storage.fail(next_segment.with_error_kind(io::ErrorKind::StorageFull));
    let run = [replicated(1, 0, 1), replicated(2, 0, 1)].concat();
    let failed = home.log.append_as_follower(&run, now());
    assert!(matches!(failed, Err(Error::OutOfSpace { .. })), "{failed:?}");
    assert_eq!(home.log.log_end_offset(), offset(2));
    assert_eq!(all_bytes(&home.log), [replicated(0, 0, 1), replicated(1, 0, 1)].concat());
    home.log.append_as_follower(&replicated(2, 0, 1), now()).unwrap();
}

#[test]
fn starting_anew_at_an_offset_survives_a_death_at_every_call() {
    let start_anew = |point: Option<fn(u64) -> StopPoint>, number: u64| {
        let home = committed(4, LogConfig::new().segment_bytes(300));
        home.directory.checkpoint().unwrap();
        let (old, before) = (all_bytes(&home.log), home.storage.operation_count());
        if let Some(point) = point {
            home.storage.stop_at(point(before + number));
        }
        let done = home.log.truncate_fully_and_start_at(offset(1_000), now());
        assert_eq!(done.is_ok(), point.is_none());
        (old, home.storage.operation_count() - before, home)
    };
    let (_, calls, _) = start_anew(None, 0);
    assert!(calls > 10);
    for point in [StopPoint::Before, StopPoint::After] {
        for number in 0..calls {
            let (old, _, home) = start_anew(Some(point), number);
            for model in [CrashModel::KeepAll, CrashModel::DropAll] {
                let what = format!("{:?}, {model:?}", point(number));
                let again = Home::on(home.storage.crash_image(&model, 0), LogConfig::clone(&home.log.config()));
                assert_eq!(again.log.recovery_report().damage, [], "{what}");
                let (start, end) = (again.log.log_start_offset(), again.log.log_end_offset());
                let is_new = (start, end) == (offset(1_000), offset(1_000));
                assert!(is_new || start == offset(0) && old.starts_with(&all_bytes(&again.log)), "{what}");
            }
        }
    }
}

/// Reads the log just before each call that changes its files, as a thread that is not lucky would.
#[derive(Debug)]
struct Reader {
    log: OnceLock<Weak<Log>>,
    slices: mpsc::Sender<LogSlice>,
}

impl Reader {
    fn race(&self, path: &Path) {
        let log = self.log.get().and_then(Weak::upgrade);
        if let Some(log) = log.filter(|_| path.parent().is_some_and(|folder| folder.ends_with("orders-0"))) {
            self.slices.send(read(&log, 0).unwrap()).unwrap();
        }
    }
}

/// A memory disk on which a reader races with whoever changes a partition's files.
#[derive(Debug)]
struct RacingDisk {
    inner: MemStorage,
    reader: Arc<Reader>,
}

#[derive(Debug)]
struct RacingFile {
    inner: Arc<dyn StorageFile>,
    reader: Arc<Reader>,
}

impl Storage for RacingDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(RacingFile { inner: self.inner.open(path, mode)?, reader: Arc::clone(&self.reader) }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(folder)
    }

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        self.inner.create_dir(folder)
    }

    fn remove_dir(&self, folder: &Path) -> io::Result<()> {
        self.inner.remove_dir(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.reader.race(to);
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.reader.race(path);
        self.inner.remove(path)
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        self.inner.sync_dir(folder)
    }

    fn lock(&self, path: &Path) -> logstead::Result<Box<dyn LockGuard>> {
        self.inner.lock(path)
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<u32>> {
        self.inner.lock_holder(path)
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        self.inner.identity(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_space(path)
    }
}

impl StorageFile for RacingFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(position, buffer)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write_at(position, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.reader.race(self.path());
        self.inner.set_len(len)
    }

    fn metadata(&self) -> io::Result<FileMetadata> {
        self.inner.metadata()
    }

    fn set_modified(&self, time: Timestamp) -> io::Result<()> {
        self.inner.set_modified(time)
    }

    fn hint(&self, hint: Hint) -> io::Result<()> {
        self.inner.hint(hint)
    }

    fn sync(&self, mode: SyncMode) -> io::Result<()> {
        self.inner.sync(mode)
    }

    fn freeze(&self) -> io::Result<FrozenBytes> {
        self.inner.freeze()
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }
}

/// The memory disk refuses to shorten a file that is mapped, where a real one would end the process.
#[test]
fn a_file_that_a_racing_reader_maps_is_not_shortened() {
    let (sender, slices) = mpsc::channel();
    let reader = Arc::new(Reader { log: OnceLock::new(), slices: sender });
    let disk = RacingDisk { inner: MemStorage::new(), reader: Arc::clone(&reader) };
    let directory = LogDirectory::options().storage(disk).seed(1).open(FOLDER).unwrap();
    let config = LogConfig::new().segment_bytes(700).read_mode(ReadMode::Mapped);
    let log = directory.open_log(&tp(), None, config, now()).unwrap();
    log.begin_epoch(epoch(0)).unwrap();
    for _ in 0..9 {
        log.append_as_leader(&mut batch_of(1, &[7; 100]), now()).unwrap();
    }
    log.flush().unwrap();
    reader.log.set(Arc::downgrade(&log)).unwrap();
    log.truncate_to(offset(2), now()).unwrap();
    let slices: Vec<_> = slices.try_iter().collect();
    assert!(!slices.is_empty());
    let first = read(&log, 0).unwrap();
    assert!(slices.iter().all(|slice| slice.as_bytes() == first.as_bytes()));
}
