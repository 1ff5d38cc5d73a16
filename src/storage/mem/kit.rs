//! [P] The test kit of `MemStorage`: a log of operations, injected faults, and a point at which everything stops.
//!
//! Invariants kept here: each call that changes something gets the next index, whether or not it is made to fail; the
//! same calls and settings give the same outcomes.

use std::io;
use std::path::PathBuf;

use super::MemStorage;
use super::operation::{Call, OperationKind, Verdict};

/// EIO of Linux, macOS and most others.
const INPUT_OUTPUT_ERROR: i32 = 5;

/// One recorded call that changed a [`MemStorage`], or that would have, had it not been made to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its place in the log, from 0.
    pub index: u64,
    /// What it was.
    pub kind: OperationKind,
    /// The file or folder; of a rename the new name, of a call on an open file the path that it was opened with.
    pub path: PathBuf,
    /// For a write: the first byte. Otherwise 0.
    pub position: u64,
    /// For a write: its bytes. For a length change or a reservation: the new length. Otherwise 0.
    pub len: u64,
}

/// Where the process "dies": from there on every call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopPoint {
    /// The operation with this index has no effect.
    Before(u64),
    /// The operation with this index has its effect, and its caller never hears of it.
    After(u64),
}

/// A failure to inject: which call fails, with which error, how often, and whether it has its effect all the same.
///
/// A sync that fails without effect leaves the bytes readable but not durable, and no later sync makes them durable.
///
/// ```
/// use logstead::storage::{Fault, MemStorage, OpenMode, OperationKind, Storage, StorageFile, SyncMode};
/// use std::path::Path;
/// let storage = MemStorage::new();
/// storage.fail(Fault::nth(1).of_kind(OperationKind::Sync).on_paths_ending_with(".log"));
/// let file = storage.open(Path::new("/00.log"), OpenMode::Create)?;
/// assert!(file.sync(SyncMode::Data).is_ok());
/// assert!(file.sync(SyncMode::Data).is_err());
/// assert!(file.sync(SyncMode::Data).is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fault {
    nth: u64,
    kind: Option<OperationKind>,
    suffix: String,
    error: FaultError,
    sticky: bool,
    takes_effect: bool,
}

#[derive(Debug, Clone, Copy)]
enum FaultError {
    Kind(io::ErrorKind),
    Os(i32),
}

impl Fault {
    /// Fails one call: of those that match and are made from now on, number `nth`, counted from 0. Every call but a
    /// read matches; the error is EIO (5); the call has no effect.
    pub fn nth(nth: u64) -> Fault {
        let error = FaultError::Os(INPUT_OUTPUT_ERROR);
        Fault { nth, kind: None, suffix: String::new(), error, sticky: false, takes_effect: false }
    }

    /// Matches only calls of this kind.
    #[must_use]
    pub fn of_kind(self, kind: OperationKind) -> Fault {
        Fault { kind: Some(kind), ..self }
    }

    /// Matches only calls on paths whose text ends like this.
    #[must_use]
    pub fn on_paths_ending_with(self, suffix: &str) -> Fault {
        Fault { suffix: suffix.to_owned(), ..self }
    }

    /// Fails with this kind of error.
    #[must_use]
    pub fn with_error_kind(self, kind: io::ErrorKind) -> Fault {
        Fault { error: FaultError::Kind(kind), ..self }
    }

    /// Fails with this error number of the operating system.
    #[must_use]
    pub fn with_os_error(self, number: i32) -> Fault {
        Fault { error: FaultError::Os(number), ..self }
    }

    /// All later calls that match fail as well.
    #[must_use]
    pub fn sticky(self) -> Fault {
        Fault { sticky: true, ..self }
    }

    /// The call has its effect although it reports a failure.
    #[must_use]
    pub fn taking_effect(self) -> Fault {
        Fault { takes_effect: true, ..self }
    }

    fn matches(&self, call: &Call<'_>) -> bool {
        let kind_matches = match self.kind {
            Some(kind) => call.kind == kind,
            None => call.kind != OperationKind::Read,
        };
        kind_matches && call.path.as_os_str().as_encoded_bytes().ends_with(self.suffix.as_bytes())
    }

    fn to_error(&self) -> io::Error {
        match self.error {
            FaultError::Kind(kind) => kind.into(),
            FaultError::Os(number) => io::Error::from_raw_os_error(number),
        }
    }
}

/// The test kit's part of the state.
#[derive(Debug, Default)]
pub(super) struct Kit {
    operations: Vec<Operation>,
    faults: Vec<Fault>,
    stop: Option<StopPoint>,
    stopped: bool,
    short_transfers: Option<Random>,
}

impl Kit {
    /// Fails when the process is "dead".
    pub(super) fn check_running(&self) -> io::Result<()> {
        if self.stopped { Err(stopped()) } else { Ok(()) }
    }

    /// Records a call and decides what becomes of it.
    pub(super) fn admit(&mut self, call: Call<'_>) -> Verdict {
        if call.kind != OperationKind::Read {
            let index = self.operations.len() as u64;
            let Call { kind, path, position, len } = call;
            self.operations.push(Operation { index, kind, path: path.to_path_buf(), position, len });
            match self.stop {
                Some(StopPoint::Before(at)) if at <= index => return self.stop_now(false),
                Some(StopPoint::After(at)) if at <= index => return self.stop_now(true),
                Some(_) | None => {}
            }
        }
        let mut verdict = Verdict::PASS;
        self.faults.retain_mut(|fault| {
            if !fault.matches(&call) {
                return true;
            }
            if fault.nth > 0 {
                fault.nth -= 1;
                return true;
            }
            if verdict.error.is_none() {
                verdict = Verdict { applies: fault.takes_effect, error: Some(fault.to_error()) };
            }
            fault.sticky
        });
        verdict
    }

    /// How many of `len` bytes a read or write transfers this time.
    pub(super) fn admit_transfer(&mut self, len: usize) -> io::Result<usize> {
        let Some(random) = self.short_transfers.as_mut().filter(|_| len > 0) else { return Ok(len) };
        match random.below(8) {
            0 => Err(io::ErrorKind::Interrupted.into()),
            1..=3 => Ok(random.below_len(len).saturating_add(1)),
            _ => Ok(len),
        }
    }

    fn stop_now(&mut self, applies: bool) -> Verdict {
        self.stopped = true;
        Verdict { applies, error: Some(stopped()) }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the storage was stopped by a test")
}

/// The test kit, with feature `testkit`.
impl MemStorage {
    /// Every call so far that changed something, or that would have, had it not been made to fail. Calls that are
    /// illegal in themselves (such as the removal of a missing file) are not recorded.
    pub fn operations(&self) -> Vec<Operation> {
        self.state().kit.operations.clone()
    }

    /// How many operations were recorded: the index of the next one.
    pub fn operation_count(&self) -> u64 {
        self.state().kit.operations.len() as u64
    }

    /// Lets the process "die" at an operation: from there on every call fails, reads included. What survives is in
    /// [`crash_image`](MemStorage::crash_image).
    pub fn stop_at(&self, point: StopPoint) {
        self.state().kit.stop = Some(point);
    }

    /// Whether [`stop_at`](MemStorage::stop_at) has struck.
    pub fn is_stopped(&self) -> bool {
        self.state().kit.stopped
    }

    /// Injects a failure. Several count independently; where they coincide, the first one injected decides.
    pub fn fail(&self, fault: Fault) {
        self.state().kit.faults.push(fault);
    }

    /// Takes back all failures that are still to come, short transfers and [`stop_at`](MemStorage::stop_at). What a
    /// failed sync lost stays lost.
    pub fn clear_faults(&self) {
        let mut state = self.state();
        state.kit = super::kit::Kit { operations: std::mem::take(&mut state.kit.operations), ..Default::default() };
    }

    /// Lets about half of the reads and writes transfer fewer bytes than asked for, or be interrupted.
    pub fn set_short_transfers(&self, seed: u64) {
        self.state().kit.short_transfers = Some(Random::new(seed));
    }
}

/// A small generator (SplitMix64): the same seed gives the same numbers everywhere.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `[0, bound)`; 0 for an empty range.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// An index in `[0, bound)`; 0 for an empty range.
    pub(super) fn below_len(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
