//! The real program over real sockets: every test in a network namespace of its own, with the host's end
//! of the control channel and the backends played by the test.

#[cfg(test)]
mod access;
#[cfg(test)]
mod algorithms;
#[cfg(test)]
mod alone;
#[cfg(test)]
mod checker;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod control;
#[cfg(test)]
mod deadlines;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod health;
#[cfg(test)]
mod http;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod proxied;
#[cfg(test)]
mod queue;
mod rehearsal;
#[cfg(test)]
mod resilience;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod splice;
#[cfg(test)]
mod supervision;
#[cfg(test)]
mod support;
#[cfg(test)]
mod swaps;
#[cfg(test)]
mod tcp;
