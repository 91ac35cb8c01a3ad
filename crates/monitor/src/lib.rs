//! The health checker's probes.
