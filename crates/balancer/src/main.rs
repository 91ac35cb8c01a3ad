//! The program that moves the traffic.

mod cli;
mod init;

use std::process::ExitCode;

use balancer::control::{run, run_standalone};
use balancer::supervisor::supervise;
use cli::Command;

fn main() -> ExitCode {
    let done = match cli::parse(std::env::args().skip(1)) {
        Ok(Command::Run(options)) => run(options),
        Ok(Command::Standalone {
            listen,
            config,
            threads,
            supervisor,
            log,
        }) => run_standalone(listen, config, threads, supervisor, log),
        Ok(Command::Supervise(arguments)) => supervise(arguments),
        Ok(Command::Init) => init::run(),
        Ok(Command::Version) => {
            println!("evenkeel-balancer {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Ok(Command::Help) => {
            print!("{}", cli::HELP);
            Ok(())
        }
        Err(fault) => {
            eprintln!("evenkeel-balancer: {fault}; see `evenkeel-balancer --help`");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evenkeel-balancer: {error}");
            ExitCode::FAILURE
        }
    }
}
