//! [D] Who does the background work: a few named threads, or the embedder's own.
//!
//! Threads only guarantee progress: callers seal their batches, append them and lead syncs themselves. An idle cluster wakes
//! nobody up. A panic in background work takes the partition that it was for offline, not the thread out of service.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::broker::{Background, Due, Job};
use crate::cluster::ClusterInner;
use crate::config::BrokerConfig;
use crate::error::{Error, IoContext, Result};
use crate::time::{Instant, Now};

/// When a client is called again whose call panicked.
const RETRY_AFTER_PANIC: Duration = Duration::from_secs(1);

/// Who drives the background work of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Driver {
    /// A few threads of the cluster's own, which sleep while there is nothing to do. The default.
    #[default]
    Threads,
    /// Nobody but the embedder, who calls [`Cluster::poll`](super::Cluster::poll): no thread is started, so that a simulation
    /// decides the order of everything. A blocking call drives the engine itself, and returns
    /// [`Error::NoProgress`] where it would wait for ever.
    Manual,
}

/// The background threads.
#[derive(Debug, Default)]
pub(super) struct Threads {
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts them, if the driver is to have some.
    pub(super) fn start(driver: Driver, cluster: &Arc<ClusterInner>, config: &BrokerConfig) -> Result<Threads> {
        let mut threads = Threads::default();
        if driver == Driver::Manual {
            return Ok(threads);
        }
        let started = threads.start_all(cluster, config);
        if started.is_err() {
            threads.stop(&cluster.broker.host().background);
            return Err(started.err().unwrap_or(Error::Closed));
        }
        Ok(threads)
    }

    fn start_all(&mut self, cluster: &Arc<ClusterInner>, config: &BrokerConfig) -> Result<()> {
        self.spawn("logstead-timer", cluster, run_timer)?;
        for _ in 0..config.get_sync_threads() {
            self.spawn("logstead-sync", cluster, run_jobs)?;
        }
        Ok(())
    }

    fn spawn(&mut self, name: &str, cluster: &Arc<ClusterInner>, run: fn(&ClusterInner)) -> Result<()> {
        let shared = Arc::clone(cluster);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared));
        self.handles.push(thread.context("start a thread for", &cluster.path)?);
        Ok(())
    }

    /// Ends them and waits until they are gone.
    pub(super) fn stop(self, background: &Background) {
        background.stop();
        #[allow(clippy::disallowed_methods, reason = "a waker may drop the cluster on one of these threads")]
        let this = std::thread::current().id();
        for handle in self.handles.into_iter().filter(|handle| handle.thread().id() != this) {
            // A thread that panicked has nothing to say any more.
            let _ = handle.join();
        }
    }
}

fn run_jobs(cluster: &ClusterInner) {
    while let Some(job) = cluster.broker.host().background.wait_for_job() {
        run_job(cluster, &job);
    }
}

fn run_timer(cluster: &ClusterInner) {
    let host = cluster.broker.host();
    while let Some(due) = host.background.wait_for_timer(&*host.clock) {
        run_due(cluster, &due, host.clock.now());
    }
}

/// Does everything that is due on the calling thread; returns when there is something to do next.
pub(super) fn poll(cluster: &ClusterInner, now: Now) -> Option<Instant> {
    let background = &cluster.broker.host().background;
    loop {
        let (due, next) = background.next_due(now.mono);
        if let Some(due) = due {
            run_due(cluster, &due, now);
        } else if let Some(job) = background.next_job() {
            run_job(cluster, &job);
        } else {
            return next;
        }
    }
}

fn run_job(cluster: &ClusterInner, job: &Job) {
    let outcome = catch_unwind(AssertUnwindSafe(|| cluster.broker.run(job)));
    if outcome.is_err()
        && let Job::Sync(partition) | Job::Flush(partition) = job
    {
        partition.fail(Error::Internal { invariant: "background work does not panic" });
    }
}

fn run_due(cluster: &ClusterInner, due: &Due, now: Now) {
    let Due::Client(client) = due;
    let next = catch_unwind(AssertUnwindSafe(|| client.step(now)));
    // What a client that panicked had still to do is tried again, after a while.
    let next = next.unwrap_or_else(|_| Some(now.mono.after(RETRY_AFTER_PANIC)));
    if let Some(next) = next {
        cluster.broker.host().background.call_at(&Arc::downgrade(client), next);
    }
}
