//! TCP sessions as plain data: readiness in, the next thing to do out.

mod direction;

pub use direction::{Act, Direction};
