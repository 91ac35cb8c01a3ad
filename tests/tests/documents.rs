//! The documents hold together: every link leads somewhere, every page is in the table of contents, and every command
//! of `make` is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Pages that are not below `docs`.
const ROOTS: [&str; 4] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "image/README.md",
];
const CONTENTS: &str = "docs/SUMMARY.md";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All pages by their paths in the repository.
fn pages() -> BTreeMap<PathBuf, String> {
    let root = repository();
    let mut paths: Vec<PathBuf> = ROOTS.iter().map(PathBuf::from).collect();
    let mut directories = vec![PathBuf::from("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory)).expect("it can be read") {
            let path = directory.join(entry.expect("it can be read").file_name());
            match path.extension() {
                _ if root.join(&path).is_dir() => directories.push(path),
                Some(end) if end == "md" => paths.push(path),
                _ => {}
            }
        }
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(root.join(&path)).expect("it can be read");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// A page without its blocks of code, line by line.
fn prose(page: &str) -> String {
    let mut is_code = false;
    let mut kept = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    assert!(!is_code, "a block of code does not end");
    kept
}

/// Where a page's links lead, as they are written.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let targets = prose.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split(')').next());
    targets.map(str::to_owned).collect()
}

/// What a link's anchor may be: each heading in small letters, without its punctuation, with hyphens for spaces.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    for heading in headings.map(|line| line.trim_start_matches('#').trim()) {
        let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
        let letters = heading.chars().filter(kept).flat_map(char::to_lowercase);
        let anchor: String = letters.map(|c| if c == ' ' { '-' } else { c }).collect();
        let count = counts.entry(anchor.clone()).or_default();
        found.insert(match *count {
            0 => anchor,
            n => format!("{anchor}-{n}"),
        });
        *count += 1;
    }
    found
}

/// A link's path from the repository's root.
fn resolve(from: &Path, link: &str) -> PathBuf {
    let mut path = from.parent().expect("a page is in a directory").to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{link} leads out of the repository"),
            part => path.push(part),
        }
    }
    path
}

#[test]
fn every_link_and_anchor_leads_somewhere() {
    let pages = pages();
    let (mut count, mut lost) = (0, Vec::new());
    for (from, page) in &pages {
        for link in links(page) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let to = match path {
                "" => from.clone(),
                path => resolve(from, path),
            };
            let leads = match pages.get(&to) {
                Some(page) if !anchor.is_empty() => anchors(page).contains(anchor),
                _ => repository().join(&to).exists(),
            };
            if !leads {
                lost.push(format!("{}: {link}", from.display()));
            }
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
    assert!(count > 200, "only {count} links were found");
}

/// The book has the pages of the table of contents and the files below `docs`, and nothing else of the repository.
#[test]
fn every_page_is_in_the_table_of_contents_and_links_to_what_the_book_has() {
    let mut pages = pages();
    let contents = pages.remove(Path::new(CONTENTS)).expect("there is one");
    let listed = links(&contents);
    let listed: Vec<PathBuf> = listed
        .iter()
        .map(|link| resolve(Path::new(CONTENTS), link))
        .collect();
    let once: BTreeSet<_> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "a page stands there twice");
    assert_eq!(once, pages.keys().collect());
    for (from, page) in &pages {
        for link in links(page).iter().filter(|link| !link.contains("://")) {
            let path = link.split('#').next().unwrap_or_default();
            let to = resolve(from, path);
            let is_there = path.is_empty()
                || once.contains(&to)
                || to.starts_with("docs")
                || to == Path::new("LICENSE");
            assert!(is_there, "{}: the book has no {link}", from.display());
        }
    }
}

#[test]
fn every_command_of_make_that_a_page_names_is_there() {
    let makefile = fs::read_to_string(repository().join("Makefile")).expect("there is one");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(target, _)| target)
        .collect();
    let mut count = 0;
    for (from, page) in pages() {
        let quoted = page.split('`').skip(1).filter(|span| !span.contains('\n'));
        let typed = page.lines().map(str::trim);
        for command in quoted.chain(typed) {
            let Some(rest) = command.strip_prefix("make ") else {
                continue;
            };
            // Words up to the first variable or comment. A sentence's line may begin with the word as well.
            let is_target = |word: &&str| {
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.is_empty()
            };
            let is_sentence = command.split(' ').count() > 4 && !command.contains('#');
            for target in rest
                .split(' ')
                .take_while(is_target)
                .filter(|_| !is_sentence)
            {
                count += 1;
                assert!(
                    targets.contains(target),
                    "{}: there is no `make {target}`",
                    from.display()
                );
            }
        }
    }
    assert!(count > 30, "only {count} commands were found");
}

#[test]
fn an_anchor_is_what_a_forge_makes_of_a_heading() {
    let page = "# `[api]`: the JSON door\n```sh\n# no heading\n```\n## info\n### info\n";
    let expected = ["api-the-json-door", "info", "info-1"];
    assert_eq!(anchors(page), expected.map(str::to_owned).into());
}
