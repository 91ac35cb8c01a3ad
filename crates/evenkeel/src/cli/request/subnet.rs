//! What `evenkeel subnet …` asks for.

use super::{Info, Request, View, request};
use crate::cli::arguments::{SubnetChange, SubnetCommand};

pub(super) fn plan(command: SubnetCommand) -> Request {
    match command {
        SubnetCommand::Attach(change) => plan_change("attach", change),
        SubnetCommand::Detach(change) => plan_change("detach", change),
        SubnetCommand::Info(info) => {
            let which = Info::default().set("subnet", info.subnet).place(info.place);
            request("info", "subnet", which, View::Subnets)
        }
    }
}

fn plan_change(verb: &str, change: SubnetChange) -> Request {
    let info = Info::default()
        .set("subnet", Some(change.subnet))
        .set(verb, Some(change.interfaces))
        .place(change.place);
    request("update", "subnet", info, View::Subnets)
}
