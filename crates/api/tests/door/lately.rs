//! A project tells how its instances fared in the last minute, from what a monitor collected.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use monitor::{Bounds, Keeper, Tally, answer_questions, bind_questions};
use serde_json::{Value, json};
use series::{MonitorLog, Options, Reading};

use crate::support::{Door, PATIENCE};

const BOUNDS: Bounds = Bounds {
    series: 10,
    series_of_project: 10,
};

/// A log with ten requests in each second of the last three minutes, as a monitor left it.
fn collected(directory: &Path) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let begin = now.expect("after 1970") - Duration::from_secs(180);
    let mut log = MonitorLog::open(directory, &Options::default(), begin).expect("a log");
    for second in 0..180 {
        let time = begin + Duration::from_secs(second);
        for (name, reading) in [
            ("1/10/evenkeel/derive-requests", Reading::Count(second * 10)),
            ("1/10/cpu/percent-active", Reading::Gauge(25.0)),
        ] {
            let series = log.register(1, name, reading.kind()).expect("room");
            log.add(series, time, reading).expect("in time");
        }
        log.advance(time).expect("space");
    }
}

async fn told(door: &Door, info: Value) -> Value {
    let request = json!({"action": "info", "type": "project", "info": info});
    door.succeed(&request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projects_status_is_brought_up_to_date_from_the_collected_log() {
    let door = Door::open().await;
    for name in ["web", "idle"] {
        let info = json!({"user": "ann", "name": name, "backend": {"entities": ["1.1.1.10:80"]}});
        door.succeed(&json!({"action": "create", "type": "instance", "info": info}))
            .await;
    }
    let silent = told(&door, json!({"user": "ann", "name": "default"})).await;
    assert_eq!(
        silent["instances"][0].get("last_minute"),
        None,
        "nobody knows"
    );
    let directory = door.socket.with_file_name("log");
    collected(&directory);
    let keeper = Keeper::start(directory, BOUNDS).expect("a thread");
    let asker = keeper.asker(Tally::default());
    let questions = bind_questions(&door.socket.with_file_name("monitor.sock")).expect("a socket");
    let answering = tokio::spawn(async move {
        answer_questions(questions, asker).await;
    });
    let deadline = Instant::now() + PATIENCE;
    let expected = json!({"requests_per_second": 10.0, "cpu_percent": 25.0});
    loop {
        let project = told(&door, json!({"user": "ann", "name": "default"})).await;
        let [web, idle] = [0, 1].map(|at| project["instances"][at].get("last_minute").cloned());
        assert_eq!(idle, None, "it has no VM");
        if web.as_ref() == Some(&expected) {
            break;
        }
        assert!(Instant::now() < deadline, "{project:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let all = told(&door, json!({"user": "ann"})).await;
    assert_eq!(all["projects"][0]["instances"][0]["last_minute"], expected);
    answering.abort();
    door.close().await;
}
