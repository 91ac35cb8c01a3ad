//! The table in the documentation is the list that is tested.

use std::fmt::Write;

use crate::refused::rules;

#[test]
fn the_table_of_what_is_refused_is_the_one_that_is_tested() {
    let mut table = "| what is refused | status | why |\n|---|---|---|\n".to_owned();
    for rule in rules() {
        writeln!(table, "| {} | {} | {} |", rule.what, rule.status, rule.why).unwrap();
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/explanation/security.md"
    );
    let page = std::fs::read_to_string(path).unwrap();
    assert!(
        page.contains(&table),
        "docs/explanation/security.md has another table than this:\n{table}"
    );
}
