//! The lines of a file, in pieces.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use tessera_token::encoding::base64url;
use tessera_token::hash::sha256;

use super::bulk::at;
use crate::error::Fault;

/// Lines of one piece.
const PIECE_LINES: usize = 5_000;
/// Bytes of one piece.
const PIECE_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of a line that are sent: the service refuses shorter ones already.
const LINE_BYTES: u64 = 8 * 1024;

/// The lines of a file.
pub(super) struct Source {
    name: PathBuf,
    reader: Box<dyn BufRead>,
    /// Lines that were read.
    read: u64,
    /// The hash of these lines: of that of those before the last one, and the last one.
    hash: [u8; 32],
}

/// Some lines of it.
pub(super) struct Piece {
    /// The number of the first one.
    pub(super) first: u64,
    pub(super) lines: u64,
    pub(super) bytes: Vec<u8>,
    /// The mark of the list up to each line.
    marks: Vec<String>,
}

impl Source {
    pub(super) fn open(file: &Path) -> Result<Self, Fault> {
        let reader: Box<dyn BufRead> = match file.as_os_str() == "-" {
            true => Box::new(BufReader::new(io::stdin())),
            false => {
                let open = File::open(file).map_err(|error| at(file, &error))?;
                Box::new(BufReader::new(open))
            }
        };
        Ok(Self { name: file.to_owned(), reader, read: 0, hash: [0; 32] })
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        self.name.display().to_string()
    }

    /// Passes so many lines. Whether the list up to one of them has the mark that is known of it.
    pub(super) fn skip(&mut self, lines: u64, known: Option<(u64, &str)>) -> Result<bool, Fault> {
        let mut none = Vec::new();
        let mut is_same = known.is_none();
        for _ in 0..lines {
            none.clear();
            if !self.line(&mut none)? {
                break;
            }
            if let Some((_, mark)) = known.filter(|(line, _)| *line == self.read) {
                is_same = mark == self.mark();
            }
        }
        Ok(is_same)
    }

    /// The mark of the lines so far: 72 bits, for lists that are taken for each other by mistake.
    fn mark(&self) -> String {
        let mut mark = base64url(&self.hash);
        mark.truncate(12);
        mark
    }

    pub(super) fn piece(&mut self) -> Result<Piece, Fault> {
        let mut piece =
            Piece { first: self.read + 1, lines: 0, bytes: Vec::new(), marks: Vec::new() };
        while (piece.lines as usize) < PIECE_LINES && piece.bytes.len() < PIECE_BYTES {
            if !self.line(&mut piece.bytes)? {
                break;
            }
            piece.lines += 1;
            piece.marks.push(self.mark());
        }
        Ok(piece)
    }

    /// Adds the next line with its end. Of one that is too long a part is enough: it is refused.
    fn line(&mut self, into: &mut Vec<u8>) -> Result<bool, Fault> {
        let fault = |error| at(&self.name, &error);
        let before = into.len();
        let mut part = self.reader.as_mut().take(LINE_BYTES);
        if part.read_until(b'\n', into).map_err(fault)? == 0 {
            return Ok(false);
        }
        self.read += 1;
        if into.last() != Some(&b'\n') {
            if (into.len() - before) as u64 == LINE_BYTES {
                self.pass_line()?;
            }
            into.push(b'\n');
        }
        let line = into.get(before..).unwrap_or_default();
        self.hash = sha256(&[self.hash.as_slice(), line].concat());
        Ok(true)
    }

    /// Reads to the end of the line, and keeps nothing.
    fn pass_line(&mut self) -> Result<(), Fault> {
        loop {
            let here = self.reader.fill_buf().map_err(|error| at(&self.name, &error))?;
            let end = here.iter().position(|byte| *byte == b'\n');
            let (count, is_over) = (end.map_or(here.len(), |end| end + 1), here.is_empty());
            self.reader.consume(count);
            if is_over || end.is_some() {
                return Ok(());
            }
        }
    }
}

impl Piece {
    /// The mark of the list up to this line of it; empty for a line that is not in it.
    pub(super) fn mark(&self, line: u64) -> &str {
        let at = line.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.marks.get(at)).map_or("", String::as_str)
    }

    pub(super) fn drop_lines(&mut self, lines: u64) {
        for _ in 0..lines.min(self.lines) {
            let end = self.bytes.iter().position(|byte| *byte == b'\n');
            self.bytes.drain(..end.map_or(self.bytes.len(), |end| end + 1));
        }
        let dropped = usize::try_from(lines).unwrap_or(usize::MAX).min(self.marks.len());
        self.marks.drain(..dropped);
        self.first += lines.min(self.lines);
        self.lines -= lines.min(self.lines);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::operator) fn source(text: &str) -> Source {
        let reader = Box::new(io::Cursor::new(text.as_bytes().to_vec()));
        Source { name: "x".into(), reader, read: 0, hash: [0; 32] }
    }

    #[test]
    fn a_file_comes_in_pieces_and_long_lines_are_cut() {
        let mut text = "a\n".repeat(PIECE_LINES);
        text.push_str(&format!("b\n{}\n\nend", "x".repeat(100_000)));
        let mut file = source(&text);
        let first = file.piece().unwrap();
        assert_eq!((first.first, first.lines), (1, PIECE_LINES as u64));
        let second = file.piece().unwrap();
        assert_eq!((second.first, second.lines), (PIECE_LINES as u64 + 1, 4));
        let lines: Vec<&[u8]> = second.bytes.split(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), 5);
        assert_eq!((lines[0], lines[1].len()), (&b"b"[..], LINE_BYTES as usize));
        assert_eq!((lines[2], lines[3]), (&b""[..], &b"end"[..]));
        assert_eq!(file.piece().unwrap().lines, 0);
        let mut file = source("a\nb\nc\n");
        assert!(file.skip(2, None).unwrap());
        let piece = file.piece().unwrap();
        assert_eq!((piece.first, piece.bytes.as_slice()), (3, &b"c\n"[..]));
    }
}
