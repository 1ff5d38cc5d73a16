//! [S] What the partitions of one broker share: its data folder, its clock, its group commit, its background work.

use std::sync::Arc;

use crate::broker::background::Background;
use crate::broker::counters::Counters;
use crate::config::BrokerConfig;
use crate::log::LogDirectory;
use crate::sync::{Committer, CommitterConfig};
use crate::time::Clock;
use crate::types::BrokerId;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) broker_id: BrokerId,
    pub(crate) directory: LogDirectory,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) committer: Committer,
    pub(crate) background: Background,
    pub(crate) counters: Counters,
}

impl Host {
    pub(crate) fn new(
        broker_id: BrokerId,
        directory: LogDirectory,
        clock: Arc<dyn Clock>,
        config: &BrokerConfig,
    ) -> Host {
        let parallel_syncs_max = usize::try_from(config.get_parallel_syncs_max()).unwrap_or(usize::MAX);
        Host {
            broker_id,
            directory,
            clock,
            committer: Committer::new(CommitterConfig { parallel_syncs_max, ..CommitterConfig::default() }),
            background: Background::new(config),
            counters: Counters::default(),
        }
    }
}
