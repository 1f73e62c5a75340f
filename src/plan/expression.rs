//! `{{ matrix.NAME }}` inside a string of the plan.
//!
//! Only expressions that mention `matrix` are evaluated, by minijinja with strict undefined. All others
//! (`{{ port }}`, `{{ dir }}`, `{{ ports.NAME }}` of a process's commands) stay as they are: they get their value when
//! the deployment is started. A string that is one expression and nothing else takes over the value's type.

use std::collections::BTreeSet;
use std::ops::Range;

use minijinja::value::ValueKind;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

/// The root of every variable.
const ROOT: &str = "matrix";

/// The expressions of a string that mention the matrix.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expressions<'a> {
    text: &'a str,
    /// The braces included.
    ranges: Vec<Range<usize>>,
}

/// An expression that cannot be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    /// The expression, braces included.
    pub(super) expression: String,
    /// What is wrong with it.
    pub(super) message: String,
}

impl<'a> Expressions<'a> {
    /// Finds them; `None` when there is none.
    pub(super) fn find(text: &'a str) -> Option<Self> {
        let mut ranges = Vec::new();
        let mut at = 0;
        while let Some(open) = text[at..].find("{{") {
            let start = at + open;
            let Some(close) = text[start..].find("}}") else { break };
            let end = start + close + 2;
            if mentions_root(&text[start + 2..end - 2]) {
                ranges.push(start..end);
            }
            at = end;
        }
        (!ranges.is_empty()).then_some(Self { text, ranges })
    }

    /// Kebab-case names of the variables used; `None` stands for all of them (`{{ matrix | ... }}`).
    pub(super) fn variables(&self) -> Result<Option<BTreeSet<String>>, Fault> {
        let environment = environment();
        let mut names = BTreeSet::new();
        for range in &self.ranges {
            let expression = environment.compile_expression(self.inner(range)).map_err(|e| self.fault(range, &e))?;
            for path in expression.undeclared_variables(true) {
                let mut segments = path.split('.');
                match (segments.next(), segments.next()) {
                    (Some(ROOT), Some(name)) => {
                        names.insert(name.replace('_', "-"));
                    }
                    (Some(ROOT), None) => return Ok(None),
                    (_, _) => {
                        return Err(Fault {
                            expression: self.text[range.clone()].to_owned(),
                            message: format!("`{path}` is not known beside `matrix`"),
                        });
                    }
                }
            }
        }
        Ok(Some(names))
    }

    /// The string with every one of them replaced, or the value itself when the string is nothing else.
    pub(super) fn evaluate(&self, variables: &Map<String, Value>) -> Result<Value, Fault> {
        let environment = environment();
        let context = minijinja::Value::from_pairs([(ROOT, to_jinja(&Value::Object(variables.clone())))]);
        let mut values = Vec::new();
        for range in &self.ranges {
            let value = environment
                .compile_expression(self.inner(range))
                .and_then(|expression| expression.eval(context.clone()))
                .map_err(|error| self.fault(range, &error))?;
            values.push(from_jinja(&value).ok_or_else(|| Fault {
                expression: self.text[range.clone()].to_owned(),
                message: "it has no value".to_owned(),
            })?);
        }
        if let ([whole], [value]) = (self.ranges.as_slice(), values.as_slice())
            && self.text.trim().len() == whole.len()
        {
            return Ok(value.clone());
        }
        let mut out = String::new();
        let mut at = 0;
        for (range, value) in self.ranges.iter().zip(&values) {
            out.push_str(&self.text[at..range.start]);
            match value {
                Value::String(text) => out.push_str(text),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    out.push_str(&value.to_string());
                }
            }
            at = range.end;
        }
        out.push_str(&self.text[at..]);
        Ok(Value::String(out))
    }

    fn inner(&self, range: &Range<usize>) -> &'a str {
        &self.text[range.start + 2..range.end - 2]
    }

    fn fault(&self, range: &Range<usize>, error: &minijinja::Error) -> Fault {
        let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        Fault { expression: self.text[range.clone()].to_owned(), message }
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_recursion_limit(50);
    environment
}

/// Whether `matrix` stands in it as a word.
fn mentions_root(expression: &str) -> bool {
    let word = |character: char| character.is_alphanumeric() || character == '_' || character == '.';
    expression.match_indices(ROOT).any(|(at, _)| {
        !expression[..at].ends_with(word) && !expression[at + ROOT.len()..].starts_with(|c| word(c) && c != '.')
    })
}

/// JSON as minijinja sees it, keys in snake_case: `isl-osl` would be a subtraction.
fn to_jinja(value: &Value) -> minijinja::Value {
    match value {
        Value::Null => minijinja::Value::from(()),
        Value::Bool(value) => minijinja::Value::from(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => minijinja::Value::from(whole),
            None => minijinja::Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => minijinja::Value::from(text.as_str()),
        Value::Array(items) => items.iter().map(to_jinja).collect(),
        Value::Object(map) => {
            minijinja::Value::from_pairs(map.iter().map(|(key, inner)| (key.replace('-', "_"), to_jinja(inner))))
        }
    }
}

/// Back again; `None` for what JSON cannot hold.
fn from_jinja(value: &minijinja::Value) -> Option<Value> {
    match value.kind() {
        ValueKind::Bool => Some(Value::Bool(value.is_true())),
        ValueKind::Number if value.is_integer() => i64::try_from(value.clone()).ok().map(Value::from),
        ValueKind::Number => f64::try_from(value.clone()).ok().map(Value::from),
        ValueKind::String => value.as_str().map(Value::from),
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter().ok()?.map(|item| from_jinja(&item)).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        ValueKind::Map => value
            .try_iter()
            .ok()?
            .map(|key| Some((key.to_string().replace('_', "-"), from_jinja(&value.get_item(&key).ok()?)?)))
            .collect::<Option<Map<_, _>>>()
            .map(Value::Object),
        // Undefined, none, bytes, and whatever kinds the crate adds.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluated(text: &str) -> Result<Value, String> {
        let Value::Object(variables) = json!({"tp": 2, "isl-osl": {"isl": 200, "osl-max": 100}, "mode": "kv"}) else {
            panic!()
        };
        Expressions::find(text).expect(text).evaluate(&variables).map_err(|fault| fault.message)
    }

    #[test]
    fn a_lone_expression_keeps_its_type() {
        assert_eq!(evaluated("{{ matrix.tp }}"), Ok(json!(2)));
        assert_eq!(evaluated(" {{ matrix.tp * 2 }} "), Ok(json!(4)));
        assert_eq!(evaluated("{{ matrix.isl_osl.osl_max }}"), Ok(json!(100)));
        assert_eq!(evaluated("{{ matrix.isl_osl }}"), Ok(json!({"isl": 200, "osl-max": 100})));
    }

    #[test]
    fn other_expressions_are_left_alone() {
        assert_eq!(
            evaluated("--tp {{ matrix.tp }} --port {{ port }} -r {{matrix.mode}}"),
            Ok(json!("--tp 2 --port {{ port }} -r kv"))
        );
        for text in ["{{ port }}", "matrix.tp", "{{ matrixes.tp }}", "{{ my.matrix }}", "{{ matrix.tp", "}}{{"] {
            assert_eq!(Expressions::find(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(evaluated("{{ matrix.pp }}").is_err());
        assert!(evaluated("{{ matrix.isl_osl.x }}").is_err());
        assert!(evaluated("{{ matrix. }}").is_err());
        let fault = Expressions::find("{{ matrix.tp + port }}").unwrap().variables().unwrap_err();
        assert_eq!(fault.message, "`port` is not known beside `matrix`");
    }

    #[test]
    fn the_variables_used_are_known() {
        let used = |text| Expressions::find(text).unwrap().variables().unwrap();
        assert_eq!(used("{{ matrix.isl_osl.isl + matrix.tp }}"), Some(["isl-osl".into(), "tp".into()].into()));
        assert!(used("{{ matrix[\"tp\"] }}").is_none_or(|names| names.contains("tp")));
    }
}
