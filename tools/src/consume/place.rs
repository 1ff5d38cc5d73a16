//! Where reading begins.

use clap::Args;
use logstead::consumer::{Consumer, SeekTo};
use logstead::types::{Offset, Timestamp};
use logstead::{Error, OffsetSpec};

use crate::failure::Failure;
use crate::moment;
use crate::until_end::UntilEnd;

/// One of several places; without any, the beginning, or with --follow the end.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Place {
    /// Begin with the first record of each partition. This is where reading begins unless something else is said; with
    /// --follow it is the end.
    #[arg(long)]
    from_beginning: bool,

    /// Begin with this offset, in each partition that is read.
    #[arg(long, value_name = "O", value_parser = offset)]
    offset: Option<Offset>,

    /// Begin with the first record of this time or later, in each partition: milliseconds since 1970, or a time such as
    /// 2026-01-02T03:04:05Z.
    #[arg(long, value_name = "T", value_parser = moment::parse)]
    from_time: Option<Timestamp>,

    /// Begin N offsets before the end of each partition. The ends of transactions occupy offsets too, so that fewer
    /// records may follow.
    #[arg(long, value_name = "N")]
    last: Option<u64>,
}

impl Place {
    /// Moves a consumer there. `until_end` has all its partitions.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] when a partition does not hold the offset; nothing was read then.
    pub(crate) fn seek(&self, consumer: &mut Consumer, until_end: &UntilEnd, follow: bool) -> Result<(), Failure> {
        let place = self.seek_to(follow);
        for (tp, end) in until_end.ends() {
            if let SeekTo::Offset(requested) = place {
                let (tp, start, end) = (tp.clone(), consumer.beginning_offset(tp)?, end);
                if !(start..=end).contains(&requested) {
                    return Err(Error::OffsetOutOfRange { tp, requested, start, end }.into());
                }
            }
            consumer.seek(tp, place)?;
        }
        Ok(())
    }

    fn seek_to(&self, follow: bool) -> SeekTo {
        match self {
            Place { offset: Some(offset), .. } => SeekTo::Offset(*offset),
            Place { from_time: Some(time), .. } => OffsetSpec::Timestamp(*time).into(),
            Place { last: Some(count), .. } => SeekTo::Last(*count),
            Place { from_beginning: false, .. } if follow => OffsetSpec::Latest.into(),
            Place { .. } => OffsetSpec::Earliest.into(),
        }
    }
}

fn offset(text: &str) -> Result<Offset, String> {
    text.parse().ok().and_then(Offset::new).ok_or_else(|| "a whole number from 0 is expected".to_owned())
}
