//! What fuzzing kept, once more.

use super::{TARGETS, run};
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// The inputs of a target in a folder of fuzz/.
fn inputs(folder: &str, target: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let Ok(files) = fs::read_dir(root.join(folder).join(target)) else { return Vec::new() };
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn no_input_that_fuzzing_kept_fails_its_target() {
    for (target, run) in TARGETS.iter().filter(|(target, _)| *target != "canary") {
        let inputs = [inputs("corpus", target), inputs("regressions", target)].concat();
        assert!(!inputs.is_empty(), "{target} has no corpus");
        for input in inputs {
            let data = fs::read(&input).unwrap();
            let outcome = catch_unwind(|| run(&data));
            assert!(outcome.is_ok(), "{} fails its target", input.display());
        }
    }
}

#[test]
fn every_target_is_one_of_cargo_fuzz() {
    for (target, _) in TARGETS {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        let source = fs::read_to_string(root.join(format!("{target}.rs"))).unwrap();
        assert!(source.contains(&format!("run(\"{target}\"")), "{target}");
    }
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn the_canary_dies_of_what_fuzzing_found() {
    for input in inputs("regressions", "canary") {
        run("canary", &fs::read(input).unwrap());
    }
}
