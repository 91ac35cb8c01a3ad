//! A configuration that is JSON, and no configuration: which field of it is at fault.

use model::BalancerConfig;

/// The field at which a configuration could not be read, and why.
pub fn unreadable(config: serde_json::Value, error: &serde_json::Error) -> (String, String) {
    match serde_path_to_error::deserialize::<_, BalancerConfig>(config) {
        Err(found) => (found.path().to_string(), found.inner().to_string()),
        // It is one as a whole: then the message around it is what could not be read.
        Ok(_) => (String::new(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::HostMessage;

    #[test]
    fn a_configuration_that_cannot_be_read_is_refused_at_its_field() {
        let line = serde_json::json!({"message": "configure", "generation": 3, "instance": "web",
            "traffic": "http", "port": 80, "backends": [], "health_check": {"protocol": "TCP",
            "port": null, "request_path": "/", "criteria": {"interval_ms": 1, "timeout_ms": 1,
            "health_threshold": 1, "unhealth_threshold": 1}}, "policy": {"queue": {"length": -1}}});
        let error = serde_json::from_value::<HostMessage>(line.clone()).expect_err("no length");
        let (path, message) = unreadable(line, &error);
        assert_eq!(path, "policy.queue.length");
        assert!(message.contains("-1"), "{message}");
    }
}
