//! What a supervisor and its balancers say to each other: one packet each, a word and what follows it.
//!
//! A word that is not known is passed over, so that either side may be newer than the other.

/// One packet. Descriptors travel beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// To the supervisor: these descriptors are to be kept under this name, in the place of those before.
    /// To a balancer: these were kept.
    Keep(String),
    /// To a balancer: all that was kept has been handed over. What was kept since comes before
    /// [`Message::Serve`].
    Begin,
    /// To the supervisor: everything is there to take connections.
    Ready,
    /// To a balancer: take connections from now on. What is said is for the log, if it is anything.
    Serve(String),
    /// To a balancer: a successor is ready. Take no more connections, and end with the last one.
    Leave,
    /// To the supervisor: no more connections are taken.
    Left,
    /// To the balancer that serves: so many others have yet to end their last connections.
    Leaving(usize),
}

impl Message {
    /// The packet.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Keep(name) => format!("keep {name}"),
            Self::Begin => "begin".to_owned(),
            Self::Ready => "ready".to_owned(),
            Self::Serve(news) => format!("serve {news}"),
            Self::Leave => "leave".to_owned(),
            Self::Left => "left".to_owned(),
            Self::Leaving(count) => format!("leaving {count}"),
        }
    }

    /// Reads a packet; nothing when its word is not known.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match word {
            "keep" => Self::Keep(rest.to_owned()),
            "begin" => Self::Begin,
            "ready" => Self::Ready,
            "serve" => Self::Serve(rest.to_owned()),
            "leave" => Self::Leave,
            "left" => Self::Left,
            "leaving" => Self::Leaving(rest.parse().ok()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for message in [
            Message::Keep("listeners".to_owned()),
            Message::Begin,
            Message::Ready,
            Message::Serve(String::new()),
            Message::Serve("the one before was killed by signal 9".to_owned()),
            Message::Leave,
            Message::Left,
            Message::Leaving(3),
        ] {
            assert_eq!(Message::read(&message.text()), Some(message));
        }
        assert_eq!(Message::read("dance all night"), None);
        assert_eq!(Message::read(""), None);
        assert_eq!(Message::read("leaving soon"), None);
    }
}
