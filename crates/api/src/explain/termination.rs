//! What each termination means, and what to do about it.

use model::{Termination, Timeouts};

/// In a sentence why the request or session ended so, and what helps; nothing where nothing need be done.
pub(super) fn meaning(termination: Termination, timeouts: &Timeouts) -> (String, &'static str) {
    use Termination as T;
    let s = |ms: u64| format!("{} s", ms as f64 / 1000.0);
    let (meaning, advice): (&str, &str) = match termination {
        T::Complete => ("it came to its own end", ""),
        T::MalformedRequest => (
            "the request is malformed, so nothing of it was passed on: servers could read it in different ways",
            "mend the client; the log's detail says what is wrong",
        ),
        T::ClientNotAllowed => (
            "the client's address is in none of the networks that are served",
            "add its network to `allowed-clients`, if it is to be served",
        ),
        T::RequestTimeout => {
            let bound = s(timeouts.request_head_ms);
            return (
                format!(
                    "the client took longer than {bound} to send its request, or sent too slowly"
                ),
                "look at the client's network; `timeouts.request-head` and `limits.min-client-rate` bound it",
            );
        }
        T::NoHealthyBackend => (
            "no backend might take traffic: none was up, or those that were have weight 0",
            "see what the health checks say of the backends",
        ),
        T::ConnectRefused => (
            "every backend that was tried refused the connection: nothing listens on its port",
            "see that the server runs and listens on the port that the entity names",
        ),
        T::ConnectTimeout => {
            let bound = s(timeouts.connect_ms);
            return (
                format!("no connection to a backend came about within {bound}"),
                "see whether packets reach the server: its firewall, its load, the cable; `timeouts.connect` bounds it",
            );
        }
        T::ConnectFailed => (
            "no connection to a backend came about",
            "see whether the backend's network is attached to the subnet, and whether it answers there",
        ),
        T::BackendClosed => (
            "the backend ended the connection before it answered",
            "look into the server's own log at that time: it may have crashed, or given up on the request",
        ),
        T::ResponseTimeout => {
            let bound = s(timeouts.response_ms);
            return (
                format!("the backend did not begin its answer within {bound}"),
                "see why the server is slow; `timeouts.response` bounds how long it may take",
            );
        }
        T::MalformedResponse => (
            "the backend's answer could be understood in more than one way, so it was not passed on",
            "mend the server; the log's detail says what is wrong",
        ),
        T::QueueFull => (
            "all backends had as many connections as they may have, and as many waited as may wait",
            "add backends, or raise their `max-connections` or the `queue`'s `length`",
        ),
        T::QueueTimeout => (
            "all backends had as many connections as they may have, for longer than one may wait",
            "add backends, or raise their `max-connections` or the `queue`'s `timeout`",
        ),
        T::CircuitOpen => (
            "too many requests to each backend that is up had failed, so none was tried for a while",
            "see why they fail: the lines of the log before this one; `circuit-breaker` says how many may",
        ),
        T::TotalTimeout => {
            let bound = timeouts.total_ms.map_or_else(|| "its bound".to_owned(), s);
            return (
                format!("the request took longer than {bound} in all"),
                "see why the server is slow; `timeouts.total` bounds how long it may take",
            );
        }
        T::Drained => (
            "the backend had been taken out, and the time for what it had under way was over",
            "`backend.drain` says how long that is",
        ),
        T::ClientClosedInRequestHead | T::ClientClosedInRequestBody => (
            "the client closed its connection before it had sent its whole request",
            "",
        ),
        T::ClientClosedInQueue => (
            "the client closed its connection while it waited for a backend to be free",
            "see whether all backends were in use: more of them, or a shorter `queue`, would help",
        ),
        T::ClientClosedWhileConnecting => (
            "the client closed its connection while the backend's was being made",
            "",
        ),
        T::ClientClosedBeforeResponse => (
            "the client closed its connection while the backend was at work",
            "if the backend had long been at work, the client's own timeout may be shorter than ours",
        ),
        T::ClientClosedInResponse => ("the client closed its connection within the answer", ""),
        T::ClientTimeoutInResponse => (
            "the client took the answer in too slowly",
            "look at the client's network; `limits.min-client-rate` and `timeouts.idle` bound it",
        ),
        T::BackendClosedInResponse => (
            "the backend ended its connection within its answer",
            "look into the server's own log at that time: it may have crashed",
        ),
        T::BackendTimeoutInResponse => {
            let bound = s(timeouts.idle_ms);
            return (
                format!("the backend fell silent within its answer, for {bound}"),
                "see why the server stops; `timeouts.idle` bounds the silence",
            );
        }
        T::MalformedInResponse => (
            "the rest of the backend's answer, part of which was passed on, could not be understood",
            "mend the server; the log's detail says what is wrong",
        ),
        T::MalformedRequestBody => (
            "the request's body was malformed, and the answer had begun",
            "mend the client",
        ),
        T::ClientReset => ("the client broke the session off", ""),
        T::BackendReset => (
            "the backend broke the session off",
            "look into the server's own log at that time",
        ),
        T::IdleTimeout => {
            let bound = s(timeouts.idle_ms);
            return (
                format!("nobody said anything for {bound}"),
                "`timeouts.idle` bounds the silence",
            );
        }
        T::TooManyConnections => (
            "the client's address had as many connections as it may have",
            "raise `limits.connections-per-client`, if it is to have more",
        ),
        T::MalformedProxyHeader => (
            "the connection came from a proxy, and did not begin with a header of the PROXY protocol",
            "have the proxy send one, or take it out of `proxy-protocol-from`",
        ),
        T::BalancerEnded => (
            "the balancer ended with it under way",
            "see what the events say of the VM at that time",
        ),
        T::BalancerFault => (
            "the balancer could not go on",
            "see what the VM's own log says at that time, and report it",
        ),
    };
    (meaning.to_owned(), advice)
}
