//! A server that tells its steps, and dies at one of them: for tests of what a crash leaves behind.
//!
//! Off unless the environment of the process names a directory in [`DIRECTORY`]; a step then costs no more than
//! a look at the log's level. Whoever sets a process's environment starts it, and could as well end it: what a
//! client says has no way here, and no child of the server is given this environment.
//!
//! In the directory, `passed` is told each step, a line each, without the names of objects. While there is a file `kill`
//! that says `3 after ensure VM`, the process sends itself SIGKILL when it passes that step for the third time
//! since the file says so; `*` stands for any step.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use model::STEP;
use rustix::process::{Signal, getpid, kill_process};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The variable that turns it on.
const DIRECTORY: &str = "EVENKEEL_STEPS";

struct Steps {
    directory: PathBuf,
    order: Mutex<Order>,
}

/// What `kill` says, and how often the step was passed since.
#[derive(Default)]
struct Order {
    text: String,
    passed: u32,
}

/// The listener, if the environment asks for it.
pub(super) fn listener<S>() -> Option<impl Layer<S>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let directory = PathBuf::from(std::env::var_os(DIRECTORY)?);
    let steps = Steps {
        directory,
        order: Mutex::default(),
    };
    Some(steps.with_filter(Targets::new().with_target(STEP, tracing::Level::TRACE)))
}

impl<S: Subscriber> Layer<S> for Steps {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut name = Name(String::new());
        event.record(&mut name);
        self.pass(&name.0);
    }
}

impl Steps {
    fn pass(&self, name: &str) {
        // One at a time, so that the order of lines is that of steps, and none follows the last.
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.directory.join("passed");
        let told = File::options().create(true).append(true).open(path);
        let told = told.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
        if let Err(error) = told {
            eprintln!("a step cannot be told: {error}");
        }
        let text = fs::read_to_string(self.directory.join("kill")).unwrap_or_default();
        if text != order.text {
            *order = Order { text, passed: 0 };
        }
        if order.is_due(name) {
            let _ = fs::write(self.directory.join("killed"), name);
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

impl Order {
    /// Counts a step that is passed. Whether the process is to die at it.
    fn is_due(&mut self, name: &str) -> bool {
        let Some((times, wanted)) = self.text.split_once(' ') else {
            return false;
        };
        if wanted == name || wanted == "*" {
            self.passed += 1;
        }
        times.parse() == Ok(self.passed)
    }
}

/// The words of a step, with `#` for each that names one object among many, which has a digit in it.
struct Name(String);

impl Visit for Name {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() != "message" {
            return;
        }
        let words = format!("{value:?}");
        let words = words.split(' ').map(|word| {
            let is_one_of_many = word.contains(|c: char| c.is_ascii_digit());
            if is_one_of_many { "#" } else { word }
        });
        self.0 = Vec::from_iter(words).join(" ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_dies_at_the_step_and_the_time_that_it_was_told_and_at_no_other() {
        let mut order = Order {
            text: "2 after ensure VM".to_owned(),
            passed: 0,
        };
        let passed = ["after ensure VM", "before ensure VM", "after ensure VM"];
        assert_eq!(passed.map(|name| order.is_due(name)), [false, false, true]);
        let mut nothing = Order::default();
        assert!(!nothing.is_due("after ensure VM") && !nothing.is_due(""));
        let mut any = Order {
            text: "1 *".to_owned(),
            passed: 0,
        };
        assert!(any.is_due("after ensure VM"));
    }
}
