//! Which names say that their value is a secret: one rule for plans, manifests, command lines and what is kept of a
//! cluster. By whole words, of which the last decides: `HF_TOKEN` and `--api-key`, but not `MAX_TOKENS`,
//! `PASSWORD_FILE` or `--long-prefill-token-threshold`.

/// Words that make a name that of a secret when it ends with them.
const SECRET: &[&str] =
    &["TOKEN", "APIKEY", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "CREDENTIALS"];
/// What a `KEY` is called that opens nothing. One without any word before it is no key to anything either.
const OPEN_KEYS: &[&str] = &["PUBLIC", "PRIMARY", "FOREIGN", "PARTITION", "ROUTING", "SORT", "HASH", "CACHE"];
/// What a `TOKEN` is called that is a piece of text.
const TEXT_TOKENS: &[&str] = &[
    "BOS", "EOS", "PAD", "UNK", "SEP", "MASK", "STOP", "START", "END", "IMAGE", "AUDIO", "VIDEO", "DRAFT", "FIRST",
    "NEXT", "LAST", "PER", "INPUT", "OUTPUT", "PROMPT", "SPECIAL",
];

/// Whether a variable or an option of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let mut words = upper.split(['_', '-', '.']).filter(|word| !word.is_empty());
    // A number at the end tells several of one kind apart.
    let last = words.rfind(|word| !word.bytes().all(|byte| byte.is_ascii_digit()));
    let before = words.next_back();
    match last {
        Some("KEY") => before.is_some_and(|word| !OPEN_KEYS.contains(&word)),
        Some("TOKEN") => before.is_none_or(|word| !TEXT_TOKENS.contains(&word)),
        Some(word) => SECRET.contains(&word),
        None => false,
    }
}

/// A secret that is written down in a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenSecret {
    /// The option or variable, as it stands there.
    pub name: String,
    /// Which of the arguments holds the value.
    pub argument: usize,
    /// The value.
    pub value: String,
}

/// Secrets in a command line: `--api-key VALUE`, `--api-key=VALUE`, and `HF_TOKEN=VALUE` as shells and `env` take it, also
/// within one argument that is a script. References to variables are none.
pub fn secrets_in(arguments: &[&str]) -> Vec<WrittenSecret> {
    let words = arguments.iter().enumerate().flat_map(|(at, text)| text.split_whitespace().map(move |word| (at, word)));
    let mut found = Vec::new();
    let mut words = words.peekable();
    while let Some((at, word)) = words.next() {
        let word = word.trim_start_matches(QUOTES);
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some((at, value))),
            None if word.starts_with("--") => (word, words.peek().copied().filter(|(_, next)| !next.starts_with("--"))),
            None => continue,
        };
        let Some((argument, value)) = value else { continue };
        let value = value.trim_matches(|c| QUOTES.contains(&c) || c == ';');
        let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if is_word && is_secret_name(name) && !is_reference(value) {
            found.push(WrittenSecret { name: name.to_owned(), argument, value: value.to_owned() });
        }
    }
    found
}

const QUOTES: [char; 2] = ['"', '\''];

/// Whether a value only says where the secret is: nothing, or a variable (`$HF_TOKEN`, `$(HF_TOKEN)`).
pub fn is_reference(value: &str) -> bool {
    value.is_empty() || value.starts_with('$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_the_last_whole_word() {
        for name in [
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "TOKEN",
            "OPENAI_API_KEY",
            "WANDB_KEY",
            "db-password",
            "APIKEY",
            "AWS_SECRET_ACCESS_KEY",
            "--api-key",
            "--hf-token",
            "client.secret",
            "HF_TOKEN_2",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "MAX_TOKENS",
            "TOKENIZERS_PARALLELISM",
            "KEYBOARD",
            "KEY",
            "VLLM_HOST_IP",
            "PASSWORD_FILE",
            "HF_TOKEN_PATH",
            "--long-prefill-token-threshold",
            "--eos-token",
            "PUBLIC_KEY",
            "TIME_TO_FIRST_TOKEN",
            "",
            "7",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_found_in_options_and_in_scripts() {
        let said = |arguments: &[&str]| -> Vec<String> {
            secrets_in(arguments).iter().map(|one| format!("{} {} {}", one.argument, one.name, one.value)).collect()
        };
        assert_eq!(said(&["serve", "--api-key", "hf_x", "--port", "8000"]), ["2 --api-key hf_x"]);
        assert_eq!(said(&["--api-key=hf_x"]), ["0 --api-key hf_x"]);
        assert_eq!(
            said(&["sh", "-c", "export HF_TOKEN='hf_x'; vllm serve m --api-key \"k\""]),
            ["2 HF_TOKEN hf_x", "2 --api-key k"]
        );
        assert_eq!(said(&["env", "HF_TOKEN=hf_x", "vllm"]), ["1 HF_TOKEN hf_x"]);
        for fine in [
            &["--api-key", "$(API_KEY)"][..],
            &["sh", "-c", "HF_TOKEN=$TOKEN vllm serve m --api-key=\"$KEY\" --max-tokens 5"],
            &["--api-key"],
            &["--hf-token", "--port", "1"],
            &["--config", "{\"a\": \"b\"}"],
        ] {
            assert_eq!(said(fine), Vec::<String>::new(), "{fine:?}");
        }
    }
}
