//! The JSON door, as a client in another process uses it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::eventually;

/// No answer takes longer: `create` waits for a minute at the most.
const PATIENCE: Duration = Duration::from_secs(90);

/// A door to knock at.
#[derive(Clone, Debug)]
pub struct Door {
    socket: PathBuf,
}

impl Door {
    /// The door at a unix socket.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Sends one request and returns the answer, whatever it is.
    ///
    /// # Errors
    /// When no answer in JSON comes.
    pub fn ask(&self, action: &str, kind: &str, info: Value) -> io::Result<Value> {
        let body = json!({ "action": action, "type": kind, "info": info }).to_string();
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: evenkeel\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .ok_or_else(|| io::Error::other(format!("no HTTP answer: {answer}")))?;
        serde_json::from_str(body).map_err(|error| io::Error::other(format!("{error}: {body}")))
    }

    /// Sends one request that must succeed, and returns the answer's `info`.
    ///
    /// # Panics
    /// When it fails.
    pub fn do_(&self, action: &str, kind: &str, info: Value) -> Value {
        let answer = self.ask(action, kind, info).expect("the door answers");
        assert_eq!(
            answer["status"], "successful",
            "{action} {kind}: {answer:#}"
        );
        answer["info"].clone()
    }

    /// Sends one request that must fail, and returns the answer's `info`.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn refuse(&self, action: &str, kind: &str, info: Value) -> Value {
        let answer = self.ask(action, kind, info).expect("the door answers");
        assert_eq!(answer["status"], "fail", "{action} {kind}: {answer:#}");
        answer["info"].clone()
    }

    /// What it tells of an instance of the caller's.
    ///
    /// # Panics
    /// When it fails.
    pub fn instance(&self, name: &str) -> Value {
        self.do_("info", "instance", json!({ "name": name }))
    }

    /// Waits until the instance that these fields name has this condition, and returns what is told of it.
    ///
    /// # Panics
    /// When it does not get there.
    pub fn await_condition(&self, which: &Value, condition: &str) -> Value {
        eventually(&format!("the instance {which} is {condition}"), || {
            let info = self.do_("info", "instance", which.clone());
            match info["condition"] == condition {
                true => Ok(info),
                false => Err(info.to_string()),
            }
        })
    }

    /// Plugs an interface of the host into a subnet of the caller's only project.
    ///
    /// # Panics
    /// When it fails.
    pub fn attach(&self, subnet: &str, interface: &str) {
        self.do_(
            "update",
            "subnet",
            json!({ "subnet": subnet, "attach": [interface] }),
        );
    }
}
