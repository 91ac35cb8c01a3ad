//! One request and its answer, as both pass through the balancer.
//!
//! ```text
//!   request  ── head ──▶ body ──▶ whole          (passed on as it comes)
//!
//!   answer   ── head ─┬─▶ body ─┬─▶ whole        (may begin, and end, before the request is whole)
//!              ▲      │         └─ the backend's end, where no length was given
//!              └ 1xx ─┤
//!                     └─ 101 that was asked for ─▶ tunnel: both bodies last until the ends
//! ```
//!
//! The machine sees bytes and ends of connections; it says which bytes to pass on, and at the end whether
//! either connection may be used again. It holds no bytes: whoever drives it keeps the ones that were
//! not consumed, and gives them again with those that follow.

use std::ops::Range;

use super::body::Body;
use super::chunked::{Advance, Output};
use super::date::Date;
use super::head::{FieldSpan, HeadScanner};
use super::malformed::Malformed;
use super::request::RequestHead;
use super::response::ResponseHead;
use super::rewrite::{Passing, write_response};
use super::{Framing, Version};
use crate::bulk::Bulk;

/// Interim answers (1xx) to one request. Without a bound a backend could go on with them for ever, and its
/// client would wait as long, since each is progress.
const INTERIM_ANSWERS: u8 = 100;

/// Whether a client's connection ends after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Another request may follow.
    Stays,
    /// The connection ends.
    Closes,
}

/// How much of a request a backend may have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not one byte.
    Nothing,
    /// Some, but all that was sent is still held and could be sent again.
    Held,
    /// Some that nobody holds any more.
    Gone,
}

/// What the end of a backend's connection means for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was the end of a body without a length.
    Whole,
    /// The final head had not come: nothing of the answer itself was passed on.
    Unanswered,
    /// The answer is cut off.
    CutOff,
}

/// What holds while an answer is passed on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// The balancer wants no further request on the client's connection.
    pub leaving: bool,
    /// The time, for an answer that says none.
    pub date: Option<Date>,
}

/// What became of some bytes of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerStep {
    /// Bytes of the input that were understood. Those after them are to be given again with more, or,
    /// when the answer is whole, are none of it.
    pub consumed: usize,
    /// Bytes of the input to pass on, after what was written to `out`.
    pub body: Range<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Head(HeadScanner),
    Body(Body),
}

/// One request and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    request: Body,
    answer: Answer,
    answer_begun: bool,
    status: u16,
    interim: u8,
    to_head: bool,
    idempotent: bool,
    /// The client sends its body only once it was told to go on.
    awaits_continue: bool,
    asked_to_switch: bool,
    switched: bool,
    client: Version,
    client_persists: bool,
    backend_persists: bool,
    /// The answer's head speaks of a body that does not follow it.
    is_silenced: bool,
}

impl Exchange {
    /// Begins with a request's head, of which the backend has seen nothing yet.
    #[must_use]
    pub fn begin(head: &RequestHead<'_>) -> Self {
        Self {
            request: Body::new(head.framing, Output::Chunks),
            answer: Answer::Head(HeadScanner::default()),
            answer_begun: false,
            status: 0,
            interim: 0,
            to_head: head.method == b"HEAD",
            idempotent: head.is_idempotent(),
            awaits_continue: head.expects_continue,
            asked_to_switch: head.upgrade.is_some(),
            switched: false,
            client: head.version,
            client_persists: head.keep_alive,
            backend_persists: false,
            is_silenced: false,
        }
    }

    /// Bounds the request's body.
    ///
    /// # Errors
    /// Its length is larger. One in chunks is found out later, by [`Exchange::take_request`].
    pub fn bound_request(&mut self, bytes: u64) -> Result<(), Malformed> {
        self.request.bound(bytes)
    }

    /// Takes bytes of the request's body; see [`Body::advance`].
    ///
    /// # Errors
    /// Malformed chunks: the client is answered with 400, and the backend's connection is given up.
    pub fn take_request(&mut self, input: &mut [u8]) -> Result<Advance, Malformed> {
        // Who sends it does not wait for leave, or no longer does.
        self.awaits_continue &= input.is_empty();
        self.request.advance(input)
    }

    /// Whether all of the request has come from the client. Never true of a tunnel.
    #[must_use]
    pub fn request_is_whole(&self) -> bool {
        self.request.is_done()
    }

    /// Whether the client has to send more before anything else happens: not while it waits for a `100` to
    /// do so (RFC 9110, section 10.1.1: then it is the backend's turn, with a `100` or with the answer), nor
    /// once the answer has overtaken the request.
    #[must_use]
    pub fn awaits_request(&self) -> bool {
        !self.request_is_whole()
            && !self.switched
            && !self.answer_is_final()
            && !self.awaits_continue
    }

    /// Bytes of the request that are still to come from the client, where that is known.
    #[must_use]
    pub fn request_left(&self) -> Option<u64> {
        match self.request {
            Body::Left(left) => Some(left),
            Body::Chunked(_) | Body::UntilClose => None,
        }
    }

    /// Bytes of the request's body that may pass without being looked at; see [`Body::opaque_bytes`].
    #[must_use]
    pub fn opaque_request(&self) -> u64 {
        self.request.opaque_bytes()
    }

    /// Whether the rest of the request's body is worth a pipe; see [`Body::is_long`].
    #[must_use]
    pub fn request_is_long(&self) -> bool {
        self.request.is_long(Bulk::default())
    }

    /// So many of the opaque bytes have passed.
    pub fn pass_request(&mut self, count: u64) {
        self.awaits_continue &= count == 0;
        self.request.pass(count);
    }

    /// Bytes of the answer's body that may pass without being looked at; see [`Body::opaque_bytes`].
    #[must_use]
    pub fn opaque_answer(&self) -> u64 {
        match &self.answer {
            Answer::Head(_) => 0,
            Answer::Body(body) => body.opaque_bytes(),
        }
    }

    /// Whether the rest of the answer's body is worth a pipe; see [`Body::is_long`].
    #[must_use]
    pub fn answer_is_long(&self, bulk: Bulk) -> bool {
        matches!(&self.answer, Answer::Body(body) if body.is_long(bulk))
    }

    /// So many of the opaque bytes have passed.
    pub fn pass_answer(&mut self, count: u64) {
        if let Answer::Body(body) = &mut self.answer {
            body.pass(count);
        }
    }

    /// Whether any byte of an answer has come over the connection that is in use.
    #[must_use]
    pub fn answer_has_begun(&self) -> bool {
        self.answer_begun
    }

    /// The status of the newest head of the answer; 0 before the first.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the answer's final head has come.
    #[must_use]
    pub fn answer_is_final(&self) -> bool {
        matches!(self.answer, Answer::Body(_))
    }

    /// Whether all of the answer has come.
    #[must_use]
    pub fn answer_is_whole(&self) -> bool {
        matches!(&self.answer, Answer::Body(body) if body.is_done())
    }

    /// Whether the backend switched to another protocol, so that bytes pass both ways until the ends.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        self.switched
    }

    /// Whether the answer is to a HEAD request and so has no body.
    #[must_use]
    pub fn is_to_head(&self) -> bool {
        self.to_head
    }

    /// The client's version.
    #[must_use]
    pub fn client_version(&self) -> Version {
        self.client
    }

    /// Takes bytes of the answer. Heads for the client are written to `out`.
    ///
    /// # Errors
    /// A malformed answer. As long as nothing of it was passed on, the client can be told so.
    pub fn take_answer(
        &mut self,
        input: &mut [u8],
        moment: Moment,
        fields: &mut Vec<FieldSpan>,
        out: &mut Vec<u8>,
    ) -> Result<AnswerStep, Malformed> {
        self.answer_begun |= !input.is_empty();
        let mut consumed = 0;
        while let Answer::Head(mut scanner) = self.answer {
            let bytes = input.get(consumed..).unwrap_or_default();
            let Some(span) = scanner.find(bytes)? else {
                self.answer = Answer::Head(scanner);
                let body = consumed..consumed;
                return Ok(AnswerStep { consumed, body });
            };
            if span.start > 0 {
                return Err(Malformed::Bad("the first line is empty"));
            }
            let head = ResponseHead::read(bytes.get(..span.end).unwrap_or_default(), fields)?;
            self.take_head(&head, moment, out)?;
            consumed += span.end;
        }
        let Answer::Body(body) = &mut self.answer else {
            return Ok(AnswerStep::default());
        };
        let Advance {
            consumed: more,
            kept,
        } = body.advance(input.get_mut(consumed..).unwrap_or_default())?;
        Ok(AnswerStep {
            consumed: consumed + more,
            body: consumed..consumed + kept,
        })
    }

    fn take_head(
        &mut self,
        head: &ResponseHead<'_>,
        moment: Moment,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        self.status = head.status;
        match head.status {
            101 if !self.asked_to_switch => {
                return Err(Malformed::Bad("101, which nobody asked for"));
            }
            101 => self.switch(),
            100..=199 if self.interim == INTERIM_ANSWERS => {
                return Err(Malformed::Bad("interim answers without an end"));
            }
            100..=199 => {
                self.interim += 1;
                self.awaits_continue &= head.status != 100;
                self.answer = Answer::Head(HeadScanner::default());
            }
            _ => self.take_final_head(head, moment.leaving),
        }
        // A client of HTTP/1.0 does not know interim answers.
        if head.status >= 200 || self.client == Version::Http11 {
            write_response(head, self.passing(moment.date), out);
        }
        Ok(())
    }

    fn switch(&mut self) {
        self.switched = true;
        self.client_persists = false;
        self.request = Body::UntilClose;
        self.answer = Answer::Body(Body::UntilClose);
    }

    fn take_final_head(&mut self, head: &ResponseHead<'_>, leaving: bool) {
        let framing = head.framing(self.to_head);
        let output = match self.client {
            Version::Http10 => Output::Data,
            Version::Http11 => Output::Chunks,
        };
        self.answer = Answer::Body(Body::new(framing, output));
        self.is_silenced = framing == Framing::Empty
            && matches!(head.declared, Framing::Length(_) | Framing::Chunked);
        // To HEAD, and of 304, a head may say how long a body would be; 204 must not (RFC 9110, 8.6), so
        // nobody knows what such a backend sends.
        let may_say_so = self.to_head || head.status == 304;
        self.backend_persists = head.keep_alive && (may_say_so || !self.is_silenced);
        let end_is_seen = match framing {
            Framing::UntilClose => false,
            Framing::Chunked => output == Output::Chunks,
            Framing::Empty | Framing::Length(_) => true,
        };
        // An answer that overtakes its request leaves nobody knowing whether the rest will come.
        self.client_persists &= end_is_seen && self.request_is_whole() && !leaving;
    }

    fn passing(&self, date: Option<Date>) -> Passing {
        Passing {
            client: self.client,
            closing: self.closing(),
            switching: self.switched,
            date,
        }
    }

    /// Takes the end of the backend's connection, which came without an error.
    #[must_use]
    pub fn take_end(&mut self) -> End {
        match &self.answer {
            Answer::Head(_) => End::Unanswered,
            Answer::Body(Body::UntilClose) => {
                self.answer = Answer::Body(Body::Left(0));
                End::Whole
            }
            Answer::Body(body) if body.is_done() => End::Whole,
            Answer::Body(_) => End::CutOff,
        }
    }

    /// Forgets what has come of an answer that will not go on. Interim answers keep their bound, over all
    /// backends, since the client was given them.
    pub fn forget_answer(&mut self) {
        self.answer = Answer::Head(HeadScanner::default());
        self.answer_begun = false;
        self.status = 0;
    }

    /// Whether the request may be sent once more, to this backend or another: the final head of an answer
    /// has not come, so that the client was given nothing but interim answers, and no backend can have acted
    /// on the request, or acting on it twice does no harm.
    #[must_use]
    pub fn may_repeat(&self, sent: Sent) -> bool {
        !self.answer_is_final()
            && match sent {
                Sent::Nothing => true,
                Sent::Held => self.idempotent,
                Sent::Gone => false,
            }
    }

    /// What becomes of the client's connection after this answer.
    #[must_use]
    pub fn closing(&self) -> Closing {
        if self.client_persists {
            Closing::Stays
        } else {
            Closing::Closes
        }
    }

    /// What becomes of the client's connection after an answer of the balancer's own.
    #[must_use]
    pub fn closing_after_own_reply(&self, leaving: bool) -> Closing {
        if self.client_persists && self.request_is_whole() && !leaving {
            Closing::Stays
        } else {
            Closing::Closes
        }
    }

    /// Whether another request may be sent on the backend's connection, as far as the answer says.
    #[must_use]
    pub fn backend_may_stay(&self) -> bool {
        self.backend_persists && self.request_is_whole() && self.answer_is_whole()
    }

    /// Whether the answer's head speaks of a body that must not follow it. A careless backend sends it all
    /// the same, and it would be read as the next answer.
    #[must_use]
    pub fn answer_is_silenced(&self) -> bool {
        self.is_silenced
    }

    /// Whether the request's method lets it be sent twice.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }
}
