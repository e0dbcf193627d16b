use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

use crate::limits::LOG_LINE_BYTES;

/// Escapes every control character of an event but the newline that ends it.
pub(super) struct Escaping<W>(pub(super) W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Escaping<W> {
    type Writer = EscapingWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapingWriter(self.0.make_writer())
    }
}

pub(super) struct EscapingWriter<W>(W);

impl<W: Write> Write for EscapingWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(line(event).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn line(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    let body = text.strip_suffix('\n').unwrap_or(&text);
    let mut out = String::with_capacity(text.len() + 8);
    for character in body.chars() {
        if out.len() >= LOG_LINE_BYTES {
            out.push('…');
            break;
        }
        match is_unsafe(character) {
            true => out.extend(character.escape_default()),
            false => out.push(character),
        }
    }
    out.push('\n');
    out
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
