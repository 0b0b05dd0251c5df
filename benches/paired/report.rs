//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::rounds::{Goal, Measured, Pair, Spread};
use crate::server::Sample;

/// The table's head.
pub(crate) fn head() -> String {
    format!(
        "{:<16} {:<26} {:>9} {:>9} {:>9}  {:<36} {:>14} {:>6} {}\n",
        "case",
        "variant",
        "ns/event",
        "p99 ns",
        "cpu ns",
        "ratio (quartiles)",
        "against",
        "cpu",
        ""
    )
}

/// The lines of one case.
pub(crate) fn rows(measured: &Measured) -> String {
    let mut out = String::new();
    for (name, samples) in &measured.samples {
        let median = |of: fn(&Sample) -> f64| Spread::of(samples.iter().map(of)).median;
        let p99: Vec<f64> = samples.iter().filter_map(|sample| sample.p99_ns).collect();
        let p99 =
            if p99.is_empty() { "-".to_owned() } else { format!("{:.0}", Spread::of(p99).median) };
        let _ = write!(
            out,
            "{:<16} {:<26} {:>9.0} {:>9} {:>9.0}  ",
            measured.case,
            name,
            median(|sample| sample.wall_ns),
            p99,
            median(|sample| sample.cpu_ns),
        );
        let pairs: Vec<&Pair> = measured.pairs.iter().filter(|p| p.variant == *name).collect();
        for (n, pair) in pairs.iter().enumerate() {
            if n > 0 {
                let _ = write!(out, "\n{:<16} {:<26} {:>29}  ", "", "", "");
            }
            out.push_str(&comparison(measured, pair));
        }
        out.push('\n');
    }
    out
}

fn comparison(measured: &Measured, pair: &Pair) -> String {
    let wall = measured.ratio(pair, |sample| sample.wall_ns);
    let cpu = measured.ratio(pair, |sample| sample.cpu_ns);
    let ratio = format!("{:.3} ({:.3} .. {:.3})", wall.median, wall.low, wall.high);
    let verdict = match (pair.goal, is_met(pair.goal, wall.median, cpu.median)) {
        (Goal::Slower | Goal::None, _) => String::new(),
        (goal, true) => format!("meets {}", wanted(goal)),
        (goal, false) => format!("MISSES {}", wanted(goal)),
    };
    format!("{ratio:<28} {:>22} {:>6.3} {verdict}", format!("of {}", pair.base), cpu.median)
}

fn is_met(goal: Goal, wall: f64, cpu: f64) -> bool {
    match goal {
        Goal::AtLeast(bound) => wall >= bound,
        Goal::CpuAtLeast(bound) => cpu >= bound,
        Goal::AtMost(bound) => wall <= bound,
        Goal::Slower | Goal::None => true,
    }
}

fn wanted(goal: Goal) -> String {
    match goal {
        Goal::AtLeast(bound) => format!(">= {bound}"),
        Goal::CpuAtLeast(bound) => format!("cpu >= {bound}"),
        Goal::AtMost(bound) => format!("<= {bound}"),
        Goal::Slower | Goal::None => String::new(),
    }
}

/// One case as JSON, with the samples of every round.
pub(crate) fn json(measured: &Measured) -> Value {
    let variants: Vec<Value> = measured.samples.iter().map(variant).collect();
    let pairs: Vec<Value> = measured
        .pairs
        .iter()
        .map(|pair| {
            let wall = measured.ratio(pair, |sample| sample.wall_ns);
            let cpu = measured.ratio(pair, |sample| sample.cpu_ns);
            json!({
                "variant": pair.variant,
                "base": pair.base,
                "goal": wanted(pair.goal),
                "met": is_met(pair.goal, wall.median, cpu.median),
                "ratio": spread(wall),
                "cpu_ratio": spread(cpu),
                "p99_ratio": spread(measured.ratio(pair, |s| s.p99_ns.unwrap_or_default())),
            })
        })
        .collect();
    json!({ "case": measured.case, "variants": variants, "pairs": pairs })
}

fn variant((name, samples): &(&'static str, Vec<Sample>)) -> Value {
    let each = |of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<f64>>();
    let p99: Vec<f64> = samples.iter().filter_map(|sample| sample.p99_ns).collect();
    json!({
        "name": name,
        "wall_ns_per_event": spread(Spread::of(each(|sample| sample.wall_ns))),
        "cpu_ns_per_event": spread(Spread::of(each(|sample| sample.cpu_ns))),
        "p99_ns": if p99.is_empty() { Value::Null } else { spread(Spread::of(p99)) },
        "rounds": { "wall_ns": each(|sample| sample.wall_ns), "cpu_ns": each(|s| s.cpu_ns) },
    })
}

fn spread(spread: Spread) -> Value {
    json!({ "q1": spread.low, "median": spread.median, "q3": spread.high })
}
