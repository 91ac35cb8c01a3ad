//! Since when no client is seen: what the host waits for before it takes a VM away whose clients are to go.
//!
//! It is looked at once in each turn of the control thread, a few times in a second. A connection that begins and
//! ends between two looks is seen by the request that it carried. The checker's probes are counted nowhere, but those of
//! one on another machine, which come as a client's do: over HTTP they are no requests; over TCP nothing tells them from
//! clients, so there only what is open counts. A process that was replaced lives for as long as it has connections, so
//! it stands for them.

use std::time::Instant;

use model::{Counters, TrafficType};

/// Since when no client is seen.
#[derive(Debug)]
pub struct Desertion {
    since: Instant,
    is_deserted: bool,
    requests: u64,
}

impl Desertion {
    /// Nobody has come yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            is_deserted: true,
            requests: 0,
        }
    }

    /// Takes the totals of all threads in, and how many processes before this one still have connections.
    pub fn note(
        &mut self,
        counters: &Counters,
        predecessors: usize,
        traffic: TrafficType,
        now: Instant,
    ) {
        let before = std::mem::replace(&mut self.requests, counters.requests);
        let has_asked = traffic == TrafficType::Http && before != counters.requests;
        self.is_deserted = counters.open_connections == 0 && predecessors == 0;
        if has_asked || !self.is_deserted {
            self.since = now;
        }
    }

    /// For how many milliseconds nobody was seen; absent while somebody is there.
    #[must_use]
    pub fn ms(&self, now: Instant) -> Option<u64> {
        let ms = now.saturating_duration_since(self.since).as_millis();
        self.is_deserted
            .then(|| u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn whoever_is_there_or_asked_is_a_client_and_a_probe_is_none() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut desertion = Desertion::new(start);
        // When, open connections, requests, and what is told.
        for (ms, open_connections, requests, told) in [
            (100, 0, 0, Some(100)),
            (200, 1, 0, None),
            (300, 0, 0, Some(100)),
            (400, 0, 0, Some(200)),
            (500, 0, 1, Some(0)),
            (600, 0, 1, Some(100)),
            (700, 2, 3, None),
        ] {
            let counters = Counters {
                open_connections,
                requests,
                ..Counters::default()
            };
            desertion.note(&counters, 0, TrafficType::Http, at(ms));
            assert_eq!(desertion.ms(at(ms)), told, "{ms}");
        }
        let probed = Counters {
            requests: 9,
            ..Counters::default()
        };
        desertion.note(&probed, 0, TrafficType::Tcp, at(800));
        assert_eq!(desertion.ms(at(800)), Some(100));
        desertion.note(&probed, 1, TrafficType::Tcp, at(900));
        assert_eq!(desertion.ms(at(900)), None, "another process has some");
    }
}
