//! Standard output: the one place that writes to it. A closed pipe ends the process quietly.

use std::io::{self, IsTerminal, Write};

/// Writes one line.
pub(crate) fn line(text: &str) {
    write(&format!("{text}\n"));
}

/// Writes text as it is.
pub(crate) fn write(text: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if written.is_err() {
        // Whoever read us has gone: there is nobody to tell.
        std::process::exit(141);
    }
}

/// Writes one line to the error output; what cannot be written is lost.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a person watches.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}
