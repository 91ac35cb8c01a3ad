//! A page of the documents that is typed, block by block, as its reader would.
//!
//! A page may have
//! - blocks of `sh`, which are typed in order into one shell as root;
//! - blocks of `text` right after one, which say what it prints. `…` in a line stands for anything, and a line that is
//!   `…` alone for any number of lines. A block whose commands only look is typed again until it prints that;
//! - `evenkeel serve` as a block of its own: that is another terminal's, and stays;
//! - a block that begins with [`STOPS`], before which that terminal's Ctrl-C is pressed;
//! - a block that begins with [`BUILDS`], which is not typed: what it makes is there.

mod block;
mod shell;

use std::fs;
use std::path::Path;

use crate::service::from_environment;
use crate::{Host, Running, eventually};

use block::blocks;
use shell::Shell;

/// How a block begins that is not typed.
const BUILDS: &str = "# This builds. The test of this page uses what was built before.";
/// How a block begins for which the server is stopped.
const STOPS: &str = "# Ctrl-C in ";
/// The other terminal's command.
const SERVE: &str = "evenkeel serve";

/// Somebody who reads pages, and types what they say on a host on which Evenkeel is installed.
pub struct Reader<'h> {
    host: &'h Host,
    shell: Shell,
    /// The other terminal.
    server: Option<Running<'h>>,
}

impl<'h> Reader<'h> {
    /// Somebody at a new terminal.
    #[must_use]
    pub fn new(host: &'h Host) -> Self {
        Self {
            host,
            shell: Shell::begin(host),
            server: None,
        }
    }

    /// Starts the server in another terminal, as most pages take it to have been.
    ///
    /// # Panics
    /// When there is one already, or it does not start.
    pub fn serve(&mut self) {
        assert!(self.server.is_none(), "there is a server already");
        self.server = Some(serve(self.host));
    }

    /// Types a page from its beginning to its end. Returns how many blocks were typed.
    ///
    /// # Panics
    /// When a command fails, or does not print what the page says.
    pub fn types(&mut self, page: &str) -> usize {
        self.types_blocks(&text_of(page))
    }

    /// Types what stands below one heading of a page.
    ///
    /// # Panics
    /// As [`Self::types`]; when the page has no such heading.
    pub fn types_section(&mut self, page: &str, heading: &str) -> usize {
        let text = text_of(page);
        let (_, below) = text
            .split_once(&format!("\n## {heading}\n"))
            .unwrap_or_else(|| panic!("{page} has no heading {heading}"));
        self.types_blocks(below.split("\n## ").next().unwrap_or_default())
    }

    fn types_blocks(&mut self, text: &str) -> usize {
        let mut typed = 0;
        for block in blocks(text) {
            if block.shell.starts_with(BUILDS) {
                continue;
            }
            typed += 1;
            if block.shell.starts_with(STOPS) {
                let server = self.server.take();
                let server = server.expect("the page started a server before it stops it");
                assert!(server.terminate(), "the server ends well when asked to");
            }
            match block.shell.trim() {
                SERVE => self.serve(),
                _ => self.shell.follow(&block),
            }
        }
        typed
    }
}

fn text_of(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    fs::read_to_string(path).expect("the page is there")
}

/// Installs Evenkeel on the host: where the documents say it is, and nowhere on the machine.
pub fn install(host: &Host) {
    let (program, balancer, image) = (
        from_environment("EVENKEEL_PROGRAM"),
        from_environment("EVENKEEL_BALANCER"),
        from_environment("EVENKEEL_IMAGE"),
    );
    // The machine's own directories stay as they are below what the host has of its own.
    for directory in ["/usr/local/bin", "/var/lib", "/root"] {
        let own = host.path(&format!("own{}", directory.replace('/', "-")));
        let own = own.display();
        host.shell(&format!(
            "mkdir -p {own}/upper {own}/work && mount -t overlay overlay \
             -o lowerdir={directory},upperdir={own}/upper,workdir={own}/work {directory}"
        ));
    }
    host.shell(&format!(
        "rm -rf /var/lib/evenkeel && mkdir -p -m 700 /var/lib/evenkeel && cp -r {image} /var/lib/evenkeel/image && \
         install {program} {balancer} /usr/local/bin/"
    ));
}

/// The same, where `evenkeel serve` runs balancers as processes: for pages that are not about VMs, and need not wait
/// until one has booted.
pub fn install_without_machines(host: &Host) {
    install(host);
    // The program has no file of settings by default.
    host.shell(
        "mv /usr/local/bin/evenkeel /usr/local/bin/evenkeel-program && \
         printf '[compute]\\ndriver = \"process\"\\n' >/run/settings.toml && \
         printf '#!/bin/sh\\ncase \"$*\" in serve) set -- serve --config /run/settings.toml;; esac\\n\
         exec evenkeel-program \"$@\"\\n' >/usr/local/bin/evenkeel && chmod 755 /usr/local/bin/evenkeel",
    );
}

fn serve(host: &Host) -> Running<'_> {
    let running = host.start("evenkeel", "evenkeel", &["serve"]);
    eventually("the door opens", || {
        let output = host.try_shell("evenkeel status");
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    });
    running
}
