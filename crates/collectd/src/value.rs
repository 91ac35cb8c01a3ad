//! What is measured.

use std::fmt;
use std::time::Duration;

/// A time or a span in units of 2^-30 seconds, as collectd's high-resolution parts carry it; a time counts
/// from the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// So many whole seconds; those beyond 2^34 are cut off.
    #[must_use]
    pub fn from_secs(seconds: u64) -> Self {
        Self(seconds << 30)
    }

    /// The nearest time below a duration.
    #[must_use]
    pub fn from_duration(duration: Duration) -> Self {
        let fraction = (u64::from(duration.subsec_nanos()) << 30) / 1_000_000_000;
        Self((duration.as_secs() << 30) | fraction)
    }

    /// As a duration, to the nanosecond.
    #[must_use]
    pub fn to_duration(self) -> Duration {
        let fraction = self.0 & ((1 << 30) - 1);
        let nanos = u32::try_from((fraction * 1_000_000_000) >> 30).unwrap_or(0);
        Duration::new(self.0 >> 30, nanos)
    }
}

/// One measured number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count that only grows, and wraps around or begins anew.
    Counter(u64),
    /// A figure that goes up and down.
    Gauge(f64),
    /// A count whose change in a second is what matters; it may fall.
    Derive(i64),
    /// A count since the last reading.
    Absolute(u64),
}

/// The values that were measured at one time under one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValueList {
    /// The host's name.
    pub host: String,
    /// What measured: `cpu`, `interface`, `load`…
    pub plugin: String,
    /// Which of several, or empty: `0`, `eth0`…
    pub plugin_instance: String,
    /// What was measured, and thereby how many values there are: `cpu`, `if_octets`, `gauge`…
    pub kind: String,
    /// Which of several, or empty: `idle`, `requests`…
    pub kind_instance: String,
    /// When.
    pub time: Time,
    /// The span between two measurements.
    pub interval: Time,
    /// The values, in the order that `kind` sets.
    pub values: Vec<Value>,
}

impl fmt::Display for ValueList {
    /// collectd's identifier: `host/plugin-instance/type-instance`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hyphen = |instance: &str| if instance.is_empty() { "" } else { "-" };
        write!(
            f,
            "{}/{}{}{}/{}{}{}",
            self.host,
            self.plugin,
            hyphen(&self.plugin_instance),
            self.plugin_instance,
            self.kind,
            hyphen(&self.kind_instance),
            self.kind_instance
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seconds_and_a_binary_fraction() {
        assert_eq!(Time::from_secs(3).0, 3 << 30);
        assert_eq!(Time::from_duration(Duration::from_millis(1500)).0, 3 << 29);
        let time = Time::from_duration(Duration::new(1_795_369_892, 123_456_789));
        let back = time.to_duration();
        assert_eq!(back.as_secs(), 1_795_369_892);
        assert!(back.subsec_nanos().abs_diff(123_456_789) <= 1);
    }

    #[test]
    fn a_name_is_written_as_collectd_writes_it() {
        let mut list = ValueList {
            host: "a".into(),
            plugin: "interface".into(),
            plugin_instance: "eth0".into(),
            kind: "if_octets".into(),
            ..ValueList::default()
        };
        assert_eq!(list.to_string(), "a/interface-eth0/if_octets");
        list.plugin_instance.clear();
        list.kind_instance = "x".into();
        assert_eq!(list.to_string(), "a/interface/if_octets-x");
    }
}
