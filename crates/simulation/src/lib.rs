//! A seeded world with virtual time around the controller's decisions.
//!
//! ```text
//!   users ──▶ store (the real one, in memory) ◀──▶ controllers: observe ▶ plan ▶ store ▶ diff ▶ effects
//!                 │                                     ▲       the real `plan` and `diff`      │
//!                 ▼                                     │                                       ▼
//!            DNS server ──▶ clients                  sight ◀── machines, networks, checkers ◀── hands
//!                                                       ▲
//!                                                     faults
//! ```
//!
//! What is real is what decides: the planner, and the store with its compare-and-swap. What is simulated is
//! everything that they have to bear: machines that die, freeze and come back, effects that take their time,
//! are lost or done twice, checkers that see nothing, controllers that are killed between any two steps or run
//! two at once, disks that are full, clocks that jump. After each step the world is held to what must be true
//! of it ([`Violation`]), and some time after the last fault to what was asked.
//!
//! Nothing here reads a clock, waits, or draws a random number that does not come from the seed: the same
//! [`Scenario`] gives the same run. [`replay_command`] is what to run to see a seed again.

mod bugs;
mod checker;
mod controller;
mod curve;
mod dice;
mod dns;
mod faults;
mod hands;
mod invariants;
mod machine;
mod round;
mod scenario;
mod simulation;
mod soak;
mod trace;
mod users;
mod world;

pub use bugs::Bug;
pub use invariants::Violation;
pub use scenario::{Scenario, replay_command};
pub use simulation::Outcome;
pub use soak::{Failure, Soak, soak};

use mimalloc::MiMalloc;

/// A quarter of all the time went to the C library's allocator: worlds are made of small things that come and go.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
