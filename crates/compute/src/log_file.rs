//! Logs that processes write to by themselves, kept from growing without end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes after which a log starts again from nothing.
const MAX_LOG_BYTES: u64 = 1 << 20;

/// Bytes of a log's end that are quoted in an error.
const TAIL_BYTES: u64 = 600;

/// Opens a log for a child to write to. Appending, so that its writes go on at the file's end after
/// the file was emptied.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Empties the log when it has grown past its bound. The writer need not know. A log that is not
/// there is no error.
pub(crate) fn bound(path: &Path) {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return;
    };
    if metadata.is_file() && metadata.len() > MAX_LOG_BYTES {
        let emptied = OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(0));
        if let Err(error) = emptied {
            tracing::warn!(path = %path.display(), %error, "cannot empty a log that has grown too large");
        }
    }
}

/// The end of a log on one line, for an error's text; empty when there is none.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_that_grew_past_its_bound_starts_again_and_its_writer_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console.log");
        let mut writer = open(&path).unwrap();
        writer
            .write_all(&vec![b'x'; MAX_LOG_BYTES as usize])
            .unwrap();
        bound(&path);
        assert_eq!(fs::metadata(&path).unwrap().len(), MAX_LOG_BYTES);
        writer.write_all(b"y").unwrap();
        bound(&path);
        writer.write_all(b"first\n\n second\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 15);
        assert_eq!(tail(&path), "first | second");
    }
}
