//! Hostile clients and hostile origins, over real sockets, in front of servers that nobody here wrote.
//!
//! Each test has a network namespace of its own. Between the balancer and each server stands a
//! [`tap::Tap`], which records every byte that the balancer sends.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod documented;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod smuggling;
#[cfg(test)]
#[expect(dead_code, unused_imports, reason = "the rest serves the other tests")]
#[path = "../balancer/support/mod.rs"]
mod support;
#[cfg(test)]
mod tap;
#[cfg(test)]
mod tricky;
