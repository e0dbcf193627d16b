//! Observations in files, the newest up to a size: for rules that are tried against the past, and for replays.
//!
//! A record that cannot be written stops nothing: it is told, and tried again a minute later.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tessera_behaviour::limits::LINE_BYTES;
use tessera_behaviour::observation::{line, Observation};
use tessera_runtime::secret::own_folder;

use crate::limits::{RECORD_FILES, RECORD_FLUSH, RECORD_RETRY};

/// The files of recorded observations.
pub(crate) struct Recording {
    folder: PathBuf,
    /// Bytes of a file.
    most: u64,
    open: Option<Open>,
    /// Numbers of the files, in the order in which they were written.
    files: Vec<u64>,
    next: u64,
    flushed: Duration,
    /// After an error: when it is tried again.
    again: Option<Duration>,
    /// Lines that were written, and errors.
    pub(super) totals: (u64, u64),
}

struct Open {
    file: BufWriter<File>,
    bytes: u64,
}

impl Recording {
    /// A record of at most so many bytes in this folder.
    pub(crate) fn new(folder: PathBuf, bytes: u64) -> Self {
        Self {
            folder,
            most: bytes / RECORD_FILES as u64,
            open: None,
            files: Vec::new(),
            next: 0,
            flushed: Duration::ZERO,
            again: Some(Duration::ZERO),
            totals: (0, 0),
        }
    }

    /// Writes one observation.
    pub(super) fn write(&mut self, observation: &Observation<'_>, lived: Duration) {
        if self.again.is_some_and(|again| again > lived) {
            return;
        }
        let written = self.try_write(observation);
        self.note(written, lived);
    }

    /// Hands what was written to the system, now and then: a reader sees it a moment later.
    pub(super) fn tick(&mut self, lived: Duration) {
        if lived < self.flushed.saturating_add(RECORD_FLUSH) {
            return;
        }
        self.flushed = lived;
        let flushed = self.open.as_mut().map_or(Ok(()), |open| open.file.flush());
        self.note(flushed, lived);
    }

    fn note(&mut self, outcome: io::Result<()>, lived: Duration) {
        let Err(error) = outcome else { return };
        self.totals.1 += 1;
        self.open = None;
        self.again = Some(lived.saturating_add(RECORD_RETRY));
        let folder = self.folder.display();
        tracing::warn!(%error, %folder, "observations are not recorded; tried again in a minute");
    }

    fn try_write(&mut self, observation: &Observation<'_>) -> io::Result<()> {
        let mut text = line::to_line(observation);
        text.push('\n');
        let bytes = text.len() as u64;
        let open = match &mut self.open {
            Some(open) if open.bytes + bytes <= self.most => open,
            _ => self.begin()?,
        };
        open.file.write_all(text.as_bytes())?;
        open.bytes += bytes;
        self.totals.0 += 1;
        Ok(())
    }

    /// The next file. The oldest ones make room for it.
    fn begin(&mut self) -> io::Result<&mut Open> {
        if let Some(mut full) = self.open.take() {
            full.file.flush()?;
        }
        if self.again.take().is_some() {
            self.read_folder()?;
            if let Some(last) = self.last_with_room()? {
                return Ok(self.open.insert(last));
            }
        }
        while self.files.len() >= RECORD_FILES {
            let oldest = self.files.remove(0);
            fs::remove_file(self.path(oldest))?;
        }
        let number = self.next;
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(number))?;
        self.next += 1;
        self.files.push(number);
        let mut file = BufWriter::with_capacity(64 * 1024, file);
        let head = format!("{{\"format\":\"{}\"}}\n", line::FORMAT);
        file.write_all(head.as_bytes())?;
        Ok(self.open.insert(Open { file, bytes: head.len() as u64 }))
    }

    /// The last file of a former process, when it has room: restarts push no file out.
    fn last_with_room(&self) -> io::Result<Option<Open>> {
        let Some(last) = self.files.last() else { return Ok(None) };
        let file = OpenOptions::new().append(true).open(self.path(*last))?;
        let bytes = file.metadata()?.len();
        let open = Open { file: BufWriter::with_capacity(64 * 1024, file), bytes };
        Ok((bytes + LINE_BYTES as u64 <= self.most).then_some(open))
    }

    /// Finds the files of former processes.
    fn read_folder(&mut self) -> io::Result<()> {
        own_folder(&self.folder).map_err(|error| io::Error::other(error.to_string()))?;
        self.files.clear();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".ndjson"));
            self.files.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        self.files.sort_unstable();
        if let Some(last) = self.files.last().copied() {
            whole_lines(&self.path(last))?;
            self.next = self.next.max(last + 1);
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016}.ndjson"))
    }
}

/// Cuts what a process that was killed left of a line.
fn whole_lines(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * LINE_BYTES as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let kept = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
    if from + kept < length {
        file.set_len(from + kept)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tessera_behaviour::observation::Event;

    use super::*;

    const START: Duration = Duration::from_secs(100);

    fn seen(at: u64) -> Observation<'static> {
        let event = Event::Subscribed { filter: "d/d-1/cmd" };
        Observation { at, tenant: "acme", device: "d-1", session: 1, event }
    }

    fn files(folder: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn the_newest_observations_are_kept_up_to_the_size() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("record");
        let mut recording = Recording::new(inside.clone(), 8 * 1024);
        for at in 0..1000 {
            recording.write(&seen(at * 1000), START);
        }
        recording.tick(START + RECORD_FLUSH);
        let found = files(&inside);
        assert_eq!(found.len(), RECORD_FILES);
        assert!(found.iter().all(|(_, text)| text.len() <= 1024 && text.ends_with('\n')));
        let all: String = found.into_iter().map(|(_, text)| text).collect();
        let times: Vec<f64> = all
            .lines()
            .filter_map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["t"].as_f64()
            })
            .collect();
        assert_eq!(times.last(), Some(&999.0));
        assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 1.0), "none is missing between");
        assert_eq!(recording.totals, (1000, 0));
    }

    #[test]
    fn a_process_goes_on_behind_a_killed_one() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("record");
        let mut killed = Recording::new(inside.clone(), 1 << 20);
        killed.write(&seen(1000), START);
        killed.tick(START + RECORD_FLUSH);
        let mut torn = OpenOptions::new().append(true).open(inside.join("0000000000000000.ndjson"));
        torn.as_mut().unwrap().write_all(b"{\"t\":2,\"ten").unwrap();
        let mut recording = Recording::new(inside.clone(), 1 << 20);
        recording.write(&seen(3000), START);
        recording.tick(START + RECORD_FLUSH);
        let found = files(&inside);
        assert_eq!(found.len(), 1, "restarts push no file out");
        let lines = found[0].1.lines();
        let times: Vec<f64> = lines
            .filter_map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["t"].as_f64()
            })
            .collect();
        assert_eq!(times, [1.0, 3.0], "{found:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_tried_again_and_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("record");
        fs::write(&inside, "no folder").unwrap();
        let mut recording = Recording::new(inside.clone(), 1 << 20);
        recording.write(&seen(1000), START);
        recording.write(&seen(1000), START);
        assert_eq!(recording.totals, (0, 1), "the second was not tried");
        fs::remove_file(&inside).unwrap();
        recording.write(&seen(1000), START + RECORD_RETRY - Duration::from_millis(1));
        recording.write(&seen(1000), START + RECORD_RETRY);
        assert_eq!(recording.totals, (1, 1));
    }
}
