//! [S] The leader-epoch file of one partition, written outside the log's lock and never backwards.
//!
//! Lock rank: `LogSealing`, a token that may be held across a sync.

use crate::error::Result;
use crate::log::context::LogContext;
use crate::log::layout::EPOCH_FILE;
use crate::storage::publish;
use crate::sync::{Rank, RankedMutex};

/// Which version of the epoch history the file holds.
#[derive(Debug)]
pub(crate) struct EpochFile {
    written: RankedMutex<u64>,
    known: std::sync::atomic::AtomicU64,
}

impl EpochFile {
    /// The file holds this version.
    pub(crate) fn at(version: u64) -> EpochFile {
        EpochFile { written: RankedMutex::new(Rank::LogSealing, version), known: version.into() }
    }

    /// Whether the file lacks this version.
    pub(crate) fn is_behind(&self, version: u64) -> bool {
        // A stale answer costs one publish too many; the version itself is only compared under the lock.
        self.known.load(std::sync::atomic::Ordering::Relaxed) < version
    }

    /// Publishes a version unless the file holds it, or a later one, already.
    pub(crate) fn write(&self, context: &LogContext, version: u64, bytes: &[u8]) -> Result<()> {
        let mut written = self.written.lock();
        if *written >= version {
            return Ok(());
        }
        publish(&*context.storage, &context.folder.join(EPOCH_FILE), bytes)?;
        *written = version;
        self.known.store(version, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}
