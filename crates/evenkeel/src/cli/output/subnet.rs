//! Subnets as people look at them.

use serde::Deserialize;
use serde_json::Value;

use super::table::{Cell, Table};
use super::{Style, listed};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subnet {
    subnet: String,
    project: String,
    interfaces: Vec<String>,
    instances: Vec<String>,
}

/// Subnets in one line each.
///
/// # Errors
/// When `info` is of another shape.
pub fn render(info: &Value, style: Style) -> serde_json::Result<String> {
    let subnets: Vec<Subnet> = listed(info, "subnets")?;
    if subnets.is_empty() {
        return Ok("No subnets. One appears with its first instance or interface.\n".into());
    }
    let mut table = Table::new(&["SUBNET", "PROJECT", "INTERFACES", "INSTANCES"]);
    for subnet in &subnets {
        table.push(vec![
            Cell::text(&subnet.subnet),
            Cell::text(&subnet.project),
            Cell::text(subnet.interfaces.join(", ")),
            Cell::text(subnet.instances.join(", ")),
        ]);
    }
    Ok(table.render(style.paint))
}
