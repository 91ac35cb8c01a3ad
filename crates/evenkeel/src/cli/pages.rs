//! The documents are held to the program: each command in them can be typed, each configuration is taken, each request
//! is read, and the page of all commands is what `--help` says.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use serde_json::Value;

use super::Arguments;
use super::arguments::tests::words;
use crate::serve::Config;

/// The page that is made from the program's help.
const COMMANDS_PAGE: &str = "docs/reference/cli.md";
/// With this in its environment the test writes the page instead of comparing it.
const WRITE: &str = "EVENKEEL_WRITE_PAGES";

const COMMANDS_HEAD: &str = "\
# Commands

<!-- Made by `make reference` from the program's own help. -->

What `--help` says of every command. Examples and first steps are in the [tutorial](../tutorial.md).

Exit codes: 0 when it was done; 1 when the server refused, with the reason, the field's path and a hint on standard error;
2 for a command that makes no sense as it was typed; 3 when no server answers.
";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All pages, with their paths in the repository.
fn pages() -> Vec<(String, String)> {
    let root = repository();
    let mut found = vec![
        root.join("README.md"),
        root.join("ARCHITECTURE.md"),
        root.join("image/README.md"),
    ];
    let mut directories = vec![root.join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => directories.push(path),
                Some(end) if end == "md" => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        (name, fs::read_to_string(path).unwrap())
    };
    found.into_iter().map(read).collect()
}

/// A page's blocks of code in one language, and what is left of the page without any block.
fn take_apart(page: &str, language: &str) -> (Vec<String>, String) {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut open: Option<(String, bool)> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(named), None) => open = Some((String::new(), named == language)),
            (Some(_), Some((block, is_wanted))) => blocks.extend(is_wanted.then_some(block)),
            (None, Some((mut block, is_wanted))) => {
                writeln!(block, "{line}").unwrap();
                open = Some((block, is_wanted));
            }
            (None, None) => writeln!(prose, "{line}").unwrap(),
        }
    }
    assert!(open.is_none(), "a block of code does not end");
    (blocks, prose)
}

/// The commands of this program in a piece of shell: from its name, where a command may begin, to where it ends.
fn commands_in(shell: &str) -> Vec<String> {
    let shell = shell.replace("\\\n", " ");
    let mut commands = vec![String::new()];
    let mut quote = None;
    let mut characters = shell.chars();
    while let Some(c) = characters.next() {
        let command = commands.last_mut().unwrap();
        match quote {
            None if c == '\\' => characters.next().into_iter().for_each(drop),
            None if c == '#' && (command.is_empty() || command.ends_with(' ')) => {
                // A comment, to the end of the line.
                characters.find(|c| *c == '\n');
                commands.push(String::new());
            }
            None if "\n|;&()<>".contains(c) => commands.push(String::new()),
            None if "'\"".contains(c) => {
                quote = Some(c);
                command.push(c);
            }
            _ => {
                quote = quote.filter(|open| *open != c);
                command.push(c);
            }
        }
    }
    let commands = commands.iter().map(|command| command.trim());
    let commands = commands.map(|command| command.strip_prefix("do ").unwrap_or(command));
    let ours = commands.filter(|command| command.starts_with("evenkeel "));
    ours.map(str::to_owned).collect()
}

/// Reads a command line as the program does.
fn type_in(command: &str) -> Result<Arguments, clap::Error> {
    let words = words(command);
    Arguments::from_arg_matches(&Arguments::command().try_get_matches_from(words)?)
}

#[test]
fn every_command_in_a_block_of_shell_can_be_typed() {
    let mut count = 0;
    for (name, page) in pages() {
        for block in take_apart(&page, "sh").0 {
            for command in commands_in(&block) {
                count += 1;
                if let Err(error) = type_in(&command) {
                    panic!("{name}: {command}\n{error}");
                }
            }
        }
    }
    assert!(count > 30, "only {count} commands were found");
}

/// A command that is named in a sentence may leave out what it is about.
#[test]
fn every_command_that_a_sentence_names_is_there_with_its_options() {
    let mut count = 0;
    for (name, page) in pages() {
        let (_, prose) = take_apart(&page, "");
        let spans = prose.split('`').skip(1).step_by(2);
        let named = spans.map(|span| span.replace('\n', " "));
        for command in named.filter(|span| span.starts_with("evenkeel ")) {
            count += 1;
            let Err(error) = type_in(&command) else {
                continue;
            };
            let is_short = matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument
                    | ErrorKind::MissingSubcommand
                    | ErrorKind::DisplayHelp
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            assert!(is_short, "{name}: {command}\n{error}");
        }
    }
    assert!(count > 20, "only {count} commands were found");
}

#[test]
fn commands_are_found_in_shell_as_a_shell_finds_them() {
    let shell = r#"
x=$(evenkeel a 'b | c') | jq # evenkeel d
echo 'it'\''s'; for i in 1; do evenkeel e \
f; done
evenkeel g "h # i" >/dev/null
echo evenkeel j
"#;
    assert_eq!(
        commands_in(shell),
        [
            "evenkeel a 'b | c'",
            "evenkeel e  f",
            "evenkeel g \"h # i\""
        ]
    );
}

#[test]
fn every_configuration_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("evenkeel.toml");
    let mut count = 0;
    for (name, page) in pages() {
        for block in take_apart(&page, "toml").0 {
            count += 1;
            fs::write(&path, &block).unwrap();
            if let Err(error) = Config::load(Some(&path)) {
                panic!("{name}: {error:#}\n{block}");
            }
        }
    }
    assert!(count > 5, "only {count} configurations were found");
}

/// What has an action and is no answer is a request. The page of the door also shows what is refused, and is held to
/// that beside the forms (`crates/model/tests/documentation.rs`).
#[test]
fn every_request_in_json_is_read() {
    let mut count = 0;
    for (name, page) in pages() {
        for block in take_apart(&page, "json").0 {
            let example: Value = serde_json::from_str(&block).unwrap();
            let is_request = example.get("action").is_some() && example.get("status").is_none();
            if is_request && name != "docs/reference/json.md" {
                count += 1;
                let (.., outcome) = model::forms::read_request(block.as_bytes());
                assert!(outcome.is_ok(), "{name}: {block}{outcome:?}");
            }
        }
    }
    assert!(count > 0, "the front page shows a request");
}

#[test]
fn the_page_of_the_configuration_says_what_holds_without_one_and_names_each_field() {
    let page = fs::read_to_string(repository().join("docs/reference/configuration.md")).unwrap();
    let (blocks, _) = take_apart(&page, "toml");
    let mut told: Config = toml::from_str(blocks.first().expect("it tells the defaults")).unwrap();
    let holds = Config::default();
    // What follows from another field where it is absent.
    assert_eq!(told.compute.image.take(), Some(holds.image_directory()));
    assert_eq!(told.dns.listen.take(), Some(holds.dns_listen()));
    assert!(
        told.compute.balancer.take().is_some(),
        "it stands beside the program"
    );
    assert_eq!(format!("{told:#?}"), format!("{holds:#?}"));
    let shown = format!("{holds:#?}");
    let lines = shown
        .lines()
        .filter_map(|line| line.trim().split_once(": "));
    let fields: Vec<&str> = lines.map(|(field, _)| field).collect();
    assert!(fields.len() > 30, "{fields:?}");
    for field in fields {
        let named = [
            format!("`{field}`"),
            format!("`[{field}]`"),
            format!("[collectd.{field}]"),
        ];
        assert!(
            named.iter().any(|name| page.contains(name)),
            "the page does not name `{field}`"
        );
    }
}

#[test]
fn the_page_of_commands_is_what_the_program_says() {
    let mut written = COMMANDS_HEAD.to_owned();
    let mut root = Arguments::command();
    root.build();
    let mut waiting = vec![("evenkeel".to_owned(), root)];
    while let Some((path, mut command)) = waiting.pop() {
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        write!(
            written,
            "\n## {path}\n\n```text\n{}\n```\n",
            lines.join("\n")
        )
        .unwrap();
        let inner = command.get_subcommands().cloned().collect::<Vec<_>>();
        let inner = inner.into_iter().rev();
        waiting.extend(inner.map(|inner| (format!("{path} {}", inner.get_name()), inner)));
    }
    let path = repository().join(COMMANDS_PAGE);
    if std::env::var_os(WRITE).is_some() {
        fs::write(path, written).unwrap();
        return;
    }
    let page = fs::read_to_string(path).unwrap();
    assert!(
        page == written,
        "{COMMANDS_PAGE} is stale: `make reference` writes it anew"
    );
}
