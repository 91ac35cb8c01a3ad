//! Commands carried out: the server asked and its answer printed, the image built.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use compute::image::{self, CollectdSource, KernelSource, Recipe};
use serde_json::Value;

use super::answer::{Answer, Outcome};
use super::arguments::{Document, Format, Global, ImageBuild, Question};
use super::client::exchange;
use super::failure::{Failure, Told};
use super::output::{Paint, Style, indent, render};
use super::request::{Request, View, plan_request};

/// The most bytes of a request that is read from a file: more than any that the server takes.
const MAX_DOCUMENT_BYTES: u64 = 16 << 20;

/// Between two looks at a log that is followed.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);

/// Asks the server, prints its answer, and gives the program's exit code: 0 for what was done, else
/// that of the [`Failure`].
#[must_use]
pub fn ask(question: Question, global: &Global) -> ExitCode {
    match try_ask(question, global) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{}", Told(&failure));
            failure.exit_code()
        }
    }
}

fn try_ask(question: Question, global: &Global) -> Result<ExitCode, Failure> {
    let follows = match &question {
        Question::Logs(logs) => logs.follow,
        Question::Events(events) => events.follow,
        _ => false,
    };
    let request = plan_request(question, read)?;
    if follows {
        return follow(request, global);
    }
    let answer = Answer::read(send(global, &request)?)?;
    let shows_json = global.format == Format::Json || request.view == View::Raw;
    match answer.outcome {
        Outcome::Refused(refusal) => {
            let failure = Failure::Refused(refusal);
            match shows_json {
                true => print(&format!("{}\n", indent(&answer.text))),
                false => return Err(failure),
            }
            Ok(failure.exit_code())
        }
        Outcome::Successful(done) => {
            let text = (!shows_json)
                .then(|| render(request.view, &done, style()))
                .flatten();
            print(&text.unwrap_or_else(|| format!("{}\n", indent(&answer.text))));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Shows the newest lines of a log, or events, and then those that come, until the program is interrupted, the server cannot be
/// asked any more, or nobody reads. As JSON each line is one of the output's.
fn follow(mut request: Request, global: &Global) -> Result<ExitCode, Failure> {
    loop {
        let answer = Answer::read(send(global, &request)?)?;
        let done = match answer.outcome {
            Outcome::Refused(refusal) => return Err(Failure::Refused(refusal)),
            Outcome::Successful(done) => done,
        };
        let text = match global.format {
            Format::Json => {
                let mut lines = ["lines", "events"].into_iter();
                let lines = lines.find_map(|name| done.info.get(name)?.as_array());
                let lines = lines.into_iter().flatten();
                Some(lines.map(|line| format!("{line}\n")).collect())
            }
            Format::Text => render(request.view, &done, style()),
        };
        if !try_print(&text.unwrap_or_default()) {
            return Ok(ExitCode::SUCCESS);
        }
        let place = done.info.get("after").and_then(Value::as_u64);
        let place = place.ok_or_else(|| {
            Failure::BadAnswer("the server does not say where its log goes on".to_owned())
        })?;
        let shows_newest = !request.body.contains("\"after\"");
        let more = done.info.get("more") == Some(&Value::Bool(true));
        request = request.at_place(place);
        if shows_newest || !more {
            std::thread::sleep(FOLLOW_PAUSE);
        }
    }
}

fn style() -> Style {
    Style {
        paint: Paint::for_output(&io::stdout()),
        now: SystemTime::now(),
    }
}

fn send(global: &Global, request: &Request) -> Result<String, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::BadAnswer(format!("the client cannot start: {error}")))?;
    runtime.block_on(exchange(&global.socket, request))
}

/// Prints. A reader that has seen enough, such as `head`, is no error.
fn print(text: &str) {
    try_print(text);
}

/// The same; false when nobody reads.
fn try_print(text: &str) -> bool {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = written.as_ref().map_err(io::Error::kind)
        && error != io::ErrorKind::BrokenPipe
    {
        eprintln!("error: cannot print the answer: {error}");
    }
    written.is_ok()
}

fn read(document: &Document) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match document {
        Document::StandardInput => io::stdin()
            .take(MAX_DOCUMENT_BYTES + 1)
            .read_to_string(&mut text),
        Document::File(path) => std::fs::File::open(path)
            .and_then(|file| file.take(MAX_DOCUMENT_BYTES + 1).read_to_string(&mut text)),
    };
    match read {
        Ok(bytes) if bytes as u64 > MAX_DOCUMENT_BYTES => Err(Failure::Usage(format!(
            "{document} is larger than any request can be"
        ))),
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::Usage(format!("cannot read {document}: {error}"))),
    }
}

/// Builds the image and says what it is.
///
/// # Errors
/// What the build ran into, with what to do about it.
pub fn build_image(build: ImageBuild) -> anyhow::Result<()> {
    let balancer = match build.balancer {
        Some(program) => program,
        None => std::env::current_exe()
            .context("cannot tell where this program is; name the balancer with --balancer")?
            .with_file_name("evenkeel-balancer"),
    };
    let kernel = match (build.kernel_package, build.kernel, build.modules) {
        (Some(package), _, _) => KernelSource::Package(package),
        (None, Some(vmlinuz), Some(modules)) => KernelSource::Files { vmlinuz, modules },
        _ => KernelSource::Distribution,
    };
    let collectd = match build.collectd_packages {
        Some(packages) => CollectdSource::Packages(packages),
        None if build.no_collectd => CollectdSource::Absent,
        None => CollectdSource::Distribution,
    };
    let image = image::build(&Recipe {
        kernel,
        balancer,
        collectd,
        output: build.output,
    })?;
    let manifest = image.manifest();
    print(&format!(
        "Built the image {} with kernel {} in {}\n",
        manifest.version,
        manifest.kernel_version,
        image.directory().display()
    ));
    Ok(())
}
