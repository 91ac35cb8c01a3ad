//! What an older version stored is read as what it meant.

use model::{AutoScaling, Instance, Policy, Timeouts};

/// An instance as it was stored before it had settings of its own.
const BEFORE_SETTINGS: &str = r#"{"id":3,"project":1,"name":"web","label":"web","former_labels":[],
    "traffic":"http","port":80,"subnet":"1.1.1.0/24",
    "backends":[{"host":{"address":"1.1.1.10"},"port":8080,"weight":1}],
    "health_check":{"protocol":"HTTP","port":null,"request_path":"/","criteria":
        {"interval_ms":5000,"timeout_ms":5000,"health_threshold":2,"unhealth_threshold":2}},
    "auto_scaling":{"between":{"min":1,"max":4}},"generation":7,"created_at":1795369892123}"#;

#[test]
fn an_instance_from_before_there_were_settings_has_the_defaults() {
    let instance: Instance = serde_json::from_str(BEFORE_SETTINGS).expect("it is read");
    assert_eq!(instance.policy, Policy::default());
    assert_eq!(instance.timeouts, Timeouts::default());
    assert_eq!(instance.auto_scaling, AutoScaling::between(1, 4));
    let check = &instance.health_check;
    assert_eq!((&check.host, &check.expected_body), (&None, &None));
    assert!(check.expected_status.is_empty());
    let backend = instance.backends.first().expect("a backend");
    assert!(!backend.backup && backend.max_connections.is_none());
}

#[test]
fn what_is_stored_now_is_read_as_it_was() {
    let instance: Instance = serde_json::from_str(BEFORE_SETTINGS).expect("it is read");
    let text = serde_json::to_string(&instance).expect("JSON");
    let again: Instance = serde_json::from_str(&text).expect("it is read");
    assert_eq!(again, instance);
}
