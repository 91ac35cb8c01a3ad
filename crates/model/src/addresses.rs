//! Link-layer addresses. IPv4 addresses and CIDRs are the standard library's and `ipnet`'s.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An Ethernet address, written `02:00:0a:c8:00:05`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// Text that is no Ethernet address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address: write six pairs of hexadecimal digits with colons between")]
pub struct MacError(String);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let error = || MacError(text.to_owned());
        let bytes = text
            .split(':')
            .map(
                |pair| match pair.bytes().all(|b| b.is_ascii_hexdigit()) && pair.len() == 2 {
                    true => u8::from_str_radix(pair, 16).map_err(|_| error()),
                    false => Err(error()),
                },
            )
            .collect::<Result<Vec<u8>, _>>()?;
        bytes.try_into().map(Self).map_err(|_| error())
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_read_as_it_is_written() {
        let mac = Mac([2, 0, 0x0a, 0xc8, 0, 5]);
        assert_eq!(mac.to_string(), "02:00:0a:c8:00:05");
        assert_eq!("02:00:0a:c8:00:05".parse(), Ok(mac));
    }

    #[test]
    fn text_that_is_no_mac_is_refused() {
        for text in [
            "",
            "02:00",
            "02:00:0a:c8:00:05:06",
            "2:0:0:0:0:5",
            "zz:00:00:00:00:00",
            "+2:00:00:00:00:00",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
