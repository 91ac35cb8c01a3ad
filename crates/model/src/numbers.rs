//! The numbers among an instance's settings: what each is called, its unit and its bounds.
//!
//! One table for each object, and everybody uses it: the JSON door reads and shows by it, the balancer
//! validates by it, and a test holds the documentation to it. A default is no part of the table: it is
//! the `Default` of the type that the numbers stand in.

use crate::{CircuitBreaker, Limits, OutlierEjection, Policy, Queue, Retry, Scaling, Timeouts};

/// The largest number of connections that can be asked for.
pub const MAX_CONNECTIONS: u64 = 1_000_000;

use Scope::{Any, Http};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Written as seconds, kept as milliseconds. The kept name ends in `_ms`.
    Seconds,
    /// Written and kept alike: a count, bytes or percent, as the name says.
    Plain,
}

/// Which instances have a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    Any,
    /// Those that balance HTTP.
    Http,
}

/// One number of a `T`.
#[derive(Clone, Copy, Debug)]
pub struct Number<T> {
    /// Its name in the JSON form: `request-head`.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// The smallest value, as it is kept.
    pub min: u64,
    /// The largest value, as it is kept.
    pub max: u64,
    /// Which instances have it.
    pub scope: Scope,
    /// Where it is kept.
    pub place: fn(&mut T) -> &mut dyn Amount,
}

/// A place for a number. Absent stands for "no bound", where the place can say so.
pub trait Amount {
    /// The number.
    fn get(&self) -> Option<u64>;
    /// Puts another in its place. One that the place cannot hold becomes the largest that it can, and
    /// absent becomes zero where the place cannot say "no bound".
    fn set(&mut self, value: Option<u64>);
}

macro_rules! amount {
    ($($number:ty),*) => { $(
        impl Amount for $number {
            fn get(&self) -> Option<u64> {
                Some(u64::from(*self))
            }

            fn set(&mut self, value: Option<u64>) {
                *self = Self::try_from(value.unwrap_or(0)).unwrap_or(Self::MAX);
            }
        }

        impl Amount for Option<$number> {
            fn get(&self) -> Option<u64> {
                self.map(u64::from)
            }

            fn set(&mut self, value: Option<u64>) {
                *self = value.map(|value| <$number>::try_from(value).unwrap_or(<$number>::MAX));
            }
        }
    )* };
}

amount!(u8, u16, u32, u64);

impl<T> Number<T> {
    const fn new(
        name: &'static str,
        unit: Unit,
        scope: Scope,
        (min, max): (u64, u64),
        place: fn(&mut T) -> &mut dyn Amount,
    ) -> Self {
        Self {
            name,
            unit,
            min,
            max,
            scope,
            place,
        }
    }

    const fn seconds(
        name: &'static str,
        scope: Scope,
        bounds_ms: (u64, u64),
        place: fn(&mut T) -> &mut dyn Amount,
    ) -> Self {
        Self::new(name, Unit::Seconds, scope, bounds_ms, place)
    }

    const fn plain(
        name: &'static str,
        scope: Scope,
        bounds: (u64, u64),
        place: fn(&mut T) -> &mut dyn Amount,
    ) -> Self {
        Self::new(name, Unit::Plain, scope, bounds, place)
    }

    /// The name under which it is kept: `request_head_ms`.
    #[must_use]
    pub fn kept_name(&self) -> String {
        let suffix = match self.unit {
            Unit::Seconds => "_ms",
            Unit::Plain => "",
        };
        format!("{}{suffix}", self.name.replace('-', "_"))
    }

    /// Its value, as it is kept.
    #[must_use]
    pub fn value(&self, of: &T) -> Option<u64>
    where
        T: Clone,
    {
        (self.place)(&mut of.clone()).get()
    }
}

/// `timeouts`.
pub const TIMEOUTS: [Number<Timeouts>; 6] = [
    Number::seconds("connect", Any, (1, HOUR_MS), |t| &mut t.connect_ms),
    Number::seconds("request-head", Http, (1, HOUR_MS), |t| {
        &mut t.request_head_ms
    }),
    Number::seconds("response", Http, (1, DAY_MS), |t| &mut t.response_ms),
    Number::seconds("keep-alive", Http, (1, DAY_MS), |t| &mut t.keep_alive_ms),
    Number::seconds("idle", Any, (1, DAY_MS), |t| &mut t.idle_ms),
    Number::seconds("total", Http, (1, DAY_MS), |t| &mut t.total_ms),
];

/// `limits`.
pub const LIMITS: [Number<Limits>; 6] = [
    Number::plain("connections", Any, (1, MAX_CONNECTIONS), |l| {
        &mut l.connections
    }),
    Number::plain("connections-per-client", Any, (1, MAX_CONNECTIONS), |l| {
        &mut l.connections_per_client
    }),
    Number::plain("request-line-bytes", Http, (64, 32 << 10), |l| {
        &mut l.request_line_bytes
    }),
    Number::plain("request-head-bytes", Http, (256, 64 << 10), |l| {
        &mut l.request_head_bytes
    }),
    Number::plain("request-body-bytes", Http, (0, 1_000_000_000_000), |l| {
        &mut l.request_body_bytes
    }),
    Number::plain("min-client-rate", Http, (0, 1_000_000_000), |l| {
        &mut l.min_client_rate
    }),
];

/// What stands in `backend` by itself.
pub const BACKEND: [Number<Policy>; 2] = [
    Number::seconds("slow-start", Any, (0, HOUR_MS), |p| &mut p.slow_start_ms),
    Number::seconds("drain", Any, (0, DAY_MS), |p| &mut p.drain_ms),
];

/// `queue`, in `backend`.
pub const QUEUE: [Number<Queue>; 2] = [
    Number::plain("length", Any, (0, 65_536), |q| &mut q.length),
    Number::seconds("timeout", Any, (1, HOUR_MS), |q| &mut q.timeout_ms),
];

/// `outlier-ejection`, in `backend`.
pub const OUTLIER_EJECTION: [Number<OutlierEjection>; 3] = [
    Number::plain("consecutive-failures", Any, (1, 1_000), |o| {
        &mut o.consecutive_failures
    }),
    Number::seconds("ejection", Any, (1, DAY_MS), |o| &mut o.ejection_ms),
    Number::plain("max-ejected-percent", Any, (0, 100), |o| {
        &mut o.max_ejected_percent
    }),
];

/// `circuit-breaker`, in `backend`. A share above 100 percent never fails, so that 100 would turn it off.
pub const CIRCUIT_BREAKER: [Number<CircuitBreaker>; 4] = [
    Number::plain("failure-percent", Any, (0, 99), |c| &mut c.failure_percent),
    Number::plain("min-requests", Any, (1, 1_000_000), |c| &mut c.min_requests),
    Number::seconds("window", Any, (100, HOUR_MS), |c| &mut c.window_ms),
    Number::seconds("open", Any, (1, HOUR_MS), |c| &mut c.open_ms),
];

/// `retry`, in `backend`.
pub const RETRY: [Number<Retry>; 2] = [
    Number::plain("attempts", Any, (1, 10), |r| &mut r.attempts),
    Number::plain("budget-percent", Any, (0, 1_000), |r| &mut r.budget_percent),
];

/// `auto-scaling`, in `backend`, beside `min` and `max`, which bound each other.
pub const AUTO_SCALING: [Number<Scaling>; 4] = [
    Number::plain("target-cpu", Any, (1, 100), |s| &mut s.target_cpu),
    Number::plain("target-connections", Any, (1, MAX_CONNECTIONS), |s| {
        &mut s.target_connections
    }),
    Number::plain("target-requests", Any, (1, 1_000_000), |s| {
        &mut s.target_requests
    }),
    Number::seconds("scale-in-window", Any, (1_000, DAY_MS), |s| {
        &mut s.scale_in_window_ms
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;

    fn kept_alike<T: Clone + Default + Serialize>(numbers: &[Number<T>]) {
        for number in numbers {
            for value in [number.min, number.max] {
                let mut object = T::default();
                (number.place)(&mut object).set(Some(value));
                assert_eq!(number.value(&object), Some(value), "{} fits", number.name);
                let json = serde_json::to_value(&object).expect("JSON");
                let kept = json.get(number.kept_name()).and_then(|v| v.as_u64());
                assert_eq!(kept, Some(value), "{} is kept under its name", number.name);
            }
            let default = number.value(&T::default());
            let bounds = number.min..=number.max;
            assert!(
                default.is_none_or(|default| bounds.contains(&default)),
                "{}'s default is within its bounds",
                number.name
            );
        }
    }

    #[test]
    fn every_number_is_kept_under_its_name_and_its_bounds_fit() {
        kept_alike(&TIMEOUTS);
        kept_alike(&LIMITS);
        kept_alike(&BACKEND);
        kept_alike(&QUEUE);
        kept_alike(&OUTLIER_EJECTION);
        kept_alike(&CIRCUIT_BREAKER);
        kept_alike(&RETRY);
        kept_alike(&AUTO_SCALING);
    }
}
