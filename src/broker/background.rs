//! [D] Work that nobody waits for, and when it is due: syncs, linger, checkpoints, deadlines.
//!
//! This is a queue, not a thread: the driver's threads, or the embedder through `Cluster::poll`, take work out of it.
//! Nothing is armed while there is nothing to do: an idle cluster wakes nobody up. Lock rank: `Background`; it is not held
//! while work is done. Kafka's counterparts: `KafkaScheduler`, and the producer's `Sender` as far as its timer goes.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::broker::partition::HostedPartition;
use crate::config::BrokerConfig;
use crate::sync::{Condition, Rank, RankedMutex};
use crate::time::{Clock, Instant, Now};

/// A client with timers of its own: a producer that lingers.
pub(crate) trait TimedClient: Debug + Send + Sync {
    /// Does what is due; returns when it wants to be called again. Must not be slow: it runs on the timer thread.
    fn step(&self, now: Now) -> Option<Instant>;

    /// The cluster is being closed: hands on everything it holds. Later calls of its user fail with
    /// [`Error::Closed`](crate::Error::Closed).
    fn close(&self, now: Now);
}

/// Something to be done on a sync thread.
#[derive(Debug)]
pub(crate) enum Job {
    /// Sync the partition's log.
    Sync(Arc<HostedPartition>),
    /// Write the positions from which recovery starts.
    Checkpoint,
    /// Resolve what waits past its deadline.
    Expire,
}

/// What the timer has to do.
#[derive(Debug)]
pub(crate) enum Due {
    /// Call this client.
    Client(Arc<dyn TimedClient>),
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Background {
    flush_interval: Duration,
    checkpoint_interval: Duration,
    state: RankedMutex<BackgroundState>,
    /// Jobs were queued.
    jobs: Condition,
    /// A timer was armed that is earlier than what the timer thread sleeps for.
    timers: Condition,
}

#[derive(Debug, Default)]
struct BackgroundState {
    jobs: VecDeque<Job>,
    /// Sync threads that sleep.
    idle: usize,
    /// Partitions to be synced at a time; ascending, since the interval is the same for all.
    flushes: VecDeque<(Instant, Arc<HostedPartition>)>,
    clients: Vec<TimedClientEntry>,
    checkpoint_at: Option<Instant>,
    expire_at: Option<Instant>,
    /// The timer thread sleeps until then; `Some(None)`: until it is woken.
    sleeping_until: Option<Option<Instant>>,
    stopping: bool,
}

#[derive(Debug)]
struct TimedClientEntry {
    client: Weak<dyn TimedClient>,
    due: Option<Instant>,
}

impl Background {
    pub(crate) fn new(config: &BrokerConfig) -> Background {
        Background {
            flush_interval: config.get_flush_interval(),
            checkpoint_interval: config.get_checkpoint_interval(),
            state: RankedMutex::new(Rank::Background, BackgroundState::default()),
            jobs: Condition::new(),
            timers: Condition::new(),
        }
    }

    /// The partition is to be synced now. Asked for twice before a thread gets to it, it is synced once.
    pub(crate) fn sync(&self, partition: Arc<HostedPartition>) {
        let mut state = self.state.lock();
        let is_same = |job: &Job| matches!(job, Job::Sync(queued) if Arc::ptr_eq(queued, &partition));
        if state.jobs.iter().any(is_same) {
            return;
        }
        state.jobs.push_back(Job::Sync(partition));
        self.wake_worker(&state);
    }

    /// The partition is to be synced within the flush interval.
    pub(crate) fn flush_within_interval(&self, partition: Arc<HostedPartition>, now: Instant) {
        let at = now.after(self.flush_interval);
        let mut state = self.state.lock();
        state.flushes.push_back((at, partition));
        self.wake_timer(&state, at);
    }

    /// Something was appended: positions are to be written within the checkpoint interval.
    pub(crate) fn on_append(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.checkpoint_at.is_none() {
            let at = now.after(self.checkpoint_interval);
            state.checkpoint_at = Some(at);
            self.wake_timer(&state, at);
        }
    }

    /// A waiter's deadline.
    pub(crate) fn expire_at(&self, at: Instant) {
        let mut state = self.state.lock();
        if state.expire_at.is_none_or(|earlier| at < earlier) {
            state.expire_at = Some(at);
            self.wake_timer(&state, at);
        }
    }

    /// A client joins. Its first call comes when it asks for one.
    pub(crate) fn register(&self, client: Weak<dyn TimedClient>) {
        let mut state = self.state.lock();
        state.clients.retain(|entry| entry.client.strong_count() > 0);
        state.clients.push(TimedClientEntry { client, due: None });
    }

    /// A client, told by its address, is to be called at `at`, or earlier.
    pub(crate) fn call_at(&self, client: &Weak<dyn TimedClient>, at: Instant) {
        let mut state = self.state.lock();
        let Some(entry) = state.clients.iter_mut().find(|entry| entry.client.ptr_eq(client)) else { return };
        if entry.due.is_none_or(|earlier| at < earlier) {
            entry.due = Some(at);
            self.wake_timer(&state, at);
        }
    }

    /// The clients that are still there.
    pub(crate) fn clients(&self) -> Vec<Arc<dyn TimedClient>> {
        self.state.lock().clients.iter().filter_map(|entry| entry.client.upgrade()).collect()
    }

    /// Makes the threads end once they are done with what they do.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.jobs.notify_all();
        self.timers.notify_all();
    }

    /// Blocks until there is a job; `None` when the threads are to end.
    pub(crate) fn wait_for_job(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            self.jobs.wait(&mut state);
            state.idle -= 1;
        }
    }

    /// A job, if there is one. Never blocks.
    pub(crate) fn next_job(&self) -> Option<Job> {
        self.state.lock().jobs.pop_front()
    }

    /// Blocks until the timer has something to do; `None` when the threads are to end.
    pub(crate) fn wait_for_timer(&self, clock: &dyn Clock) -> Option<Due> {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return None;
            }
            let now = clock.now().mono;
            let (due, next) = self.take_due(&mut state, now);
            if let Some(due) = due {
                return Some(due);
            }
            state.sleeping_until = Some(next);
            match next {
                Some(next) => {
                    self.timers.wait_timeout(&mut state, next.since(now));
                }
                None => self.timers.wait(&mut state),
            }
            state.sleeping_until = None;
        }
    }

    /// What the timer has to do now, or when it has something to do. Never blocks.
    pub(crate) fn next_due(&self, now: Instant) -> (Option<Due>, Option<Instant>) {
        let mut state = self.state.lock();
        self.take_due(&mut state, now)
    }

    /// Queues the jobs whose time has come, and hands out one client to call, or else the next time.
    fn take_due(&self, state: &mut BackgroundState, now: Instant) -> (Option<Due>, Option<Instant>) {
        let is_due = |at: &Option<Instant>| at.is_some_and(|at| at <= now);
        let queued = state.jobs.len();
        while state.flushes.front().is_some_and(|(at, _)| *at <= now) {
            state.jobs.extend(state.flushes.pop_front().map(|(_, partition)| Job::Sync(partition)));
        }
        if is_due(&state.checkpoint_at) {
            state.checkpoint_at = None;
            state.jobs.push_back(Job::Checkpoint);
        }
        if is_due(&state.expire_at) {
            state.expire_at = None;
            state.jobs.push_back(Job::Expire);
        }
        for _ in queued..state.jobs.len() {
            self.wake_worker(state);
        }
        let due = state.clients.iter_mut().find(|entry| is_due(&entry.due)).and_then(|entry| {
            entry.due = None;
            entry.client.upgrade()
        });
        (due.map(Due::Client), state.next_time())
    }

    fn wake_worker(&self, state: &BackgroundState) {
        if state.idle > 0 {
            self.jobs.notify_one();
        }
    }

    fn wake_timer(&self, state: &BackgroundState, at: Instant) {
        if state.sleeping_until.is_some_and(|until| until.is_none_or(|until| at < until)) {
            self.timers.notify_one();
        }
    }
}

impl BackgroundState {
    fn next_time(&self) -> Option<Instant> {
        let flush = self.flushes.front().map(|(at, _)| *at);
        let clients = self.clients.iter().filter_map(|entry| entry.due);
        clients.chain([flush, self.checkpoint_at, self.expire_at].into_iter().flatten()).min()
    }
}
