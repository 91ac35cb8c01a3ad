//! What a server is sent: a header of RFC 5424, and JSON with the cookie `@cee:`, by which servers know it.

use access_log::{Line, LineDocument};
use model::Timestamp;
use model::access::AccessKind;
use model::forms::rfc3339;
use serde::Serialize;

use super::{Names, Transport};

/// The largest message over UDP: what fits into one frame of the usual size.
pub(super) const MOST_UDP_BYTES: usize = 1_400;
/// How often texts of a line are cut until it fits. Each time the longest loses half or more of what is needed, and
/// there are nine, of 512 bytes or less.
const MOST_CUTS: usize = 64;

/// The facility local0, and the severities warning and informational (RFC 5424, section 6.2.1).
pub(super) const FACILITY: u8 = 16;
pub(super) const WARNING: u8 = 4;
pub(super) const INFORMATIONAL: u8 = 6;

/// One message.
#[derive(Debug, PartialEq)]
pub(super) struct Message {
    pub text: String,
    /// How many lost lines it tells of: none, if it is a line itself.
    pub tells_of: u64,
}

/// How messages to a server are made.
#[derive(Clone, Debug)]
pub(super) struct Form {
    /// This machine's name.
    pub(super) host: String,
    /// How long they may be.
    pub(super) most_bytes: usize,
}

/// A line, and whose it is.
#[derive(Serialize)]
struct Said<'n> {
    #[serde(flatten)]
    names: &'n Names,
    #[serde(flatten)]
    line: LineDocument,
}

impl Form {
    pub(super) fn of(transport: Transport) -> Self {
        Self {
            host: host_name(),
            most_bytes: match transport {
                Transport::Udp => MOST_UDP_BYTES,
                Transport::Tcp => usize::MAX,
            },
        }
    }

    /// A line's message. What makes it too long is cut within its JSON, which says so and stays whole. Nothing for a
    /// line that has no form, which none is known to be.
    pub(super) fn line(&self, names: &Names, line: Line) -> Option<Message> {
        let head = line.head;
        let severity = match head.has_failed() || head.kind == AccessKind::Gap {
            true => WARNING,
            false => INFORMATIONAL,
        };
        let vm = format!("vm-{}", head.vm);
        let header = self.header(severity, head.ended_us / 1000, &vm);
        let most = self.most_bytes.saturating_sub(header.len());
        let said = said_within(most, names, line)?;
        Some(Message {
            text: format!("{header}{said}"),
            tells_of: 0,
        })
    }

    /// The message that so many lines are lost, at a time.
    pub(super) fn notice(&self, lost: u64, ms: u64) -> Message {
        let header = self.header(WARNING, ms, "monitor");
        Message {
            text: format!("{header}dropped - @cee: {{\"dropped\":{lost}}}"),
            tells_of: lost,
        }
    }

    /// All up to the message's id.
    fn header(&self, severity: u8, ms: u64, process: &str) -> String {
        let priority = FACILITY * 8 + severity;
        let (time, host) = (rfc3339(Timestamp(ms)), &self.host);
        format!("<{priority}>1 {time} {host} evenkeel {process} ")
    }
}

/// What stands behind a line's header, in so many bytes.
fn said_within(most: usize, names: &Names, line: Line) -> Option<String> {
    let whole = said(names, line.clone())?;
    if whole.len() <= most {
        return Some(whole);
    }
    let (mut names, mut line) = (names.clone(), line);
    line.head.path_cut = true;
    for _ in 0..MOST_CUTS {
        let said = said(&names, line.clone())?;
        if said.len() <= most {
            return Some(said);
        }
        cut_longest(said.len() - most, &mut names, &mut line);
    }
    None
}

fn said(names: &Names, line: Line) -> Option<String> {
    let line = LineDocument::from(line);
    let json = serde_json::to_string(&Said { names, line }).ok()?;
    Some(format!("access - @cee: {json}"))
}

/// Takes bytes off the longest text's end, by which the JSON gets shorter by as many or more: all that are asked for,
/// or half of the text.
fn cut_longest(bytes: usize, names: &mut Names, line: &mut Line) {
    let texts = [
        &mut line.path,
        &mut line.host,
        &mut line.detail,
        &mut line.id,
        &mut line.trace,
        &mut line.method,
        &mut names.instance,
        &mut names.project,
        &mut names.user,
    ];
    let longest = texts.into_iter().max_by_key(|text| text.len());
    if let Some(text) = longest {
        let left = text.len() - bytes.min(text.len().div_ceil(2));
        let whole = (0..=left).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(whole.unwrap_or(0));
    }
}

/// The machine's name, as far as it may stand in a message: printable, without spaces, and not too long.
fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let name: String = name
        .chars()
        .filter(char::is_ascii_graphic)
        .take(255)
        .collect();
    match name.is_empty() {
        true => "-".to_owned(),
        false => name,
    }
}
