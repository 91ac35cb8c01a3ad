//! A server that is killed before and after each thing that it does.
//!
//! Nobody keeps a list of the moments: the server itself tells the steps that it passes, and is told at which of
//! them to die (`EVENKEEL_STEPS`). Each flow runs once to be recorded. Then, for each step that it passed, the
//! same state is made again, the flow runs, and the server kills itself at the step. It is started again, and
//! the host must come to show exactly what `info` tells: nothing more and nothing less.
//!
//! `EVENKEEL_SOAK`, which `make soak` sets, has each restart killed as well, at a step that moves on from point to
//! point, and takes the changes that effects are made of one by one.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

mod flow;
mod point;
mod series;
mod stage;

use end_to_end::Driver;
use flow::Flow;

macro_rules! each_step_of {
    ($($promise:ident: $flow:expr),+ $(,)?) => {
        $(#[test] fn $promise() { series::run($flow, Driver::Process); })+

        mod machine {
            use super::*;
            $(#[test] #[ignore = "over VMs it takes long: make soak"] fn $promise() {
                series::run($flow, Driver::Restored);
            })+
        }
    };
}

each_step_of!(
    a_project_is_created_through_a_kill_at_each_step: Flow::CreateProject,
    an_instance_is_created_through_a_kill_at_each_step: Flow::CreateInstance,
    an_instance_is_updated_through_a_kill_at_each_step: Flow::Update,
    a_port_is_attached_through_a_kill_at_each_step: Flow::Attach,
    a_port_is_detached_through_a_kill_at_each_step: Flow::Detach,
    scaling_out_survives_a_kill_at_each_step: Flow::ScaleOut,
    scaling_in_survives_a_kill_at_each_step: Flow::ScaleIn,
    failover_survives_a_kill_at_each_step: Flow::Failover,
    a_vm_returns_through_a_kill_at_each_step: Flow::Return,
    all_is_deleted_through_a_kill_at_each_step: Flow::Delete,
);
