//! What was measured of an instance is kept, and told to whoever asks.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::time::Duration;

use end_to_end::{Driver, Evenkeel, Host, Load, Web, over_both_drivers, within};
use serde_json::{Value, json};

/// Requests that were under way when `wrk` ended, and that it did not count.
const UNDER_WAY: f64 = 32.0;

fn ask(evenkeel: &Evenkeel<'_>, more: Value) -> Value {
    let mut info = json!({ "project": "p", "instance": "web", "step": 1, "last": 60 });
    for (name, value) in more.as_object().into_iter().flatten() {
        info[name] = value.clone();
    }
    if let Some(info) = info.as_object_mut() {
        info.retain(|_, value| !value.is_null());
    }
    evenkeel.door().do_("info", "figures", info)
}

/// The sum over all steps of the rows for which this holds.
fn sum(told: &Value, is_meant: impl Fn(&Value) -> bool) -> f64 {
    let rows = told["figures"][0]["rows"].as_array().into_iter().flatten();
    let values = rows
        .filter(|row| is_meant(row))
        .flat_map(|row| row["values"].as_array().cloned());
    values.flatten().filter_map(|value| value.as_f64()).sum()
}

/// Waits until all that `wrk` has asked is told, and returns the answer.
fn await_told(evenkeel: &Evenkeel<'_>, what: &str, more: &Value, asked: f64) -> Value {
    within(Duration::from_secs(30), what, || {
        let told = ask(evenkeel, more.clone());
        let found = sum(&told, |_| true);
        match (asked..asked + UNDER_WAY).contains(&found) {
            true => Ok(told),
            false => Err(format!("{found} of {asked}")),
        }
    })
}

fn what_was_asked_of_an_instance_is_told_and_outlives_a_killed_server(driver: Driver) {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 1);
    let vm = web.vms()[0].clone();
    // A count that begins with the requests has nothing to rise from.
    within(Duration::from_secs(30), "figures come", || {
        let told = ask(&evenkeel, json!({ "figure": "answers" }));
        let rows = told["figures"][0]["rows"].as_array().map_or(0, Vec::len);
        if rows == 5 {
            Ok(())
        } else {
            Err(told.to_string())
        }
    });
    let asked = Load::begin(&host, &vm.address, 3, false).assert_flawless() as f64;
    let answers = await_told(&evenkeel, "answers", &json!({ "figure": "answers" }), asked);
    assert_eq!(sum(&answers, |row| row["part"] != "2xx"), 0.0, "{answers}");
    let by_backend = json!({ "figure": "requests", "by": "backend" });
    let backends = await_told(&evenkeel, "backends", &by_backend, asked);
    let rows = backends["figures"][0]["rows"]
        .as_array()
        .map_or(0, Vec::len);
    assert_eq!(rows, 2, "{backends}");
    let table = evenkeel.cli("figures web --by backend --last 1m");
    assert!(
        table.contains("health") && !table.contains("host-"),
        "no host tells anything: {table}"
    );
    let latency = ask(&evenkeel, json!({ "figure": "latency" }));
    let most = |part: &str| {
        let rows = latency["figures"][0]["rows"]
            .as_array()
            .into_iter()
            .flatten();
        let row = rows
            .filter(|row| row["part"] == part)
            .flat_map(|row| row["values"].as_array());
        let values = row.flatten().filter_map(Value::as_f64);
        values
            .reduce(f64::max)
            .unwrap_or_else(|| panic!("{part}: {latency}"))
    };
    assert!(0.0 < most("p50") && most("p50") <= most("p99") && most("p99") <= most("max"));
    let table = evenkeel.cli("figures web --last 1m");
    assert!(table.contains("p99") && table.contains('█'), "{table}");

    evenkeel.kill();
    evenkeel.resume();
    // The place of a monitor that was killed is waited out.
    within(Duration::from_secs(30), "a monitor answers", || {
        let info = json!({ "project": "p", "instance": "web" });
        let told = evenkeel.door().ask("info", "figures", info);
        let told = told.map_err(|error| error.to_string())?;
        match told["status"] == "successful" {
            true => Ok(()),
            false => Err(told.to_string()),
        }
    });
    let span =
        json!({ "figure": "answers", "last": null, "from": answers["from"], "to": answers["to"] });
    let after = await_told(&evenkeel, "figures from before the kill", &span, asked);
    let row = |told: &Value| told["figures"][0]["rows"][1]["values"].as_array().cloned();
    let (before, after) = (row(&answers).expect("values"), row(&after).expect("values"));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        // What had not come yet is there now.
        assert!(before.is_null() || before == after, "{before} is {after}");
    }
}

over_both_drivers!(what_was_asked_of_an_instance_is_told_and_outlives_a_killed_server,);
