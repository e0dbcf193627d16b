//! Standard output: the one place that writes to it. When its reader has gone, nothing more is written.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Writes one line.
pub(crate) fn line(text: &str) {
    write(&format!("{text}\n"));
}

/// Writes text as it is.
pub(crate) fn write(text: &str) {
    if is_closed() {
        return;
    }
    let mut out = io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        CLOSED.store(true, Ordering::Relaxed);
    }
}

/// Whether the reader has gone: what runs for the sake of being watched may end.
pub(crate) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Writes one line to the error output; what cannot be written is lost.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a person watches.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}
