//! [D] How a producer is made.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::broker::{Router, TimedClient};
use crate::config::{Acks, ProducerConfig};
use crate::error::{ConfigViolation, Error, Result};
use crate::producer::Producer;
use crate::producer::memory::{BufferPool, Memory, PackerPool};
use crate::producer::partitioner::{Choice, Keyless, Partitioner};
use crate::producer::shared::{Counters, Failures, Metadata, Shared};
use crate::producer::timer::LaneTimer;
use crate::record::Codec;
use crate::rng::Rng;
use crate::sync::{Rank, RankedMutex};
use crate::types::Compression;

/// A producer to be made; see [`Cluster::producer`](crate::cluster::Cluster::producer).
pub struct ProducerBuilder {
    router: Arc<Router>,
    config: ProducerConfig,
    choice: Choice,
    seed: Option<u64>,
}

impl ProducerBuilder {
    pub(crate) fn new(router: Arc<Router>) -> ProducerBuilder {
        let choice = Choice::BuiltIn(Keyless::default());
        ProducerBuilder { router, config: ProducerConfig::new(), choice, seed: None }
    }

    /// The whole configuration. What was set before is replaced.
    #[must_use]
    pub fn config(mut self, config: ProducerConfig) -> Self {
        self.config = config;
        self
    }

    /// When a record counts as delivered. Default: [`Acks::All`].
    #[must_use]
    pub fn acks(mut self, acks: Acks) -> Self {
        self.config = self.config.acks(acks);
        self
    }

    /// How long a batch that is not full waits for more records, while nobody waits for it. Default 5 ms.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config = self.config.linger(linger);
        self
    }

    /// The size that a batch does not exceed before it is compressed, unless a single record does. Default 16 KiB.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: u64) -> Self {
        self.config = self.config.batch_bytes(bytes);
        self
    }

    /// The codec that batches are compressed with; levels and what else there is to say: see [`ProducerConfig::compression`]. Default none.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.config = self.config.compression(compression);
        self
    }

    /// Bytes that batches may occupy until they are acknowledged, over the whole producer. Default 32 MiB.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.config = self.config.buffer_bytes(bytes);
        self
    }

    /// The user's own choice of partitions, with or without a key.
    #[must_use]
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> Self {
        self.choice = Choice::Own(Box::new(partitioner));
        self
    }

    /// Where records without a key go; those with a key go where Kafka's Java client puts them.
    #[must_use]
    pub fn keyless(mut self, keyless: Keyless) -> Self {
        self.choice = Choice::BuiltIn(keyless);
        self
    }

    /// Fixes the random choice of partitions. Default: seeded by the operating system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the producer.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with every violation; [`Error::UnsupportedCodec`] when the codec is not built
    /// in for writing.
    pub fn build(self) -> Result<Producer> {
        let config = self.config;
        config.validate()?;
        let codec = Codec::of_producer(&config);
        if !codec.compression.is_writable() {
            return Err(Error::UnsupportedCodec { codec: codec.compression.as_str() });
        }
        if config.get_delivery_timeout() < config.get_linger() {
            let reason = "it is less than linger.ms: batches would expire while they wait for records".to_owned();
            let field = "delivery.timeout.ms".to_owned();
            return Err(Error::InvalidConfig { violations: vec![ConfigViolation { field, reason }] });
        }
        let buffer_bytes = config.get_batch_bytes().min(config.get_buffer_bytes());
        let pooled_bytes = usize::try_from(buffer_bytes).unwrap_or(usize::MAX);
        let shared = Arc::new_cyclic(|this| Shared {
            this: Weak::clone(this),
            router: self.router,
            acks: config.get_acks(),
            linger: config.get_linger(),
            batch_bytes: config.get_batch_bytes(),
            codec,
            record_limits: [
                (config.get_request_bytes_max(), "max.request.size"),
                (config.get_buffer_bytes(), "buffer.memory"),
            ],
            block_time_max: config.get_block_time_max(),
            delivery_timeout: config.get_delivery_timeout(),
            choice: self.choice,
            memory: Memory::new(config.get_buffer_bytes()),
            buffers: BufferPool::new(pooled_bytes),
            packers: PackerPool::new(),
            failures: Failures::new(),
            metrics: Counters::default(),
            rng: RankedMutex::new(Rank::ProducerBuffer, self.seed.map_or_else(Rng::from_entropy, Rng::from_seed)),
            metadata: RankedMutex::new(Rank::ClientMetadata, Metadata::default()),
            timer: RankedMutex::new(Rank::ProducerBuffer, LaneTimer::default()),
            is_room_wanted: AtomicBool::new(false),
        });
        let client: Weak<dyn TimedClient> = Weak::<Shared>::clone(&shared.this);
        shared.router.host().background.register(client);
        Ok(Producer::of(shared))
    }
}

impl fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
