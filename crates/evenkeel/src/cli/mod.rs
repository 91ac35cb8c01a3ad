//! The command line: what is typed becomes one JSON request, and its answer becomes text.
//!
//! ```text
//!  argv ──▶ arguments ──▶ request ──▶ client ──▶ answer ──▶ output
//!           (as typed)    (JSON)      (socket)   (read)     (text or JSON)
//! ```
//!
//! The command line knows nothing that the JSON door does not tell it. It checks what has to be
//! checked to write a request; whether the request makes sense is for the door to say, so that every
//! client hears the same words. Everything but [`run`] and [`client`] is pure.

mod answer;
mod arguments;
mod client;
mod examples;
mod failure;
mod logging;
mod output;
#[cfg(test)]
mod pages;
mod request;
mod run;
mod steps;

pub use arguments::{Arguments, Command, ImageCommand};
pub use logging::log_to_stderr;
pub use run::{ask, build_image};
