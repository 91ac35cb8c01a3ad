//! Requests as fast as they go, by `wrk`.

use std::io::Read;
use std::process::{Child, Stdio};

use crate::Host;

/// A run of `wrk`, which counts every answer that is not 2xx or 3xx and every socket that fails.
pub struct Load(Child);

impl Load {
    /// Over which requests come.
    pub const CONNECTIONS: u32 = 3;

    /// Asks an address for so many seconds over a few connections; `anew` makes one for each request. More of them would
    /// ask no more of an emulated VM, which is at its limit with one, but keep it from everything else.
    ///
    /// # Panics
    /// When `wrk` cannot be started.
    #[must_use]
    pub fn begin(host: &Host, address: &str, seconds: u32, anew: bool) -> Self {
        let mut command = host.command("wrk");
        let connections = format!("-c{}", Self::CONNECTIONS);
        command.args(["-t1", &connections, "--timeout", "5"]);
        command.args(["-d", &seconds.to_string()]);
        if anew {
            command.args(["-H", "Connection: close"]);
        }
        let command = command.arg(format!("http://{address}/"));
        Self(
            command
                .stdout(Stdio::piped())
                .spawn()
                .expect("util-linux has nsenter"),
        )
    }

    /// Waits for its end, holds that no request failed, and returns how many there were.
    ///
    /// # Panics
    /// When one failed.
    pub fn assert_flawless(mut self) -> u64 {
        let mut said = String::new();
        let mut stdout = self.0.stdout.take().expect("it was asked for");
        stdout.read_to_string(&mut said).expect("wrk prints text");
        let ended_well = self.0.wait().is_ok_and(|status| status.success());
        let flawless = !said.contains("Socket errors") && !said.contains("Non-2xx");
        assert!(ended_well && flawless, "requests failed: {said}");
        let words: Vec<&str> = said.split_whitespace().collect();
        let place = words.windows(2).find(|pair| pair[1] == "requests");
        let count = place.and_then(|pair| pair[0].parse().ok());
        count.unwrap_or_else(|| panic!("wrk did not count: {said}"))
    }
}
