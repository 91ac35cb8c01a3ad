//! What the origin serves, built once.

use std::sync::Arc;

/// The path that health checks ask for.
pub const HEALTH_PATH: &str = "/health";

/// A body that the origin has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// 1 KiB.
    OneKib,
    /// 64 KiB.
    SixtyFourKib,
    /// 10 MiB.
    TenMib,
}

impl Body {
    const ALL: [Self; 3] = [Self::OneKib, Self::SixtyFourKib, Self::TenMib];

    /// Its length.
    pub fn bytes(self) -> usize {
        match self {
            Self::OneKib => 1 << 10,
            Self::SixtyFourKib => 64 << 10,
            Self::TenMib => 10 << 20,
        }
    }

    /// Where it is found.
    pub fn path(self) -> &'static str {
        match self {
            Self::OneKib => "/1k",
            Self::SixtyFourKib => "/64k",
            Self::TenMib => "/10m",
        }
    }

    /// Its bytes: no two neighbouring stretches are alike, so that a part in the wrong place is seen.
    pub fn content(self) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut content = Vec::with_capacity(self.bytes() + 8);
        while content.len() < self.bytes() {
            // xorshift64 (Marsaglia, 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend_from_slice(&state.to_le_bytes());
        }
        content.truncate(self.bytes());
        content
    }

    /// A request for it.
    pub fn request(self, close: bool) -> Vec<u8> {
        let close = if close { "Connection: close\r\n" } else { "" };
        let path = self.path();
        format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\nAccept: */*\r\n{close}\r\n")
            .into_bytes()
    }
}

/// Whole answers, heads included.
pub struct Answers {
    health: Arc<[u8]>,
    bodies: Vec<(Body, Arc<[u8]>)>,
}

impl Answers {
    /// Builds them all.
    pub fn build() -> Self {
        let bodies = Body::ALL
            .into_iter()
            .map(|body| (body, answer(&body.content())))
            .collect();
        Self {
            health: answer(b"well\n"),
            bodies,
        }
    }

    /// The answer to a request for this path, and which body it has; none for a health check.
    pub fn find(&self, path: &[u8]) -> Option<(Option<Body>, Arc<[u8]>)> {
        if path == HEALTH_PATH.as_bytes() {
            return Some((None, Arc::clone(&self.health)));
        }
        self.bodies
            .iter()
            .find(|(body, _)| body.path().as_bytes() == path)
            .map(|(body, answer)| (Some(*body), Arc::clone(answer)))
    }
}

fn answer(body: &[u8]) -> Arc<[u8]> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes.into()
}
