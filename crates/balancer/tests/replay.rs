//! What the fuzzer found worth keeping, and what it began with, put through the same checks again; see
//! `fuzz/`.

#[path = "../../../fuzz/checks/mod.rs"]
mod checks;

use std::path::Path;

/// Gives each seed of a target to its check.
fn replay(target: &str, check: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target);
    let entries: Vec<_> = std::fs::read_dir(&seeds)
        .unwrap_or_else(|error| panic!("{}: {error}", seeds.display()))
        .map(|entry| entry.expect("the directory can be read").path())
        .collect();
    assert!(!entries.is_empty(), "{} is empty", seeds.display());
    for path in entries {
        let data = std::fs::read(&path).expect("a seed can be read");
        let failed = std::panic::catch_unwind(|| check(&data)).is_err();
        assert!(!failed, "{} does not hold", path.display());
    }
}

#[test]
fn request_heads_that_were_once_found_are_read_as_others_read_them() {
    replay("request_head", checks::request_head::check);
}

#[test]
fn response_heads_that_were_once_found_are_read_as_others_read_them() {
    replay("response_head", checks::response_head::check);
}

#[test]
fn chunked_bodies_that_were_once_found_end_where_others_see_their_end() {
    replay("chunked_body", checks::chunked_body::check);
}

#[test]
fn answers_that_were_once_found_mean_in_pieces_what_they_mean_as_a_whole() {
    replay("exchange", checks::exchange::check);
}

#[test]
fn proxy_headers_that_were_once_found_are_read_as_another_reads_them() {
    replay("proxy_header", checks::proxy_header::check);
}

#[test]
fn configurations_that_were_once_found_are_read_without_a_panic() {
    replay("configuration", checks::configuration::check);
}

#[test]
fn collectds_packets_that_were_once_found_are_read_without_a_panic() {
    replay("collectd_packet", checks::collectd_packet::check);
}

#[test]
fn cells_that_were_once_found_are_written_again_as_what_they_were() {
    replay("stored_cells", checks::stored_cells::check);
}
