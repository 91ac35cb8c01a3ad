//! Requests in numbers, by curl.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Driver, Host};

/// A health check that notices a change soon, and gives an emulated machine the time that it needs on a
/// host that is busy with other tests.
#[must_use]
pub fn quick_checks(driver: Driver) -> Value {
    let seconds = match driver {
        Driver::Process => 0.5,
        Driver::Machine | Driver::Restored | Driver::Pooled => 2.0,
    };
    json!({ "criteria": {
        "interval": seconds, "timeout": seconds, "health-threshold": 1, "unhealth-threshold": 2,
    } })
}

impl Host {
    /// Fetches a URL `count` times, and returns how often each server answered. The host must use
    /// Evenkeel's DNS server.
    ///
    /// # Panics
    /// When a request fails, or is answered with an error.
    #[must_use]
    pub fn fetch(&self, url: &str, count: u32) -> BTreeMap<String, u32> {
        let answers = self.shell(&format!(
            "curl --silent --show-error --fail --max-time 60 '{url}?[1-{count}]'"
        ));
        let mut servers = BTreeMap::new();
        for name in answers.lines() {
            *servers.entry(name.to_owned()).or_default() += 1;
        }
        assert_eq!(servers.values().sum::<u32>(), count, "{servers:?}");
        servers
    }

    /// Fetches a URL once, and returns the answer's head and body, whatever they are.
    #[must_use]
    pub fn answer_of(&self, url: &str) -> String {
        self.shell(&format!(
            "curl --silent --show-error --include --max-time 10 '{url}'"
        ))
    }
}
