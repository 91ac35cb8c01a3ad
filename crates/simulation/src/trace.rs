//! What happened, for people to read; kept only when somebody asked for it.

use std::collections::VecDeque;

use model::{Layout, VmLayout};

/// Lines that are kept: the last steps before a violation.
const MOST_LINES: usize = 120;

/// The last steps of a run. A run without a trace does not spend time on words: the same seed gives the same
/// run again, with its trace.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    wanted: bool,
    all: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// `wanted`: whether anything is kept; `all`: whether each line is printed as it comes.
    pub(crate) fn new(wanted: bool, all: bool) -> Self {
        Self {
            wanted: wanted || all,
            all,
            lines: VecDeque::new(),
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub(crate) fn note(&mut self, now_ms: u64, line: impl FnOnce() -> String) {
        if !self.wanted {
            return;
        }
        let line = format!("{} {}", clock(now_ms), line());
        if self.all {
            println!("{line}");
        }
        self.lines.push_back(line);
        if self.lines.len() > MOST_LINES {
            self.lines.pop_front();
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

/// Verdicts that changed, VMs that came, leave, or are set aside.
pub(crate) fn changes(before: &Layout, next: &Layout) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, instance) in &next.instances {
        let old = before.instances.get(id);
        for (vm_id, vm) in &instance.vms {
            let old = old.and_then(|old| old.vms.get(vm_id));
            let same = old.is_some_and(|old| {
                old.verdict == vm.verdict
                    && old.leaving.is_some() == vm.leaving.is_some()
                    && old.aside == vm.aside
            });
            if !same {
                lines.push(format!("VM {vm_id} of instance {id} is {}", in_words(vm)));
            }
        }
    }
    lines
}

fn in_words(vm: &VmLayout) -> String {
    let leaving = vm.leaving.as_ref();
    let leaving = leaving.map(|leaving| format!(", leaves: {}", leaving.reason));
    let aside = vm.aside.as_ref().map(|aside| match aside.open_since {
        Some(_) => ", set aside, open",
        None => ", set aside",
    });
    let (aside, leaving) = (aside.unwrap_or_default(), leaving.unwrap_or_default());
    format!("{:?}: {}{aside}{leaving}", vm.verdict, vm.evidence)
}

/// Minutes, seconds and milliseconds since the world began.
pub(crate) fn clock(ms: u64) -> String {
    format!(
        "{:02}:{:02}.{:03}",
        ms / 60_000,
        ms / 1_000 % 60,
        ms % 1_000
    )
}
