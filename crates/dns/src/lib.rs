//! An authoritative DNS server of immutable zone generations.
