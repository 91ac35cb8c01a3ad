//! Many at once: each request is wholly there or not at all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use store::{Durability, Store};
use tokio::task::JoinSet;

use crate::support::Door;

async fn at_once(door: &Arc<Door>, requests: Vec<Value>) -> Vec<(u16, Value)> {
    let mut tasks = JoinSet::new();
    for request in requests {
        let door = Arc::clone(door);
        tasks.spawn(async move { door.ask(&request).await });
    }
    tasks.join_all().await
}

async fn close(door: Arc<Door>) {
    Arc::into_inner(door)
        .expect("the last handle")
        .close()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_who_want_one_name_exactly_one_gets_it() {
    let door = Arc::new(Door::open().await);
    let create = json!({"action": "create", "type": "instance", "info": {"user": "ann", "name": "web", "subnet": "1.1.1.0/24"}});
    let answers = at_once(&door, vec![create; 100]).await;
    let won = answers.iter().filter(|(status, _)| *status == 200).count();
    let lost = answers
        .iter()
        .filter(|(status, answer)| *status == 409 && answer["info"]["code"] == "name-taken")
        .count();
    assert_eq!((won, lost), (1, 99));
    let stored = door.stored();
    assert_eq!(
        (stored.projects.len(), stored.instances.len()),
        (1, 1),
        "one default project was made, too"
    );
    close(door).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_users_who_add_at_once_both_succeed() {
    let door = Arc::new(Door::open().await);
    door.succeed(&json!({"action": "create", "type": "instance", "info": {"user": "ann", "name": "web", "subnet": "1.1.0.0/16"}})).await;
    let add = |subnet: u8, host: u8| {
        json!({"action": "update", "type": "instance",
        "info": {"user": "ann", "name": "web", "backend": {"add": [format!("1.1.{subnet}.{host}")]}}})
    };
    let requests: Vec<_> = (1..=50)
        .flat_map(|host| [add(1, host), add(2, host)])
        .collect();
    let answers = at_once(&door, requests).await;
    assert!(answers.iter().all(|(status, _)| *status == 200));
    let stored = door.stored();
    let instance = stored.instances.values().next().expect("an instance");
    let backends: BTreeSet<_> = instance.backends.iter().map(ToString::to_string).collect();
    assert_eq!((backends.len(), instance.generation.0), (100, 101));
    close(door).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_over_one_file_decide_as_one() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("intent.db");
    let open = || Store::open(&path, Durability::Volatile).expect("a store");
    let first = Arc::new(Door::open_over(open(), Duration::ZERO).await);
    let second = Arc::new(Door::open_over(open(), Duration::ZERO).await);
    let create = |n: usize| json!({"action": "create", "type": "project", "info": {"user": "ann", "name": format!("p{}", n % 20)}});
    let (a, b) = tokio::join!(
        at_once(&first, (0..40).map(create).collect()),
        at_once(&second, (0..40).map(create).collect())
    );
    let won: Vec<_> = a
        .iter()
        .chain(&b)
        .filter(|(status, _)| *status == 200)
        .collect();
    let ids: BTreeSet<_> = won
        .iter()
        .map(|(_, answer)| answer["info"]["id"].as_u64())
        .collect();
    assert_eq!((won.len(), ids.len()), (20, 20));
    assert!(
        a.iter()
            .chain(&b)
            .all(|(status, _)| matches!(status, 200 | 409))
    );
    assert_eq!(first.stored(), second.stored());
    close(first).await;
    close(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_never_deleted_under_an_instance_that_is_being_made() {
    let door = Arc::new(Door::open().await);
    for round in 0..20 {
        let name = format!("p{round}");
        door.succeed(
            &json!({"action": "create", "type": "project", "info": {"user": "ann", "name": name}}),
        )
        .await;
        let create = json!({"action": "create", "type": "instance", "info": {"user": "ann", "project": name, "subnet": "1.1.1.0/24"}});
        let delete =
            json!({"action": "delete", "type": "project", "info": {"user": "ann", "name": name}});
        let answers = at_once(&door, vec![create, delete]).await;
        assert_eq!(
            answers.iter().filter(|(status, _)| *status == 200).count(),
            1
        );
    }
    let stored = door.stored();
    assert!(
        stored
            .instances
            .values()
            .all(|i| stored.projects.contains_key(&i.project))
    );
    close(door).await;
}
