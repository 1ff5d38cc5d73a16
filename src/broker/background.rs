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
use crate::log::{RetentionClock, RetentionTime};
use crate::sync::{Condition, Rank, RankedMutex};
use crate::time::{Clock, Instant, Now};

/// When expired records are looked for first after a folder was opened, unless the check interval is shorter (Kafka:
/// `LogManager.InitialTaskDelayMs`).
const FIRST_RETENTION_LOOK: Duration = Duration::from_secs(30);

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
    /// Sync the partition's log: somebody waits.
    Sync(Arc<HostedPartition>),
    /// Sync the partition's log: nobody waits, but it is time.
    Flush(Arc<HostedPartition>),
    /// Write the positions from which recovery starts.
    Checkpoint,
    /// Resolve what waits past its deadline.
    Expire,
    /// Delete records that have expired.
    Retention,
    /// Remove the files of what was deleted a while ago.
    Removal,
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
    retention_interval: Duration,
    state: RankedMutex<BackgroundState>,
    /// Jobs were queued.
    jobs: Condition,
    /// A timer was armed that is earlier than what the timer thread sleeps for.
    timers: Condition,
}

#[derive(Debug)]
struct BackgroundState {
    jobs: VecDeque<Job>,
    /// Sync threads that sleep.
    idle: usize,
    /// Partitions to be synced at a time; ascending, since the interval is the same for all.
    flushes: VecDeque<(Instant, Arc<HostedPartition>)>,
    clients: Vec<TimedClientEntry>,
    checkpoint_at: Option<Instant>,
    expire_at: Option<Instant>,
    retention_at: Option<Instant>,
    removal_at: Option<Instant>,
    retention_clock: RetentionClock,
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
        let retention_interval = config.get_retention_check_interval();
        Background {
            flush_interval: config.get_flush_interval(),
            checkpoint_interval: config.get_checkpoint_interval(),
            retention_interval,
            state: RankedMutex::new(Rank::Background, BackgroundState::new(retention_interval)),
            jobs: Condition::new(),
            timers: Condition::new(),
        }
    }

    /// The partition is to be synced now. Asked for twice before a thread gets to it, it is synced once.
    pub(crate) fn sync(&self, partition: Arc<HostedPartition>) {
        let mut state = self.state.lock();
        let is_same = |job: &Job| matches!(job, Job::Sync(queued) if Arc::ptr_eq(queued, &partition));
        if state.stopping || state.jobs.iter().any(is_same) {
            return;
        }
        state.jobs.push_back(Job::Sync(partition));
        self.wake_worker(&state);
    }

    /// The partition is to be synced within the flush interval.
    pub(crate) fn flush_within_interval(&self, partition: Arc<HostedPartition>, now: Instant) {
        let at = now.after(self.flush_interval);
        let mut state = self.state.lock();
        if !state.stopping {
            state.flushes.push_back((at, partition));
            self.wake_timer(&state, at);
        }
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

    /// Something may have expired: it is looked for within the check interval.
    pub(crate) fn look_for_expired(&self, now: Instant) {
        self.look_for_expired_after(Duration::ZERO, now);
    }

    /// Something will have expired after this time. Looks lie at least the check interval apart.
    pub(crate) fn look_for_expired_after(&self, wait: Duration, now: Instant) {
        let at = now.after(wait.max(self.retention_interval));
        let mut state = self.state.lock();
        if state.retention_at.is_none_or(|earlier| at < earlier) {
            state.retention_at = Some(at);
            self.wake_timer(&state, at);
        }
    }

    /// The folder was just opened, and nobody knows yet what has expired in it.
    pub(crate) fn look_for_expired_at_first(&self, now: Instant) {
        let at = now.after(self.retention_interval.min(FIRST_RETENTION_LOOK));
        let mut state = self.state.lock();
        state.retention_at = Some(at);
        self.wake_timer(&state, at);
    }

    /// The time for a look for expired records.
    pub(crate) fn retention_time(&self, now: Now) -> RetentionTime {
        self.state.lock().retention_clock.look(now)
    }

    /// Files are to be removed at this time.
    pub(crate) fn remove_at(&self, at: Instant) {
        let mut state = self.state.lock();
        if state.removal_at.is_none_or(|earlier| at < earlier) {
            state.removal_at = Some(at);
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

    /// Makes the threads end once they are done with what they do. What is queued is forgotten: whoever stops the background
    /// syncs and closes everything himself.
    pub(crate) fn stop(&self) {
        let forgotten = {
            let mut state = self.state.lock();
            state.stopping = true;
            (std::mem::take(&mut state.jobs), std::mem::take(&mut state.flushes))
        };
        drop(forgotten);
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
            state.jobs.extend(state.flushes.pop_front().map(|(_, partition)| Job::Flush(partition)));
        }
        let BackgroundState { jobs, checkpoint_at, expire_at, retention_at, removal_at, .. } = state;
        for (at, job) in [
            (checkpoint_at, Job::Checkpoint),
            (expire_at, Job::Expire),
            (retention_at, Job::Retention),
            (removal_at, Job::Removal),
        ] {
            if is_due(at) {
                *at = None;
                jobs.push_back(job);
            }
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
    fn new(retention_interval: Duration) -> BackgroundState {
        BackgroundState {
            jobs: VecDeque::new(),
            idle: 0,
            flushes: VecDeque::new(),
            clients: Vec::new(),
            checkpoint_at: None,
            expire_at: None,
            retention_at: None,
            removal_at: None,
            retention_clock: RetentionClock::new(retention_interval),
            sleeping_until: None,
            stopping: false,
        }
    }

    fn next_time(&self) -> Option<Instant> {
        let flush = self.flushes.front().map(|(at, _)| *at);
        let clients = self.clients.iter().filter_map(|entry| entry.due);
        let timers = [flush, self.checkpoint_at, self.expire_at, self.retention_at, self.removal_at];
        clients.chain(timers.into_iter().flatten()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug, Default)]
    struct Client {
        calls: AtomicU64,
    }

    impl TimedClient for Client {
        fn step(&self, _: Now) -> Option<Instant> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            None
        }

        fn close(&self, _: Now) {}
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn nothing_is_armed_while_nothing_is_to_do() {
        let background = Background::new(&BrokerConfig::new());
        let (due, next) = background.next_due(at(0));
        assert!(due.is_none() && next.is_none() && background.next_job().is_none());
    }

    #[test]
    fn a_checkpoint_is_due_an_interval_after_the_first_append_and_once() {
        let background = Background::new(&BrokerConfig::new().checkpoint_interval(Duration::from_millis(50)));
        background.on_append(at(10));
        background.on_append(at(30));
        assert_eq!(background.next_due(at(59)).1, Some(at(60)));
        assert!(background.next_job().is_none());
        assert_eq!(background.next_due(at(60)).1, None);
        assert!(matches!(background.next_job(), Some(Job::Checkpoint)));
        background.on_append(at(61));
        assert_eq!(background.next_due(at(61)).1, Some(at(111)));
    }

    #[test]
    fn looks_for_expired_records_lie_at_least_an_interval_apart_and_the_earliest_counts() {
        let config = BrokerConfig::new().retention_check_interval(Duration::from_millis(50));
        let background = Background::new(&config);
        background.look_for_expired_after(Duration::from_millis(70), at(10));
        assert_eq!(background.next_due(at(10)).1, Some(at(80)));
        background.look_for_expired(at(20));
        background.look_for_expired_after(Duration::from_millis(90), at(20));
        assert_eq!(background.next_due(at(69)).1, Some(at(70)));
        assert_eq!(background.next_due(at(70)).1, None);
        assert!(matches!(background.next_job(), Some(Job::Retention)));
        background.remove_at(at(90));
        background.remove_at(at(95));
        assert_eq!(background.next_due(at(90)).1, None);
        assert!(matches!(background.next_job(), Some(Job::Removal)));
        assert!(background.next_job().is_none());
    }

    #[test]
    fn a_client_is_called_at_the_earliest_time_that_it_asked_for() {
        let background = Background::new(&BrokerConfig::new());
        let client = Arc::new(Client::default());
        let shared: Arc<dyn TimedClient> = Arc::<Client>::clone(&client);
        let weak = Arc::downgrade(&shared);
        background.register(Weak::clone(&weak));
        background.call_at(&weak, at(9));
        background.call_at(&weak, at(5));
        background.call_at(&weak, at(7));
        assert!(background.next_due(at(4)).0.is_none());
        let (due, next) = background.next_due(at(5));
        assert!(matches!(due, Some(Due::Client(_))) && next.is_none());
        assert!(background.next_due(at(100)).0.is_none());
        drop((due, shared, client));
        assert!(background.clients().is_empty());
    }

    #[test]
    fn a_deadline_arms_the_expiry_and_only_an_earlier_one_moves_it() {
        let background = Background::new(&BrokerConfig::new());
        background.expire_at(at(20));
        background.expire_at(at(30));
        assert_eq!(background.next_due(at(0)).1, Some(at(20)));
        background.expire_at(at(10));
        assert_eq!(background.next_due(at(10)).1, None);
        assert!(matches!(background.next_job(), Some(Job::Expire)));
    }

    #[test]
    fn threads_that_wait_end_when_the_background_is_stopped() {
        let background = Arc::new(Background::new(&BrokerConfig::new()));
        let (jobs, timer) = (Arc::clone(&background), Arc::clone(&background));
        let jobs = std::thread::spawn(move || jobs.wait_for_job().is_none());
        let timer = std::thread::spawn(move || timer.wait_for_timer(&ManualClock::new()).is_none());
        background.stop();
        assert!(jobs.join().unwrap() && timer.join().unwrap());
    }
}
