//! Standard output: the one place that writes to it. When its reader has gone, or it takes no more, nothing more is
//! written, and the process ends with the exit code of that ([`status`], `docs/exit-codes.md`).

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};

/// The output was not written: the disk is full, or the device fails (`EX_IOERR` of sysexits.h).
pub(crate) const NOT_WRITTEN: u8 = 74;
/// The reader of the output has gone, as a shell names the end by SIGPIPE.
pub(crate) const READER_GONE: u8 = 141;

/// 0, or one of the two.
static LOST: AtomicU8 = AtomicU8::new(0);

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
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            LOST.store(READER_GONE, Ordering::Relaxed);
        }
        Err(error) => {
            LOST.store(NOT_WRITTEN, Ordering::Relaxed);
            complain(&format!(
                "tessera: standard output cannot be written: {error}. The command goes on, and the rest of its output \
                 is lost"
            ));
        }
    }
}

/// Whether output was lost: a command that runs to be watched may end.
pub(crate) fn is_closed() -> bool {
    status().is_some()
}

/// The exit code, when output was lost.
pub(crate) fn status() -> Option<u8> {
    Some(LOST.load(Ordering::Relaxed)).filter(|lost| *lost != 0)
}

/// Writes one line to the error output; what cannot be written is lost.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The result of a command: the object with `--json`, otherwise the text.
pub(crate) fn result(json: bool, text: &str, object: &serde_json::Value) {
    match json {
        true => line(&format!("{object:#}")),
        false => line(text),
    }
}

/// A line about the way to the result. With `--json` it goes to the error output.
pub(crate) fn step(json: bool, text: &str) {
    match json {
        true => complain(text),
        false => line(text),
    }
}

/// Whether a person watches.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}
