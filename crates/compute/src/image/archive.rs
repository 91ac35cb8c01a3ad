//! A `newc` cpio archive, the form in which Linux takes an initramfs
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).
//!
//! Every entry belongs to root and is from the epoch's first second, so that the same files give the
//! same bytes.

/// Type bits of st_mode.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// An archive in the making. Directories come before what is in them.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds an empty directory. `path` is relative, without a slash at either end.
    pub(crate) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, 2, &[]);
    }

    /// Adds a file of less than 4 GiB. `mode` is its permissions.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, REGULAR | mode, 1, content);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entries = u32::MAX; // so that the trailer's inode number is 0, as is usual
        self.entry("TRAILER!!!", 0, 1, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, links: u32, content: &[u8]) {
        self.entries = self.entries.wrapping_add(1);
        let size = u32::try_from(content.len()).expect("a file of an image is far below 4 GiB");
        let name_size = u32::try_from(path.len() + 1).expect("a path of an image is short");
        let (uid, gid, mtime) = (0, 0, 0);
        let (device, real_device, check) = ((0, 0), (0, 0), 0);
        let fields = [
            self.entries,
            mode,
            uid,
            gid,
            links,
            mtime,
            size,
            device.0,
            device.1,
            real_device.0,
            real_device.1,
            name_size,
            check,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    /// Header with name, and content, each end at a multiple of four.
    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_unpacks_what_was_packed() {
        let mut archive = Archive::default();
        archive.directory("modules");
        archive.file("modules/odd", 0o644, b"12345");
        archive.file("init", 0o755, &vec![7; 100_001]);
        archive.file("empty", 0o600, b"");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);

        let directory = tempfile::tempdir().unwrap();
        let mut cpio = Command::new("cpio")
            .args(["--extract", "--quiet", "--no-absolute-filenames"])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(cpio.wait().unwrap().success());
        let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
        assert_eq!(read("modules/odd"), b"12345");
        assert_eq!(read("init"), vec![7; 100_001]);
        assert_eq!(read("empty"), b"");
        let mode = std::fs::metadata(directory.path().join("init"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode, 0o100_755);
    }
}
