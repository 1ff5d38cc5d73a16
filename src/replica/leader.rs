//! [P] The leader of a partition: what is committed after each event.
//!
//! Invariants: the high watermark never falls, and with [`Durability::Synced`] it never passes what is on disk.

use crate::config::Durability;
use crate::replica::high_watermark;
use crate::types::Offset;

/// One partition's leader, with one replica: itself.
#[derive(Debug)]
pub(crate) struct Leader {
    durability: Durability,
    log_end: Offset,
    synced: Offset,
    high_watermark: Offset,
}

/// What an event entails.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub(crate) struct LeaderEffects {
    /// The high watermark moved here.
    pub(crate) high_watermark: Option<Offset>,
}

/// Where the log of a new leader stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogEnds {
    pub(crate) log_end: Offset,
    pub(crate) synced: Offset,
    pub(crate) high_watermark: Offset,
}

impl Leader {
    /// Takes over a log. Everything in it that is held by all, that is by itself, is committed at once.
    pub(crate) fn new(durability: Durability, ends: LogEnds) -> (Leader, LeaderEffects) {
        let LogEnds { log_end, synced, high_watermark } = ends;
        let mut leader = Leader { durability, log_end, synced, high_watermark };
        let effects = leader.advance();
        (leader, effects)
    }

    /// The log has grown.
    pub(crate) fn on_append(&mut self, log_end: Offset) -> LeaderEffects {
        self.log_end = self.log_end.max(log_end);
        self.advance()
    }

    /// More of the log is durable.
    pub(crate) fn on_synced(&mut self, synced: Offset) -> LeaderEffects {
        self.synced = self.synced.max(synced);
        self.advance()
    }

    /// The topic's durability was changed: from here on the other meaning of "held" counts.
    pub(crate) fn on_durability(&mut self, durability: Durability) -> LeaderEffects {
        self.durability = durability;
        self.advance()
    }

    fn advance(&mut self) -> LeaderEffects {
        let held = match self.durability {
            Durability::Synced => self.synced.min(self.log_end),
            Durability::Os => self.log_end,
        };
        let moved = high_watermark::compute(self.high_watermark, &[held]);
        if moved == self.high_watermark {
            return LeaderEffects::default();
        }
        self.high_watermark = moved;
        LeaderEffects { high_watermark: Some(moved) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leader(durability: Durability, log_end: u32, synced: u32, high_watermark: u32) -> (Leader, LeaderEffects) {
        let ends = LogEnds {
            log_end: Offset::from(log_end),
            synced: Offset::from(synced),
            high_watermark: Offset::from(high_watermark),
        };
        Leader::new(durability, ends)
    }

    fn moved_to(offset: u32) -> LeaderEffects {
        LeaderEffects { high_watermark: Some(Offset::from(offset)) }
    }

    #[test]
    fn a_new_leader_commits_what_it_holds() {
        assert_eq!(leader(Durability::Synced, 9, 7, 5).1, moved_to(7));
        assert_eq!(leader(Durability::Os, 9, 7, 5).1, moved_to(9));
        assert_eq!(leader(Durability::Synced, 9, 5, 5).1, LeaderEffects::default());
    }

    #[test]
    fn what_is_appended_is_committed_when_the_durability_says_so() {
        let (mut synced, _) = leader(Durability::Synced, 0, 0, 0);
        assert_eq!(synced.on_append(Offset::from(3)), LeaderEffects::default());
        assert_eq!(synced.on_synced(Offset::from(2)), moved_to(2));
        assert_eq!(synced.on_synced(Offset::from(1)), LeaderEffects::default());
        let (mut os, _) = leader(Durability::Os, 0, 0, 0);
        assert_eq!(os.on_append(Offset::from(3)), moved_to(3));
    }

    #[test]
    fn a_change_of_durability_never_takes_back_what_was_committed() {
        let (mut leader, _) = leader(Durability::Os, 9, 4, 9);
        assert_eq!(leader.on_durability(Durability::Synced), LeaderEffects::default());
        assert_eq!(leader.on_synced(Offset::from(6)), LeaderEffects::default());
        assert_eq!(leader.on_durability(Durability::Os), LeaderEffects::default());
        assert_eq!(leader.on_append(Offset::from(10)), moved_to(10));
    }
}
