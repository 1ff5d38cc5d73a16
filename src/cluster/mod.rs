//! [D] The whole engine in one directory: topics, producers, consumers, and the threads that drive them.
//!
//! [`Cluster::open`] owns a data folder, which with one broker is Kafka's log.dir. Kafka's counterparts: `KafkaRaftServer`,
//! `BrokerServer`, `Admin`.
//!
//! [D]: crate

mod admin;
mod driver;
mod list_offsets;
mod loading;
mod metrics;
mod read_only;
mod topic;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::broker::{Broker, Catalog, Host, Router};
use crate::config::{BrokerConfig, ReadMode};
use crate::consumer::ConsumerBuilder;
use crate::error::{Error, Result};
use crate::log::LogDirectory;
use crate::producer::ProducerBuilder;
use crate::rng::Rng;
use crate::storage::{OsStorage, Storage};
use crate::sync::{Rank, RankedMutex};
use crate::time::{Clock, Instant, Now, SystemClock};

use admin::AdminState;
use driver::Threads;

pub use admin::RecordsToDelete;
pub use driver::Driver;
pub use loading::OpenReport;
pub use metrics::ClusterMetrics;
pub use read_only::ReadOnlyCluster;
pub use topic::{Partition, Topic};

/// A cluster in this process, with everything in one data folder.
///
/// Shared by reference. Dropping it closes it as [`close`](Cluster::close) does, without telling of errors.
#[derive(Debug)]
pub struct Cluster {
    inner: Arc<ClusterInner>,
    threads: RankedMutex<Option<Threads>>,
}

/// What the threads and the clients share with the cluster.
#[derive(Debug)]
pub(crate) struct ClusterInner {
    path: PathBuf,
    broker: Broker,
    router: Arc<Router>,
    report: OpenReport,
    /// None once the cluster is closed.
    admin: RankedMutex<Option<AdminState>>,
}

/// How to open a cluster.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    driver: Driver,
    config: BrokerConfig,
    seed: Option<u64>,
}

impl Cluster {
    /// Opens a data folder, creating it if it does not exist, and starts the background threads. What a crash left is
    /// repaired first.
    ///
    /// # Errors
    /// - [`Error::AlreadyOpen`]: this or another process owns the folder.
    /// - [`Error::InvalidState`]: the folder holds something, but is not a log.dir; nothing was changed.
    /// - [`Error::UnsupportedFormat`]: a newer version wrote it; nothing was changed.
    /// - [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Cluster> {
        Cluster::builder().open(path)
    }

    /// Options other than the defaults.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            storage: Arc::new(OsStorage::new()),
            clock: Arc::new(SystemClock::new()),
            driver: Driver::Threads,
            config: BrokerConfig::new(),
            seed: None,
        }
    }

    /// A producer that writes into this cluster's topics.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(Arc::clone(&self.inner.router))
    }

    /// The data folder.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What opening it found and repaired.
    pub fn report(&self) -> &OpenReport {
        &self.inner.report
    }

    /// A new consumer of this cluster.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use logstead::cluster::Cluster;
    /// # use logstead::config::TopicConfig;
    /// # use logstead::storage::MemStorage;
    /// # let cluster = Cluster::builder().storage(MemStorage::new()).open("/data")?;
    /// # cluster.create_topic("orders", TopicConfig::new().partitions(2))?;
    /// let mut consumer = cluster.consumer().topic("orders").build()?;
    /// assert_eq!(consumer.assignment().count(), 2);
    /// let records = consumer.poll(Duration::ZERO)?;
    /// assert!(records.is_empty());
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.inner.router) as Arc<dyn Catalog>)
    }

    /// Does what is due in the background, on this thread, until nothing is due any more; returns when there is something to
    /// do next. With [`Driver::Manual`] this is what makes linger, background syncs and checkpoints happen; with threads it is
    /// not needed and does no harm.
    pub fn poll(&self, now: Now) -> Option<Instant> {
        driver::poll(&self.inner, now)
    }

    /// Hands on what producers hold, makes everything durable, and leaves the folder as Kafka leaves it after a clean stop.
    /// Producers and consumers of this cluster answer [`Error::Closed`] from here on; records that were read stay readable.
    ///
    /// # Errors
    /// The first failure. The folder's lock is given up all the same; the next open recovers.
    pub fn close(self) -> Result<()> {
        self.shut_down()
    }

    fn shut_down(&self) -> Result<()> {
        let Some(threads) = self.threads.lock().take() else { return Ok(()) };
        let host = self.inner.broker.host();
        let now = host.clock.now();
        for client in host.background.clients() {
            client.close(now);
        }
        threads.stop(&host.background);
        // A topic that is being created or deleted is finished first, and later ones are refused.
        let admin = self.inner.admin.lock().take();
        let mut result = admin.as_ref().map_or(Ok(()), |admin| admin.metadata.check_sound());
        for partition in self.inner.broker.partitions() {
            result = result.and(partition.sync_at_last());
        }
        for released in self.inner.broker.retire_all(&Error::Closed) {
            released.resolve(&Err(Error::Closed));
        }
        let closed = host.directory.share().close();
        // Only now: a log that is dropped before the folder closes it needs recovery.
        drop(admin);
        result.and(closed)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.shut_down();
    }
}

impl ClusterBuilder {
    /// The disk. Default: the operating system's.
    #[must_use]
    pub fn storage(mut self, storage: impl Storage + 'static) -> Self {
        self.storage = Arc::new(storage);
        self
    }

    /// Where time comes from. Default: the operating system.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Who drives the background work. Default: threads.
    #[must_use]
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// When the background work is due.
    #[must_use]
    pub fn config(mut self, config: BrokerConfig) -> Self {
        self.config = config;
        self
    }

    /// Fixes every random choice (ids, segment jitter). Default: seeded by the operating system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Opens the folder; see [`Cluster::open`].
    ///
    /// # Errors
    /// As [`Cluster::open`]; [`Error::InvalidConfig`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Cluster> {
        self.config.validate()?;
        let mut rng = self.seed.map_or_else(Rng::from_entropy, Rng::from_seed);
        let options = LogDirectory::options().shared_storage(self.storage).seed(rng.next_u64());
        let directory = options.open(path.as_ref())?;
        let broker_id = directory.identity().node_id;
        let host = Arc::new(Host::new(broker_id, directory, self.clock, &self.config));
        let router = Arc::new(Router::new(Arc::clone(&host), self.driver == Driver::Threads));
        let broker = Broker::new(host);
        let (admin, report) = loading::load(&broker, rng.split("controller"))?;
        for topic in admin.image.topics() {
            router.insert(broker.route(topic, None, ReadMode::default())?);
        }
        let admin = RankedMutex::new(Rank::ClusterAdmin, Some(admin));
        let inner = Arc::new(ClusterInner { path: path.as_ref().to_path_buf(), broker, router, report, admin });
        let threads = Threads::start(self.driver, &inner, &self.config)?;
        Ok(Cluster { inner, threads: RankedMutex::new(Rank::ClusterAdmin, Some(threads)) })
    }
}
