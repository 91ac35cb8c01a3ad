//! Colour, where there is a terminal to show it.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

/// With or without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Coloured,
}

/// What a piece of text means, from which its colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Neutral,
    Title,
    Faint,
    Good,
    Doubtful,
    Bad,
}

impl Paint {
    /// Colour on a terminal, unless `NO_COLOR` is set to anything (<https://no-color.org>) or the
    /// terminal says that it has none.
    #[must_use]
    pub fn for_output(output: &impl IsTerminal) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match output.is_terminal() && !is_set("NO_COLOR") && !is_dumb {
            true => Self::Coloured,
            false => Self::Plain,
        }
    }

    /// The text in the colour of its meaning.
    #[must_use]
    pub fn tint(self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Neutral => Style::new(),
            Tone::Title => Style::new().bold(),
            Tone::Faint => Style::new().dimmed(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Doubtful => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("{style}{text}{style:#}"),
        }
    }
}

impl Tone {
    /// What a word for a state means: of an instance, a VM or a backend.
    #[must_use]
    pub fn of_state(state: &str) -> Self {
        match state {
            "serving" | "up" | "alive" => Self::Good,
            "degraded" | "pending" | "starting" | "suspect" | "unknown" => Self::Doubtful,
            "failing" | "no-backend" | "down" | "missing" => Self::Bad,
            _ => Self::Neutral,
        }
    }
}

/// Text from elsewhere, made harmless: what a server behind a balancer says in its status line must
/// not be able to move the cursor of whoever looks at it.
#[must_use]
pub fn plain(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_stands_around_the_text_alone() {
        assert_eq!(
            Paint::Coloured.tint(Tone::Good, "up"),
            "\u{1b}[32mup\u{1b}[0m"
        );
        assert_eq!(Paint::Plain.tint(Tone::Good, "up"), "up");
    }

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(plain("a\u{1b}[2Jb\nü"), "a\\u{1b}[2Jb\\nü");
    }
}
