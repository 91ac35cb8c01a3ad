//! Evenkeel: the server, and the command line that asks it.

mod cli;
mod controller;
mod serve;

use std::process::ExitCode;

use cli::{Arguments, Command, ImageCommand};
use serve::ServeOptions;

fn main() -> ExitCode {
    let Arguments { global, command } = Arguments::read();
    match command {
        Command::Serve(arguments) => run(serve::serve(ServeOptions {
            config: arguments.configuration.file,
            roles: arguments.roles,
            checker_name: arguments.checker_name,
        })),
        Command::Cleanup(arguments) => run(serve::cleanup(arguments.configuration.file.as_deref())),
        Command::Image(ImageCommand::Build(arguments)) => tell(cli::build_image(arguments)),
        Command::Ask(question) => cli::ask(question, &global),
    }
}

/// Does the server's work to its end.
fn run(work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    cli::log_to_stderr();
    tell(
        tokio::runtime::Runtime::new()
            .map_err(anyhow::Error::from)
            .and_then(|runtime| runtime.block_on(work)),
    )
}

fn tell(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
