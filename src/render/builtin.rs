//! Templates that are compiled in. One row each; `dynbench templates` and the checks of variables are read from here.

/// A variable of a template.
#[derive(Debug)]
pub struct Variable {
    /// Its name in a plan.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Its default, as JSON.
    pub default: &'static str,
}

/// One template that is compiled in.
#[derive(Debug)]
pub struct Template {
    /// Its name in a plan.
    pub name: &'static str,
    /// One sentence: what it makes.
    pub about: &'static str,
    /// Its file below `templates/`.
    pub file: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Its variables, in groups that templates share.
    pub groups: &'static [&'static [Variable]],
}

impl Template {
    /// All its variables.
    pub fn variables(&self) -> impl Iterator<Item = &'static Variable> {
        self.groups.iter().flat_map(|group| group.iter())
    }
}

const VLLM_IMAGE: &[Variable] =
    &[Variable { name: "image", about: "Container image with vLLM.", default: "\"vllm/vllm-openai:v0.11.0\"" }];

const DYNAMO_VLLM_IMAGE: &[Variable] = &[Variable {
    name: "image",
    about: "Container image with Dynamo and vLLM; its tag must be a semantic version.",
    default: "\"nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.6.1\"",
}];

const MOCKER: &[Variable] = &[
    Variable {
        name: "image",
        about: "Container image with Dynamo's frontend and mocker; its tag must be a semantic version.",
        default: "\"nvcr.io/nvidia/ai-dynamo/dynamo-planner:1.6.1\"",
    },
    Variable {
        name: "model-path",
        about: "Folder of the tokenizer within the image; empty: the model's id, which is downloaded.",
        default: "\"\"",
    },
    Variable { name: "speedup-ratio", about: "How much faster than a GPU the mocker answers.", default: "1" },
];

const ROUTER: &[Variable] =
    &[Variable { name: "router-mode", about: "How the frontend chooses a worker.", default: "\"round-robin\"" }];

const ENGINE: &[Variable] = &[
    Variable { name: "engine-args", about: "Further arguments of the engine, a list of texts.", default: "[]" },
    Variable { name: "env", about: "Environment variables of all containers.", default: "{}" },
    Variable {
        name: "hf-token-secret",
        about: "Secret whose keys become environment variables (HF_TOKEN); empty: none.",
        default: "\"\"",
    },
    Variable { name: "node-selector", about: "Labels that nodes must have.", default: "{}" },
    Variable { name: "tolerations", about: "Taints that are tolerated.", default: "[]" },
];

const SHARED_MEMORY: &[Variable] =
    &[Variable { name: "shared-memory", about: "Size of /dev/shm.", default: "\"8Gi\"" }];

const REPLICAS: &[Variable] = &[Variable { name: "replicas", about: "How many workers.", default: "1" }];

const GPUS: &[Variable] =
    &[Variable { name: "gpus-per-replica", about: "GPUs of one worker, and its tensor parallelism.", default: "1" }];

const DISAGGREGATED: &[Variable] = &[
    Variable { name: "prefill-replicas", about: "How many prefill workers.", default: "1" },
    Variable { name: "decode-replicas", about: "How many decode workers.", default: "1" },
];

const DISAGGREGATED_GPUS: &[Variable] = &[
    Variable {
        name: "prefill-gpus-per-replica",
        about: "GPUs of one prefill worker, and its tensor parallelism.",
        default: "1",
    },
    Variable {
        name: "decode-gpus-per-replica",
        about: "GPUs of one decode worker, and its tensor parallelism.",
        default: "1",
    },
];

/// All templates.
pub const TEMPLATES: &[Template] = &[
    Template {
        name: "vllm",
        about: "Plain vLLM: a Deployment and a Service.",
        file: "vllm.yaml.j2",
        text: include_str!("../../templates/vllm.yaml.j2"),
        groups: &[VLLM_IMAGE, REPLICAS, GPUS, SHARED_MEMORY, ENGINE],
    },
    Template {
        name: "dynamo-vllm-agg",
        about: "Dynamo with vLLM, prefill and decode in the same workers.",
        file: "dynamo-vllm-agg.yaml.j2",
        text: include_str!("../../templates/dynamo-vllm-agg.yaml.j2"),
        groups: &[DYNAMO_VLLM_IMAGE, REPLICAS, GPUS, SHARED_MEMORY, ROUTER, ENGINE],
    },
    Template {
        name: "dynamo-vllm-disagg",
        about: "Dynamo with vLLM, prefill and decode in workers of their own.",
        file: "dynamo-vllm-disagg.yaml.j2",
        text: include_str!("../../templates/dynamo-vllm-disagg.yaml.j2"),
        groups: &[DYNAMO_VLLM_IMAGE, DISAGGREGATED, DISAGGREGATED_GPUS, SHARED_MEMORY, ROUTER, ENGINE],
    },
    Template {
        name: "dynamo-mocker-agg",
        about: "Dynamo's frontend with its mocker, no GPU, aggregated.",
        file: "dynamo-mocker-agg.yaml.j2",
        text: include_str!("../../templates/dynamo-mocker-agg.yaml.j2"),
        groups: &[MOCKER, REPLICAS, SHARED_MEMORY, ROUTER, ENGINE],
    },
    Template {
        name: "dynamo-mocker-disagg",
        about: "Dynamo's frontend with its mocker, no GPU, disaggregated.",
        file: "dynamo-mocker-disagg.yaml.j2",
        text: include_str!("../../templates/dynamo-mocker-disagg.yaml.j2"),
        groups: &[MOCKER, DISAGGREGATED, SHARED_MEMORY, ROUTER, ENGINE],
    },
];

/// Pieces that templates include.
const PARTS: &[(&str, &str)] = &[("dynamo.j2", include_str!("../../templates/dynamo.j2"))];

/// The template of that name.
pub fn template(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}

/// A file below `templates/`, compiled in.
pub(super) fn file(name: &str) -> Option<&'static str> {
    let templates = TEMPLATES.iter().map(|template| (template.file, template.text));
    templates.chain(PARTS.iter().copied()).find_map(|(file, text)| (file == name).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_json_and_every_variable_is_read() {
        for template in TEMPLATES {
            for variable in template.variables() {
                assert!(serde_json::from_str::<serde_json::Value>(variable.default).is_ok(), "{}", variable.name);
                let read = format!("vars.{}", variable.name.replace('-', "_"));
                let parts = PARTS.iter().map(|(_, text)| *text);
                assert!(
                    std::iter::once(template.text).chain(parts).any(|text| text.contains(&read)),
                    "{} does not read {read}",
                    template.name
                );
            }
        }
    }
}
