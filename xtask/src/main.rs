//! Developer tools: `cargo run --release -p xtask -- COMMAND`.

mod compaction;
mod fuzz;
mod golden;
mod sim;

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo run --release -p xtask -- COMMAND

compaction [--gib N] [--pattern NAME]
                             runs the compaction policy without I/O, prints what it costs
fuzz [SECONDS [TARGET...]]   fuzzes each target for so long (60); needs cargo fuzz
seeds                        writes what fuzzing starts from
golden [FOLDER]              writes the golden files of this format (tests/golden/README.md)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    let usage = format!("{USAGE}\n{}", sim::USAGE);
    match names.as_slice() {
        [] | ["help" | "--help" | "-h"] => {
            println!("{usage}");
            ExitCode::SUCCESS
        }
        ["compaction", rest @ ..] => done(compaction::main(rest)),
        ["fuzz"] => done(fuzz::run(60, &[])),
        ["fuzz", seconds, targets @ ..] => match seconds.parse() {
            Ok(seconds) => done(fuzz::run(seconds, targets)),
            Err(_) => done(Err(std::io::Error::other("SECONDS is a number"))),
        },
        ["seeds"] => done(fuzz::write_seeds()),
        ["golden"] => done(golden::write(&golden::folder())),
        ["golden", folder] => done(golden::write(Path::new(folder))),
        ["sim", rest @ ..] => sim::main(rest),
        [command, ..] => {
            eprintln!("no command {command:?}\n{usage}");
            ExitCode::FAILURE
        }
    }
}

fn done(outcome: Result<(), impl Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
