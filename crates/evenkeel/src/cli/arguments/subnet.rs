//! `evenkeel subnet …`

use clap::{Args, Subcommand};

use super::Place;
use crate::cli::examples;

/// Connect a project's subnet to interfaces of this machine, where the backends are.
#[derive(Debug, Subcommand)]
pub enum SubnetCommand {
    /// Move interfaces of this machine into a project's subnet, so that backends are reached there.
    #[command(after_help = examples::SUBNET_ATTACH)]
    Attach(SubnetChange),
    /// Give interfaces back to this machine.
    #[command(after_help = examples::SUBNET_DETACH)]
    Detach(SubnetChange),
    Info(SubnetInfo),
}

/// Interfaces of one subnet.
#[derive(Args, Debug)]
pub struct SubnetChange {
    /// The subnet, such as 10.1.0.0/24.
    #[arg(value_name = "CIDR")]
    pub subnet: String,
    /// Interfaces as `ip link` shows them: a NIC, a VLAN, one end of a veth pair.
    #[arg(value_name = "INTERFACE", required = true)]
    pub interfaces: Vec<String>,
    #[command(flatten)]
    pub place: Place,
}

/// Show a project's subnets and what is attached to them.
#[derive(Args, Debug)]
#[command(visible_alias = "show", after_help = examples::SUBNET_INFO)]
pub struct SubnetInfo {
    /// The subnet; all of the project's when left out.
    #[arg(value_name = "CIDR")]
    pub subnet: Option<String>,
    #[command(flatten)]
    pub place: Place,
}
