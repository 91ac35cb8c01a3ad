//! Where what is seen and reported is kept: the keys of the status store, which roles share.
//!
//! ```text
//! report/instance/<id>   InstanceReport          by the controller
//! report/project/<id>    null                    by the controller, while the project has a namespace
//! report/intent          u64                     by the controller: the revision of the intent that its accounts go by
//! report/troubles        Vec<String>             by the controller, for the whole installation
//! events/<instance>      Vec<Event>, oldest first, by the controller; events/installation for the whole
//! sight/<checker>        BTreeMap<VmId, ProbeSight>, under a lease, by each checker
//! load/<monitor>         BTreeMap<VmId, LoadSight>, under a lease, by each monitor, every second
//! refused/<whose>        BTreeMap<String, u64>: packets of figures that were refused, by reason, since the monitor
//!                        began; by the monitor. `vms`
//! dns/serial             u32                     by the DNS role: the generation that it publishes
//! trouble/<role>         String                  by a role that cannot do its work, and, below it, by its supervisor;
//!                                                under a lease at checker/means/<checker>, by a checker that cannot ask
//! counts/controller      ControllerCounts        by the controller, once a second
//! counts/checker/<name>  CheckerCounts, under a lease, by each checker, once a second
//! role/<name>            {"pid"}, under a lease, by each role that is alive
//! ```

use model::{InstanceId, ProjectId};

use crate::{Store, StoreError, Transaction};

/// Everything that the controller reports.
pub const REPORT_PREFIX: &str = "report/";
/// The accounts of instances.
pub const INSTANCE_REPORT_PREFIX: &str = "report/instance/";
/// The projects of which something is in the world.
pub const PROJECT_REPORT_PREFIX: &str = "report/project/";
/// The revision of the intent that the reports go by: who is not told of in them, and was deleted before it, is gone.
pub const INTENT_KEY: &str = "report/intent";
/// What keeps the whole installation from its work.
pub const TROUBLES_KEY: &str = "report/troubles";
/// What the controller did and why, a bounded list for each instance.
pub const EVENTS_PREFIX: &str = "events/";
/// What checkers saw.
pub const SIGHT_PREFIX: &str = "sight/";
/// What VMs have to do.
pub const LOAD_PREFIX: &str = "load/";
/// What came to the monitor and was refused.
pub const REFUSED_PREFIX: &str = "refused/";
/// The zone generation that is published.
pub const DNS_SERIAL_KEY: &str = "dns/serial";
/// What the controller counts of its own work.
pub const CONTROLLER_COUNTS_KEY: &str = "counts/controller";
/// What checkers count of theirs.
pub const CHECKER_COUNTS_PREFIX: &str = "counts/checker/";
/// The roles that are alive.
pub const ROLE_PREFIX: &str = "role/";

const TROUBLE_PREFIX: &str = "trouble/";

/// Where an instance's account is.
#[must_use]
pub fn report_key(id: InstanceId) -> String {
    format!("{INSTANCE_REPORT_PREFIX}{id}")
}

/// What is there while a project has something in the world.
#[must_use]
pub fn project_report_key(id: ProjectId) -> String {
    format!("{PROJECT_REPORT_PREFIX}{id}")
}

/// Where an instance's events are, or those of the whole installation.
#[must_use]
pub fn events_key(id: Option<InstanceId>) -> String {
    id.map_or_else(
        || format!("{EVENTS_PREFIX}installation"),
        |id| format!("{EVENTS_PREFIX}{id}"),
    )
}

/// Where a checker tells what it saw.
#[must_use]
pub fn sight_key(checker: &str) -> String {
    format!("{SIGHT_PREFIX}{checker}")
}

/// Where a checker tells what it counted.
#[must_use]
pub fn checker_counts_key(checker: &str) -> String {
    format!("{CHECKER_COUNTS_PREFIX}{checker}")
}

/// Where a monitor tells what VMs have to do.
#[must_use]
pub fn load_key(monitor: &str) -> String {
    format!("{LOAD_PREFIX}{monitor}")
}

/// Where the monitor tells which packets it refused, of those that come from `whose`.
#[must_use]
pub fn refused_key(whose: &str) -> String {
    format!("{REFUSED_PREFIX}{whose}")
}

/// Where a role says that it is alive.
#[must_use]
pub fn role_key(role: &str) -> String {
    format!("{ROLE_PREFIX}{role}")
}

/// Where a checker says, for as long as that is so, that it has no means to ask VMs.
#[must_use]
pub fn means_key(checker: &str) -> String {
    format!("{TROUBLE_PREFIX}checker/means/{checker}")
}

/// Says, or with `None` ceases to say, what keeps a role from its work.
///
/// # Errors
/// [`StoreError`].
pub fn put_trouble(status: &Store, role: &str, words: Option<&str>) -> Result<(), StoreError> {
    let key = format!("{TROUBLE_PREFIX}{role}");
    let transaction = match words {
        Some(words) => Transaction::new().put_json(key, words)?,
        None => Transaction::new().delete(key),
    };
    status.commit(transaction).map(|_| ())
}

/// What roles say that keeps them from their work, in the roles' order.
///
/// # Errors
/// [`StoreError`].
pub fn troubles(status: &Store) -> Result<Vec<String>, StoreError> {
    let (_, entries) = status.range_json::<String>(TROUBLE_PREFIX)?;
    Ok(entries.into_iter().map(|entry| entry.value).collect())
}
