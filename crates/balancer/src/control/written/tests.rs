use serde_json::{Value, json};

use super::read;

/// Every field that there is, each with another value than it has by default where that can be.
fn whole() -> Value {
    json!({
        "generation": 7, "instance": "web", "traffic": "http", "port": 8000,
        "backends": [
            {"address": "127.0.0.1", "port": 8080, "weight": 1},
            {"address": "127.0.0.2", "port": 8080, "weight": 3, "backup": true, "max_connections": 10},
        ],
        "health_check": {
            "protocol": "HTTP", "port": null, "request_path": "/", "host": "shop.example",
            "expected_status": [{"from": 200, "to": 204}], "expected_body": "well",
            "criteria": {"interval_ms": 5000, "timeout_ms": 5000, "health_threshold": 2,
                "unhealth_threshold": 2},
        },
        "timeouts": {"connect_ms": 1, "request_head_ms": 1, "response_ms": 1, "keep_alive_ms": 1,
            "idle_ms": 1, "total_ms": null},
        "checker": "10.200.255.254",
        "policy": {
            "algorithm": {"name": "maglev", "key": {"header": "X-User"}},
            "slow_start_ms": 1, "drain_ms": 1,
            "queue": {"length": 1, "timeout_ms": 1},
            "outlier_ejection": {"consecutive_failures": 1, "ejection_ms": 1, "max_ejected_percent": 1},
            "circuit_breaker": {"failure_percent": 1, "min_requests": 1, "window_ms": 100, "open_ms": 1},
            "retry": {"attempts": 2, "budget_percent": 1},
            "limits": {"connections": null, "connections_per_client": 64, "request_line_bytes": 64,
                "request_head_bytes": 256, "request_body_bytes": 1, "min_client_rate": 0},
            "allowed_clients": ["10.0.0.0/8"],
            "proxy_protocol": {"accept_from": ["10.0.0.2/32"], "send": "v2"},
            "client_close": "abort",
            "forwarding": {"trusted_proxies": ["10.0.0.0/24"], "forwarded": true, "request_id": "X-Id"},
            "access_log": true,
        },
    })
}

fn fault(config: &Value) -> String {
    read(config.to_string().as_bytes()).expect_err("it is refused")
}

/// The path of each object in a value, for `Value::pointer`.
fn objects(at: &str, value: &Value, found: &mut Vec<String>) {
    let inner: Vec<_> = match value {
        Value::Object(fields) => {
            found.push(at.to_owned());
            fields
                .iter()
                .map(|(name, value)| (name.clone(), value))
                .collect()
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, item)| (n.to_string(), item))
            .collect(),
        _ => Vec::new(),
    };
    for (name, value) in inner {
        objects(&format!("{at}/{name}"), value, found);
    }
}

#[test]
fn every_field_that_there_is_may_be_written() {
    let config = read(whole().to_string().as_bytes()).expect("it is sound");
    let again = serde_json::to_value(&config).expect("it can be written");
    let mut names = (Vec::new(), Vec::new());
    objects("", &whole(), &mut names.0);
    objects("", &again, &mut names.1);
    names.0.sort();
    names.1.sort();
    assert_eq!(names.0, names.1);
    for at in names.0 {
        let keys = |value: &Value| -> Vec<String> {
            let object = value.pointer(&at).and_then(Value::as_object);
            object.expect("it is an object").keys().cloned().collect()
        };
        let (mut written, mut known) = (keys(&whole()), keys(&again));
        written.sort();
        known.sort();
        // The first backend has what must be written alone.
        if at != "/backends/0" {
            assert_eq!(written, known, "{at}: the table above is not whole");
        }
    }
}

#[test]
fn an_unknown_field_is_refused_wherever_it_stands() {
    let mut places = Vec::new();
    objects("", &whole(), &mut places);
    assert!(places.len() > 15, "{places:?}");
    for place in places {
        let mut config = whole();
        let object = config.pointer_mut(&place).and_then(Value::as_object_mut);
        object
            .expect("it is an object")
            .insert("zeal".to_owned(), json!(1));
        let fault = fault(&config);
        // A key is one word alone, which is why no path is known within it.
        let is_key = place.ends_with("/key");
        assert!(fault.contains("zeal") || is_key, "{place}: {fault}");
    }
}

#[test]
fn the_fault_names_the_fields_path_and_what_there_is() {
    let mut config = whole();
    config["policy"]["retry"] = json!({"attempt": 2});
    let expected =
        "policy.retry.attempt: there is no such field; there are `attempts`, `budget_percent`";
    assert_eq!(fault(&config), expected);
    config = whole();
    config["backends"][1]["wait"] = json!(3);
    assert!(
        fault(&config).starts_with("backends[1].wait: there is no such field; there are `address`")
    );
}

#[test]
fn a_field_that_cannot_be_read_is_named_with_its_path() {
    let mut config = whole();
    config["policy"]["queue"]["length"] = json!("long");
    let fault = fault(&config);
    assert!(
        fault.starts_with("policy.queue.length: invalid type"),
        "{fault}"
    );
    let cut_off = read(b"{\"generation\": 1,").expect_err("it is cut off");
    assert!(
        cut_off.contains("EOF") && cut_off.contains("line 1"),
        "{cut_off}"
    );
    assert!(read(b"{} {}").is_err());
}

const PAGE: &str = include_str!("../../../../../docs/explanation/balancer.md");

/// The part of the page that tells of the file.
fn alone() -> &'static str {
    let (_, section) = PAGE.split_once("\n## Alone\n").expect("it tells of it");
    section
}

#[test]
fn the_page_names_every_field_with_its_default() {
    let minimal = json!({"generation": 1, "instance": "", "traffic": "tcp", "port": 1, "backends": [
        {"address": "127.0.0.1", "port": 1, "weight": 1}], "health_check": {"protocol": "TCP",
        "request_path": "/", "criteria": {"interval_ms": 1, "timeout_ms": 1, "health_threshold": 1,
        "unhealth_threshold": 1}}, "policy": {"outlier_ejection": {}, "circuit_breaker": {}}});
    let config = read(minimal.to_string().as_bytes()).expect("no other field must be there");
    let defaults = serde_json::to_value(&config).expect("it can be written");
    let mut fields = Vec::new();
    leaves(&whole(), &defaults, &mut fields);
    assert!(fields.len() > 50, "{fields:?}");
    for (name, default) in fields {
        let named = [format!("`{name}`"), format!("{{\"{name}\": ")];
        let named = named.iter().any(|name| alone().contains(name));
        assert!(named, "docs/explanation/balancer.md does not name `{name}`");
        if let Some(number) = default.as_u64().filter(|number| *number > 2) {
            let told = alone().contains(&format!("`{name}` ({number})"))
                || alone().contains(&format!("`drain_ms` | 0, {number} |"));
            assert!(
                told,
                "docs/explanation/balancer.md has not `{name}` ({number})"
            );
        }
    }
}

#[test]
fn the_pages_example_is_taken() {
    let (_, example) = alone().split_once("<<'END'\n").expect("an example");
    let (example, _) = example.split_once("\nEND\n").expect("and its end");
    read(example.as_bytes()).expect("it is sound");
}

/// Each field of `whole` with its value in `defaults`, where it has one.
fn leaves(whole: &Value, defaults: &Value, found: &mut Vec<(String, Value)>) {
    if let Some(fields) = whole.as_object() {
        for (name, value) in fields {
            let default = &defaults[name];
            found.push((name.clone(), default.clone()));
            leaves(value, default, found);
        }
    }
    for value in whole.as_array().into_iter().flatten() {
        leaves(value, &Value::Null, found);
    }
}
