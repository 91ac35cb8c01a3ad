//! Why a request or session ended: what proxies tell in letters, in words.

use serde::{Deserialize, Serialize};

macro_rules! terminations {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal $word:literal,)*) => {
        /// Why a request or session ended: who ended it, and at which stage. The words are stable; where the balancer
        /// answered by itself they are those of the field `Evenkeel-Reason`.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum Termination {
            $($(#[doc = $doc])* #[serde(rename = $word)] $name,)*
        }

        impl Termination {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its number in a record, which is never given to another one.
            #[must_use]
            pub fn code(self) -> u8 {
                match self { $(Self::$name => $code,)* }
            }

            /// The one with this number.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// In a word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

terminations! {
    /// It came to its own end.
    Complete = 0 "complete",
    /// The request is malformed; nothing of it was passed on.
    MalformedRequest = 1 "malformed-request",
    /// The client's network is not served.
    ClientNotAllowed = 2 "client-not-allowed",
    /// The client took too long to send its request.
    RequestTimeout = 3 "request-timeout",
    /// No backend may take traffic.
    NoHealthyBackend = 4 "no-healthy-backend",
    /// Every backend that was tried refused the connection.
    ConnectRefused = 5 "connect-refused",
    /// No connection to a backend came about in time.
    ConnectTimeout = 6 "connect-timeout",
    /// No connection to a backend came about for another reason.
    ConnectFailed = 7 "connect-failed",
    /// The backend ended the connection before it answered.
    BackendClosed = 8 "backend-closed",
    /// The backend did not begin its answer in time.
    ResponseTimeout = 9 "response-timeout",
    /// The backend's answer cannot be understood in one way only.
    MalformedResponse = 10 "malformed-response",
    /// All backends' connections are in use, and too many wait already.
    QueueFull = 11 "queue-full",
    /// All backends' connections were in use for too long.
    QueueTimeout = 12 "queue-timeout",
    /// The circuits of all backends that are up are open.
    CircuitOpen = 13 "circuit-open",
    /// The request took too long in all.
    TotalTimeout = 14 "total-timeout",
    /// The backend was taken out, and the time for what it had under way is over.
    Drained = 15 "drained",
    /// The client closed its connection within a request's head.
    ClientClosedInRequestHead = 16 "client-closed-in-request-head",
    /// The client closed its connection within a request's body.
    ClientClosedInRequestBody = 17 "client-closed-in-request-body",
    /// The client closed its connection while it waited for a backend to be free.
    ClientClosedInQueue = 18 "client-closed-in-queue",
    /// The client closed its connection while the backend's was being made.
    ClientClosedWhileConnecting = 19 "client-closed-while-connecting",
    /// The client closed its connection before the backend began to answer.
    ClientClosedBeforeResponse = 20 "client-closed-before-response",
    /// The client closed its connection within the answer.
    ClientClosedInResponse = 21 "client-closed-in-response",
    /// The client took the answer in too slowly.
    ClientTimeoutInResponse = 22 "client-timeout-in-response",
    /// The backend ended its connection within the answer.
    BackendClosedInResponse = 23 "backend-closed-in-response",
    /// The backend fell silent within the answer.
    BackendTimeoutInResponse = 24 "backend-timeout-in-response",
    /// The answer, part of which was passed on, cannot be understood any more.
    MalformedInResponse = 25 "malformed-in-response",
    /// The request's body is malformed, and the answer had begun.
    MalformedRequestBody = 26 "malformed-request-body",
    /// The client broke its session off.
    ClientReset = 27 "client-reset",
    /// The backend broke the session off.
    BackendReset = 28 "backend-reset",
    /// Nobody said anything for too long.
    IdleTimeout = 29 "idle-timeout",
    /// The client has too many connections already.
    TooManyConnections = 30 "too-many-connections",
    /// The connection had to begin with a PROXY header, and did not.
    MalformedProxyHeader = 31 "malformed-proxy-header",
    /// The balancer ended with it under way.
    BalancerEnded = 32 "balancer-ended",
    /// The balancer could not go on.
    BalancerFault = 33 "balancer-fault",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_again_by_its_number_and_has_a_word_of_its_own() {
        let mut words = std::collections::BTreeSet::new();
        for termination in Termination::ALL {
            assert_eq!(
                Termination::from_code(termination.code()),
                Some(*termination)
            );
            assert!(words.insert(termination.word()));
            let json = serde_json::to_value(termination).unwrap();
            assert_eq!(json, termination.word());
        }
        assert_eq!(Termination::from_code(200), None);
    }
}
