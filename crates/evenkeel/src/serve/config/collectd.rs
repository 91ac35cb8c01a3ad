//! Users' own collectd: what is taken from it, and what is sent to it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use monitor::{HostRules, Protection};
use serde::Deserialize;

/// What is taken from users' own collectd, and what is sent to it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectdSection {
    /// Where hosts of backends may send their figures; nowhere when absent.
    pub listen: Option<SocketAddrV4>,
    /// How what they send must be protected at least.
    pub security: Security,
    /// collectd's `AuthFile`: a line `user: password` for each project, by its label.
    pub auth_file: Option<PathBuf>,
    /// To whom what VMs tell is sent on; to nobody when absent.
    pub forward: Option<ForwardSection>,
}

/// A user's collectd to which what VMs tell is sent on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardSection {
    /// Where it listens.
    pub server: SocketAddr,
    /// How packets are protected.
    #[serde(default)]
    pub security: Security,
    /// As whom, where they are.
    #[serde(default)]
    pub user: String,
    /// A file with nothing in it but the password.
    pub password_file: Option<PathBuf>,
}

/// collectd's `SecurityLevel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Not at all.
    None,
    /// Nobody without the password made it.
    Sign,
    /// And nobody without the password can read it.
    #[default]
    Encrypt,
}

impl From<Security> for Protection {
    fn from(security: Security) -> Self {
        match security {
            Security::None => Self::Plain,
            Security::Sign => Self::Signed,
            Security::Encrypt => Self::Encrypted,
        }
    }
}

impl CollectdSection {
    /// Whether it can hold.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if let Some(forward) = &self.forward {
            forward.check()?;
        }
        let Some(listen) = self.listen else {
            return Ok(());
        };
        ensure!(
            !listen.ip().is_unspecified() && listen.port() > 0,
            "collectd.listen: write an address of this machine's that hosts of backends reach, and a port"
        );
        ensure!(
            self.security == Security::None || self.auth_file.is_some(),
            "collectd.auth_file: is missing: write where the passwords are with which hosts sign or encrypt, or \
             security = \"none\" to believe whoever sends from a backend's address"
        );
        Ok(())
    }

    /// By what is decided who is believed, as the file has it now, and how much is kept of a project's hosts.
    pub fn rules(&self, most_of_project: usize) -> anyhow::Result<HostRules> {
        let passwords = match &self.auth_file {
            None => BTreeMap::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path);
                read_passwords(&text.with_context(|| format!("cannot read {}", path.display()))?)
            }
        };
        Ok(HostRules {
            least: self.security.into(),
            passwords,
            most_of_project,
        })
    }
}

/// The bits of a file's mode that say who may do what with it, and those of them that are about others than its owner.
const MODE: u32 = 0o7777;
const OF_OTHERS: u32 = 0o077;

/// Bytes of a user's name, of the 255 that the protocol has: so that there is room for figures in a packet.
const MOST_USER: usize = 64;

impl ForwardSection {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.security == Security::None
                || (!self.user.is_empty() && self.password_file.is_some()),
            "collectd.forward.user: write a user and a password_file, or security = \"none\""
        );
        ensure!(
            self.user.len() <= MOST_USER,
            "collectd.forward.user: write at most {MOST_USER} bytes"
        );
        Ok(())
    }

    /// The user, and the password as the file has it now; nothing where packets are not protected.
    pub fn key(&self) -> anyhow::Result<(String, Vec<u8>)> {
        let path = match (&self.password_file, self.security) {
            (None, _) | (_, Security::None) => return Ok(Default::default()),
            (Some(path), _) => path,
        };
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let password = text.trim();
        ensure!(!password.is_empty(), "{} is empty", path.display());
        Ok((self.user.clone(), password.as_bytes().to_vec()))
    }
}

/// What is wrong with a file of passwords that others than its owner may read, if they may.
pub fn exposed(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & MODE;
    (mode & OF_OTHERS != 0).then(|| {
        let path = path.display();
        format!("{path} has passwords in it and the mode {mode:04o}, by which others than its owner reach it: `chmod 600 {path}`")
    })
}

/// Reads collectd's `AuthFile`. Lines without a colon and comments are passed over, as collectd does.
fn read_passwords(text: &str) -> BTreeMap<String, Vec<u8>> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let pairs = pairs.map(|(user, password)| (user.trim().to_owned(), password.trim()));
    pairs
        .filter(|(user, password)| !user.is_empty() && !password.is_empty())
        .map(|(user, password)| (user, password.as_bytes().to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectds_file_of_passwords_is_read_as_collectd_reads_it() {
        let text = "# users\nshop: se:cret \n\n  bank:x\nnobody\n: none\nempty:\n";
        let expected = [("bank", "x"), ("shop", "se:cret")];
        let expected = expected.map(|(user, word)| (user.to_owned(), word.as_bytes().to_vec()));
        assert_eq!(read_passwords(text), expected.into());
    }
}
