//! Placeholders in one value of a plan: `{{ port }}` in an argument of a command.

use minijinja::value::Serde;
use serde_json::Value;

use super::environment::{TemplateError, environment, explain};

/// Fills in the placeholders of `text`.
///
/// # Errors
/// What is wrong, with the nearest known name.
pub fn expand(text: &str, context: &Value) -> Result<String, TemplateError> {
    if !text.contains("{{") && !text.contains("{%") && !text.contains("{#") {
        return Ok(text.to_owned());
    }
    environment().render_str(text, Serde(context)).map_err(|error| explain(&error, context))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context() -> Value {
        json!({"port": 8000, "ports": {"prefill": 9000}, "vars": {"batch_size": 8, "fast": true}})
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(expand("--port={{ port }}/{{ ports.prefill }}", &context()).unwrap(), "--port=8000/9000");
        assert_eq!(expand("{\"a\": 1}", &context()).unwrap(), "{\"a\": 1}");
    }

    #[test]
    fn an_unknown_placeholder_is_an_error_with_the_nearest_name() {
        let help = |text: &str| {
            let error = expand(text, &context()).unwrap_err();
            (error.message, error.help.unwrap_or_default())
        };
        let said = |message: &str, help: &str| (message.to_owned(), help.to_owned());
        assert_eq!(help("{{ prt }}"), said("`prt` is not defined", "did you mean `port`?"));
        assert_eq!(
            help("{{ vars.batchsize }}"),
            said("`vars.batchsize` is not defined", "did you mean `vars.batch_size`?")
        );
        assert_eq!(help("{{ ports.decode }}"), said("`ports.decode` is not defined", "known here: `ports.prefill`"));
        assert!(expand("{{ port", &context()).is_err());
    }

    #[test]
    fn neither_environment_nor_time_nor_chance_can_be_reached() {
        for text in ["{{ env.HOME }}", "{{ now() }}", "{{ random() }}", "{{ [1, 2] | random }}", "{{ getenv('HOME') }}"]
        {
            assert!(expand(text, &context()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_template_without_end_is_ended() {
        let text = "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}";
        assert_eq!(expand(text, &context()).unwrap_err().message, "this template does not come to an end");
    }
}
