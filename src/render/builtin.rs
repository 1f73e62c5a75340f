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
    /// The engine that it starts: `engine` in the text.
    pub engine: &'static str,
    /// Whether prefill and decode have workers of their own: `disaggregated` in the text.
    pub disaggregated: bool,
    /// Its variables, in groups that templates share.
    pub groups: &'static [&'static [Variable]],
}

impl Template {
    /// Whether it runs an engine that computes the model's answers: those take the plan's `[engine]`.
    pub fn serves_the_model(&self) -> bool {
        ["vllm", "sglang", "trtllm"].contains(&self.engine)
    }

    /// All its variables.
    pub fn variables(&self) -> impl Iterator<Item = &'static Variable> {
        self.groups.iter().flat_map(|group| group.iter())
    }
}

/// A variable with its default as JSON.
const fn variable(name: &'static str, about: &'static str, default: &'static str) -> Variable {
    Variable { name, about, default }
}

const VLLM_IMAGE: &[Variable] = &[variable("image", "Container image with vLLM.", "\"vllm/vllm-openai:v0.11.0\"")];

const SGLANG_IMAGE: &[Variable] = &[variable("image", "Container image with SGLang.", "\"lmsysorg/sglang:v0.5.5\"")];

const DYNAMO_VLLM_IMAGE: &[Variable] = &[variable(
    "image",
    "Container image with Dynamo and vLLM; its tag must be a semantic version.",
    "\"nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.6.1\"",
)];

const DYNAMO_SGLANG_IMAGE: &[Variable] = &[variable(
    "image",
    "Container image with Dynamo and SGLang; its tag must be a semantic version.",
    "\"nvcr.io/nvidia/ai-dynamo/sglang-runtime:1.6.1\"",
)];

const DYNAMO_TRTLLM_IMAGE: &[Variable] = &[variable(
    "image",
    "Container image with Dynamo and TensorRT-LLM; its tag must be a semantic version.",
    "\"nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime:1.6.1\"",
)];

const MOCKER: &[Variable] = &[
    variable(
        "image",
        "Container image with Dynamo's frontend and mocker; its tag must be a semantic version.",
        "\"nvcr.io/nvidia/ai-dynamo/dynamo-planner:1.6.1\"",
    ),
    variable(
        "model-path",
        "Folder of the tokenizer within the image; empty: the model's id, which is downloaded.",
        "\"\"",
    ),
    variable("speedup-ratio", "How much faster than a GPU the mocker answers.", "1"),
];

const PLAIN_OBJECTS: &[Variable] = &[
    variable(
        "storage-class",
        "Storage class of the small volume through which its parts find each other; empty: the cluster's default.",
        "\"\"",
    ),
    variable(
        "run-as-user",
        "User of all pods, and the group that owns their volumes; 0: the image's own user, which must be a number.",
        "1000",
    ),
];

const ENGINE_OF_OURS: &[Variable] = &[
    variable("image", "Container image with dynbench (`dynbench image` makes one).", "\"dynbench:latest\""),
    variable("command", "The program within the image; empty: the image's own entry point.", "[]"),
    variable("engine", "Which engine: aggregated, disaggregated or vanilla.", "\"aggregated\""),
    variable("set", "Engine parameters, the keys of `simulated` deployments.", "{}"),
];

const FRONTEND_RESOURCES: Variable =
    variable("frontend-resources", "Requests and limits of the frontend's container.", "{}");

const ROUND_ROBIN: &[Variable] =
    &[variable("router-mode", "How the frontend chooses a worker.", "\"round-robin\""), FRONTEND_RESOURCES];

const KV_ROUTER: &[Variable] = &[
    variable("router-mode", "How the frontend chooses a worker; `kv`: by what its cache holds.", "\"kv\""),
    FRONTEND_RESOURCES,
];

const COMMON: &[Variable] = &[
    variable("engine-args", "Further arguments of the engine, a list of texts.", "[]"),
    variable("env", "Environment variables of all containers.", "{}"),
    variable("resources", "Requests and limits of the engine's containers, beside GPUs.", "{}"),
    variable("hf-token-secret", "Secret whose keys become environment variables (HF_TOKEN); empty: none.", "\"\""),
    variable("model-cache", "PersistentVolumeClaim with the model's files; empty: each pod loads them itself.", "\"\""),
    variable("model-cache-path", "Where it is mounted (HF_HOME).", "\"/model-cache\""),
    variable("node-selector", "Labels that nodes must have.", "{}"),
    variable("tolerations", "Taints that are tolerated.", "[]"),
    variable("affinity", "Affinity of all pods, as Kubernetes writes it.", "{}"),
    variable("image-pull-secrets", "Names of Secrets for the registry, a list of texts.", "[]"),
    variable("service-account", "ServiceAccount of all pods; empty: the namespace's default.", "\"\""),
    variable("labels", "Labels of objects and pods, such as Kueue's queue name.", "{}"),
    variable("annotations", "Annotations of objects and pods.", "{}"),
];

const GPU_POD: &[Variable] = &[
    variable("shared-memory", "Size of /dev/shm.", "\"8Gi\""),
    variable("gpu-resource", "The resource that is a GPU.", "\"nvidia.com/gpu\""),
];

/// Where no GPU asks for it.
const SMALL_POD: &[Variable] =
    &[variable("shared-memory", "Size of /dev/shm; empty: what the container runtime gives.", "\"\"")];

const ONE_NODE: &[Variable] = &[variable("nodes", "Nodes of one worker.", "1")];

const MANY_NODES: &[Variable] =
    &[variable("nodes", "Nodes of one worker; needs Grove or LeaderWorkerSet in the cluster.", "2")];

const REPLICAS: &[Variable] = &[variable("replicas", "How many workers.", "1")];

const KV_REPLICAS: &[Variable] = &[variable("replicas", "How many workers; a router needs a choice.", "2")];

const GPUS: &[Variable] =
    &[variable("gpus-per-replica", "GPUs of one worker on one node; with its nodes its tensor parallelism.", "1")];

const SPLIT: &[Variable] = &[
    variable("prefill-replicas", "How many prefill workers.", "1"),
    variable("decode-replicas", "How many decode workers.", "1"),
];

const KV_SPLIT: &[Variable] = &[
    variable("prefill-replicas", "How many prefill workers; a router needs a choice.", "2"),
    variable("decode-replicas", "How many decode workers.", "2"),
];

const SPLIT_GPUS: &[Variable] = &[
    variable(
        "prefill-gpus-per-replica",
        "GPUs of one prefill worker on one node; with its nodes its tensor parallelism.",
        "1",
    ),
    variable(
        "decode-gpus-per-replica",
        "GPUs of one decode worker on one node; with its nodes its tensor parallelism.",
        "1",
    ),
];

/// TensorRT-LLM's own file of engine settings.
const CONFIG: &[Variable] = &[variable(
    "engine-config",
    "Engine settings: a file within the image.",
    "\"examples/backends/trtllm/engine_configs/qwen3/agg.yaml\"",
)];

const SPLIT_CONFIG: &[Variable] = &[
    variable(
        "prefill-engine-config",
        "Engine settings of prefill workers: a file within the image.",
        "\"examples/backends/trtllm/engine_configs/qwen3/prefill.yaml\"",
    ),
    variable(
        "decode-engine-config",
        "Engine settings of decode workers: a file within the image.",
        "\"examples/backends/trtllm/engine_configs/qwen3/decode.yaml\"",
    ),
];

/// How one template's text is used by several templates.
macro_rules! template {
    ($name:literal, $about:literal, $file:literal, $engine:literal, $disaggregated:literal, $groups:expr $(,)?) => {
        Template {
            name: $name,
            about: $about,
            file: $file,
            text: include_str!(concat!("../../templates/", $file)),
            engine: $engine,
            disaggregated: $disaggregated,
            groups: $groups,
        }
    };
}

/// All templates.
pub const TEMPLATES: &[Template] = &[
    template!(
        "vllm",
        "Plain vLLM: a Deployment and a Service.",
        "server.yaml.j2",
        "vllm",
        false,
        &[VLLM_IMAGE, REPLICAS, GPUS, GPU_POD, COMMON]
    ),
    template!(
        "sglang",
        "Plain SGLang: a Deployment and a Service.",
        "server.yaml.j2",
        "sglang",
        false,
        &[SGLANG_IMAGE, REPLICAS, GPUS, GPU_POD, COMMON]
    ),
    template!(
        "dynamo-vllm-agg",
        "Dynamo with vLLM, prefill and decode in the same workers.",
        "dynamo.yaml.j2",
        "vllm",
        false,
        &[DYNAMO_VLLM_IMAGE, REPLICAS, GPUS, ONE_NODE, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-vllm-disagg",
        "Dynamo with vLLM, prefill and decode in workers of their own.",
        "dynamo.yaml.j2",
        "vllm",
        true,
        &[DYNAMO_VLLM_IMAGE, SPLIT, SPLIT_GPUS, ONE_NODE, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-vllm-agg-kv",
        "Dynamo with vLLM, prefill and decode in the same workers, behind the KV router.",
        "dynamo.yaml.j2",
        "vllm",
        false,
        &[DYNAMO_VLLM_IMAGE, KV_REPLICAS, GPUS, ONE_NODE, GPU_POD, KV_ROUTER, COMMON]
    ),
    template!(
        "dynamo-vllm-disagg-kv",
        "Dynamo with vLLM, prefill and decode in workers of their own, behind the KV router.",
        "dynamo.yaml.j2",
        "vllm",
        true,
        &[DYNAMO_VLLM_IMAGE, KV_SPLIT, SPLIT_GPUS, ONE_NODE, GPU_POD, KV_ROUTER, COMMON]
    ),
    template!(
        "dynamo-vllm-agg-multinode",
        "Dynamo with vLLM, prefill and decode in the same workers, each worker on several nodes.",
        "dynamo.yaml.j2",
        "vllm",
        false,
        &[DYNAMO_VLLM_IMAGE, REPLICAS, GPUS, MANY_NODES, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-vllm-disagg-multinode",
        "Dynamo with vLLM, prefill and decode in workers of their own, each worker on several nodes.",
        "dynamo.yaml.j2",
        "vllm",
        true,
        &[DYNAMO_VLLM_IMAGE, SPLIT, SPLIT_GPUS, MANY_NODES, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-sglang-agg",
        "Dynamo with SGLang, prefill and decode in the same workers.",
        "dynamo.yaml.j2",
        "sglang",
        false,
        &[DYNAMO_SGLANG_IMAGE, REPLICAS, GPUS, ONE_NODE, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-sglang-disagg",
        "Dynamo with SGLang, prefill and decode in workers of their own.",
        "dynamo.yaml.j2",
        "sglang",
        true,
        &[DYNAMO_SGLANG_IMAGE, SPLIT, SPLIT_GPUS, ONE_NODE, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-sglang-agg-kv",
        "Dynamo with SGLang, prefill and decode in the same workers, behind the KV router.",
        "dynamo.yaml.j2",
        "sglang",
        false,
        &[DYNAMO_SGLANG_IMAGE, KV_REPLICAS, GPUS, ONE_NODE, GPU_POD, KV_ROUTER, COMMON]
    ),
    template!(
        "dynamo-sglang-disagg-kv",
        "Dynamo with SGLang, prefill and decode in workers of their own, behind the KV router.",
        "dynamo.yaml.j2",
        "sglang",
        true,
        &[DYNAMO_SGLANG_IMAGE, KV_SPLIT, SPLIT_GPUS, ONE_NODE, GPU_POD, KV_ROUTER, COMMON]
    ),
    template!(
        "dynamo-sglang-agg-multinode",
        "Dynamo with SGLang, prefill and decode in the same workers, each worker on several nodes.",
        "dynamo.yaml.j2",
        "sglang",
        false,
        &[DYNAMO_SGLANG_IMAGE, REPLICAS, GPUS, MANY_NODES, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-sglang-disagg-multinode",
        "Dynamo with SGLang, prefill and decode in workers of their own, each worker on several nodes.",
        "dynamo.yaml.j2",
        "sglang",
        true,
        &[DYNAMO_SGLANG_IMAGE, SPLIT, SPLIT_GPUS, MANY_NODES, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-trtllm-agg",
        "Dynamo with TensorRT-LLM, prefill and decode in the same workers.",
        "dynamo.yaml.j2",
        "trtllm",
        false,
        &[DYNAMO_TRTLLM_IMAGE, REPLICAS, GPUS, ONE_NODE, CONFIG, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-trtllm-disagg",
        "Dynamo with TensorRT-LLM, prefill and decode in workers of their own.",
        "dynamo.yaml.j2",
        "trtllm",
        true,
        &[DYNAMO_TRTLLM_IMAGE, SPLIT, SPLIT_GPUS, ONE_NODE, SPLIT_CONFIG, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-trtllm-agg-kv",
        "Dynamo with TensorRT-LLM, prefill and decode in the same workers, behind the KV router.",
        "dynamo.yaml.j2",
        "trtllm",
        false,
        &[DYNAMO_TRTLLM_IMAGE, KV_REPLICAS, GPUS, ONE_NODE, CONFIG, GPU_POD, KV_ROUTER, COMMON]
    ),
    template!(
        "dynamo-trtllm-disagg-kv",
        "Dynamo with TensorRT-LLM, prefill and decode in workers of their own, behind the KV router.",
        "dynamo.yaml.j2",
        "trtllm",
        true,
        &[DYNAMO_TRTLLM_IMAGE, KV_SPLIT, SPLIT_GPUS, ONE_NODE, SPLIT_CONFIG, GPU_POD, KV_ROUTER, COMMON]
    ),
    template!(
        "dynamo-trtllm-agg-multinode",
        "Dynamo with TensorRT-LLM, prefill and decode in the same workers, each worker on several nodes.",
        "dynamo.yaml.j2",
        "trtllm",
        false,
        &[DYNAMO_TRTLLM_IMAGE, REPLICAS, GPUS, MANY_NODES, CONFIG, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-trtllm-disagg-multinode",
        "Dynamo with TensorRT-LLM, prefill and decode in workers of their own, each worker on several nodes.",
        "dynamo.yaml.j2",
        "trtllm",
        true,
        &[DYNAMO_TRTLLM_IMAGE, SPLIT, SPLIT_GPUS, MANY_NODES, SPLIT_CONFIG, GPU_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-mocker-agg",
        "Dynamo's frontend with its mocker, no GPU, aggregated.",
        "dynamo.yaml.j2",
        "mocker",
        false,
        &[MOCKER, REPLICAS, SMALL_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "dynamo-mocker-disagg",
        "Dynamo's frontend with its mocker, no GPU, disaggregated.",
        "dynamo.yaml.j2",
        "mocker",
        true,
        &[MOCKER, SPLIT, SMALL_POD, ROUND_ROBIN, COMMON]
    ),
    template!(
        "mocker-agg",
        "Dynamo's frontend with its mocker as plain objects: no GPU, no operator; aggregated.",
        "mocker.yaml.j2",
        "mocker",
        false,
        &[MOCKER, REPLICAS, SMALL_POD, PLAIN_OBJECTS, ROUND_ROBIN, COMMON]
    ),
    template!(
        "mocker-disagg",
        "Dynamo's frontend with its mocker as plain objects: no GPU, no operator; disaggregated.",
        "mocker.yaml.j2",
        "mocker",
        true,
        &[MOCKER, SPLIT, SMALL_POD, PLAIN_OBJECTS, ROUND_ROBIN, COMMON]
    ),
    template!(
        "embedded",
        "The embedded engine, to rehearse a plan on a cluster: a Deployment and a Service.",
        "embedded.yaml.j2",
        "embedded",
        false,
        &[ENGINE_OF_OURS, SMALL_POD, COMMON]
    ),
];

/// The template whose results are simulated.
pub const EMBEDDED: &str = "embedded";

/// Pieces that templates include.
const PARTS: &[(&str, &str)] =
    &[("pod.j2", include_str!("../../templates/pod.j2")), ("service.j2", include_str!("../../templates/service.j2"))];

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
