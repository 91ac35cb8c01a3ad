use model::{Termination, Timeouts};

use super::*;

#[test]
fn every_termination_has_a_meaning_of_its_own() {
    let mut meanings = std::collections::BTreeSet::new();
    for termination in Termination::ALL {
        let (meaning, _) = termination::meaning(*termination, &Timeouts::default());
        assert!(meaning.len() > 10, "{termination:?}: {meaning}");
        let alike = [
            Termination::ClientClosedInRequestHead,
            Termination::ClientClosedInRequestBody,
        ];
        assert!(
            meanings.insert(meaning) || alike.contains(termination),
            "{termination:?}"
        );
    }
}

#[test]
fn how_long_ago_is_told_roughly() {
    let now = Timestamp(1_000_000_000);
    for (before_s, words) in [
        (0, "0 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7_200, "2 h ago"),
        (172_800, "2 days ago"),
    ] {
        assert_eq!(ago(Timestamp(now.0 - before_s * 1000), now), words);
    }
}

#[test]
fn an_address_is_not_found_in_another_one() {
    for (text, expected) in [
        ("backend 1.1.1.1:80 is down: refused", true),
        ("2 backends are up: 2.2.2.2:80, 1.1.1.1:80", true),
        ("backend 1.1.1.1:8080 is down", false),
        ("backend 11.1.1.1:80 is down", false),
        ("backend 1.1.1.1:80.example is down", false),
    ] {
        assert_eq!(instance::has_word(text, "1.1.1.1:80"), expected, "{text}");
    }
}
