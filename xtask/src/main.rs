//! Developer tools: `cargo run --release -p xtask -- COMMAND`.

use std::process::ExitCode;

const USAGE: &str = "usage: cargo run --release -p xtask -- COMMAND

There are no commands yet.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    match names.as_slice() {
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        [command, ..] => {
            eprintln!("no command {command:?}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}
