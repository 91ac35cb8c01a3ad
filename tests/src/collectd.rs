//! Debian's collectd, as a user has it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Host, Running, eventually};

/// Daemons that were started, for their names.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A daemon on a host, or in a namespace of it. It ends when this is dropped.
pub struct Collectd<'h> {
    socket: PathBuf,
    _running: Running<'h>,
}

impl<'h> Collectd<'h> {
    /// Starts one that calls itself `name`, in a namespace of the host's or, where that is empty, on the host.
    /// `network` is what its network plugin is configured with, and `more` what else it does, beside being talked to.
    ///
    /// # Panics
    /// When it does not come to listen.
    #[must_use]
    pub fn start(host: &'h Host, namespace: &str, name: &str, network: &str, more: &str) -> Self {
        let own = format!("collectd-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let (socket, config) = (host.path(&format!("{own}.sock")), host.path(&own));
        let text = format!(
            "Hostname \"{name}\"\nFQDNLookup false\nInterval 1\nBaseDir \"{directory}\"\nPIDFile \"{config}.pid\"\n\
             PluginDir \"/usr/lib/collectd\"\nTypesDB \"/usr/share/collectd/types.db\"\n\
             LoadPlugin logfile\n<Plugin logfile>\nFile stderr\n</Plugin>\n\
             LoadPlugin unixsock\n<Plugin unixsock>\nSocketFile \"{socket}\"\n</Plugin>\n\
             LoadPlugin network\n<Plugin network>\n{network}\n</Plugin>\n{more}\n",
            directory = host.directory().display(),
            config = config.display(),
            socket = socket.display(),
        );
        fs::write(&config, text).expect("the host's directory can be written");
        let config = config.display().to_string();
        let line = ["/usr/sbin/collectd", "-f", "-C", &config];
        let running = match namespace.is_empty() {
            true => host.start(&own, line[0], &line[1..]),
            false => {
                let within = ["netns", "exec", namespace];
                host.start(&own, "ip", &[&within[..], &line[..]].concat())
            }
        };
        eventually("collectd listens", || {
            UnixStream::connect(&socket).map(drop)
        });
        Self {
            socket,
            _running: running,
        }
    }

    /// Has it send a value on at once, as if it had measured it. `time` is in seconds, or `N` for now.
    ///
    /// # Panics
    /// When it does not take it.
    pub fn put(&self, identifier: &str, time: &str, values: &str) {
        self.ask(&format!("PUTVAL {identifier} interval=1 {time}:{values}"));
        self.flush();
    }

    /// Has it send what it has at once, and not only when a packet is full.
    pub fn flush(&self) {
        self.ask("FLUSH plugin=network");
    }

    /// The identifiers of what it knows.
    #[must_use]
    pub fn known(&self) -> Vec<String> {
        let lines = self.ask("LISTVAL");
        let identifier = |line: &String| Some(line.split_once(' ')?.1.to_owned());
        lines.iter().filter_map(identifier).collect()
    }

    /// The newest values under an identifier, as `name=value`.
    #[must_use]
    pub fn values(&self, identifier: &str) -> Vec<String> {
        self.ask(&format!("GETVAL \"{identifier}\""))
    }

    /// Asks by the plugin `unixsock`, and returns the lines that follow `n Values found`.
    fn ask(&self, command: &str) -> Vec<String> {
        let mut stream = UnixStream::connect(&self.socket).expect("collectd listens");
        writeln!(stream, "{command}").expect("collectd reads");
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let head = lines.next().unwrap_or_default();
        let count = head
            .split_once(' ')
            .and_then(|(count, _)| count.parse().ok());
        let count: usize = count.filter(|count| *count < 1_000_000).unwrap_or(0);
        assert!(!head.starts_with('-'), "{command}: {head}");
        lines.take(count).collect()
    }
}
