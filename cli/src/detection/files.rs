//! Files of observations, alerts and ground truth: NDJSON, read line by line with a bound on each line.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tessera_behaviour::alert::Alert;
use tessera_behaviour::limits::LINE_BYTES;
use tessera_behaviour::observation::{line, InOrder, Observation};
use tessera_behaviour::truth::Truth;

use crate::error::Fault;
use crate::output;

/// Bytes of a line of ground truth: a cause lists its devices.
const TRUTH_BYTES: usize = 64 * 1024 * 1024;

/// The first line of a file of observations.
pub(super) fn head() -> String {
    format!(r#"{{"format":"{}"}}"#, line::FORMAT)
}

/// The file; nothing for `-`.
pub(super) fn named(path: &Path) -> Option<&Path> {
    (path != Path::new("-")).then_some(path)
}

/// The files of a record of observations, one behind the other. A file that was removed meanwhile made room for a newer one.
struct Recorded {
    files: VecDeque<PathBuf>,
    open: Option<File>,
}

impl Recorded {
    fn of(folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "ndjson") {
                files.push(path);
            }
        }
        if files.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no .ndjson file is in the folder: behaviour.record_mib turns the record on",
            ));
        }
        files.sort();
        Ok(Self { files: files.into(), open: None })
    }
}

impl Read for Recorded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.open {
                let read = file.read(into)?;
                if read > 0 || into.is_empty() {
                    return Ok(read);
                }
            }
            let Some(next) = self.files.pop_front() else { return Ok(0) };
            self.open = match File::open(next) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => Some(file?),
            };
        }
    }
}

pub(super) fn reader(path: &Path) -> Result<Box<dyn BufRead>, Fault> {
    match named(path) {
        None => Ok(Box::new(BufReader::new(io::stdin()))),
        Some(path) => {
            let at = |error| Fault::from(error).at(&path.display().to_string());
            let file: Box<dyn Read> = match path.is_dir() {
                true => Box::new(Recorded::of(path).map_err(at)?),
                false => Box::new(File::open(path).map_err(at)?),
            };
            Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
        }
    }
}

/// The next line, without its end, of at most one byte more than a line may have: such a one is refused by its reader.
pub(super) fn next_line(input: &mut dyn BufRead, text: &mut Vec<u8>) -> io::Result<bool> {
    read_line(input, text, LINE_BYTES)
}

fn read_line(input: &mut dyn BufRead, text: &mut Vec<u8>, most: usize) -> io::Result<bool> {
    text.clear();
    let read = input.take(most as u64 + 2).read_until(b'\n', text)?;
    while text.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        text.pop();
    }
    Ok(read > 0)
}

/// Gives each observation of a file in the order of the times, until `take` answers no. The answer is the lines read.
pub(crate) fn observations(
    path: &Path,
    take: &mut dyn FnMut(&Observation<'_>) -> bool,
) -> Result<u64, Fault> {
    let mut input = reader(path)?;
    let (mut order, mut text, mut lines, mut goes_on) = (InOrder::default(), Vec::new(), 0, true);
    let place = |line: u64| format!("{}, line {line}", path.display());
    let mut give = |seen: &Observation<'_>, goes_on: &mut bool| {
        if *goes_on {
            *goes_on = take(seen);
        }
    };
    while goes_on
        && next_line(&mut input, &mut text).map_err(|e| Fault::from(e).at(&place(lines + 1)))?
    {
        lines += 1;
        let line = std::str::from_utf8(&text).map_err(|e| Fault::from(e).at(&place(lines)))?;
        let pushed = order.push(line, |seen| give(seen, &mut goes_on));
        pushed.map_err(|error| Fault::from(error).at(&place(lines)))?;
    }
    order.finish(|seen| give(seen, &mut goes_on));
    Ok(lines)
}

/// All values of a file.
fn values<T: DeserializeOwned>(path: &Path, most: usize) -> Result<Vec<T>, Fault> {
    let mut input = reader(path)?;
    let (mut found, mut text, mut lines) = (Vec::new(), Vec::new(), 0_u64);
    let place = |line: u64| format!("{}, line {line}", path.display());
    while read_line(&mut input, &mut text, most)
        .map_err(|e| Fault::from(e).at(&place(lines + 1)))?
    {
        lines += 1;
        if text.len() > most {
            return Err(Fault::new(format!("longer than {most} bytes")).at(&place(lines)));
        }
        if !text.trim_ascii().is_empty() {
            found
                .push(serde_json::from_slice(&text).map_err(|e| Fault::from(e).at(&place(lines)))?);
        }
    }
    Ok(found)
}

pub(super) fn truth(path: &Path) -> Result<Vec<Truth>, Fault> {
    values(path, TRUTH_BYTES)
}

pub(super) fn alerts(path: &Path) -> Result<Vec<Alert>, Fault> {
    values(path, LINE_BYTES)
}

/// A file, or standard output, for lines.
pub(super) enum Out {
    File(BufWriter<File>, String),
    Standard(String),
}

impl Out {
    pub(super) fn of(path: Option<&Path>) -> Result<Self, Fault> {
        let Some(path) = path else { return Ok(Self::Standard(String::new())) };
        let place = path.display().to_string();
        let file = File::create(path).map_err(|error| Fault::from(error).at(&place))?;
        Ok(Self::File(BufWriter::with_capacity(1 << 20, file), place))
    }

    pub(super) fn line(&mut self, text: &str) -> Result<(), Fault> {
        match self {
            Self::File(file, place) => {
                let written = file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n"));
                written.map_err(|error| Fault::from(error).at(place))
            }
            Self::Standard(waiting) => {
                waiting.push_str(text);
                waiting.push('\n');
                if waiting.len() > 1 << 16 {
                    output::write(waiting);
                    waiting.clear();
                }
                Ok(())
            }
        }
    }

    pub(super) fn finish(self) -> Result<(), Fault> {
        match self {
            Self::File(mut file, place) => {
                file.flush().map_err(|error| Fault::from(error).at(&place))
            }
            Self::Standard(waiting) => {
                output::write(&waiting);
                Ok(())
            }
        }
    }
}

/// Writes values as NDJSON into a file.
pub(crate) fn write_lines<T: serde::Serialize>(path: &Path, values: &[T]) -> Result<(), Fault> {
    let mut out = Out::of(named(path))?;
    for value in values {
        out.line(&serde_json::to_string(value)?)?;
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_a_bound() {
        let mut input: &[u8] = b"{\"a\":1}\r\n\nlong";
        let mut text = Vec::new();
        let mut lines = Vec::new();
        while next_line(&mut input, &mut text).unwrap() {
            lines.push(String::from_utf8(text.clone()).unwrap());
        }
        assert_eq!(lines, ["{\"a\":1}", "", "long"]);
        let long = vec![b'x'; 3 * LINE_BYTES];
        let mut input = long.as_slice();
        assert!(next_line(&mut input, &mut text).unwrap());
        assert!(text.len() > LINE_BYTES && text.len() <= LINE_BYTES + 2);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.ndjson");
        let good = r#"{"t":1,"device":"d","kind":"disconnect"}"#;
        std::fs::write(&path, format!("{}\n{good}\n{{\"t\":2}}\n", head())).unwrap();
        let error = observations(&path, &mut |_| true).unwrap_err().to_string();
        assert!(error.contains("o.ndjson, line 3: "), "{error}");
        std::fs::write(&path, format!("{}\n{good}\n{good}\n", head())).unwrap();
        let mut seen = 0;
        let lines = observations(&path, &mut |_| {
            seen += 1;
            true
        });
        assert_eq!((lines.unwrap(), seen), (3, 2));
    }
}
