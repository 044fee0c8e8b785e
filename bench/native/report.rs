//! What the benchmark ends with: a table of all engines, and whether the targets are met.

use std::fmt::Write;

/// What is wanted of an operation.
#[derive(Clone, Copy)]
pub enum Target {
    None,
    /// At least as fast as this engine.
    AsFastAs(&'static str),
    /// At most so many nanoseconds.
    AtMostNs(f64),
}

struct Row {
    operation: String,
    target: Target,
    /// Each engine's samples, in nanoseconds.
    samples: Vec<(&'static str, Vec<f64>)>,
}

#[derive(Default)]
pub struct Report(Vec<Row>);

impl Report {
    /// Notes what an operation took, once or many times.
    pub fn note(&mut self, operation: &str, target: Target, engine: &'static str, ns: &[f64]) {
        let place = self.0.iter().position(|row| row.operation == operation).unwrap_or_else(|| {
            self.0.push(Row { operation: operation.into(), target, samples: Vec::new() });
            self.0.len() - 1
        });
        let samples = &mut self.0[place].samples;
        match samples.iter_mut().find(|(name, _)| *name == engine) {
            Some((_, known)) => known.extend_from_slice(ns),
            None => samples.push((engine, ns.to_vec())),
        }
    }

    pub fn print(&self, engines: &[&'static str]) {
        let mut head = String::from("| operation |");
        let mut rule = String::from("| --- |");
        for engine in engines {
            let _ = write!(head, " {engine} |");
            rule.push_str(" ---: |");
        }
        for engine in &engines[1..] {
            let _ = write!(head, " to {engine} |");
            rule.push_str(" ---: |");
        }
        println!("\n{head} target | |\n{rule} --- | --- |");
        for row in &self.0 {
            println!("{}", row.line(engines));
        }
        println!(
            "\nThe lower quartile of each operation's samples; \"to redb\" is redb's time divided\n\
             by kvass's: above 1 kvass is the faster one."
        );
    }
}

impl Row {
    /// The lower quartile: other work on the machine makes samples slower, never faster.
    fn ns(&self, engine: &str) -> Option<f64> {
        let (_, samples) = self.samples.iter().find(|(name, _)| *name == engine)?;
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 4).copied()
    }

    fn line(&self, engines: &[&'static str]) -> String {
        let kvass = self.ns(engines[0]);
        let ratio = |engine: &str| Some(self.ns(engine)? / kvass?);
        let mut line = format!("| {} |", self.operation);
        for engine in engines {
            let cell = self.ns(engine).map_or("-".into(), time);
            let _ = write!(line, " {cell} |");
        }
        for engine in &engines[1..] {
            let cell = ratio(engine).map_or("-".into(), |ratio| format!("{ratio:.2}"));
            let _ = write!(line, " {cell} |");
        }
        let (target, met) = match self.target {
            Target::None => (String::new(), None),
            Target::AsFastAs(engine) => {
                (format!("as fast as {engine}"), ratio(engine).map(|ratio| ratio >= 1.0))
            }
            Target::AtMostNs(most) => {
                (format!("at most {}", time(most)), kvass.map(|ns| ns <= most))
            }
        };
        let met = met.map_or("", |met| if met { "met" } else { "not met" });
        let _ = write!(line, " {target} | {met} |");
        line
    }
}

fn time(ns: f64) -> String {
    match ns {
        0.0..1e3 => format!("{ns:.0} ns"),
        1e3..1e6 => format!("{:.2} µs", ns / 1e3),
        1e6..1e9 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}
