//! Lists of networks from which clients or proxies come.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use super::error::{Code, FormError, quoted};
use super::fields::Field;
use crate::MAX_NETWORKS;

/// IPv4 networks of any size; an address by itself is a network of one.
pub(super) fn networks(field: &Field<'_>) -> Result<Vec<Ipv4Net>, FormError> {
    field.items(MAX_NETWORKS)?.iter().map(network).collect()
}

/// The list as it is shown; nothing for an empty one, which is the default.
pub(super) fn show(networks: &[Ipv4Net]) -> Option<Value> {
    let texts = networks.iter().map(|network| network.to_string().into());
    (!networks.is_empty()).then(|| Value::Array(texts.collect()))
}

fn network(field: &Field<'_>) -> Result<Ipv4Net, FormError> {
    let text = field.text()?;
    let refuse = |code, problem: &str, hint: String| {
        let message = format!("`{}` {problem}", quoted(text));
        Err(FormError::new(code, &field.path, message, hint))
    };
    let form = "write an IPv4 network such as 10.1.0.0/24, or one address such as 10.1.0.7";
    if text.contains(':') {
        let problem = "is an IPv6 network, which is not supported yet";
        return refuse(Code::Ipv6Unsupported, problem, form.into());
    }
    let address = text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from);
    match text.parse().ok().or(address) {
        None => refuse(Code::BadCidr, "is no IPv4 network", form.into()),
        Some(network) if network.trunc() != network => {
            let hint = format!("the network is {}", network.trunc());
            refuse(Code::BadCidr, "is an address in a network", hint)
        }
        Some(network) => Ok(network),
    }
}
