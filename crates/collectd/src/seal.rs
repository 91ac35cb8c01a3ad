//! Signed and encrypted packets.
//!
//! ```text
//!   signed:    0x0200 length  HMAC-SHA-256 (32 bytes) user   parts…
//!              └─ the code is over user and parts, with the password as its key
//!
//!   encrypted: 0x0210 length  length of user, user, IV (16 bytes)  { SHA-1 of the parts, parts }
//!              └─ the braces are under AES-256 in OFB mode, its key the SHA-256 of the password
//! ```
//!
//! Neither says when a packet was made: whoever takes packets in must refuse old ones by the times in
//! them. And the encryption is weaker than it looks, as the protocol has it: SHA-1 is a checksum without a
//! key, so somebody who sees a packet and knows all that is in it has its key stream, and can make another
//! one of its length under the same IV. Signed packets cannot be made up so. Who may not be trusted with
//! that is to be kept from seeing packets, or from sending under another's address.

use aes::Aes256;
use cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use ofb::Ofb;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::part::{self, kind};

const SIGNATURE: usize = 32;
const IV: usize = 16;
const CHECKSUM: usize = 20;
/// The most bytes of a user's name.
const USER: usize = 255;

/// How a packet was protected, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// Not at all.
    Plain,
    /// Nobody without the password made it.
    Signed,
    /// And nobody without the password can read it.
    Encrypted,
}

/// A sender's name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The name, at most 255 bytes.
    pub user: String,
    /// The password.
    pub password: Vec<u8>,
}

/// A packet without its protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// How it was protected.
    pub protection: Protection,
    /// Who sent it, where it was protected.
    pub user: Option<String>,
    /// Its parts; see [`crate::read`].
    pub parts: Vec<u8>,
}

/// Why a packet's protection is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The part that protects it is cut off or malformed.
    #[error("the packet's signature or encryption is malformed")]
    Malformed,
    /// Nobody of this name may send.
    #[error("nobody by the name `{0}` may send")]
    UnknownUser(String),
    /// It was made with another password, or altered on its way.
    #[error("the packet of `{0}` was made with another password, or altered")]
    Forged(String),
}

/// Takes a packet's protection off. `password_of` knows the passwords.
///
/// # Errors
/// When there is one, and it is not to be believed.
pub fn open<'k>(
    packet: &[u8],
    password_of: impl Fn(&str) -> Option<&'k [u8]>,
) -> Result<Opened, SealError> {
    match part::split(packet) {
        Some((part, parts)) if part.kind == kind::SIGNATURE => {
            open_signed(part.body, parts, password_of)
        }
        Some((part, after)) if part.kind == kind::ENCRYPTION => {
            if !after.is_empty() {
                return Err(SealError::Malformed);
            }
            open_encrypted(part.body, password_of)
        }
        _ => Ok(Opened {
            protection: Protection::Plain,
            user: None,
            parts: packet.to_vec(),
        }),
    }
}

fn open_signed<'k>(
    body: &[u8],
    parts: &[u8],
    password_of: impl Fn(&str) -> Option<&'k [u8]>,
) -> Result<Opened, SealError> {
    let (code, user) = body
        .split_at_checked(SIGNATURE)
        .ok_or(SealError::Malformed)?;
    let user = user_name(user)?;
    let password = password_of(&user).ok_or_else(|| SealError::UnknownUser(user.clone()))?;
    let mac = signature(password, user.as_bytes(), parts);
    if mac.verify_slice(code).is_err() {
        return Err(SealError::Forged(user));
    }
    Ok(Opened {
        protection: Protection::Signed,
        user: Some(user),
        parts: parts.to_vec(),
    })
}

fn open_encrypted<'k>(
    body: &[u8],
    password_of: impl Fn(&str) -> Option<&'k [u8]>,
) -> Result<Opened, SealError> {
    let (length, rest) = body.split_first_chunk::<2>().ok_or(SealError::Malformed)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (user, rest) = rest.split_at_checked(length).ok_or(SealError::Malformed)?;
    let (iv, sealed) = rest.split_first_chunk::<IV>().ok_or(SealError::Malformed)?;
    let user = user_name(user)?;
    let password = password_of(&user).ok_or_else(|| SealError::UnknownUser(user.clone()))?;
    let mut plain = sealed.to_vec();
    apply_cipher(password, iv, &mut plain);
    let (checksum, parts) = plain
        .split_at_checked(CHECKSUM)
        .ok_or(SealError::Malformed)?;
    if Sha1::digest(parts)[..] != *checksum {
        return Err(SealError::Forged(user));
    }
    Ok(Opened {
        protection: Protection::Encrypted,
        user: Some(user),
        parts: parts.to_vec(),
    })
}

fn user_name(bytes: &[u8]) -> Result<String, SealError> {
    let sound = !bytes.is_empty() && bytes.len() <= USER;
    let text = std::str::from_utf8(bytes).ok().filter(|_| sound);
    text.map(str::to_owned).ok_or(SealError::Malformed)
}

/// Signs a packet; it grows by 36 bytes and the user's name.
#[must_use]
pub fn seal_signed(parts: &[u8], key: &Key) -> Vec<u8> {
    let user = key.user.as_bytes();
    let code = signature(&key.password, user, parts)
        .finalize()
        .into_bytes();
    let mut out = Vec::with_capacity(part::HEADER + SIGNATURE + user.len() + parts.len());
    part::begin(kind::SIGNATURE, SIGNATURE + user.len(), &mut out);
    out.extend_from_slice(&code);
    out.extend_from_slice(user);
    out.extend_from_slice(parts);
    out
}

/// Encrypts a packet; it grows by 42 bytes and the user's name. `iv` must be random and never used twice
/// with one password.
#[must_use]
pub fn seal_encrypted(parts: &[u8], key: &Key, iv: [u8; IV]) -> Vec<u8> {
    let user = key.user.as_bytes();
    let mut plain = Vec::with_capacity(CHECKSUM + parts.len());
    plain.extend_from_slice(&Sha1::digest(parts));
    plain.extend_from_slice(parts);
    apply_cipher(&key.password, &iv, &mut plain);
    let mut out = Vec::with_capacity(part::HEADER + 2 + user.len() + IV + plain.len());
    let body = 2 + user.len() + IV + plain.len();
    part::begin(kind::ENCRYPTION, body, &mut out);
    let length = u16::try_from(user.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(user);
    out.extend_from_slice(&iv);
    out.extend_from_slice(&plain);
    out
}

fn signature(password: &[u8], user: &[u8], parts: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(password)
        .expect("HMAC takes a key of any length");
    mac.update(user);
    mac.update(parts);
    mac
}

/// Encrypts or decrypts in place, which is the same in this mode.
fn apply_cipher(password: &[u8], iv: &[u8; IV], bytes: &mut [u8]) {
    let key = Sha256::digest(password);
    let mut cipher = Ofb::<Aes256>::new(&key, iv.into());
    cipher.apply_keystream(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> Key {
        Key {
            user: "vm7".into(),
            password: b"secret".to_vec(),
        }
    }

    fn password(user: &str) -> Option<&'static [u8]> {
        (user == "vm7").then_some(b"secret".as_slice())
    }

    #[test]
    fn what_was_sealed_is_opened_again() {
        let parts = b"\0\0\0\x06a\0";
        for (sealed, protection) in [
            (seal_signed(parts, &key()), Protection::Signed),
            (
                seal_encrypted(parts, &key(), [7; 16]),
                Protection::Encrypted,
            ),
        ] {
            let opened = open(&sealed, password).unwrap();
            assert_eq!(opened.protection, protection);
            assert_eq!(opened.user.as_deref(), Some("vm7"));
            assert_eq!(opened.parts, parts);
        }
        let opened = open(parts, password).unwrap();
        assert_eq!(opened.protection, Protection::Plain);
    }

    #[test]
    fn strangers_and_other_passwords_are_refused() {
        let stranger = Key {
            user: "eve".into(),
            ..key()
        };
        let guesser = Key {
            password: b"guess".to_vec(),
            ..key()
        };
        for seal in [seal_signed, |parts: &[u8], key: &Key| {
            seal_encrypted(parts, key, [1; 16])
        }] {
            let found = open(&seal(b"", &stranger), password);
            assert_eq!(found, Err(SealError::UnknownUser("eve".into())));
            let found = open(&seal(b"", &guesser), password);
            assert_eq!(found, Err(SealError::Forged("vm7".into())));
        }
    }

    proptest! {
        #[test]
        fn no_bit_of_a_sealed_packet_can_be_turned_unnoticed(
            parts in proptest::collection::vec(any::<u8>(), 0..60),
            bit in any::<prop::sample::Index>(),
            encrypted in any::<bool>(),
        ) {
            let mut sealed = if encrypted {
                seal_encrypted(&parts, &key(), [9; 16])
            } else {
                seal_signed(&parts, &key())
            };
            let bit = bit.index(sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            // With another type it is another part, and nothing that is protected.
            if let Ok(opened) = open(&sealed, password) {
                prop_assert_eq!(opened.protection, Protection::Plain);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = open(&bytes, password);
        }
    }
}
