//! Namespaces, bridges, taps, veth pairs and their isolation.
