//! docs/reference/json.md says what the code does: its examples are taken or refused as it says, and its tables
//! name every number with its default and range.

use model::forms::{read_request, refusal};
use model::numbers::{
    AUTO_SCALING, BACKEND, CIRCUIT_BREAKER, LIMITS, Number, OUTLIER_EJECTION, QUEUE, RETRY,
    TIMEOUTS, Unit,
};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/reference/json.md");

/// The page's JSON, in its order.
fn examples() -> Vec<Value> {
    let blocks = PAGE.split("```json\n").skip(1);
    let text = |block: &'static str| block.split("```").next().unwrap_or_default();
    blocks
        .map(|block| serde_json::from_str(text(block)).expect("the page's JSON is JSON"))
        .collect()
}

fn is_answer(example: &Value) -> bool {
    example.get("status").is_some()
}

#[test]
fn every_example_request_is_read_and_the_one_that_is_refused_is_refused_so() {
    let examples = examples();
    let requests = examples.iter().filter(|example| !is_answer(example));
    assert!(requests.count() >= 12, "the page was read");
    for (at, example) in examples.iter().enumerate() {
        if is_answer(example) {
            continue;
        }
        let (action, kind, outcome) = read_request(example.to_string().as_bytes());
        let Err(error) = outcome else {
            continue;
        };
        let answer = refusal(action, kind, &error);
        let answer = serde_json::to_value(answer).expect("JSON");
        assert_eq!(examples.get(at + 1), Some(&answer), "{example}");
    }
}

#[test]
fn what_info_shows_is_an_update_that_is_read() {
    let shown = examples().into_iter().filter_map(|example| {
        let info = example.get("info")?.as_object()?.clone();
        let is_instance = is_answer(&example) && info.contains_key("traffic_type");
        is_instance.then_some(info)
    });
    let mut count = 0;
    for mut info in shown {
        let account = [
            "id",
            "url",
            "generation",
            "configuration",
            "created_at",
            "condition",
            "addresses",
            "vms",
            "backends",
            "scaling",
            "waiting_for",
            "events",
        ];
        info.retain(|name, _| !account.contains(&name.as_str()));
        let request = json!({"action": "update", "type": "instance", "info": info});
        let (.., outcome) = read_request(request.to_string().as_bytes());
        assert!(outcome.is_ok(), "{outcome:?}");
        count += 1;
    }
    assert!(count > 0, "the page shows an instance");
}

/// A number as the page writes it: seconds where it is kept in milliseconds.
fn written(unit: Unit, value: u64) -> String {
    match (unit, value % 1000) {
        (Unit::Plain, _) => value.to_string(),
        (Unit::Seconds, 0) => (value / 1000).to_string(),
        (Unit::Seconds, _) => format!(
            "{}",
            f64::from(u32::try_from(value).expect("short")) / 1000.0
        ),
    }
}

fn assert_documented<T: Clone + Default>(table: &[Number<T>]) {
    for number in table {
        let words = |value| written(number.unit, value);
        let default = number.value(&T::default()).map_or("none".into(), words);
        let seconds = match number.unit {
            Unit::Seconds => " s",
            Unit::Plain => "",
        };
        let row = format!(
            "| `{}` | {default} | {} to {}{seconds} | ",
            number.name,
            words(number.min),
            words(number.max)
        );
        assert!(PAGE.contains(&row), "the page has no row that begins {row}");
    }
}

#[test]
fn every_number_is_documented_with_its_default_and_range() {
    assert_documented(&TIMEOUTS);
    assert_documented(&LIMITS);
    assert_documented(&BACKEND);
    assert_documented(&QUEUE);
    assert_documented(&OUTLIER_EJECTION);
    assert_documented(&CIRCUIT_BREAKER);
    assert_documented(&RETRY);
    assert_documented(&AUTO_SCALING);
}
