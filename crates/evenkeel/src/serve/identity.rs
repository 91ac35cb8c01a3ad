//! What an installation is born with and keeps: its name, and its secret.

use std::fs::File;
use std::io::Read;

use anyhow::Context;
use model::InstallationId;
use monitor::VmKeys;
use store::{Outcome, Store, Transaction};

/// Where the installation's name is kept.
const INSTALLATION_KEY: &str = "installation";
/// Where the secret is kept from which VMs' passwords are made. The store is root's alone.
const SECRET_KEY: &str = "figures/secret";
/// Bytes of the name, which is not secret and stands in many names.
const NAME_BYTES: usize = 4;
/// Bytes of the secret.
const SECRET_BYTES: usize = 32;

/// The installation's name.
pub(super) fn installation(store: &Store) -> anyhow::Result<InstallationId> {
    drawn_once::<NAME_BYTES>(store, INSTALLATION_KEY).map(InstallationId)
}

/// The VMs' passwords.
pub(super) fn vm_keys(store: &Store) -> anyhow::Result<VmKeys> {
    let secret = drawn_once::<SECRET_BYTES>(store, SECRET_KEY)?;
    Ok(VmKeys::new(secret.into_bytes()))
}

/// Random bytes in hexadecimal, drawn when the store does not have them yet.
fn drawn_once<const BYTES: usize>(store: &Store, key: &str) -> anyhow::Result<String> {
    let drawn = random_hex::<BYTES>()?;
    let draw = Transaction::new().when_absent(key).put(key, drawn.as_str());
    if let Outcome::Applied(_) = store.commit(draw)? {
        return Ok(drawn);
    }
    let lost = || format!("the store lost the installation's `{key}`");
    let entry = store.get(key)?.with_context(lost)?;
    String::from_utf8(entry.value)
        .with_context(|| format!("the installation's `{key}` is not text"))
}

/// Random bytes.
pub(super) fn random<const BYTES: usize>() -> anyhow::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes)
}

fn random_hex<const BYTES: usize>() -> anyhow::Result<String> {
    let bytes = random::<BYTES>()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::VmId;

    #[test]
    fn what_was_drawn_stays_and_is_another_in_each_installation() {
        let [one, other] = [Store::in_memory(), Store::in_memory()];
        assert_eq!(installation(&one).unwrap(), installation(&one).unwrap());
        let password = |store: &Store| vm_keys(store).unwrap().of(VmId(1));
        assert_eq!(password(&one), password(&one));
        assert_ne!(password(&one), password(&other));
    }
}
