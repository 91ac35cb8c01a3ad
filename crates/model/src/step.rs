/// The target of `tracing` events that tell of steps: one before and one after each effect and each write to a
/// store, and one after each change that an effect is made of.
///
/// Nobody listens unless a test does (`evenkeel::cli::steps`), so that a step costs one look at a number.
pub const STEP: &str = "evenkeel-step";
