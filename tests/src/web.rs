//! A load balancer to try things on: project `p`, two servers, instance `web`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{Door, Host, Running, Servers, eventually};

/// Where the two servers are.
const BACKENDS: [&str; 2] = ["1.1.1.10:8080", "1.1.1.11:8080"];

/// An HTTP instance over two servers, which answer with their names `a` and `b`.
pub struct Web<'h> {
    host: &'h Host,
    door: Door,
    /// Its name in DNS.
    pub name: String,
    servers: Vec<Running<'h>>,
}

/// One of its VMs, as `info` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vm {
    /// Its identity.
    pub id: u64,
    /// Its process on the host, while it has one.
    pub pid: Option<u32>,
    /// Where clients reach it.
    pub address: String,
    /// The verdict over it.
    pub state: String,
    /// What that rests on.
    pub evidence: String,
    /// Whether it is to go.
    pub leaves: bool,
}

impl<'h> Web<'h> {
    /// Makes it with this many VMs and waits until it serves as it was asked for.
    ///
    /// # Panics
    /// When it does not come to serve.
    #[must_use]
    pub fn create(host: &'h Host, door: Door, vms: u32) -> Self {
        let web = Self::ask_for(host, door, vms);
        web.await_condition("serving");
        web
    }

    /// Asks for it and does not wait.
    #[must_use]
    pub fn ask_for(host: &'h Host, door: Door, vms: u32) -> Self {
        let cable = Servers::new(host, "cable", &["1.1.1.10/24", "1.1.1.11/24"]);
        let servers = [("a", BACKENDS[0]), ("b", BACKENDS[1])];
        let servers = servers.map(|(name, address)| cable.http(name, address));
        door.do_("create", "project", json!({ "name": "p" }));
        door.attach("1.1.1.0/24", &cable.interface);
        let instance = door.do_("create", "instance", Self::form(vms));
        let url = instance["url"].as_str().expect("an instance has a URL");
        let name = url.trim_start_matches("http://").trim_end_matches('/');
        Self {
            host,
            door,
            name: name.to_owned(),
            servers: servers.into(),
        }
    }

    /// What it is asked for with.
    #[must_use]
    pub fn form(vms: u32) -> Value {
        json!({
            "project": "p", "name": "web", "subnet": "1.1.1.0/24", "wait": false,
            "backend": {
                "entities": BACKENDS,
                "health-check": { "criteria": {
                    "interval": 1, "timeout": 1, "health-threshold": 1, "unhealth-threshold": 2,
                } },
                "auto-scaling": { "min": vms, "max": vms },
            },
        })
    }

    /// Ends its servers, as a crash would.
    pub fn kill_servers(&mut self) {
        self.servers.drain(..).for_each(Running::kill);
    }

    /// All that `info` tells about it.
    #[must_use]
    pub fn info(&self) -> Value {
        self.door
            .do_("info", "instance", json!({ "project": "p", "name": "web" }))
    }

    /// Waits until its condition is this one.
    pub fn await_condition(&self, condition: &str) -> Value {
        eventually(&format!("the instance is {condition}"), || {
            let info = self.info();
            match info["condition"] == condition {
                true => Ok(info),
                false => Err(info.to_string()),
            }
        })
    }

    /// Its VMs, oldest first, those that leave included.
    #[must_use]
    pub fn vms(&self) -> Vec<Vm> {
        Vm::read(&self.info())
    }

    /// Waits until each of these VMs balances over these servers and no others.
    ///
    /// # Panics
    /// When one does not come to that.
    pub fn await_servers(&self, vms: &[Vm], servers: &[&str]) {
        for vm in vms {
            eventually("the VM balances over what was asked for", || {
                let answers: Result<BTreeSet<_>, _> =
                    (0..4).map(|_| self.fetch_from(&vm.address)).collect();
                let answers = answers?;
                match answers.iter().eq(servers) {
                    true => Ok(()),
                    false => Err(format!("{answers:?}")),
                }
            });
        }
    }

    /// The addresses that DNS gives for it at this moment; an error when DNS does not answer.
    ///
    /// # Errors
    /// What `dig` said.
    pub fn dig(&self) -> Result<BTreeSet<String>, String> {
        let question = format!("dig +short +time=1 +tries=1 @10.200.0.1 {} A", self.name);
        let output = self.host.try_shell(&question);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() && !said.contains(";;") {
            true => Ok(said.lines().map(str::to_owned).collect()),
            false => Err(said),
        }
    }

    /// Fetches the URL once through the DNS that it is published in, and returns the server's name.
    ///
    /// # Errors
    /// What `curl` said.
    pub fn fetch(&self) -> Result<String, String> {
        let addresses = self.dig()?;
        let address = addresses.first().ok_or("DNS knows no address")?;
        self.fetch_from(address)
    }

    /// Fetches the URL once from one address.
    ///
    /// # Errors
    /// What `curl` said.
    pub fn fetch_from(&self, address: &str) -> Result<String, String> {
        let name = &self.name;
        let output = self.host.try_shell(&format!(
            "curl --silent --show-error --fail --max-time 2 --resolve {name}:80:{address} http://{name}/"
        ));
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Vm {
    /// Has its process, and the balancer in it, get a signal.
    ///
    /// # Panics
    /// When it has no process.
    pub fn signal(&self, host: &Host, signal: &str) {
        let pid = self.pid.expect("it runs");
        host.shell(&format!("kill -{signal} {pid} $(pgrep --parent {pid})"));
    }

    /// The VMs in an instance's `info`.
    #[must_use]
    pub fn read(info: &Value) -> Vec<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let vms = info["vms"].as_array().into_iter().flatten();
        vms.map(|vm| Self {
            id: vm["id"].as_u64().expect("a VM has an id"),
            pid: vm["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()),
            address: text(&vm["address"]),
            state: text(&vm["state"]),
            evidence: text(&vm["evidence"]),
            leaves: !vm["leaving"].is_null(),
        })
        .collect()
    }
}
