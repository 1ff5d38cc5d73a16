//! placeholder
mod checkpoint;
mod clean_shutdown;
mod epoch_cache;
mod offset_index;
mod partition_metadata;
mod producer_snapshot;
mod producer_state;
mod properties;
mod time_index;
mod txn_index;

pub use epoch_cache::{EpochCache, EpochEnd, EpochEntry};
pub use offset_index::{OffsetIndex, OffsetIndexEntry};
pub use time_index::{TimeIndex, TimeIndexEntry};
pub use txn_index::{AbortedTransaction, TransactionIndex};
