//! The collectd of this VM: what it measures, and to whom it tells it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use balancer::supervisor::Companion;
use model::figures::{BootMonitor, FIGURES_INTERVAL_S, types_db};

use super::error::InitError;

/// Where the image has it, unless it was built without.
const PROGRAM: &str = "/usr/sbin/collectd";
/// Written here, for its password, with each boot.
const CONFIG: &str = "/run/collectd.conf";
/// What it has to know of our own types of figures.
const TYPES: &str = "/run/evenkeel.types.db";
/// Where it takes the balancer's figures.
pub(super) const SOCKET: &str = "/run/collectd.sock";

/// It is started so long after the balancer: to start it takes an emulated processor as long as all else together, and
/// while clients wait for the balancer nobody waits for figures.
const PAUSE: Duration = Duration::from_secs(1);

/// The daemon as Boot wants it, ready to be started; none where the image or Boot has none.
pub(super) fn prepare(monitor: Option<&BootMonitor>) -> Result<Option<Companion>, InitError> {
    let Some(monitor) = monitor.filter(|_| Path::new(PROGRAM).exists()) else {
        return Ok(None);
    };
    for (path, text) in [(CONFIG, text(monitor)), (TYPES, types_db())] {
        write(path, &text).map_err(InitError::system(format!("write {path}")))?;
    }
    let arguments = ["-f", "-C", CONFIG].map(Into::into).to_vec();
    let collectd = Companion::new("collectd", PROGRAM.into(), arguments);
    Ok(Some(collectd.after(PAUSE)))
}

fn write(path: &str, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// Its configuration. A queue that is full drops what is oldest; small packets are sent sooner.
fn text(monitor: &BootMonitor) -> String {
    let BootMonitor {
        address,
        port,
        user,
        key,
    } = monitor;
    format!(
        r#"Hostname "{user}"
FQDNLookup false
Interval {FIGURES_INTERVAL_S}
BaseDir "/run"
PIDFile "/run/collectd.pid"
PluginDir "/usr/lib/collectd"
TypesDB "/usr/share/collectd/types.db" "{TYPES}"
ReadThreads 1
WriteThreads 1
WriteQueueLimitHigh 1000
WriteQueueLimitLow 1000
LoadPlugin cpu
LoadPlugin interface
LoadPlugin load
LoadPlugin memory
LoadPlugin network
LoadPlugin unixsock
<Plugin cpu>
  ReportByCpu false
  ReportByState false
  ValuesPercentage true
</Plugin>
<Plugin network>
  MaxPacketSize 1024
  <Server "{address}" "{port}">
    SecurityLevel "Encrypt"
    Username "{user}"
    Password "{key}"
  </Server>
</Plugin>
<Plugin unixsock>
  SocketFile "{SOCKET}"
  SocketPerms "0600"
  DeleteSocket true
</Plugin>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_measures_is_sent_encrypted_in_the_vms_own_name() {
        let monitor = BootMonitor {
            address: [10, 200, 0, 1].into(),
            port: 25826,
            user: "vm-7".into(),
            key: "0f".repeat(32),
        };
        let text = text(&monitor);
        for line in [
            "Hostname \"vm-7\"",
            "<Server \"10.200.0.1\" \"25826\">",
            "SecurityLevel \"Encrypt\"",
            "Username \"vm-7\"",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert_eq!(text.matches(&"0f".repeat(32)).count(), 1);
    }
}
