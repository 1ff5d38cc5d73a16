//! Partitions that a topic gets while it is followed.

use std::time::Duration;

use logstead::cluster::{ReadOnlyCluster, Topic};
use logstead::consumer::Consumer;
use logstead::time::{Clock, Instant, SystemClock};

use crate::failure::Failure;

const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Looks for them from time to time.
#[derive(Debug)]
pub(super) struct Growth {
    cluster: ReadOnlyCluster,
    topic: Topic,
    clock: SystemClock,
    looked_at: Instant,
}

impl Growth {
    /// Of a topic as it was looked up before its consumer was made.
    pub(super) fn of(cluster: ReadOnlyCluster, topic: Topic) -> Growth {
        let clock = SystemClock::new();
        let looked_at = clock.now().mono;
        Growth { cluster, topic, clock, looked_at }
    }

    /// Lets a consumer of the whole topic read added partitions too, from their beginning: whatever they hold came
    /// after following began. Does nothing when the last look was not long ago.
    ///
    /// # Errors
    /// The metadata cannot be read, or the topic is gone.
    pub(super) fn look(&mut self, consumer: &mut Consumer) -> Result<(), Failure> {
        let now = self.clock.now().mono;
        if now.since(self.looked_at) < BETWEEN_LOOKS {
            return Ok(());
        }
        self.looked_at = now;
        self.cluster.refresh()?;
        let topic = self.cluster.topic(self.topic.name())?;
        if topic.id() != self.topic.id() {
            return Err(Failure::Told(format!("topic {} was deleted, and is another one now", topic.name())));
        }
        if topic.partition_count() != self.topic.partition_count() {
            consumer.assign(topic.partitions())?;
            self.topic = topic;
        }
        Ok(())
    }
}
