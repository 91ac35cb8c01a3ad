//! The guest's end of the control channel until the balancer takes it over: a virtio-serial port.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use balancer::rehearsal;
use model::{Boot, GuestMessage, HostMessage, MAX_LINE_BYTES};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};

use super::error::InitError;

/// The port's name, which the host gives to QEMU.
const PORT: &str = "evenkeel.channel";

/// The name of the port for the access log.
const LOG_PORT: &str = "evenkeel.log";

/// Where the kernel lists ports.
const PORTS: &str = "/sys/class/virtio-ports";

/// How long after its driver was loaded the port may take to appear.
const PORT_DEADLINE: Duration = Duration::from_secs(20);

/// How long after the channel the log's port may take. Without one there is no log: the machine was made by an
/// older host.
const LOG_DEADLINE: Duration = Duration::from_millis(500);

/// Between two looks for it.
const PORT_PAUSE: Duration = Duration::from_millis(2);

/// Between two questions who this VM is.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// The open port.
pub(super) struct Channel {
    port: OwnedFd,
}

impl Channel {
    /// Finds and opens the port.
    ///
    /// A port can be open only once, so the balancer inherits this descriptor: it is not closed on
    /// exec. It is non-blocking, since a guest must never wait for its host.
    pub(super) fn find() -> Result<Self, InitError> {
        let device = find_port()?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
        let port = open(&device, flags, Mode::empty())
            .map_err(InitError::system(format!("open {}", device.display())))?;
        Ok(Self { port })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }

    /// Asks who this VM is until the host says so.
    ///
    /// What comes after the answer is thrown away: the host says nothing but Boot before it has
    /// heard a heartbeat. Before that it may want a rehearsal.
    pub(super) fn await_boot(&mut self) -> Result<Boot, InitError> {
        let question = GuestMessage::AwaitingBoot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut lines = Lines::default();
        let mut asked: Option<Instant> = None;
        loop {
            if asked.is_none_or(|at| at.elapsed() >= ASK_INTERVAL) {
                asked = Some(Instant::now());
                self.say(&question);
            }
            match self.listen(&mut lines)? {
                Some(Word::Boot(boot)) => return Ok(*boot),
                Some(Word::Rehearse) => {
                    self.say(&rehearse());
                    // The host stops the machine now, and tells it who it is when it goes on.
                    asked = Some(Instant::now());
                }
                None => {}
            }
        }
    }

    /// Says something, or drops it when the channel is full.
    fn say(&self, message: &GuestMessage) {
        // Whatever an earlier boot left unfinished ends here.
        let mut line = b"\n".to_vec();
        if serde_json::to_writer(&mut line, message).is_ok() {
            line.push(b'\n');
            let _dropped_when_full = rustix::io::write(&self.port, &line);
        }
    }

    /// Waits for something to read, up to the next question, and reads it.
    fn listen(&self, lines: &mut Lines) -> Result<Option<Word>, InitError> {
        let interval = Timespec::try_from(ASK_INTERVAL).map_err(|_| {
            InitError::Missing("an interval that the kernel understands".to_owned())
        })?;
        let mut polled = [PollFd::new(&self.port, PollFlags::IN)];
        let _interrupted_or_late = poll(&mut polled, Some(&interval));
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.port, &mut buffer) {
            Ok(count @ 1..) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                Ok(lines.push(bytes))
            }
            // Nobody is connected on the host's side: the kernel says so at once, over and over.
            Ok(_) => {
                sleep(ASK_INTERVAL);
                Ok(None)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(InitError::system("read the control channel")(error)),
        }
    }
}

/// The open port for the access log, which the balancer inherits as it does the channel.
pub(super) fn open_log() -> Option<OwnedFd> {
    let device = await_port(LOG_PORT, LOG_DEADLINE)?;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    open(&device, flags, Mode::empty()).ok()
}

/// The device of the channel's port.
fn find_port() -> Result<PathBuf, InitError> {
    await_port(PORT, PORT_DEADLINE).ok_or_else(|| {
        InitError::Missing(format!("the machine has no virtio-serial port `{PORT}`"))
    })
}

/// The device of a port, once its driver has made it.
fn await_port(name: &str, within: Duration) -> Option<PathBuf> {
    let start = Instant::now();
    while start.elapsed() < within {
        let device = named_port(Path::new(PORTS), name);
        if let Some(device) = device.filter(|device| device.exists()) {
            return Some(device);
        }
        sleep(PORT_PAUSE);
    }
    None
}

fn named_port(ports: &Path, wanted: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(ports).ok()?;
    entries.flatten().find_map(|entry| {
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim_end() == wanted).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

/// A rehearsal, and what is told of it. What goes wrong with it is no harm to the VM.
fn rehearse() -> GuestMessage {
    let rehearsed = super::nics::bring_up_loopback()
        .map_err(|error| error.to_string())
        .and_then(|()| {
            let program = Path::new("/proc/self/exe");
            rehearsal::rehearse(program).map_err(|error| error.to_string())
        });
    GuestMessage::Rehearsed {
        answered: *rehearsed.as_ref().unwrap_or(&0),
        trouble: rehearsed.err(),
    }
}

/// What the host may say to a VM that does not know who it is.
enum Word {
    Boot(Box<Boot>),
    Rehearse,
}

/// Looks for what concerns such a VM among the lines that come in.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Takes bytes, and returns the last word that whole lines say, or Boot, behind which nothing counts. Other lines are
    /// passed over; an overlong one makes all of what was held be forgotten, and the host says it again.
    fn push(&mut self, bytes: &[u8]) -> Option<Word> {
        let mut word = None;
        for byte in bytes {
            if *byte != b'\n' {
                self.0.push(*byte);
                if self.0.len() >= MAX_LINE_BYTES {
                    self.0.clear();
                }
                continue;
            }
            let message = serde_json::from_slice(&self.0);
            self.0.clear();
            match message {
                Ok(HostMessage::Boot(boot)) => return Some(Word::Boot(Box::new(boot))),
                Ok(HostMessage::Rehearse) => word = Some(Word::Rehearse),
                Ok(_) | Err(_) => {}
            }
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = r#"{"message":"boot","vm":7,"hostname":"web-7","front":{"mac":"02:00:0a:c8:00:05","address":"10.200.0.5","prefix":16,"gateway":"10.200.0.1"},"tenant":{"mac":"02:01:01:01:01:02","address":"1.1.1.2","prefix":24,"gateway":null},"seed":"00","unix_time_ms":1,"heartbeat_ms":250}"#;

    #[test]
    fn boot_is_found_however_it_comes_and_whatever_comes_before() {
        let stream = format!(
            "\ntail of something\"}}\n{{\"message\":\"unknown\"}}\n{{\"message\":\"rehearse\"}}\n{BOOT}\n"
        );
        for size in [1, 2, 7, 64, 4096] {
            let mut lines = Lines::default();
            let found: Vec<Word> = stream
                .as_bytes()
                .chunks(size)
                .filter_map(|chunk| lines.push(chunk))
                .collect();
            let [.., Word::Boot(boot)] = &found[..] else {
                panic!("in pieces of {size}")
            };
            assert_eq!(boot.hostname, "web-7");
            // One that comes together with Boot comes too late.
            assert_eq!(found.len(), if size < 4096 { 2 } else { 1 });
        }
    }

    #[test]
    fn an_endless_line_is_forgotten() {
        let mut lines = Lines::default();
        for _ in 0..40 {
            assert!(lines.push(&[b'x'; 1 << 16]).is_none());
            assert!(lines.0.len() < MAX_LINE_BYTES);
        }
        lines.push(b"\n");
        assert!(matches!(
            lines.push(format!("{BOOT}\n").as_bytes()),
            Some(Word::Boot(_))
        ));
    }

    #[test]
    fn the_port_is_found_by_its_name() {
        let ports = std::env::temp_dir().join(format!("evenkeel-ports-{}", std::process::id()));
        for (port, name) in [("vport0p0", "other\n"), ("vport1p1", "evenkeel.channel\n")] {
            fs::create_dir_all(ports.join(port)).unwrap();
            fs::write(ports.join(port).join("name"), name).unwrap();
        }
        let found = named_port(&ports, PORT);
        fs::remove_dir_all(&ports).unwrap();
        assert_eq!(found, Some(PathBuf::from("/dev/vport1p1")));
    }
}
