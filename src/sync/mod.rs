//! [D] Waiting and locking: the only folder that touches mutexes, condition variables and wakers.
//!
//! - `RankedMutex` and `Condition`: locks that assert the lock order in debug builds.
//! - `Signal`: a flag that a consumer sleeps on.
//! - [`Completion`] and [`Handle`]: a result that arrives once and is awaited by threads or by futures.
//! - [`Committer`]: one sync for many waiting threads, on any number of logs.
//!
//! [D]: crate

mod completion;
mod group_commit;
mod ranked;
mod signal;

pub use completion::{Completion, Handle, completion};
pub use group_commit::{CommitLane, Committer, CommitterConfig, Flush};

pub(crate) use ranked::{Condition, Rank, RankedGuard, RankedMutex, check_sync_allowed};
pub(crate) use signal::Signal;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Wakes a future. Wakers are the embedder's code: what panics in one is no business of the thread that happens to call it,
/// which has others to wake, and may be unwinding already.
pub(crate) fn wake(waker: Waker) {
    let woken = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    // The payload is somebody else's as well: dropping it could panic again.
    woken.unwrap_or_else(std::mem::forget);
}
