//! What things are called, and the way back from a name to its id.
//!
//! A name carries its owner: the prefix tells one installation's things from all others on the
//! machine, the number tells whose they are. So the world can be read without a record kept beside it.

use model::{ProjectId, SubnetId, VmId};

/// Longest name of a link that Linux takes.
pub(crate) const MAX_LINK_NAME: usize = 15;

/// Longest prefix. With it, ids of up to ten digits still fit into a link's name.
const MAX_PREFIX: usize = 4;

/// The names of everything that one installation makes in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Names that begin with `prefix`: one to four lower-case letters or digits, a letter first.
    ///
    /// # Errors
    /// The fault in words, where the prefix is none.
    pub fn new(prefix: &str) -> Result<Self, String> {
        let mut bytes = prefix.bytes();
        let begins_well = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let goes_on_well = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if begins_well && goes_on_well && prefix.len() <= MAX_PREFIX {
            Ok(Self {
                prefix: prefix.to_owned(),
            })
        } else {
            Err(format!(
                "the name prefix `{prefix}` must be 1 to {MAX_PREFIX} lower-case letters or digits and begin with a letter"
            ))
        }
    }

    /// The prefix itself, which is also the name of the nftables tables.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The bridge in the host's namespace where clients reach VMs: `ek-front`.
    #[must_use]
    pub fn front_bridge(&self) -> String {
        format!("{}-front", self.prefix)
    }

    /// A project's network namespace: `ek-p3`.
    #[must_use]
    pub fn project_namespace(&self, project: ProjectId) -> String {
        format!("{}-p{project}", self.prefix)
    }

    /// The network namespace of a VM of the process driver: `ek-v7`.
    #[must_use]
    pub fn vm_namespace(&self, vm: VmId) -> String {
        format!("{}-v{vm}", self.prefix)
    }

    /// A subnet's bridge in its project's namespace: `br5`. It needs no prefix, the namespace has it.
    #[must_use]
    pub fn subnet_bridge(&self, subnet: SubnetId) -> String {
        format!("br{subnet}")
    }

    /// The host's end of a VM's front NIC, a port of the front bridge: `ekf7`.
    #[must_use]
    pub fn front_link(&self, vm: VmId) -> String {
        format!("{}f{vm}", self.prefix)
    }

    /// The host's end of a VM's tenant NIC, a port of the subnet's bridge: `ekt7`.
    #[must_use]
    pub fn tenant_link(&self, vm: VmId) -> String {
        format!("{}t{vm}", self.prefix)
    }

    /// Two taps that are nobody's yet, front and tenant: `ekpf4` and `ekpt4`.
    #[must_use]
    pub fn spare_links(&self, number: u32) -> (String, String) {
        let prefix = &self.prefix;
        (format!("{prefix}pf{number}"), format!("{prefix}pt{number}"))
    }

    /// The project whose namespace has this name.
    #[must_use]
    pub fn parse_project_namespace(&self, name: &str) -> Option<ProjectId> {
        number(self.after_prefix(name)?.strip_prefix("-p")?).map(ProjectId)
    }

    /// The VM whose namespace has this name.
    #[must_use]
    pub fn parse_vm_namespace(&self, name: &str) -> Option<VmId> {
        number(self.after_prefix(name)?.strip_prefix("-v")?).map(VmId)
    }

    /// The subnet whose bridge has this name. Ask only inside a project's namespace.
    #[must_use]
    pub fn parse_subnet_bridge(&self, name: &str) -> Option<SubnetId> {
        number(name.strip_prefix("br")?).map(SubnetId)
    }

    /// The VM whose front link has this name.
    #[must_use]
    pub fn parse_front_link(&self, name: &str) -> Option<VmId> {
        number(self.after_prefix(name)?.strip_prefix('f')?).map(VmId)
    }

    /// The VM whose tenant link has this name.
    #[must_use]
    pub fn parse_tenant_link(&self, name: &str) -> Option<VmId> {
        number(self.after_prefix(name)?.strip_prefix('t')?).map(VmId)
    }

    fn after_prefix<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(self.prefix.as_str())
    }
}

/// Reads a number in the one form in which names write it, so that `ekf07` is nobody's.
fn number(text: &str) -> Option<u64> {
    let number = text.parse::<u64>().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_id() {
        let names = Names::new("ek").unwrap();
        for id in [0, 1, 7, 10, 4_294_967_296] {
            let (project, vm, subnet) = (ProjectId(id), VmId(id), SubnetId(id));
            assert_eq!(
                names.parse_project_namespace(&names.project_namespace(project)),
                Some(project)
            );
            assert_eq!(names.parse_vm_namespace(&names.vm_namespace(vm)), Some(vm));
            assert_eq!(
                names.parse_subnet_bridge(&names.subnet_bridge(subnet)),
                Some(subnet)
            );
            assert_eq!(names.parse_front_link(&names.front_link(vm)), Some(vm));
            assert_eq!(names.parse_tenant_link(&names.tenant_link(vm)), Some(vm));
        }
    }

    #[test]
    fn names_of_others_lead_to_no_id() {
        let names = Names::new("ek").unwrap();
        for name in [
            "",
            "ek",
            "ek-",
            "ek-p",
            "ek-p07",
            "ek-px",
            "ex-p7",
            "ek-p7x",
            "ek-p+7",
            "ekf",
            "ekff7",
            "eth0",
            "lo",
            "ek-front",
            "ekpf7",
            "ekpt7",
            "ekf-7",
            "br",
            "br0x",
            "ek-p99999999999999999999",
        ] {
            assert_eq!(names.parse_project_namespace(name), None, "{name}");
            assert_eq!(names.parse_vm_namespace(name), None, "{name}");
            assert_eq!(names.parse_front_link(name), None, "{name}");
            assert_eq!(names.parse_tenant_link(name), None, "{name}");
            assert_eq!(names.parse_subnet_bridge(name), None, "{name}");
        }
    }

    #[test]
    fn the_longest_prefix_leaves_room_for_ten_digits() {
        let names = Names::new("lb01").unwrap();
        assert_eq!(names.front_link(VmId(9_999_999_999)).len(), MAX_LINK_NAME);
    }

    #[test]
    fn a_prefix_that_cannot_begin_a_name_is_refused() {
        for prefix in ["", "EK", "1ek", "ek-", "ek/", "evenk", "é", "e k", "e\"k"] {
            assert!(Names::new(prefix).is_err(), "{prefix}");
        }
    }
}
