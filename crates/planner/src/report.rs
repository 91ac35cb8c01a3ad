//! How each instance stands, what is waited for, and why.

mod backends;
mod vms;

use std::sync::Arc;

use model::{
    Condition, Effect, Instance, InstanceId, InstanceLayout, InstanceReport, Layout, ProjectId,
    Report, SubnetId, VmLayout, Waiting,
};

use crate::draft::Draft;
use crate::networks::find_subnet;
use crate::scaling::scaling_report;
use crate::standing::Standing;
use crate::{Inputs, breaker};

/// The account of what the plan was about, in that of everything.
pub(crate) fn account(inputs: Inputs<'_>, before: &Standing, layout: &Draft) -> Report {
    let mut instances = before.report().instances.clone();
    for id in &layout.ids {
        let standing = layout.instances.get(id);
        let report = standing.map(|standing| match inputs.intent.instances.get(id) {
            Some(asked) => instance_report(inputs, layout, asked, standing),
            None => deleting_report(inputs, *id, standing),
        });
        let known = instances.get(id).map(Arc::as_ref);
        match report {
            _ if known == report.as_ref() => None,
            Some(report) => instances.insert(*id, Arc::new(report)),
            None => instances.remove(id),
        };
    }
    let troubles = troubles(inputs, before.layout(), layout);
    Report {
        instances,
        troubles,
    }
}

/// What keeps VMs from being made, and interfaces from being attached, whether or not an instance waits.
fn troubles(inputs: Inputs<'_>, before: &Layout, layout: &Draft) -> Vec<String> {
    let compute = inputs.observed.compute_trouble.iter();
    let compute = compute.chain(&inputs.observed.compute_notes).cloned();
    let ports = inputs.intent.attachments.iter();
    let ports = ports.filter(|_| !inputs.observed.failures.is_empty());
    let failing = ports.filter_map(|port| {
        let (project, interface) = (port.project, &port.interface);
        let drafted = layout.networks.get(&project);
        let network = drafted.or_else(|| before.networks.get(&project).map(Arc::as_ref))?;
        let why = port_failure(
            inputs,
            project,
            find_subnet(network, port.subnet)?,
            interface,
        )?;
        Some(format!("interface {interface} is not attached: {why}"))
    });
    let breaker = breaker_in_words(inputs, layout);
    let front = inputs.observed.failures.get(&Effect::EnsureFront.key());
    let front = front.map(|failure| format!("the front network is damaged: {}", failure.message));
    let machine = breaker.into_iter().chain(front);
    machine.chain(compute).chain(failing).collect()
}

/// What the breaker holds back, and what to do about it.
fn breaker_in_words(inputs: Inputs<'_>, layout: &Draft) -> Option<String> {
    let held = breaker::held(inputs, layout);
    if held == 0 {
        return None;
    }
    let (most, window_s) = (
        breaker::most(inputs, layout),
        inputs.settings.breaker.window_ms / 1_000,
    );
    let state = match layout.host.breaker_open_since {
        Some(_) if breaker::is_wave(inputs, layout) => format!(
            "the breaker is open: more than {most} VMs were found down within {window_s} s, which is rather a \
             fault of this host than of so many VMs; nothing is replaced, and DNS names them all"
        ),
        Some(_) => format!(
            "the breaker is half open: more than {most} VMs are down, and every {window_s} s one is replaced to \
             see whether a new one serves; if one does, the others follow"
        ),
        None => format!("at most {most} VMs are replaced within {window_s} s"),
    };
    Some(format!(
        "{held} VMs are down and held where they are: {state}. Look at the host's load, memory and network; \
         they are taken back as soon as they answer"
    ))
}

fn deleting_report(
    inputs: Inputs<'_>,
    id: InstanceId,
    standing: &InstanceLayout,
) -> InstanceReport {
    let removal = format!("instance {id} was deleted and its VM is being removed");
    let vms = standing.vms.keys().map(|vm| {
        let why = vms::failure_of(inputs, *vm).unwrap_or_else(|| removal.clone());
        waiting(format!("VM {vm}"), why)
    });
    InstanceReport {
        generation: standing.config.generation,
        condition: Condition::Deleting,
        in_effect: false,
        configuration: standing.config.generation,
        addresses: Vec::new(),
        vms: vms::vm_reports(inputs, id, standing),
        backends: Vec::new(),
        scaling: None,
        waiting_for: vms.collect(),
    }
}

fn instance_report(
    inputs: Inputs<'_>,
    layout: &Draft,
    asked: &Instance,
    standing: &InstanceLayout,
) -> InstanceReport {
    let name = layout.counted.names(asked.id).first();
    let published = name.and_then(|name| layout.dns.records.get(name));
    let addresses: Vec<_> = published.into_iter().flatten().copied().collect();
    let mut waiting_for = vms::vm_waiting(inputs, asked, standing, &layout.counted);
    waiting_for.extend(port_waiting(inputs, layout, asked));
    waiting_for.extend(dns_waiting(inputs, standing));
    let backends = backends::backend_reports(inputs, asked, standing);
    waiting_for.extend(backends::first_checks_waiting(inputs, standing, &backends));
    let in_effect = waiting_for.is_empty();
    let serves = standing.vms.values().any(VmLayout::is_serving);
    let lack = backends::lack(asked, &backends);
    let condition = match (serves, addresses.is_empty()) {
        (true, _) if lack.is_some() => Condition::NoBackend,
        (true, _) => Condition::Degraded,
        (false, true) => Condition::Pending,
        (false, false) => Condition::Failing,
    };
    // What weighs most comes first.
    waiting_for.splice(0..0, lack.filter(|_| serves || asked.backends.is_empty()));
    waiting_for.extend(backends.iter().filter_map(backends::backend_waiting));
    let condition = match waiting_for.is_empty() {
        true => Condition::Serving,
        false => condition,
    };
    InstanceReport {
        generation: asked.generation,
        condition,
        in_effect,
        configuration: standing.config.generation,
        addresses,
        vms: vms::vm_reports(inputs, asked.id, standing),
        backends,
        scaling: scaling_report(inputs, asked, standing),
        waiting_for,
    }
}

/// Ports of the instance's subnet that could not be attached.
fn port_waiting(inputs: Inputs<'_>, layout: &Draft, asked: &Instance) -> Vec<Waiting> {
    let network = layout.networks.get(&asked.project);
    let subnets = network.into_iter().flat_map(|network| &network.subnets);
    let ports = subnets
        .filter(|(_, subnet)| subnet.cidr == asked.subnet)
        .flat_map(|(id, subnet)| subnet.ports.iter().map(move |port| (*id, port)));
    let why = |(subnet, port): (SubnetId, &String)| {
        let why = port_failure(inputs, asked.project, subnet, port)?;
        Some(waiting(format!("interface {port}"), why))
    };
    ports.filter_map(why).collect()
}

/// Why an interface could not be attached.
fn port_failure(
    inputs: Inputs<'_>,
    project: ProjectId,
    subnet: SubnetId,
    port: &str,
) -> Option<String> {
    let interface = port.to_owned();
    let effect = Effect::EnsurePort {
        project,
        subnet,
        interface,
    };
    let failure = inputs.observed.failures.get(&effect.key())?;
    Some(failure.message.clone())
}

/// The first generation of the zone that says of the instance what it is to say.
fn dns_waiting(inputs: Inputs<'_>, standing: &InstanceLayout) -> Option<Waiting> {
    let wanted = standing.zone_serial;
    let why = match inputs.observed.dns_serial {
        Some(serial) if serial >= wanted => return None,
        Some(serial) => format!("zone generation {wanted} is decided, {serial} is published"),
        None => "no DNS server has published the zone yet".into(),
    };
    Some(waiting("DNS".into(), why))
}

fn waiting(what: String, why: String) -> Waiting {
    Waiting { what, why }
}

#[cfg(test)]
mod tests;
