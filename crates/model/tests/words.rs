//! The page of the words that programs may rely on is made from the code: from each enum's variants and what is
//! said of them there.

use std::fmt::Write as _;
use std::fs;

use model::{BackendHealth, Condition, EventKind, Termination, Verdict};
use serde::de::DeserializeOwned;
use serde_json::json;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/words.md");
/// With this in its environment the test writes the page instead of comparing it.
const WRITE: &str = "EVENKEEL_WRITE_PAGES";

const HEAD: &str = "\
# Words

<!-- Made by `make reference` from the code. -->

Words that the JSON door, the command line and the balancer use, and whose meaning does not change: programs may rely on
them. Sentences beside them are for people, and change. Error codes are with the [JSON door](json.md#errors).
";

/// A section of the page: its heading, what it is about, and where the words come from.
struct Section {
    heading: &'static str,
    about: &'static str,
    source: &'static str,
    /// The line at which the words begin.
    begins: &'static str,
}

const SECTIONS: [Section; 5] = [
    Section {
        heading: "Conditions",
        about: "How an instance stands: `condition` of an instance.",
        source: include_str!("../src/report.rs"),
        begins: "pub enum Condition {",
    },
    Section {
        heading: "States of VMs",
        about: "What a VM is held to be: `state` of each of `vms`.",
        source: include_str!("../src/layout.rs"),
        begins: "pub enum Verdict {",
    },
    Section {
        heading: "Health of backends",
        about: "What a backend is held to be: `health` of each of `backends`.",
        source: include_str!("../src/channel.rs"),
        begins: "pub enum BackendHealth {",
    },
    Section {
        heading: "Kinds of events",
        about: "What an [event](json.md#events) tells of: its `kind`.",
        source: include_str!("../src/event.rs"),
        begins: "kinds! {",
    },
    Section {
        heading: "Terminations",
        about: "Why a request or session ended: `termination` in [access logs](json.md#access-logs). Where the balancer \
                answered by itself, the field `Evenkeel-Reason` of its answer says the same.",
        source: include_str!("../src/termination.rs"),
        begins: "terminations! {",
    },
];

/// The words of an enum in its source, in its order, each with what its documentation says.
fn words(source: &str, begins: &str) -> Vec<(String, String)> {
    let lines = source.lines().map(str::trim);
    let body = lines.skip_while(|line| *line != begins).skip(1);
    let mut found = Vec::new();
    let mut said: Vec<&str> = Vec::new();
    for line in body.take_while(|line| *line != "}") {
        if let Some(text) = line.strip_prefix("///") {
            said.push(text.trim());
        } else if line.ends_with(',') {
            found.push((word(line), said.join(" ")));
            said.clear();
        }
    }
    found
}

/// The word of a variant: as it is written beside it, else its name in small letters with hyphens.
fn word(line: &str) -> String {
    if let Some(written) = line.split('"').nth(1) {
        return written.to_owned();
    }
    let mut word = String::new();
    for c in line.trim_end_matches(',').chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

fn of(heading: &str) -> Vec<String> {
    let section = SECTIONS.iter().find(|section| section.heading == heading);
    let section = section.expect("there is such a section");
    let words = words(section.source, section.begins).into_iter();
    words.map(|(word, _)| word).collect()
}

fn assert_read<T: DeserializeOwned>(words: &[String], count: usize) {
    assert_eq!(words.len(), count, "{words:?}");
    for word in words {
        let read = serde_json::from_value::<T>(json!(word));
        assert!(read.is_ok(), "`{word}` is none");
    }
}

#[test]
fn the_words_are_those_that_are_read_and_written() {
    assert_read::<Condition>(&of("Conditions"), 6);
    assert_read::<Verdict>(&of("States of VMs"), 4);
    assert_read::<BackendHealth>(&of("Health of backends"), 3);
    assert_read::<EventKind>(&of("Kinds of events"), EventKind::ALL.len());
    assert_read::<Termination>(&of("Terminations"), Termination::ALL.len());
}

#[test]
fn the_page_of_words_is_what_the_code_says() {
    let mut written = HEAD.to_owned();
    for section in &SECTIONS {
        let Section { heading, about, .. } = section;
        write!(
            written,
            "\n## {heading}\n\n{about}\n\n| word | what it says |\n|---|---|\n"
        )
        .unwrap();
        for (word, said) in words(section.source, section.begins) {
            writeln!(written, "| `{word}` | {} |", said.trim_end_matches('.')).unwrap();
        }
    }
    if std::env::var_os(WRITE).is_some() {
        fs::write(PAGE, written).expect("the page can be written");
        return;
    }
    let page = fs::read_to_string(PAGE).expect("the page is there");
    assert!(
        page == written,
        "docs/reference/words.md is stale: `make reference` writes it anew"
    );
}

/// Codes that a request's form is refused with; those of HTTP are told by the door's own tests.
#[test]
fn the_page_of_the_door_names_every_error_code() {
    let page = include_str!("../../../docs/reference/json.md");
    let source = include_str!("../src/forms/error.rs");
    let told = words(source, "pub enum Code {");
    assert!(told.len() > 30, "{told:?}");
    for (code, said) in told {
        assert!(said.starts_with(&format!("`{code}`: ")), "{said}");
        let row = format!("| `{code}` | ");
        assert!(page.contains(&row), "the page has no row that begins {row}");
    }
}
