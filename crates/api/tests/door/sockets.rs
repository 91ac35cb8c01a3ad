//! The sockets themselves: who may be pushed aside, and who not.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use api::{Api, ApiError};
use store::Store;
use tempfile::TempDir;

use crate::support::{Door, config};

async fn bind(path: std::path::PathBuf) -> Result<Api, ApiError> {
    Api::bind(
        config(path, Duration::ZERO),
        Store::in_memory(),
        Store::in_memory(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_a_dead_server_is_taken_over() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("api.sock");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "a listener that ends leaves its file behind");
    bind(path).await.map(drop).expect("the file is taken over");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_a_living_server_and_a_file_that_is_none_are_left_alone() {
    let door = Door::open().await;
    let error = bind(door.socket.clone())
        .await
        .map(drop)
        .expect_err("in use");
    assert!(matches!(error, ApiError::SocketInUse { .. }), "{error}");
    assert!(door.socket.exists());
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("precious");
    std::fs::write(&path, "text").expect("a file");
    let error = bind(path.clone()).await.map(drop).expect_err("no socket");
    assert!(matches!(error, ApiError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "text");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_beyond_loopback_and_in_use_are_refused_by_name() {
    let door = Door::open().await;
    let directory = TempDir::new().expect("a directory");
    for (address, words) in [
        ("0.0.0.0:0".parse().expect("an address"), "no loopback"),
        (door.address, "in use by another"),
    ] {
        let mut config = config(directory.path().join("api.sock"), Duration::ZERO);
        config.listen = vec![address];
        let error = Api::bind(config, Store::in_memory(), Store::in_memory())
            .await
            .map(drop)
            .expect_err("refused");
        assert!(error.to_string().contains(words), "{error}");
    }
    let missing = directory.path().join("missing/api.sock");
    let error = bind(missing).await.map(drop).expect_err("no directory");
    assert!(matches!(error, ApiError::Bind { .. }), "{error}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_answers_on_ipv6_loopback_and_knows_its_caller() {
    let directory = TempDir::new().expect("a directory");
    let mut config = config(directory.path().join("api.sock"), Duration::ZERO);
    config.listen = vec!["[::1]:0".parse().expect("an address")];
    let intent = Store::in_memory();
    let api = match Api::bind(config, intent.clone(), Store::in_memory()).await {
        Ok(api) => api,
        Err(error) => {
            let without = !std::path::Path::new("/proc/net/if_inet6").exists();
            assert!(without, "there is IPv6 here: {error}");
            return;
        }
    };
    let url = format!("http://{}/", api.local_addresses()[0]);
    let client = async {
        let request = r#"{"action":"create","type":"project","info":{"name":"p"}}"#;
        let output = tokio::process::Command::new("curl")
            .args(["-sS", "-d", request, &url])
            .output()
            .await;
        String::from_utf8(output.expect("curl").stdout).expect("UTF-8")
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(api.run(async {
        let _ = stopped.await;
    }));
    let answer = client.await;
    assert!(answer.contains("successful"), "{answer}");
    drop(stop);
    server.await.expect("no panic").expect("no error");
    let (_, stored) = store::intent::read_intent(&intent).expect("the intent");
    let user = &stored.projects.values().next().expect("a project").user;
    let me = nix::unistd::User::from_uid(nix::unistd::Uid::current())
        .expect("the database")
        .expect("a user");
    assert_eq!(*user, me.name);
}
