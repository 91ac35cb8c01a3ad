//! What is measured, and how much better than its peers the balancer is to be.

use crate::load::Body;
use crate::proxies::Mode;

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name on the command line and in the results.
    pub id: &'static str,
    /// What it is, in words.
    pub title: &'static str,
    /// What the proxies are told to balance.
    pub mode: Mode,
    /// What is done.
    pub task: Task,
    /// The figure that is compared.
    pub figure: &'static str,
    /// Other figures that the table shows.
    pub also: &'static [&'static str],
    /// The largest ratio of ours to HAProxy's that is good enough, where one is asked for.
    pub haproxy_target: Option<f64>,
    /// The same for nginx.
    pub nginx_target: Option<f64>,
}

/// What is done in a round.
#[derive(Clone, Copy, Debug)]
pub enum Task {
    /// A closed loop of requests for a body.
    Requests {
        /// What is asked for.
        body: Body,
        /// Whether connections are used again.
        keep_alive: bool,
    },
    /// The closed loop of requests for 1 KiB, made by wrk instead of our own generator.
    Wrk,
    /// Clients that are connected and idle.
    Idle,
    /// An open loop of requests for 1 KiB.
    Latency,
}

/// CPU time of the proxy for each answer, in microseconds.
pub const CPU_PER_REQUEST: &str = "cpu_us_per_request";
/// CPU time of the proxy for each 10⁹ bytes to clients, in seconds.
pub const CPU_PER_GB: &str = "cpu_s_per_gb";
/// Answers in each second.
pub const RATE: &str = "requests_per_second";
/// 10⁹ bytes to clients in each second.
pub const GB_RATE: &str = "gb_per_second";
/// Memory of the process for each idle connection, in bytes.
pub const MEMORY: &str = "bytes_per_connection";
/// The latency's median, in microseconds.
pub const P50: &str = "p50_us";
/// The latency that one in a hundred exceeds.
pub const P99: &str = "p99_us";
/// The latency that one in a thousand exceeds.
pub const P999: &str = "p99_9_us";

const KEEP_ALIVE_1_KIB: Task = Task::Requests {
    body: Body::OneKib,
    keep_alive: true,
};
const NEW_CONNECTION_1_KIB: Task = Task::Requests {
    body: Body::OneKib,
    keep_alive: false,
};
const KEEP_ALIVE_64_KIB: Task = Task::Requests {
    body: Body::SixtyFourKib,
    keep_alive: true,
};
const KEEP_ALIVE_10_MIB: Task = Task::Requests {
    body: Body::TenMib,
    keep_alive: true,
};

/// All cases, in the order in which they are measured.
pub const CASES: [Case; 10] = [
    Case {
        id: "http-keep-alive",
        title: "HTTP keep-alive 1 KiB",
        mode: Mode::Http,
        task: KEEP_ALIVE_1_KIB,
        figure: CPU_PER_REQUEST,
        also: &[RATE],
        haproxy_target: Some(0.75),
        nginx_target: Some(0.85),
    },
    Case {
        id: "http-keep-alive-wrk",
        title: "the same, asked by wrk",
        mode: Mode::Http,
        task: Task::Wrk,
        figure: CPU_PER_REQUEST,
        also: &[RATE],
        haproxy_target: None,
        nginx_target: None,
    },
    Case {
        id: "http-new-connection",
        title: "HTTP new connection each",
        mode: Mode::Http,
        task: NEW_CONNECTION_1_KIB,
        figure: CPU_PER_REQUEST,
        also: &[RATE],
        haproxy_target: Some(0.80),
        nginx_target: Some(0.80),
    },
    Case {
        id: "http-64k",
        title: "HTTP 64 KiB",
        mode: Mode::Http,
        task: KEEP_ALIVE_64_KIB,
        figure: CPU_PER_REQUEST,
        also: &[RATE],
        haproxy_target: Some(0.95),
        nginx_target: Some(1.0),
    },
    Case {
        id: "http-10m",
        title: "HTTP 10 MiB",
        mode: Mode::Http,
        task: KEEP_ALIVE_10_MIB,
        figure: CPU_PER_GB,
        also: &[GB_RATE],
        haproxy_target: Some(0.70),
        nginx_target: Some(0.40),
    },
    Case {
        id: "tcp-keep-alive",
        title: "TCP keep-alive 1 KiB",
        mode: Mode::Tcp,
        task: KEEP_ALIVE_1_KIB,
        figure: CPU_PER_REQUEST,
        also: &[RATE],
        haproxy_target: Some(1.0),
        nginx_target: Some(1.10),
    },
    Case {
        id: "tcp-new-connection",
        title: "TCP new connection each",
        mode: Mode::Tcp,
        task: NEW_CONNECTION_1_KIB,
        figure: CPU_PER_REQUEST,
        also: &[RATE],
        haproxy_target: Some(0.90),
        nginx_target: Some(0.95),
    },
    Case {
        id: "tcp-10m",
        title: "TCP 10 MiB",
        mode: Mode::Tcp,
        task: KEEP_ALIVE_10_MIB,
        figure: CPU_PER_GB,
        also: &[GB_RATE],
        haproxy_target: Some(0.85),
        nginx_target: Some(0.40),
    },
    Case {
        id: "idle-memory",
        title: "idle connection, memory",
        mode: Mode::Http,
        task: Task::Idle,
        figure: MEMORY,
        also: &[],
        haproxy_target: Some(0.35),
        nginx_target: Some(0.8),
    },
    Case {
        id: "latency",
        title: "latency at a fixed rate",
        mode: Mode::Http,
        task: Task::Latency,
        figure: P99,
        also: &[P50, P999, CPU_PER_REQUEST],
        haproxy_target: Some(1.0),
        nginx_target: Some(1.0),
    },
];
