//! `dynbench graph`: the steps and what each needs, as text for Graphviz or Mermaid.

use std::fmt::Write as _;

use crate::plan::{NeedMode, StepClass, StepSpec};

/// The steps as a Graphviz digraph. Solid arrows need success, dashed ones only an order.
pub fn dot(steps: &[StepSpec]) -> String {
    let mut out = String::from("digraph dynbench {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    for step in steps {
        let shape = match step.class {
            StepClass::Pure => "box",
            StepClass::Effect => "ellipse",
            StepClass::Measurement => "doubleoctagon",
            StepClass::Obligation => "house",
        };
        writeln!(out, "  \"{}\" [shape={shape}];", step.address).expect("a String takes all text");
    }
    for step in steps {
        for need in &step.needs {
            let style = match need.mode {
                NeedMode::Succeeded => "",
                NeedMode::Ended => " [style=dashed]",
            };
            writeln!(out, "  \"{}\" -> \"{}\"{style};", need.address, step.address).expect("a String takes all text");
        }
    }
    out.push_str("}\n");
    out
}

/// The steps as a Mermaid flowchart. Solid arrows need success, dotted ones only an order.
pub fn mermaid(steps: &[StepSpec]) -> String {
    let mut out = String::from("flowchart LR\n");
    let id = |address: &crate::plan::Address| {
        steps.iter().position(|step| step.address == *address).map_or_else(|| "unknown".to_owned(), |n| format!("s{n}"))
    };
    for step in steps {
        let (open, close) = match step.class {
            StepClass::Pure => ("[", "]"),
            StepClass::Effect => ("(", ")"),
            StepClass::Measurement => ("[[", "]]"),
            StepClass::Obligation => ("{{", "}}"),
        };
        writeln!(out, "  {}{open}\"{}\"{close}", id(&step.address), step.address).expect("a String takes all text");
    }
    for step in steps {
        for need in &step.needs {
            let arrow = match need.mode {
                NeedMode::Succeeded => "-->",
                NeedMode::Ended => "-.->",
            };
            writeln!(out, "  {} {arrow} {}", id(&need.address), id(&step.address)).expect("a String takes all text");
        }
    }
    out
}
