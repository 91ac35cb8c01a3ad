//! A page taken apart, and what is printed held against what it says.

/// A piece of a page.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) shell: String,
    /// What it prints, where the page says so.
    pub(super) prints: Option<String>,
}

impl Block {
    /// Whether this is what it prints, as far as the page says.
    pub(super) fn is_told(&self, printed: &str) -> bool {
        let told = self.prints.as_ref();
        told.is_none_or(|told| matches(told, printed))
    }
}

/// The page's blocks, in order.
pub(super) fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    // Whether nothing but an empty line came since the last block of shell.
    let mut follows = false;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            follows &= line.is_empty();
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let body = body.join("\n");
        match (language, found.last_mut()) {
            ("sh", _) => found.push(Block {
                shell: body,
                prints: None,
            }),
            ("text", Some(last)) if follows => last.prints = Some(body),
            _ => {}
        }
        follows = language == "sh";
    }
    found
}

/// Whether what was printed is what was told.
fn matches(told: &str, printed: &str) -> bool {
    let (told, printed): (Vec<&str>, Vec<&str>) =
        (told.lines().collect(), printed.lines().collect());
    match_lines(&told, &printed)
}

fn match_lines(told: &[&str], printed: &[&str]) -> bool {
    match told.split_first() {
        None => printed.is_empty(),
        Some((&"…", rest)) => (0..=printed.len()).any(|skipped| {
            printed
                .get(skipped..)
                .is_some_and(|left| match_lines(rest, left))
        }),
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, left)| match_line(line, first) && match_lines(rest, left)),
    }
}

fn match_line(told: &str, printed: &str) -> bool {
    let mut parts = told.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.trim_end().is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.trim_end().ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_printed_but_for_what_varies() {
        let printed = "instance web: serving\n  URL  http://a/\nVMs\n   1  serving  2 s ago";
        for told in [
            printed,
            "instance web: …\n…\nVMs\n…",
            "…\n   1  serving  … ago",
            "instance … serving\n  URL  …\n…",
        ] {
            assert!(matches(told, printed), "{told}");
        }
        for told in ["", "VMs\n…", "…\nVMs", "…\n   2  …", "instance web: …"] {
            assert!(!matches(told, printed), "{told}");
        }
    }

    #[test]
    fn a_block_has_what_is_printed_right_after_it_and_nothing_else() {
        let page = "```sh\na\nb\n```\n\n```text\nA\n```\n\n```text\nnot it\n```\n```sh\nc\n```\nprose\n```text\nno\n```\n";
        let found: Vec<_> = blocks(page)
            .into_iter()
            .map(|block| (block.shell, block.prints))
            .collect();
        let expected = [
            ("a\nb".to_owned(), Some("A".to_owned())),
            ("c".to_owned(), None),
        ];
        assert_eq!(found, expected);
    }
}
