//! The VMs' passwords.

use hmac::{Hmac, KeyInit, Mac};
use model::VmId;
use sha2::Sha256;

/// Makes the password of each VM from one secret of the installation's.
///
/// So no password has to be kept or handed from role to role, a server that was started again knows them all,
/// and who learns one VM's learns no other's.
#[derive(Clone)]
pub struct VmKeys {
    secret: Vec<u8>,
}

impl VmKeys {
    /// `secret` is the installation's, and nobody else's: at least 32 random bytes.
    #[must_use]
    pub fn new(secret: Vec<u8>) -> Self {
        Self { secret }
    }

    /// The password of a VM, in hexadecimal: HMAC-SHA-256 of what it is for, under the secret. VMs' ids are never
    /// used again, so neither is a password.
    #[must_use]
    pub fn of(&self, vm: VmId) -> String {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.secret)
            .expect("HMAC takes a key of any length");
        mac.update(format!("collectd vm {vm}").as_bytes());
        let code = mac.finalize().into_bytes();
        code.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_vms_and_one_installations() {
        let [ours, theirs] = [b"ours", b"else"].map(|secret| VmKeys::new(secret.to_vec()));
        assert_eq!(ours.of(VmId(7)), ours.of(VmId(7)));
        assert_ne!(ours.of(VmId(7)), ours.of(VmId(8)));
        assert_ne!(ours.of(VmId(7)), theirs.of(VmId(7)));
        assert_eq!(ours.of(VmId(7)).len(), 64);
    }
}
