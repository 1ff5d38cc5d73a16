//! [S] One partition's log, read by somebody who does not own it.
//!
//! What may be seen is decided by a [`refresh`](ReadOnlyLog::refresh): up to the high watermark that the owner wrote into
//! the witness. Reads go by the last refresh, so they never meet what the owner may still take back. Lock ranks:
//! `LogMaintenance` (a token: one refresh at a time) and `LogPublished`.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Damage, Error, IoContext, Result};
use crate::log::checkpoint::decode_offsets;
use crate::log::context::LogContext;
use crate::log::directory::files::{LOG_STARTS, TEXT_BYTES_MAX, read_topic_id};
use crate::log::epoch_cache::EpochCache;
use crate::log::list_offset::{ListedOffset, OffsetSpec};
use crate::log::offset_by_time::Search;
use crate::log::read::{Hint, ReadIsolation, ReadLimits, SegmentReader, aborted_between};
use crate::log::read_only::Folder;
use crate::log::read_only::walk::{Target, Walk};
use crate::log::read_only::witness_reader::WitnessReader;
use crate::log::recovery::read_epochs;
use crate::log::segment::Segment;
use crate::log::slice::{BufferPool, LogSlice};
use crate::log::state::Published;
use crate::log::txn_index::AbortedTransaction;
use crate::log::witness::Witness;
use crate::storage::{FileIdentity, read_file};
use crate::sync::{Rank, RankedMutex};
use crate::types::{Offset, TopicId, TopicPartition};

/// How often a refresh starts over because the owner changed the log meanwhile.
const ATTEMPTS_MAX: u32 = 8;

/// One partition's log, opened for looking: it takes no lock, changes no byte, and works while the owner writes.
///
/// It shows what was committed at the last [`refresh`](Self::refresh). Opened by
/// [`ReadOnlyDirectory::open_log`](super::ReadOnlyDirectory::open_log).
#[derive(Debug)]
pub struct ReadOnlyLog {
    context: Arc<LogContext>,
    data_folder: Folder,
    topic_id: Option<TopicId>,
    identity: FileIdentity,
    pool: Arc<BufferPool>,
    follow: RankedMutex<Follow>,
    shown: RankedMutex<Shown>,
}

/// What readers go by.
#[derive(Debug)]
struct Shown {
    view: Published,
    /// Whether the topic was deleted.
    is_gone: bool,
}

/// What a refresh goes on from.
#[derive(Debug)]
struct Follow {
    /// `None` as long as nobody vouches for the witness: a broker owns the folder, or has owned it since.
    witness: Option<WitnessReader>,
    known: Option<Witness>,
    walk: Walk,
}

impl ReadOnlyLog {
    /// Opens a partition folder that exists.
    pub(crate) fn open(data_folder: &Folder, tp: &TopicPartition, pool: Arc<BufferPool>) -> Result<ReadOnlyLog> {
        let storage = &data_folder.storage;
        let folder = data_folder.path.join(tp.to_string());
        let identity = match storage.identity(&folder) {
            Ok(identity) => identity,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(data_folder.unknown(tp)),
            Err(error) => return Err(error).context("look at", &folder),
        };
        let topic_id = read_topic_id(&**storage, &folder).map_err(|error| error.in_partition(tp))?;
        let context = Arc::new(LogContext {
            storage: Arc::clone(storage),
            folder,
            tp: tp.clone(),
            topic_id: topic_id.unwrap_or(TopicId::ZERO),
            was_mapped: Arc::default(),
        });
        let follow = Follow { witness: None, known: None, walk: Walk::default() };
        let log = ReadOnlyLog {
            context,
            data_folder: data_folder.clone(),
            topic_id,
            identity,
            pool,
            follow: RankedMutex::new(Rank::LogMaintenance, follow),
            shown: RankedMutex::new(Rank::LogPublished, Shown { view: nothing(), is_gone: false }),
        };
        log.refresh()?;
        Ok(log)
    }

    /// The partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.context.tp
    }

    /// The topic's id, as in `partition.metadata`; `None` for a folder without one, as old brokers wrote them.
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// The partition's folder.
    pub fn folder(&self) -> &Path {
        &self.context.folder
    }

    /// Looks how far the log is committed now, and tells whether anything changed. One small positioned read when nothing
    /// did, as long as the witness knows the partition; without a witness the end of the log is looked at.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`]: the topic was deleted, and perhaps created again; [`Error::Io`].
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::*, config::LogConfig, types::*, record::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let (clock, storage) = (ManualClock::new(), MemStorage::new());
    /// # let directory = LogDirectory::options().storage(storage.clone()).open("/data")?;
    /// # let tp = TopicPartition::new("orders", 0)?;
    /// # let log = directory.open_log(&tp, None, LogConfig::new(), clock.now())?;
    /// # log.begin_epoch(LeaderEpoch::ZERO)?;
    /// let look = ReadOnlyDirectory::options().storage(storage).open("/data")?.open_log(&tp)?;
    /// # let mut builder = BatchBuilder::new(BatchOptions::default());
    /// # builder.append(None, None, Some(b"value"), &[])?;
    /// log.append_as_leader(&mut builder.build()?, clock.now())?;
    /// assert!(!look.refresh()?); // in the file, but not committed
    /// log.flush()?;
    /// log.advance_high_watermark(Offset::from(1))?;
    /// assert!(look.refresh()?);
    /// assert_eq!(look.high_watermark(), Offset::from(1));
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn refresh(&self) -> Result<bool> {
        self.refresh_as(Refresh::WhenChanged)
    }

    /// The first offset that may be read.
    pub fn log_start_offset(&self) -> Offset {
        self.shown.lock().view.log_start
    }

    /// The offset behind the last record that may be seen: the high watermark, unless the folder was opened
    /// [to the last batch](super::ReadOnlyDirectoryOptions::to_last_batch).
    pub fn log_end_offset(&self) -> Offset {
        self.shown.lock().view.log_end
    }

    /// The offset below which everything is committed. Without a witness: the end of the last valid batch.
    pub fn high_watermark(&self) -> Offset {
        self.shown.lock().view.high_watermark
    }

    /// The offset below which everything is committed and belongs to no open transaction.
    pub fn last_stable_offset(&self) -> Offset {
        self.shown.lock().view.last_stable
    }

    /// Its segments in offset order, as far as they hold something that may be seen.
    pub fn segments(&self) -> Vec<Segment> {
        self.shown.lock().view.segments.to_vec()
    }

    /// Reads whole batches from the one that contains `from` on, as [`Log::read`](crate::log::Log::read) does, up to what was
    /// committed at the last refresh. Leader epochs are not compared with their history, which may reach its file later
    /// than the batches.
    ///
    /// # Errors
    /// As [`Log::read`](crate::log::Log::read); [`Error::UnknownTopicOrPartition`] when the topic was deleted.
    pub fn read(&self, from: Offset, limits: ReadLimits) -> Result<LogSlice> {
        self.read_with_hint(from, limits, None)
    }

    /// Reads what follows an earlier slice: like [`read`](Self::read) from its next offset, without looking the position
    /// up again.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_after(&self, slice: &LogSlice, limits: ReadLimits) -> Result<LogSlice> {
        self.read_with_hint(slice.next_offset(), limits, Some(Hint::after(slice)))
    }

    /// Aborted transactions that a `read_committed` reader of `[from, upper)` must filter out.
    ///
    /// # Errors
    /// As [`Log::aborted_transactions`](crate::log::Log::aborted_transactions); [`Error::UnknownTopicOrPartition`].
    pub fn aborted_transactions(&self, from: Offset, upper: Offset) -> Result<Vec<AbortedTransaction>> {
        self.looking_again(|view| aborted_between(&view.segments, from, upper))
    }

    /// The offset that `spec` stands for, as [`Log::list_offset`](crate::log::Log::list_offset) answers, among what was
    /// committed at the last refresh.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn list_offset(&self, spec: OffsetSpec, isolation: ReadIsolation) -> Result<Option<ListedOffset>> {
        let reader = SegmentReader { context: &self.context, pool: &self.pool };
        // Nothing else needs the history, so it is read when somebody asks.
        let epochs = match spec {
            OffsetSpec::Earliest | OffsetSpec::Latest => read_epochs(&self.context)?.map(Arc::new),
            OffsetSpec::MaxTimestamp | OffsetSpec::Timestamp(_) => None,
        };
        self.looking_again(|view| {
            let epochs = epochs.clone().unwrap_or_else(|| Arc::clone(&view.epochs));
            let view = Published { epochs, ..view.clone() };
            let read = |from, limits| reader.read(&view, from, limits, None);
            Search { view: &view, read: &read }.list_offset(spec, isolation)
        })
    }

    fn read_with_hint(&self, from: Offset, limits: ReadLimits, hint: Option<Hint>) -> Result<LogSlice> {
        let reader = SegmentReader { context: &self.context, pool: &self.pool };
        self.looking_again(|view| {
            let slice = reader.read(view, from, limits, hint)?;
            self.check_first_batch(view, from, &slice)?;
            Ok(slice)
        })
    }

    /// What `look` finds; if it fails, what it finds after a refresh: the owner may have deleted a segment, or cut one.
    fn looking_again<T>(&self, look: impl Fn(&Published) -> Result<T>) -> Result<T> {
        let view = self.view()?;
        let how = match look(&view) {
            Err(Error::Io { .. }) => Refresh::FromScratch,
            Err(Error::Corrupt(_)) => Refresh::Always,
            other => return other,
        };
        self.refresh_as(how)?;
        look(&self.view()?).map_err(|error| error.in_partition(&self.context.tp))
    }

    /// A segment that is gone, or has lost its end, must not be passed over.
    fn check_first_batch(&self, view: &Published, from: Offset, slice: &LogSlice) -> Result<()> {
        let Some(first) = slice.headers().next().transpose()? else { return Ok(()) };
        let found = first.base_offset_or(from);
        if found <= from || view.has_gaps {
            return Ok(());
        }
        let base = slice.position().segment_base;
        let path = self.context.path(crate::log::SegmentFile::Log, base);
        let error = Error::corrupt(0, Damage::Offset { expected: from, found: found.get() }).in_file(&path, 0);
        Err(error.with_offsets(from, found))
    }

    fn view(&self) -> Result<Published> {
        let shown = self.shown.lock();
        if shown.is_gone { Err(self.unknown()) } else { Ok(shown.view.clone()) }
    }

    fn refresh_as(&self, how: Refresh) -> Result<bool> {
        let mut follow = self.follow.lock();
        self.refresh_follow(&mut follow, how).map_err(|error| error.in_partition(&self.context.tp))
    }

    fn refresh_follow(&self, follow: &mut Follow, how: Refresh) -> Result<bool> {
        let has_changed = self.look(follow)?;
        let is_followed_by_witness = follow.known.is_some() && !self.data_folder.to_last_batch;
        if how == Refresh::WhenChanged && !has_changed && is_followed_by_witness {
            return Ok(false);
        }
        if how == Refresh::FromScratch {
            follow.walk = Walk::default();
        }
        let mut confirmed = None;
        for attempt in 1.. {
            let generation = follow.known.as_ref().map_or(0, |witness| witness.generation);
            let target = self.target(follow)?;
            let advanced = follow.walk.advance(&self.context, target);
            // Damage, or a file that is gone, counts once it was found by a walk of its own after which the owner says the
            // same as before it.
            let is_certain = matches!(advanced, Ok(true)) || confirmed == Some(generation) || attempt >= ATTEMPTS_MAX;
            if is_certain && (follow.known.is_some() || !self.look(follow)?) {
                if advanced.is_err() {
                    follow.walk = Walk::default();
                }
                advanced?;
                return Ok(self.publish(follow, target));
            }
            if !matches!(advanced, Ok(true)) {
                confirmed = Some(generation);
                follow.walk = Walk::default();
            }
            self.look(follow)?;
        }
        Ok(false)
    }

    /// Reads the witness again; whether it says something new.
    fn look(&self, follow: &mut Follow) -> Result<bool> {
        if self.shown.lock().is_gone || !self.is_there()? {
            return Err(self.gone());
        }
        if follow.witness.is_none() && self.data_folder.is_ours()? {
            let storage = Arc::clone(&self.context.storage);
            follow.witness = Some(WitnessReader::new(storage, &self.data_folder.path));
        }
        let found = match &mut follow.witness {
            Some(witness) => witness.read(&self.context.tp, self.topic_id)?,
            None => None,
        };
        if found.is_none() && read_topic_id(&*self.context.storage, &self.context.folder)? != self.topic_id {
            return Err(self.gone());
        }
        // What was committed stays so, even if the witness has been lost since.
        let Some(found) = found.filter(|found| follow.known.as_ref() != Some(found)) else { return Ok(false) };
        follow.known = Some(found);
        Ok(true)
    }

    /// Whether the partition's folder is the one that was opened.
    fn is_there(&self) -> Result<bool> {
        match self.context.storage.identity(&self.context.folder) {
            Ok(identity) => Ok(identity == self.identity),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).context("look at", &self.context.folder),
        }
    }

    fn target(&self, follow: &Follow) -> Result<Target> {
        let end = |committed| if self.data_folder.to_last_batch { Offset::MAX } else { committed };
        Ok(match &follow.known {
            Some(witness) => Target {
                log_start: witness.log_start,
                committed: witness.high_watermark,
                end: end(witness.high_watermark),
                has_gaps: witness.has_gaps,
            },
            None => Target {
                log_start: self.checkpointed_start()?,
                committed: Offset::ZERO,
                end: Offset::MAX,
                has_gaps: true,
            },
        })
    }

    /// The log start in the checkpoint: where a broker notes that records were deleted inside a segment.
    fn checkpointed_start(&self) -> Result<Offset> {
        let path = self.data_folder.path.join(LOG_STARTS);
        let bytes = read_file(&*self.context.storage, &path, TEXT_BYTES_MAX)?;
        let starts = bytes.and_then(|bytes| decode_offsets(&bytes).ok()).unwrap_or_default();
        Ok(starts.get(&self.context.tp).copied().unwrap_or(Offset::ZERO))
    }

    /// Shows readers what the walk has come to; whether that is something new.
    fn publish(&self, follow: &mut Follow, target: Target) -> bool {
        let walk = &mut follow.walk;
        let first = walk.segments().first().map_or(Offset::ZERO, Segment::base_offset);
        let (log_start, log_end, high_watermark) = match &follow.known {
            Some(_) if target.end == target.committed => (target.log_start, target.committed, target.committed),
            Some(_) => (target.log_start, walk.end_offset().max(target.committed), target.committed),
            None => {
                let end = walk.end_offset().max(first);
                (target.log_start.max(first).min(end), end, end)
            }
        };
        let last_stable = walk.first_unstable_offset(high_watermark).unwrap_or(high_watermark);
        let next = Published {
            segments: walk.segments().into(),
            epochs: Arc::new(EpochCache::default()),
            damage: walk.damage().into(),
            log_start,
            last_stable: last_stable.min(high_watermark).max(log_start),
            high_watermark,
            synced: follow.known.as_ref().map_or(log_end, |witness| witness.synced_offset.min(log_end)),
            log_end,
            generation: 0,
            has_gaps: target.has_gaps,
            config: Arc::default(),
            gone: None,
        };
        let mut shown = self.shown.lock();
        let bounds = |view: &Published| (view.log_start, view.last_stable, view.high_watermark, view.log_end);
        let has_changed = bounds(&shown.view) != bounds(&next);
        shown.view = next;
        has_changed
    }

    /// The topic was deleted: from here on everything says so.
    fn gone(&self) -> Error {
        self.shown.lock().is_gone = true;
        self.unknown()
    }

    fn unknown(&self) -> Error {
        Error::unknown_topic(self.context.tp.topic.as_str(), [])
    }
}

/// What a refresh looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresh {
    /// The log, if the witness has changed.
    WhenChanged,
    /// The log, in any case.
    Always,
    /// The log, as if for the first time.
    FromScratch,
}

fn nothing() -> Published {
    Published {
        segments: Vec::new().into(),
        epochs: Arc::new(EpochCache::default()),
        damage: Vec::new().into(),
        log_start: Offset::ZERO,
        last_stable: Offset::ZERO,
        high_watermark: Offset::ZERO,
        synced: Offset::ZERO,
        log_end: Offset::ZERO,
        generation: 0,
        has_gaps: false,
        config: Arc::default(),
        gone: None,
    }
}
