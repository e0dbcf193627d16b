//! Progress on the terminal during a run: notes stay, the progress line is overwritten on a terminal and told every
//! five seconds elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use tessera_runtime::stop::Stop;
use tessera_simulators::scenario::News;

use crate::out;

/// Progress lines between two that are told when no terminal is watched.
const EVERY: u64 = 5;

/// The screen.
pub(crate) struct Screen {
    terminal: bool,
    lines: AtomicU64,
    stop: Stop,
}

impl Screen {
    /// The screen of this process; `stop` is told when its reader is gone.
    pub(crate) fn new(stop: &Stop) -> Self {
        Self { terminal: out::is_terminal(), lines: AtomicU64::new(0), stop: stop.clone() }
    }

    /// Shows one piece of news.
    pub(crate) fn show(&self, news: News<'_>) {
        match (news, self.terminal) {
            (News::Note(text), true) => out::write(&format!("\r\x1b[2K{text}\n")),
            (News::Note(text), false) => out::line(text),
            (News::Progress(text), true) => out::write(&format!("\r\x1b[2K{text}")),
            (News::Progress(text), false) => {
                if self.lines.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVERY) {
                    out::line(text);
                }
            }
        }
        if out::is_closed() {
            self.stop.trigger();
        }
    }

    /// Leaves the progress line behind.
    pub(crate) fn done(&self) {
        if self.terminal {
            out::write("\n");
        }
    }
}
