//! A server that is killed in the middle of its work: what it acknowledged is there, and nothing by halves.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use serde_json::{Value, json};
use store::intent::read_intent;
use store::{Durability, Store};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::watch;

use crate::support::{PATIENCE, config};

/// Names the directory of the server that [`a_server_to_be_killed`] is to be.
const DIRECTORY: &str = "DOOR_CRASH_DIRECTORY";

/// Not a test by itself: the process that the test below kills.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_to_be_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    set_parent_process_death_signal(Some(Signal::KILL)).expect("prctl");
    assert_ne!(
        getppid()
            .map(rustix::process::Pid::as_raw_nonzero)
            .map_or(1, |pid| pid.get()),
        1
    );
    let directory = Path::new(&directory);
    let store = Store::open(&directory.join("intent.db"), Durability::Full).expect("a store");
    let config = config(directory.join("api.sock"), Duration::ZERO);
    let api = api::Api::bind(config, store, Store::in_memory())
        .await
        .expect("a door");
    println!("\nlistening on {}", api.local_addresses()[0]);
    api.run(std::future::pending())
        .await
        .expect("it never ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_what_was_acknowledged_is_there_and_nothing_by_halves() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let mut acknowledged = 0;
    for round in 0..8 {
        acknowledged += ask_until_killed(directory.path(), round).await;
        let path = directory.path().join("intent.db");
        let store = Store::open(&path, Durability::Full).expect("a sound store");
        let (_, intent) = read_intent(&store).expect("a sound intent");
        for project in intent.projects.values() {
            let instances = intent
                .instances
                .values()
                .filter(|i| i.project == project.id);
            assert_eq!(
                instances.count(),
                3,
                "{} has all of its instances or is not there",
                project.name
            );
        }
        let count = intent.projects.len();
        assert!(
            count >= acknowledged && count <= acknowledged + round + 1,
            "{count} of {acknowledged}"
        );
    }
}

/// Starts a server, creates projects of three instances one after the other, and kills it at some point
/// of the work. Gives the number of projects that were acknowledged.
async fn ask_until_killed(directory: &Path, round: usize) -> usize {
    let mut server = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "crash::a_server_to_be_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("a server");
    let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
    let address = loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("in time");
        if let Some(address) = line
            .expect("a line")
            .expect("more lines")
            .strip_prefix("listening on ")
        {
            break address.to_owned();
        }
    };
    let (progress, mut watched) = watch::channel(0_usize);
    let work = async {
        while let Some(answer) = create(&address, &format!("p{round}-{}", *progress.borrow())).await
        {
            assert_eq!(answer["status"], "successful", "{answer}");
            progress.send_modify(|acknowledged| *acknowledged += 1);
        }
    };
    // At another point of a request in each round: some time after the one before was acknowledged.
    let kill = async {
        let enough = watched.wait_for(|acknowledged| *acknowledged >= 3).await;
        drop(enough.expect("the work goes on"));
        tokio::time::sleep(Duration::from_micros(700 * round as u64)).await;
        server.start_kill().expect("a kill");
        server.wait().await.expect("its end");
    };
    let both = async { tokio::join!(work, kill) };
    tokio::time::timeout(PATIENCE, both)
        .await
        .expect("it dies in time");
    *progress.borrow()
}

/// The answer; none when the server died before it was whole.
async fn create(address: &str, name: &str) -> Option<Value> {
    let instance = |n: u8| json!({"name": format!("i{n}"), "subnet": "1.1.1.0/24"});
    let request =
        json!({"action": "create", "type": "project", "info": {"user": "ann", "name": name,
        "instances": [instance(1), instance(2), instance(3)]}})
        .to_string();
    let mut stream = TcpStream::connect(address).await.ok()?;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        request.len()
    );
    stream.write_all((head + &request).as_bytes()).await.ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await.ok()?;
    serde_json::from_str(response.split_once("\r\n\r\n")?.1).ok()
}
