//! [D] Polling as a future: the same steps as the blocking poll, with a waker instead of a sleep.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::consumer::waiting::Sleep;
use crate::consumer::{Consumer, ConsumerRecords, EAGER_STEPS_MAX, Idle, PollLimits};
use crate::error::Result;

impl Consumer {
    /// Returns the next records, and waits for the first one without blocking the thread: nothing is synced or slept on it.
    ///
    /// Ends without records when the consumer is woken, and where nobody can tell that there is something to read (a folder
    /// opened read-only). Dropping the future loses nothing. It needs no particular runtime, and has no timeout: that is the
    /// runtime's.
    pub fn poll_async(&mut self) -> PollFuture<'_> {
        let limits = self.limits;
        PollFuture { consumer: self, limits }
    }
}

/// See [`Consumer::poll_async`]. Errors are those of [`Consumer::poll`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct PollFuture<'a> {
    consumer: &'a mut Consumer,
    limits: PollLimits,
}

impl Future for PollFuture<'_> {
    type Output = Result<ConsumerRecords>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<ConsumerRecords>> {
        let PollFuture { consumer, limits } = self.get_mut();
        for _ in 0..EAGER_STEPS_MAX {
            let records = consumer.collect(*limits)?;
            if !records.is_empty() || consumer.alarm.take_wake() {
                return Poll::Ready(Ok(records));
            }
            // The waker first: what is raised once a lane was asked must find it.
            if consumer.alarm.signal.poll(context.waker()) {
                continue;
            }
            match consumer.park() {
                Idle::Look => {}
                Idle::Sync(index) => {
                    consumer.lanes.get(index).into_iter().for_each(|lane| lane.source().make_visible_later());
                    return Poll::Pending;
                }
                Idle::Sleep(Sleep::UntilRaised) => return Poll::Pending,
                Idle::Sleep(Sleep::LookAgain) => return Poll::Ready(Ok(records)),
            }
        }
        // Others get their turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for PollFuture<'_> {
    fn drop(&mut self) {
        self.consumer.unpark();
    }
}
