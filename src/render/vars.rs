//! Variables of the plan, by the names that templates know them by.

use serde_json::{Map, Value};

/// Two variables that are one to a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{first}` and `{second}` are both `{name}` in a template")]
pub struct VarsMeet {
    /// The one that stands first.
    pub first: String,
    /// The other one.
    pub second: String,
    /// The name of both in templates.
    pub name: String,
}

/// The name of a variable in templates: `prefill-replicas` would be a subtraction there.
pub fn template_name(name: &str) -> String {
    name.replace('-', "_")
}

/// Variables under their names in templates.
///
/// # Errors
/// When two names meet.
pub fn template_vars(vars: &Map<String, Value>) -> Result<Map<String, Value>, VarsMeet> {
    let mut out = Map::new();
    for (second, value) in vars {
        let name = template_name(second);
        if out.insert(name.clone(), value.clone()).is_some() {
            let first = vars.keys().find(|first| template_name(first) == name);
            return Err(VarsMeet { first: first.unwrap_or(second).clone(), second: second.clone(), name });
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_reach_templates_in_snake_case_and_may_not_meet() {
        let vars = |value: Value| template_vars(value.as_object().unwrap()).map(Value::Object);
        assert_eq!(vars(json!({"prefill-replicas": 2, "x": 1})), Ok(json!({"prefill_replicas": 2, "x": 1})));
        let error = vars(json!({"a-b": 1, "c": 2, "a_b": 3})).unwrap_err();
        assert_eq!(error.to_string(), "`a-b` and `a_b` are both `a_b` in a template");
    }
}
