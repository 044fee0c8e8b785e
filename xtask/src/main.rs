//! Developer tools: `cargo run --release -p xtask -- COMMAND`.

mod golden;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo run --release -p xtask -- COMMAND

golden [FOLDER]   writes the golden files of this format (tests/golden/README.md)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    match names.as_slice() {
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        ["golden"] => done(golden::write(&golden::folder())),
        ["golden", folder] => done(golden::write(Path::new(folder))),
        [command, ..] => {
            eprintln!("no command {command:?}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn done(outcome: std::io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
