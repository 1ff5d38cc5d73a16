//! [S] Offsets of many partitions at once, by what they stand for (Kafka: `Admin.listOffsets`).

use std::collections::BTreeMap;

use crate::broker::Catalog;
use crate::cluster::{Cluster, ReadOnlyCluster};
use crate::config::Isolation;
use crate::consumer::IntoTopicPartition;
use crate::error::Result;
use crate::log::{ListedOffset, OffsetSpec};
use crate::types::TopicPartition;

impl Cluster {
    /// The offset that each partition's spec stands for, among what a consumer of this isolation may see; `None` where no
    /// record is such. See [`Log::list_offset`](crate::log::Log::list_offset). Of a partition that is named twice the last
    /// spec counts.
    ///
    /// # Errors
    /// The first partition's that cannot answer: [`Error::UnknownTopicOrPartition`](crate::Error::UnknownTopicOrPartition),
    /// [`Error::Closed`](crate::Error::Closed), or what reading the records says that have to be looked at.
    ///
    /// # Examples
    /// ```
    /// use logstead::{Cluster, Isolation, OffsetSpec, Record, TopicConfig, TopicPartition};
    /// # let cluster = Cluster::builder().storage(logstead::storage::MemStorage::new()).open("/data")?;
    /// cluster.create_topic("orders", TopicConfig::new().partitions(2))?;
    /// cluster.producer().build()?.send(Record::to("orders").partition(1).value("order 1"))?.wait()?;
    /// let of = |spec| [(("orders", 0), spec), (("orders", 1), spec)];
    /// let ends = cluster.list_offsets(of(OffsetSpec::Latest), Isolation::ReadCommitted)?;
    /// let ends: Vec<_> = ends.values().flatten().map(|end| end.offset.get()).collect();
    /// assert_eq!(ends, [0, 1]);
    /// let newest = cluster.list_offsets(of(OffsetSpec::MaxTimestamp), Isolation::ReadCommitted)?;
    /// assert_eq!(newest[&TopicPartition::new("orders", 0)?], None);
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn list_offsets<P: IntoTopicPartition>(
        &self,
        specs: impl IntoIterator<Item = (P, OffsetSpec)>,
        isolation: Isolation,
    ) -> Result<BTreeMap<TopicPartition, Option<ListedOffset>>> {
        answer(&*self.inner.router, specs, isolation)
    }
}

impl ReadOnlyCluster {
    /// As [`Cluster::list_offsets`], among what is committed now.
    ///
    /// # Errors
    /// As [`Cluster::list_offsets`].
    pub fn list_offsets<P: IntoTopicPartition>(
        &self,
        specs: impl IntoIterator<Item = (P, OffsetSpec)>,
        isolation: Isolation,
    ) -> Result<BTreeMap<TopicPartition, Option<ListedOffset>>> {
        answer(self.catalog(), specs, isolation)
    }
}

fn answer<P: IntoTopicPartition>(
    catalog: &dyn Catalog,
    specs: impl IntoIterator<Item = (P, OffsetSpec)>,
    isolation: Isolation,
) -> Result<BTreeMap<TopicPartition, Option<ListedOffset>>> {
    let answers = specs.into_iter().map(|(partition, spec)| {
        let tp = partition.into_topic_partition()?;
        let found = catalog.source(&tp)?.list_offset(spec, isolation.into())?;
        Ok((tp, found))
    });
    answers.collect()
}
