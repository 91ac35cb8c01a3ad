use super::*;

/// The words of a command line, taken apart at spaces outside of quotes.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, ' ') => words.push(String::new()),
            (_, c) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

pub(crate) fn parse(line: &str) -> Result<Arguments, clap::Error> {
    let matches = Arguments::command().try_get_matches_from(words(line))?;
    Arguments::check(&matches)
}

/// Every command with the words that lead to it.
fn commands() -> Vec<(String, clap::Command)> {
    fn walk(path: &str, command: &clap::Command, found: &mut Vec<(String, clap::Command)>) {
        found.push((path.to_owned(), command.clone()));
        for inner in command.get_subcommands() {
            walk(&format!("{path} {}", inner.get_name()), inner, found);
        }
    }
    let mut root = Arguments::command();
    root.build();
    let mut found = Vec::new();
    walk("evenkeel", &root, &mut found);
    found
}

fn examples(command: &clap::Command) -> Vec<String> {
    let help = command.get_after_long_help().or(command.get_after_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let examples = help
        .lines()
        .filter_map(|line| line.strip_prefix("    evenkeel"));
    examples
        .map(|rest| {
            format!("evenkeel{rest}")
                .split(" < ")
                .next()
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[test]
fn the_help_of_every_command_is_as_it_was_reviewed() {
    for (path, mut command) in commands() {
        let name = path.replace(' ', "-");
        insta::assert_snapshot!(name, command.render_long_help());
    }
    let mut root = Arguments::command();
    insta::assert_snapshot!("evenkeel-short", root.render_help());
}

#[test]
fn every_command_has_an_example_of_itself() {
    for (path, command) in commands() {
        let examples = examples(&command);
        let is_of_it = |line: &String| line.starts_with(&path);
        assert!(examples.iter().any(is_of_it), "{path}: {examples:?}");
    }
}

#[test]
fn every_example_can_be_typed() {
    let examples: Vec<String> = commands()
        .iter()
        .flat_map(|(_, command)| examples(command))
        .collect();
    assert!(examples.len() > 30, "{}", examples.len());
    for example in examples {
        if let Err(error) = parse(&example) {
            panic!("{example}: {error}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "evenkeel",
        "evenkeel instance",
        "evenkeel instance info",
        "evenkeel instance info web --id 1",
        "evenkeel instance delete",
        "evenkeel instance create web --http --tcp",
        "evenkeel instance create web --http --traffic-type tcp",
        "evenkeel instance create web --port 0",
        "evenkeel instance create web --port 65536",
        "evenkeel instance create web --no-wait --wait 5",
        "evenkeel instance create --auto-scaling web",
        "evenkeel instance update web --backend a:1 --add-backend b:1",
        "evenkeel instance update web --replace-backend a:1",
        "evenkeel project update shop",
        "evenkeel project info --id 0",
        "evenkeel subnet attach 10.1.0.0/24",
        "evenkeel image build --kernel vmlinuz",
        "evenkeel image build --modules dir",
        "evenkeel image build --kernel-package a.deb --kernel vmlinuz --modules dir",
        "evenkeel serve --role log",
        "evenkeel serve --socket /tmp/a.sock",
        "evenkeel -o json serve",
        "evenkeel status -o yaml",
    ] {
        let error = parse(line)
            .map(|arguments| arguments.command)
            .expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
    }
}

#[test]
fn options_of_asking_stand_before_or_after_the_command() {
    for line in [
        "evenkeel --socket /tmp/a.sock -o json status",
        "evenkeel status --socket /tmp/a.sock --format json",
        "evenkeel instance --socket /tmp/a.sock list -o json",
    ] {
        let global = parse(line).expect(line).global;
        assert_eq!(
            (global.socket.to_str(), global.format),
            (Some("/tmp/a.sock"), Format::Json),
            "{line}"
        );
    }
}
