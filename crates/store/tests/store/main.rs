//! The promises of the store, held against both engines, against a model, and against a hostile world.
//!
//! `cfg(test)` on the modules tells clippy that their functions which are not tests themselves are test code too.

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod children;
#[cfg(test)]
mod engines;
#[cfg(test)]
mod files;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod transactions;
#[cfg(test)]
mod watches;
