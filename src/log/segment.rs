//! [S] One segment as readers see it: its file, its indexes, its bounds. Lock rank: `SegmentIndex`.
//!
//! The same object serves a segment through its whole life (active, sealing, sealed), so a reader that holds it goes on
//! undisturbed by a roll, and by a removal: the open file stays readable. Kafka's counterpart: `LogSegment`.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::config::{LogConfig, ReadMode};
use crate::error::{Damage, Error, IoContext, Result};
use crate::log::context::LogContext;
use crate::log::index_sums::{self, IndexSums};
use crate::log::indexer::SegmentIndexer;
use crate::log::layout::{DELETED_SUFFIX, SegmentFile};
use crate::log::offset_index::{OffsetIndex, OffsetIndexEntry};
use crate::log::recovery::find_aborted;
use crate::log::retention::SegmentAge;
use crate::log::scan::BatchScanner;
use crate::log::seal::{FileSum, SEAL_BLOCK_BYTES, Seal};
use crate::log::time_index::TimeIndex;
use crate::log::txn_index::{AbortedTransaction, TransactionIndex};
use crate::storage::{FrozenBytes, OpenMode, StorageFile, read_file};
use crate::sync::{Rank, RankedMutex};
use crate::types::{Offset, Timestamp};

/// A segment of a log: a run of batches in one `.log` file, with its indexes. A read-only view, cheap to clone.
///
/// It stays usable after the segment was deleted from its log, until the data folder is closed: the files of a deleted segment
/// are not removed while somebody holds it.
#[derive(Debug, Clone)]
pub struct Segment {
    inner: Arc<Inner>,
}

/// Tells whether somebody still holds a segment.
#[derive(Debug, Clone)]
pub(crate) struct SegmentHold(Weak<Inner>);

impl SegmentHold {
    pub(crate) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

#[derive(Debug)]
struct Inner {
    context: Arc<LogContext>,
    base_offset: Offset,
    /// Set before the segment's files get their other name.
    is_deleted: AtomicBool,
    state: RankedMutex<State>,
}

#[derive(Debug)]
struct State {
    /// Why the segment's names lead to another log's files, or nowhere.
    retired: Option<&'static str>,
    config: Arc<LogConfig>,
    phase: SegmentPhase,
    len: u64,
    next_offset: Offset,
    max_timestamp: Option<(Timestamp, Offset)>,
    file: Option<Arc<dyn StorageFile>>,
    map: Option<FrozenBytes>,
    indexes: Indexes,
    aborted: Option<Vec<AbortedTransaction>>,
}

impl State {
    fn check_present(&self) -> Result<()> {
        self.retired.map_or(Ok(()), |state| Err(Error::InvalidState { operation: "read the log", state }))
    }
}

#[derive(Debug)]
enum Indexes {
    Growing(Box<SegmentIndexer>),
    OnDisk,
    Loaded { offsets: OffsetIndex, times: TimeIndex },
}

/// Where a segment stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentPhase {
    /// Takes appends.
    Active,
    /// Takes no more appends; its files are not yet all durable.
    Sealing,
    /// Durable and immutable.
    Sealed,
}

/// A segment's bounds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentBounds {
    pub(crate) len: u64,
    pub(crate) next_offset: Offset,
}

impl Segment {
    /// A segment that takes appends, with an indexer that has seen every batch in it.
    pub(crate) fn active(
        context: Arc<LogContext>,
        config: Arc<LogConfig>,
        base_offset: Offset,
        file: Arc<dyn StorageFile>,
        indexer: SegmentIndexer,
        bounds: SegmentBounds,
    ) -> Segment {
        let max_timestamp = indexer.max_timestamp();
        let state = State {
            retired: None,
            config,
            phase: SegmentPhase::Active,
            len: bounds.len,
            next_offset: bounds.next_offset,
            max_timestamp,
            file: Some(file),
            map: None,
            indexes: Indexes::Growing(Box::new(indexer)),
            aborted: None,
        };
        Segment::with_state(context, base_offset, state)
    }

    /// A finished segment whose files are opened on first use.
    pub(crate) fn sealed(
        context: Arc<LogContext>,
        config: Arc<LogConfig>,
        base_offset: Offset,
        bounds: SegmentBounds,
    ) -> Segment {
        let state = State {
            retired: None,
            config,
            phase: SegmentPhase::Sealed,
            len: bounds.len,
            next_offset: bounds.next_offset,
            max_timestamp: None,
            file: None,
            map: None,
            indexes: Indexes::OnDisk,
            aborted: None,
        };
        Segment::with_state(context, base_offset, state)
    }

    fn with_state(context: Arc<LogContext>, base_offset: Offset, state: State) -> Segment {
        let (state, is_deleted) = (RankedMutex::new(Rank::SegmentIndex, state), AtomicBool::new(false));
        Segment { inner: Arc::new(Inner { context, base_offset, is_deleted, state }) }
    }

    /// The offset that names the segment's files: no batch in it starts below.
    pub fn base_offset(&self) -> Offset {
        self.inner.base_offset
    }

    /// The offset after the segment's last.
    pub fn next_offset(&self) -> Offset {
        self.inner.state.lock().next_offset
    }

    /// Bytes of batches in its `.log`.
    pub fn size_in_bytes(&self) -> u64 {
        self.inner.state.lock().len
    }

    /// Where it stands in its life.
    pub fn phase(&self) -> SegmentPhase {
        self.inner.state.lock().phase
    }

    /// The path of one of its files, whether it exists or not.
    pub fn path(&self, kind: SegmentFile) -> PathBuf {
        self.inner.context.path(kind, self.inner.base_offset)
    }

    /// Its offset index. Read from disk on first use once the segment is sealed; rebuilt from the log when damaged.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Corrupt`] when the `.log` itself, needed for a rebuild, cannot be read.
    pub fn offset_index(&self) -> Result<OffsetIndex> {
        self.with_indexes(|indexes| match indexes {
            Indexes::Growing(indexer) => indexer.offsets().snapshot(),
            Indexes::Loaded { offsets, .. } => offsets.clone(),
            Indexes::OnDisk => OffsetIndex::empty(self.base_offset()),
        })
    }

    /// Its time index. Read from disk on first use once the segment is sealed; rebuilt from the log when damaged.
    ///
    /// # Errors
    /// As [`offset_index`](Self::offset_index).
    pub fn time_index(&self) -> Result<TimeIndex> {
        self.with_indexes(|indexes| match indexes {
            Indexes::Growing(indexer) => indexer.times().snapshot(),
            Indexes::Loaded { times, .. } => times.clone(),
            Indexes::OnDisk => TimeIndex::empty(self.base_offset()),
        })
    }

    /// The largest timestamp in the segment, and the last offset of the first batch that carries it; `None` when no
    /// record has a timestamp.
    ///
    /// # Errors
    /// As [`offset_index`](Self::offset_index).
    pub fn max_timestamp(&self) -> Result<Option<(Timestamp, Offset)>> {
        let times = self.time_index()?;
        let known = self.inner.state.lock().max_timestamp;
        Ok(known.or_else(|| times.last().map(|entry| (entry.timestamp, entry.offset))))
    }

    /// The aborted transactions whose markers stand in this segment, in marker order. Found again in the log when the
    /// `.txnindex` is unreadable, or is not the one that was sealed.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] when the log itself, or the producer snapshot at its base, is needed and damaged.
    pub fn aborted_transactions(&self) -> Result<Vec<AbortedTransaction>> {
        if let Some(aborted) = &self.inner.state.lock().aborted {
            return Ok(aborted.clone());
        }
        let bytes = self.read(SegmentFile::TransactionIndex)?;
        if bytes.is_none() {
            self.inner.state.lock().check_present()?;
            self.check_not_removed()?;
        }
        // A lost index would make aborted records look committed: only the seal knows that there was one.
        let is_sealed = self.phase() == SegmentPhase::Sealed;
        let seal = is_sealed.then(|| self.read_seal().ok().flatten()).flatten();
        let is_intact = seal.is_none_or(|seal| bytes.as_deref().map(FileSum::of) == seal.transaction_index);
        let index = TransactionIndex::from_bytes(self.base_offset(), bytes.unwrap_or_default());
        let aborted: Vec<AbortedTransaction> = match index.ok().filter(|_| is_intact) {
            Some(index) => index.iter().collect(),
            None => find_aborted(&self.inner.context, self)?,
        };
        let mut state = self.inner.state.lock();
        state.check_present()?;
        state.aborted = Some(aborted.clone());
        Ok(aborted)
    }

    /// Compares every byte of a sealed segment's files with its seal. `Ok(false)` when the segment has no seal yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the first file and position that differ; [`Error::Io`] when a file cannot be read.
    pub fn verify_seal(&self) -> Result<bool> {
        self.inner.state.lock().check_present()?;
        let Some(seal) = self.read_seal()? else { return Ok(false) };
        let file = self.file()?;
        let len = file.len().context("read the length of", file.path())?;
        if len != seal.log_len {
            let what = Damage::Missing { expected: Some(seal.log_len), found: len };
            return Err(self.damaged(Error::corrupt(len.min(seal.log_len), what).in_file(file.path(), 0)));
        }
        let mut buffer = vec![0; SEAL_BLOCK_BYTES * 64];
        let mut position = 0;
        while position < len {
            let read = file.read_full_at(position, &mut buffer).context("read", file.path())?;
            if let Some(at) = seal.first_difference(position, buffer.get(..read).unwrap_or_default()) {
                let what = Damage::Structure("a block of 4,096 bytes is not what was sealed");
                return Err(self.damaged(Error::corrupt(at, what).in_file(file.path(), 0)));
            }
            position += read.max(1) as u64;
        }
        let kinds = [
            (SegmentFile::OffsetIndex, Some(seal.offset_index)),
            (SegmentFile::TimeIndex, Some(seal.time_index)),
            (SegmentFile::TransactionIndex, seal.transaction_index),
            (SegmentFile::Snapshot, seal.snapshot),
        ];
        for (kind, sealed) in kinds {
            let path = self.path(kind);
            let found = self.read(kind)?.map(|bytes| FileSum::of(&bytes));
            if sealed.is_some() && found != sealed {
                let what = Damage::Structure("the file is not what was sealed");
                return Err(self.damaged(Error::corrupt(0, what).in_file(&path, 0)));
            }
        }
        Ok(true)
    }

    /// Its seal; `None` when there is none.
    pub(crate) fn read_seal(&self) -> Result<Option<Seal>> {
        let path = self.path(SegmentFile::Seal);
        let Some(bytes) = self.read(SegmentFile::Seal)? else { return Ok(None) };
        let seal = Seal::from_bytes(&bytes).map_err(|error| error.in_file(&path, 0))?;
        let subject = self.inner.context.seal_subject(self.base_offset());
        if seal.subject != subject {
            return Err(Error::corrupt(8, Damage::Structure("the seal is of another segment")).in_file(&path, 0));
        }
        Ok(Some(seal))
    }

    /// From here on no file of it is opened: its name may soon be another's. Open ones stay readable.
    pub(crate) fn retire(&self, why: &'static str) {
        self.inner.state.lock().retired = Some(why);
    }

    /// From here on it is read as this configuration says. A map that readers hold stays with them.
    pub(crate) fn set_config(&self, config: &Arc<LogConfig>) {
        let mut state = self.inner.state.lock();
        state.config = Arc::clone(config);
        if config.get_read_mode() == ReadMode::Positioned {
            state.map = None;
        }
    }

    /// About how many bytes of batches stand between two entries of its offset index.
    pub(crate) fn index_interval_bytes(&self) -> u64 {
        self.inner.state.lock().config.get_index_interval_bytes()
    }

    /// Length and end of the segment, read together.
    pub(crate) fn bounds(&self) -> SegmentBounds {
        let state = self.inner.state.lock();
        SegmentBounds { len: state.len, next_offset: state.next_offset }
    }

    /// The `.log`, opened on first use.
    pub(crate) fn file(&self) -> Result<Arc<dyn StorageFile>> {
        let mut state = self.inner.state.lock();
        self.file_of(&mut state)
    }

    fn file_of(&self, state: &mut State) -> Result<Arc<dyn StorageFile>> {
        if let Some(file) = &state.file {
            return Ok(Arc::clone(file));
        }
        state.check_present()?;
        let path = self.path(SegmentFile::Log);
        let opened = match self.inner.context.storage.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.is_deleted() => {
                self.inner.context.storage.open(&self.deleted_path(SegmentFile::Log), OpenMode::Read)
            }
            other => other,
        };
        let file = opened.context("open", &path)?;
        state.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// To ask later whether somebody else holds it still.
    pub(crate) fn hold(&self) -> SegmentHold {
        SegmentHold(Arc::downgrade(&self.inner))
    }

    /// From here on its files may have their other name.
    pub(crate) fn set_deleted(&self) {
        self.inner.is_deleted.store(true, Ordering::Release);
    }

    fn is_deleted(&self) -> bool {
        self.inner.is_deleted.load(Ordering::Acquire)
    }

    /// The path of one of its files once the segment is deleted.
    pub(crate) fn deleted_path(&self, kind: SegmentFile) -> PathBuf {
        self.inner.context.folder.join(format!("{}{DELETED_SUFFIX}", kind.name(self.base_offset())))
    }

    /// The bytes of one of its files, under whichever name; `None` when there is none.
    fn read(&self, kind: SegmentFile) -> Result<Option<Vec<u8>>> {
        let storage = &*self.inner.context.storage;
        match read_file(storage, &self.path(kind), INDEX_BYTES_MAX)? {
            None if self.is_deleted() => read_file(storage, &self.deleted_path(kind), INDEX_BYTES_MAX),
            other => Ok(other),
        }
    }

    /// That a file was not found says nothing once the segment is deleted, here or by the owner of the folder. The `.log` is the
    /// first to lose its name, and the first to be removed.
    fn check_not_removed(&self) -> Result<()> {
        let storage = &self.inner.context.storage;
        let path = self.path(SegmentFile::Log);
        let found = match storage.identity(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.is_deleted() => {
                storage.identity(&self.deleted_path(SegmentFile::Log))
            }
            other => other,
        };
        found.map(drop).context("look at", &path)
    }

    /// How old the segment is, as far as its records tell, or else its file. Unlike [`max_timestamp`](Self::max_timestamp) it
    /// keeps no index in memory.
    pub(crate) fn age(&self, now: Timestamp) -> Result<SegmentAge> {
        let largest = self.largest_timestamp()?;
        let modified = match SegmentAge::of_records(largest, now) {
            Some(age) => return Ok(age),
            None => {
                let file = self.file()?;
                file.metadata().context("look at", file.path())?.modified
            }
        };
        Ok(SegmentAge { largest, modified })
    }

    fn largest_timestamp(&self) -> Result<Option<Timestamp>> {
        let mut state = self.inner.state.lock();
        let known = match &state.indexes {
            Indexes::Growing(indexer) => return Ok(indexer.max_timestamp().map(|(largest, _)| largest)),
            Indexes::Loaded { times, .. } => times.last().map(|entry| (entry.timestamp, entry.offset)),
            Indexes::OnDisk => None,
        };
        if state.max_timestamp.or(known).is_none() && matches!(state.indexes, Indexes::OnDisk) {
            state.check_present()?;
            let times = match self.load_indexes(state.len) {
                Ok((_, times)) => times,
                Err(_) => {
                    let file = self.file_of(&mut state)?;
                    self.rebuild_indexes(file, &state)?.1
                }
            };
            state.max_timestamp = times.last().map(|entry| (entry.timestamp, entry.offset));
        }
        Ok(state.max_timestamp.or(known).map(|(largest, _)| largest))
    }

    /// All bytes of a sealed segment as one read-only map, when the log reads through maps.
    pub(crate) fn map(&self) -> Result<Option<FrozenBytes>> {
        let mut state = self.inner.state.lock();
        if state.phase != SegmentPhase::Sealed || state.config.get_read_mode() != ReadMode::Mapped {
            return Ok(None);
        }
        if state.map.is_none() {
            let file = self.file_of(&mut state)?;
            self.inner.context.was_mapped.store(true, Ordering::Relaxed);
            state.map = Some(file.freeze().context("map", file.path())?);
        }
        Ok(state.map.clone())
    }

    /// Ends reading through a map for good, so that the file may change; `true` when a reader may still hold a map of it,
    /// perhaps one that an earlier opening of this log made.
    pub(crate) fn release_map(&self) -> bool {
        let mut state = self.inner.state.lock();
        let was_mappable = state.phase == SegmentPhase::Sealed;
        if was_mappable {
            state.phase = SegmentPhase::Sealing;
        }
        state.map = None;
        let maps = state.config.get_read_mode() == ReadMode::Mapped;
        was_mappable && (maps || self.inner.context.was_mapped.load(Ordering::Relaxed))
    }

    /// Where to start looking for an offset: the last indexed batch that ends at or below it.
    pub(crate) fn index_floor(&self, offset: Offset) -> Result<Option<OffsetIndexEntry>> {
        self.with_indexes(|indexes| match indexes {
            Indexes::Growing(indexer) => indexer.offsets().lookup(offset),
            Indexes::Loaded { offsets, .. } => offsets.lookup(offset),
            Indexes::OnDisk => None,
        })
    }

    /// Runs `change` on the indexer of a segment that still grows; `None` when it does not.
    pub(crate) fn with_indexer<T>(&self, change: impl FnOnce(&mut SegmentIndexer) -> T) -> Option<T> {
        match &mut self.inner.state.lock().indexes {
            Indexes::Growing(indexer) => Some(change(indexer)),
            Indexes::OnDisk | Indexes::Loaded { .. } => None,
        }
    }

    /// Batches were appended: `feed` tells the indexer about each.
    pub(crate) fn on_append<T>(
        &self,
        bounds: SegmentBounds,
        feed: impl FnOnce(&mut SegmentIndexer) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.inner.state.lock();
        state.len = bounds.len;
        state.next_offset = bounds.next_offset;
        match &mut state.indexes {
            Indexes::Growing(indexer) => feed(indexer),
            Indexes::OnDisk | Indexes::Loaded { .. } => {
                Err(Error::Internal { invariant: "only an active segment takes appends" })
            }
        }
    }

    /// What its indexes say below `up_to`; `None` once it is sealed.
    pub(crate) fn index_sums(&self, up_to: Offset) -> Option<IndexSums> {
        let state = self.inner.state.lock();
        let Indexes::Growing(indexer) = &state.indexes else { return None };
        let (offsets, times) = (indexer.offsets().snapshot(), indexer.times().snapshot());
        let aborted = state.aborted.as_deref().unwrap_or_default();
        let positions = index_sums::positions(&offsets, &times, up_to);
        Some(IndexSums { positions, transactions: index_sums::transactions(self.base_offset(), aborted, up_to) })
    }

    /// How many aborted transactions the segment has.
    pub(crate) fn aborted_count(&self) -> Result<usize> {
        if let Some(aborted) = &self.inner.state.lock().aborted {
            return Ok(aborted.len());
        }
        Ok(self.aborted_transactions()?.len())
    }

    /// An abort marker was appended.
    pub(crate) fn on_aborted(&self, entry: AbortedTransaction) {
        self.inner.state.lock().aborted.get_or_insert_default().push(entry);
    }

    /// Replaces what is known of the aborted transactions.
    pub(crate) fn set_aborted(&self, aborted: Vec<AbortedTransaction>) {
        self.inner.state.lock().aborted = Some(aborted);
    }

    /// No more appends: the last time entry is added.
    pub(crate) fn start_sealing(&self) -> Result<()> {
        let mut state = self.inner.state.lock();
        state.phase = SegmentPhase::Sealing;
        if let Indexes::Growing(indexer) = &mut state.indexes {
            indexer.finish()?;
            let max = indexer.max_timestamp();
            state.max_timestamp = max;
        }
        Ok(())
    }

    /// Everything is durable: the indexes become immutable.
    pub(crate) fn finish_sealing(&self) {
        let mut state = self.inner.state.lock();
        if let Indexes::Growing(indexer) = &state.indexes {
            let (offsets, times) = (indexer.offsets().snapshot(), indexer.times().snapshot());
            state.indexes = Indexes::Loaded { offsets, times };
        }
        state.phase = SegmentPhase::Sealed;
    }

    /// Runs `look` on indexes that are in memory, loading or rebuilding them first.
    fn with_indexes<T>(&self, look: impl FnOnce(&Indexes) -> T) -> Result<T> {
        let mut state = self.inner.state.lock();
        if matches!(state.indexes, Indexes::OnDisk) {
            state.check_present()?;
            let file = self.file_of(&mut state)?;
            // An index is derived: whatever is wrong with it, the log gives the same answers.
            let loaded = self.load_indexes(state.len).or_else(|_| self.rebuild_indexes(file, &state));
            let (offsets, times) = loaded?;
            state.indexes = Indexes::Loaded { offsets, times };
        }
        Ok(look(&state.indexes))
    }

    fn load_indexes(&self, log_len: u64) -> Result<(OffsetIndex, TimeIndex)> {
        let seal = self.read_seal()?;
        let read = |kind, sealed: Option<FileSum>| -> Result<Vec<u8>> {
            let path = self.path(kind);
            let missing = || Error::corrupt(0, Damage::Missing { expected: None, found: 0 }).in_file(&path, 0);
            let bytes = self.read(kind)?.ok_or_else(missing)?;
            match sealed {
                Some(sum) if FileSum::of(&bytes) != sum => Err(missing()),
                Some(_) | None => Ok(bytes),
            }
        };
        let offsets = read(SegmentFile::OffsetIndex, seal.as_ref().map(|seal| seal.offset_index))?;
        let times = read(SegmentFile::TimeIndex, seal.as_ref().map(|seal| seal.time_index))?;
        let offsets = OffsetIndex::from_bytes(self.base_offset(), offsets)?;
        if offsets.last().is_some_and(|last| last.position >= log_len) {
            return Err(Error::corrupt(0, Damage::Structure("an index entry points behind the end of the log")));
        }
        Ok((offsets, TimeIndex::from_bytes(self.base_offset(), times)?))
    }

    /// Indexes the log again, passing over damage: what can be read must be found.
    fn rebuild_indexes(&self, file: Arc<dyn StorageFile>, state: &State) -> Result<(OffsetIndex, TimeIndex)> {
        let mut indexer = SegmentIndexer::new(self.base_offset(), &state.config);
        let mut scanner = BatchScanner::new(file, 0, state.len);
        let mut expected = self.base_offset();
        loop {
            match scanner.next_batch() {
                Ok(None) => break,
                Ok(Some(batch)) => {
                    let reach = batch.header.last_offset().since(self.base_offset());
                    if batch.header.base_offset() < expected || reach > u64::from(i32::MAX.unsigned_abs()) {
                        continue;
                    }
                    indexer.on_batch(&batch.header, batch.position)?;
                    expected = batch.header.next_offset();
                }
                Err(Error::Corrupt(_)) => {
                    scanner.skip_damage(expected, Offset::MAX)?;
                }
                Err(other) => return Err(other),
            }
        }
        indexer.finish()?;
        Ok((indexer.offsets().snapshot(), indexer.times().snapshot()))
    }

    /// Adds the partition and the whole segment as damaged offsets.
    fn damaged(&self, error: Error) -> Error {
        error.in_partition(&self.inner.context.tp).with_offsets(self.base_offset(), self.next_offset())
    }
}

/// No index, snapshot or seal is larger (an index of the largest segment with an entry for every byte is not, either).
pub(crate) const INDEX_BYTES_MAX: u64 = 1 << 31;
