//! Any order of sending, refusals to take more, ends and failures, over real sockets with little room.

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use rustix::net::{RecvFlags, sockopt};

use super::*;

/// Room of the sockets: a few pieces fill it.
const ROOM: usize = 4 << 10;

#[derive(Clone, Copy, Debug)]
enum Move {
    /// What waits is sent.
    Send,
    /// More of the body comes, once nothing waits.
    Follow(usize),
    /// The same through a pipe.
    FollowThroughPipe(usize),
    /// The backend takes in so many bytes.
    Take(usize),
    /// The backend closes its connection.
    Close,
    /// The backend reads no more.
    StopReading,
    /// The answer's head has come.
    LetGo,
    /// The connection has failed: the request is sent once more, if it may be.
    Repeat,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => Just(Move::Send),
        2 => (0usize..9_000).prop_map(Move::Follow),
        1 => (1usize..9_000).prop_map(Move::FollowThroughPipe),
        3 => (1usize..9_000).prop_map(Move::Take),
        1 => Just(Move::Close),
        1 => Just(Move::StopReading),
        1 => Just(Move::LetGo),
        2 => Just(Move::Repeat),
    ];
    proptest::collection::vec(one, 0..60)
}

/// A backend's end of a connection, and what it was given.
struct Backend {
    wire: Wire,
    end: Option<UnixStream>,
    given: Vec<u8>,
}

impl Backend {
    fn accept() -> Self {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        sockopt::set_socket_send_buffer_size(&near, ROOM).unwrap();
        Self {
            wire: Wire::ready(near.into()),
            end: Some(far),
            given: Vec::new(),
        }
    }

    /// Takes bytes in, `most` at most.
    fn take(&mut self, most: usize) {
        let Some(end) = &mut self.end else { return };
        let mut bytes = vec![0; most];
        if let Ok(count) = end.read(&mut bytes) {
            self.given.extend_from_slice(&bytes[..count]);
        }
    }

    /// Whether it was given any byte, as far as can be told.
    fn was_given_any(&self) -> bool {
        let waits = |end: &UnixStream| {
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            matches!(rustix::net::recv(end, &mut [0u8; 1], flags), Ok((1, _)))
        };
        !self.given.is_empty() || self.end.as_ref().is_some_and(waits)
    }

    fn stop_reading(&mut self) {
        if let Some(end) = &self.end {
            end.shutdown(Shutdown::Read).unwrap();
        }
    }

    fn take_all(&mut self) {
        let before = self.given.len();
        self.take(1 << 20);
        if self.given.len() > before {
            self.take_all();
        }
    }
}

/// The request's bytes at these positions: no two pieces are alike.
fn bytes(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|at| (at % 251) as u8).collect()
}

/// What this kept of the request can be sent again and is the whole of it.
fn is_whole_when_sent_again(upload: &mut Upload, request: &[u8]) -> Backend {
    upload.rewind();
    let mut backend = Backend::accept();
    while upload.waits() {
        upload.send(&mut backend.wire);
        backend.take_all();
    }
    assert!(backend.given == request, "it is not the same request again");
    backend
}

proptest! {
    #[test]
    fn what_a_backend_may_have_seen_is_never_understated(
        first in 1usize..30_000,
        moves in moves(),
    ) {
        let mut buffers = Buffers::default();
        let mut upload = Upload::new(bytes(0, first), &mut buffers);
        let mut backend = Backend::accept();
        let (mut come, mut given_to_any) = (first, false);
        for step in moves {
            match step {
                Move::Send if upload.waits() && !upload.is_refused() => upload.send(&mut backend.wire),
                Move::Follow(count) if upload.is_sent() => {
                    let more = bytes(come, count);
                    come += count;
                    upload.follow(&more, Some(&mut backend.wire), &mut buffers);
                }
                Move::FollowThroughPipe(count) if upload.is_sent() => {
                    let mut pipe = buffers.pipes.take(1 << 20).unwrap();
                    rustix::io::write(&pipe.entry, &bytes(come, count)).unwrap();
                    pipe.fill(count);
                    come += count;
                    upload.follow_through(pipe, Some(&mut backend.wire), &mut buffers);
                }
                Move::Take(most) => backend.take(most),
                Move::Close => backend.end = None,
                Move::StopReading => backend.stop_reading(),
                Move::LetGo => upload.let_go(&mut buffers),
                Move::Repeat if upload.sent() != Sent::Gone => {
                    backend = is_whole_when_sent_again(&mut upload, &bytes(0, come));
                    given_to_any = true;
                }
                _ => {}
            }
            given_to_any |= backend.was_given_any();
            if given_to_any {
                prop_assert_ne!(upload.sent(), Sent::Nothing, "a backend has seen some of it");
            }
            if upload.is_sent() && backend.end.is_some() {
                backend.take_all();
                prop_assert!(backend.given == bytes(0, come), "the connection may carry another request");
            }
            let in_order = bytes(0, backend.given.len()) == backend.given;
            prop_assert!(in_order, "bytes are missing or doubled");
        }
        upload.clear(&mut buffers);
        prop_assert_eq!((buffers.waiting(), buffers.unsent()), (0, 0), "memory was not given back");
    }
}
