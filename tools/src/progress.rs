//! How far long work has come, on stderr, for somebody who watches: nothing when stderr is not a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use logstead::time::{Clock, Instant, SystemClock};

const BETWEEN_LINES: Duration = Duration::from_millis(200);
/// The clock is read once in so many records.
const BETWEEN_LOOKS: u64 = 1024;

/// The line that counts records.
#[derive(Debug)]
pub(crate) struct Progress {
    /// `None` when nobody watches.
    watched: Option<Watched>,
    count: u64,
}

#[derive(Debug)]
struct Watched {
    verb: &'static str,
    /// Of how many, where that is known.
    total: Option<u64>,
    clock: SystemClock,
    shown_at: Instant,
    is_shown: bool,
}

impl Progress {
    /// Counts records that are `verb` ("read"), of `total`.
    pub(crate) fn new(verb: &'static str, total: Option<u64>) -> Progress {
        let clock = SystemClock::new();
        let shown_at = clock.now().mono;
        let watched = Watched { verb, total, clock, shown_at, is_shown: false };
        Progress { watched: io::stderr().is_terminal().then_some(watched), count: 0 }
    }

    /// Counts records while they are printed: silent when they go to a terminal themselves.
    pub(crate) fn beside_output(verb: &'static str, total: Option<u64>) -> Progress {
        let mut progress = Progress::new(verb, total);
        if io::stdout().is_terminal() {
            progress.watched = None;
        }
        progress
    }

    /// Counts one more.
    pub(crate) fn add(&mut self) {
        self.count += 1;
        if self.count.is_multiple_of(BETWEEN_LOOKS)
            && let Some(watched) = &mut self.watched
        {
            watched.show(self.count);
        }
    }

    /// Counts more.
    pub(crate) fn set(&mut self, count: u64) {
        self.count = count;
        if let Some(watched) = &mut self.watched {
            watched.show(count);
        }
    }
}

impl Watched {
    fn show(&mut self, count: u64) {
        let now = self.clock.now().mono;
        if now.since(self.shown_at) < BETWEEN_LINES {
            return;
        }
        self.shown_at = now;
        self.is_shown = true;
        let of = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
        // Nobody is left to tell when stderr is gone.
        let _ = write!(io::stderr(), "\r{count}{of} records {}", self.verb);
    }
}

/// Wipes the line, so that what is said next starts on an empty one.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.watched.as_ref().is_some_and(|watched| watched.is_shown) {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
