//! What the host says to a VM, and when.
//!
//! ```text
//!            AwaitingBoot                          Heartbeat, generation < wanted
//!   silent ───────────────▶ Boot (again after   ◀──────────────▶ Configure (again after
//!                           RESEND, if asked)                    RESEND, until it is named or refused)
//!
//!            Heartbeat, not draining, and it is to
//!            ◀──────────────▶ Drain (again after RESEND, until a heartbeat says that it drains)
//! ```
//!
//! Nothing is said to a guest that did not speak first on this connection, so nothing piles up in a
//! socket that nobody reads. The one exception is Boot, once, to a guest that was restored in the moment in which
//! it asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{BalancerConfig, CLOCK_TOLERANCE_MS, Generation, GuestMessage, Heartbeat};

/// Shortest time between two sendings of the same message.
const RESEND: Duration = Duration::from_millis(500);

/// What a VM is to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// What it should balance, once that is known.
    pub config: Option<Arc<BalancerConfig>>,
    /// Whether its clients are to leave it.
    pub drains: bool,
}

/// What is to be said now.
#[derive(Debug, PartialEq)]
pub(crate) enum Say {
    Boot,
    Configure,
    Time,
    Drain,
}

/// What the last heartbeat told.
#[derive(Clone, Copy, Debug)]
struct Heard {
    running: Option<Generation>,
    refused: Option<Generation>,
    draining: Option<bool>,
}

/// One connection's state.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    awaits_boot: bool,
    boot_sent: Option<Instant>,
    heard: Option<Heard>,
    pushed: Option<(Generation, Instant)>,
    drain_sent: Option<Instant>,
    /// Whether the guest's clock is off.
    is_off: bool,
}

impl Conversation {
    /// A new connection. A guest that is known to wait for Boot is told at once, not when it next asks.
    pub(crate) fn new(awaits_boot: bool) -> Self {
        Self {
            awaits_boot,
            ..Self::default()
        }
    }

    /// Takes note of what the guest said. `unix_time_ms` is what the host's clock shows.
    pub(crate) fn hear(&mut self, message: &GuestMessage, unix_time_ms: u64) {
        match message {
            // Its balancer, if it had one, is no more: the guest began anew.
            GuestMessage::AwaitingBoot { .. } => {
                self.awaits_boot = true;
                self.heard = None;
                self.pushed = None;
                self.drain_sent = None;
            }
            GuestMessage::Heartbeat(heartbeat) => {
                self.awaits_boot = false;
                let refused = heartbeat.refused.as_ref().map(|refusal| refusal.generation);
                self.heard = Some(Heard {
                    running: heartbeat.generation,
                    refused,
                    draining: heartbeat.draining,
                });
            }
            // What came late makes a clock seem slow that is right. To set that one does no harm.
            GuestMessage::Clock { unix_time_ms: told } => {
                self.is_off = unix_time_ms.abs_diff(*told) > CLOCK_TOLERANCE_MS;
            }
            GuestMessage::Log { .. } | GuestMessage::Rehearsed { .. } => {}
        }
    }

    /// What is to be said at `now`, and takes note that it is. `can_boot` is whether it is known who
    /// the VM is.
    pub(crate) fn speak(&mut self, now: Instant, can_boot: bool, wanted: &Wanted) -> Option<Say> {
        if self.awaits_boot && can_boot && due(self.boot_sent, now) {
            self.boot_sent = Some(now);
            self.awaits_boot = false;
            return Some(Say::Boot);
        }
        if std::mem::take(&mut self.is_off) {
            return Some(Say::Time);
        }
        let heard = self.heard?;
        let newest = wanted.config.as_ref().map(|config| config.generation);
        if let Some(generation) = newest.filter(|newest| self.is_to_take(*newest, heard, now)) {
            self.pushed = Some((generation, now));
            return Some(Say::Configure);
        }
        // One that does not know how says nothing of it.
        let is_to_drain = wanted.drains && heard.draining == Some(false);
        if is_to_drain && due(self.drain_sent, now) {
            self.drain_sent = Some(now);
            return Some(Say::Drain);
        }
        None
    }

    fn is_to_take(&self, generation: Generation, heard: Heard, now: Instant) -> bool {
        let is_known = heard.running >= Some(generation) || heard.refused == Some(generation);
        let sent = self.pushed.filter(|(pushed, _)| *pushed == generation);
        !is_known && due(sent.map(|(_, at)| at), now)
    }
}

fn due(sent: Option<Instant>, now: Instant) -> bool {
    sent.is_none_or(|at| now.duration_since(at) >= RESEND)
}

/// Whether `new` tells a controller anything that `old` did not: that the VM speaks at all, that its
/// configuration was changed or refused, that its hot path answered for the first time, that a
/// backend's health changed, or that it drains.
pub(crate) fn worth_a_round(old: Option<&Heartbeat>, new: &Heartbeat) -> bool {
    let Some(old) = old else {
        return true;
    };
    let health = |heartbeat: &Heartbeat| -> Vec<_> {
        let backends = heartbeat.backends.iter();
        backends
            .map(|backend| (backend.address, backend.port, backend.health))
            .collect()
    };
    old.generation != new.generation
        || old.refused != new.refused
        || old.progress_age_ms.is_some() != new.progress_age_ms.is_some()
        || health(old) != health(new)
        || old.draining != new.draining
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{
        BackendHealth, BackendStatus, Counters, Criteria, HealthCheck, HealthProtocol, Policy,
        Refusal, Timeouts, TrafficType,
    };
    use std::net::Ipv4Addr;

    fn config(generation: u64) -> Wanted {
        let config = BalancerConfig {
            generation: Generation(generation),
            instance: "web".to_owned(),
            traffic: TrafficType::Http,
            port: 80,
            backends: vec![],
            health_check: HealthCheck {
                protocol: HealthProtocol::Http,
                port: None,
                request_path: "/".to_owned(),
                host: None,
                expected_status: Vec::new(),
                expected_body: None,
                criteria: Criteria::default(),
            },
            timeouts: Timeouts::default(),
            checker: None,
            policy: Policy::default(),
        };
        Wanted {
            config: Some(Arc::new(config)),
            drains: false,
        }
    }

    fn heartbeat(generation: Option<u64>, refused: Option<u64>) -> Heartbeat {
        Heartbeat {
            sequence: 1,
            uptime_ms: 1,
            generation: generation.map(Generation),
            refused: refused.map(|generation| Refusal {
                generation: Generation(generation),
                path: "port".to_owned(),
                message: "taken".to_owned(),
            }),
            progress_age_ms: None,
            lag_ms: 0,
            draining: None,
            deserted_ms: None,
            counters: Counters::default(),
            latency: model::Latency::default(),
            backends: vec![],
        }
    }

    fn beat(generation: Option<u64>, refused: Option<u64>) -> GuestMessage {
        GuestMessage::Heartbeat(heartbeat(generation, refused))
    }

    fn awaiting() -> GuestMessage {
        GuestMessage::AwaitingBoot {
            version: "1".to_owned(),
        }
    }

    #[test]
    fn boot_is_sent_when_asked_for_and_again_only_after_a_while() {
        let (start, mut talk) = (Instant::now(), Conversation::default());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(talk.speak(at(0), true, &Wanted::default()), None);
        talk.hear(&awaiting(), 0);
        assert_eq!(
            talk.speak(at(0), false, &Wanted::default()),
            None,
            "nobody knows who it is"
        );
        assert_eq!(talk.speak(at(1), true, &Wanted::default()), Some(Say::Boot));
        assert_eq!(
            talk.speak(at(900), true, &Wanted::default()),
            None,
            "not asked again"
        );
        talk.hear(&awaiting(), 0);
        assert_eq!(
            talk.speak(at(1000), true, &Wanted::default()),
            Some(Say::Boot)
        );
        talk.hear(&awaiting(), 0);
        assert_eq!(
            talk.speak(at(1499), true, &Wanted::default()),
            None,
            "too soon"
        );
        assert_eq!(
            talk.speak(at(1500), true, &Wanted::default()),
            Some(Say::Boot)
        );
    }

    #[test]
    fn a_clock_that_is_off_is_set_once_for_each_time_that_it_is_said_to_be() {
        let (now, mut talk) = (Instant::now(), Conversation::default());
        let host = 1_700_000_000_000;
        for (shown, said) in [
            (host, None),
            (host + 1_000, None),
            (host - 1_000, None),
            (host + 1_001, Some(Say::Time)),
            (host - 300_000, Some(Say::Time)),
            (0, Some(Say::Time)),
        ] {
            let clock = GuestMessage::Clock {
                unix_time_ms: shown,
            };
            talk.hear(&clock, host);
            assert_eq!(talk.speak(now, true, &Wanted::default()), said, "{shown}");
            assert_eq!(talk.speak(now, true, &Wanted::default()), None, "once");
        }
    }

    #[test]
    fn a_guest_that_begins_anew_is_told_who_it_is_and_what_to_balance_as_if_it_were_the_first_time()
    {
        let (start, mut talk) = (Instant::now(), Conversation::default());
        let at = |ms| start + Duration::from_millis(ms);
        let wanted = config(5);
        talk.hear(&beat(None, None), 0);
        assert_eq!(talk.speak(at(0), true, &wanted), Some(Say::Configure));
        talk.hear(&awaiting(), 0);
        assert_eq!(talk.speak(at(1), true, &wanted), Some(Say::Boot));
        assert_eq!(
            talk.speak(at(600), true, &config(6)),
            None,
            "its balancer does not run yet"
        );
        talk.hear(&beat(None, None), 0);
        assert_eq!(talk.speak(at(700), true, &wanted), Some(Say::Configure));
    }

    #[test]
    fn a_configuration_is_pushed_until_the_heartbeat_names_it() {
        let (start, mut talk) = (Instant::now(), Conversation::default());
        let at = |ms| start + Duration::from_millis(ms);
        let wanted = config(5);
        assert_eq!(talk.speak(at(0), true, &wanted), None, "guest is silent");
        talk.hear(&beat(None, None), 0);
        assert_eq!(
            talk.speak(at(0), true, &Wanted::default()),
            None,
            "nothing wanted"
        );
        assert_eq!(talk.speak(at(1), true, &wanted), Some(Say::Configure));
        talk.hear(&beat(Some(4), None), 0);
        assert_eq!(talk.speak(at(400), true, &wanted), None, "too soon");
        assert_eq!(talk.speak(at(501), true, &wanted), Some(Say::Configure));
        let newer = config(6);
        assert_eq!(
            talk.speak(at(502), true, &newer),
            Some(Say::Configure),
            "newer goes at once"
        );
        talk.hear(&beat(Some(6), None), 0);
        assert_eq!(talk.speak(at(5000), true, &newer), None, "taken");
        talk.hear(&beat(None, None), 0);
        assert_eq!(
            talk.speak(at(5001), true, &newer),
            Some(Say::Configure),
            "balancer began anew"
        );
    }

    #[test]
    fn a_refused_or_older_configuration_is_not_pushed() {
        let (now, mut talk) = (Instant::now(), Conversation::default());
        talk.hear(&beat(Some(4), Some(5)), 0);
        assert_eq!(talk.speak(now, true, &config(5)), None);
        assert_eq!(talk.speak(now, true, &config(3)), None);
        assert_eq!(talk.speak(now, true, &config(6)), Some(Say::Configure));
    }

    #[test]
    fn a_balancer_is_told_to_drain_until_it_says_so_and_each_new_one_again() {
        let (start, mut talk) = (Instant::now(), Conversation::default());
        let at = |ms| start + Duration::from_millis(ms);
        let wanted = Wanted {
            drains: true,
            ..config(5)
        };
        let says = |draining| {
            GuestMessage::Heartbeat(Heartbeat {
                draining,
                ..heartbeat(Some(5), None)
            })
        };
        assert_eq!(talk.speak(at(0), true, &wanted), None, "guest is silent");
        talk.hear(&says(None), 0);
        assert_eq!(talk.speak(at(0), true, &wanted), None, "it knows not how");
        talk.hear(&says(Some(false)), 0);
        assert_eq!(talk.speak(at(1), true, &config(5)), None, "it stays");
        assert_eq!(talk.speak(at(1), true, &wanted), Some(Say::Drain));
        talk.hear(&says(Some(false)), 0);
        assert_eq!(talk.speak(at(500), true, &wanted), None, "too soon");
        assert_eq!(talk.speak(at(501), true, &wanted), Some(Say::Drain));
        talk.hear(&says(Some(true)), 0);
        assert_eq!(talk.speak(at(5_000), true, &wanted), None, "it drains");
        let newer = Wanted {
            drains: true,
            ..config(6)
        };
        assert_eq!(talk.speak(at(5_001), true, &newer), Some(Say::Configure));
        talk.hear(&says(Some(false)), 0);
        assert_eq!(
            talk.speak(at(5_002), true, &newer),
            Some(Say::Drain),
            "the balancer began anew"
        );
    }

    #[test]
    fn only_news_are_worth_a_round() {
        let backend = |health| BackendStatus {
            address: Ipv4Addr::new(1, 1, 1, 10),
            port: 80,
            health,
            health_age_ms: 1,
            last_check: None,
            last_check_age_ms: None,
            requests: 0,
            errors: 0,
            active: 0,
            passive: model::PassiveStatus::default(),
        };
        let old = Heartbeat {
            backends: vec![backend(BackendHealth::Up)],
            ..heartbeat(Some(1), None)
        };
        let mut same = old.clone();
        same.sequence = 2;
        same.counters.requests = 9;
        same.backends[0].health_age_ms = 300;
        assert!(!worth_a_round(Some(&old), &same));
        assert!(worth_a_round(None, &same));
        for news in [
            heartbeat(Some(2), None),
            heartbeat(Some(1), Some(2)),
            heartbeat(Some(1), None),
            Heartbeat {
                draining: Some(true),
                ..old.clone()
            },
            Heartbeat {
                backends: vec![backend(BackendHealth::Down)],
                ..old.clone()
            },
        ] {
            assert!(worth_a_round(Some(&old), &news), "{news:?}");
        }
    }
}
