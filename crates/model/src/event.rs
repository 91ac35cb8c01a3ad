//! What the controller did and why, for people to read.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, VmId};

/// Something that was decided or found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The VM that it is about, where it is about one.
    pub vm: Option<VmId>,
    /// What kind of thing.
    pub kind: EventKind,
    /// What, and on what evidence, in words.
    pub text: String,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal,)*) => {
        /// What an event tells of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[doc = $doc])* #[serde(rename = $word)] $name,)*
        }

        impl EventKind {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// In a word, which does not change.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The one that is called so.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// Somebody asked for something.
    Asked = "asked",
    /// What was asked for is in effect.
    InEffect = "in-effect",
    /// How the instance stands is another.
    Condition = "condition",
    /// Backends went up or down.
    Backend = "backend",
    /// A VM was added.
    Added = "added",
    /// The verdict over a VM changed.
    Verdict = "verdict",
    /// A VM that is down was fenced and is replaced.
    SetAside = "set-aside",
    /// A VM that came back had its ports opened again.
    Returned = "returned",
    /// A VM that came back serves again.
    PutBack = "put-back",
    /// A VM was sent away, or the wait for its clients began or ended.
    Leaving = "leaving",
    /// Nothing is left of a VM.
    Gone = "gone",
    /// The instance's configuration has a new generation.
    Configuration = "configuration",
    /// DNS names other addresses.
    Dns = "dns",
    /// The wanted number of VMs changed.
    Scaling = "scaling",
    /// The breaker opened or closed.
    Breaker = "breaker",
    /// What happened here could not be kept.
    Missing = "missing",
}
