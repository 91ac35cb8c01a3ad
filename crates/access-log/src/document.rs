//! A line as users see it: in the JSON door's answers, and where it is sent on.

use model::access::AccessKind;
use model::forms::rfc3339;
use model::{Termination, Timestamp, VmId};
use serde::Serialize;

use crate::Line;

/// One line. What there is nothing of is left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LineDocument {
    time: String,
    vm: VmId,
    #[serde(flatten)]
    what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum What {
    /// Lines that are missing, since nobody took them.
    Dropped { dropped: u64 },
    /// A request or a session.
    Ended(Box<Ended>),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Ended {
    client: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    host: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    termination: Termination,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    failed: bool,
    bytes_in: u64,
    bytes_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    tries: u16,
    queue_ms: f64,
    connect_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_ms: Option<f64>,
    total_ms: f64,
    #[serde(skip_serializing_if = "String::is_empty")]
    request_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    traceparent: String,
}

impl From<Line> for LineDocument {
    fn from(line: Line) -> Self {
        let head = line.head;
        let what = match head.kind {
            AccessKind::Gap => What::Dropped {
                dropped: head.bytes_in,
            },
            AccessKind::Http | AccessKind::Tcp => What::Ended(Box::new(Ended {
                client: head.client.to_string(),
                method: line.method,
                host: line.host,
                path: line.path,
                truncated: head.path_cut || head.host_cut,
                status: (head.status > 0).then_some(head.status),
                termination: head.termination,
                detail: line.detail,
                failed: head.has_failed(),
                bytes_in: head.bytes_in,
                bytes_out: head.bytes_out,
                backend: (head.backend.port() > 0).then(|| head.backend.to_string()),
                tries: head.tries(),
                queue_ms: ms(head.queue_us.into()),
                connect_ms: ms(head.connect_us.into()),
                first_byte_ms: (head.first_byte_us > 0).then(|| ms(head.first_byte_us.into())),
                total_ms: ms(head.total_us),
                request_id: line.id,
                traceparent: line.trace,
            })),
        };
        Self {
            time: rfc3339(Timestamp(head.ended_us / 1000)),
            vm: head.vm,
            what,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a duration beyond 2^53 microseconds is none"
)]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}
