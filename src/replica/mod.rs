//! [P] What a replica does with its role, as state machines without log, lock or clock (Kafka: `Partition`, `Replica`).
//!
//! One broker, one replica: the leader is its own and only in-sync replica, and the high watermark follows what it has
//! appended or synced. Followers, the in-sync set and its changes will join here.

mod high_watermark;
mod leader;

pub(crate) use leader::{Leader, LeaderEffects, LogEnds};
