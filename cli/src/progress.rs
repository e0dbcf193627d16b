//! Progress during a run, line by line: notes stay, the progress line is overwritten on a terminal and told every five
//! seconds elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use tessera_runtime::stop::Stop;
use tessera_simulators::report::render;
use tessera_simulators::scenario::News;

use crate::{output, terminal};

/// Progress lines between two that are told when no terminal is watched.
const EVERY: u64 = 5;

/// The screen.
pub(crate) struct Progress {
    able: bool,
    lines: AtomicU64,
    stop: Stop,
}

impl Progress {
    /// The screen of this process; `stop` is told when its reader is gone.
    pub(crate) fn new(stop: &Stop) -> Self {
        Self { able: terminal::is_able(), lines: AtomicU64::new(0), stop: stop.clone() }
    }

    /// Shows one piece of news.
    pub(crate) fn show(&self, news: News<'_>) {
        match news {
            News::Note(text) => self.note(text),
            News::Alert(text) => self.note(&format!("alert: {text}")),
            News::Guest(text) => self.note(&format!("yours: {text}")),
            News::Progress(report) => self.progress(&render::progress(report)),
            News::Guests(_) => {}
        }
        if output::is_closed() {
            self.stop.trigger();
        }
    }

    fn note(&self, text: &str) {
        match self.able {
            true => output::write(&format!("\r\x1b[2K{text}\n")),
            false => output::line(text),
        }
    }

    fn progress(&self, text: &str) {
        if self.able {
            output::write(&format!(
                "\r\x1b[2K{}",
                terminal::cut(text, terminal::size().columns - 1)
            ));
        } else if self.lines.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVERY) {
            output::line(text);
        }
    }

    /// Leaves the progress line behind.
    pub(crate) fn done(&self) {
        if self.able {
            output::write("\n");
        }
    }
}
