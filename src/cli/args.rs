//! The command line as it is typed. Nothing is decided here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::app;

mod load;

pub(super) use load::Load;

/// Benchmarks LLM serving deployments from one plan file, and goes on after any failure.
///
/// One TOML plan declares deployments (simulated, local processes, URLs, Kubernetes manifests), the traffic and the
/// levels. `apply` deploys each, sweeps it, tears it down, and writes SUMMARY.txt, plots/ and the data of every level
/// to results/<plan>/<run>/.
#[derive(Debug, Parser)]
#[command(
    name = "dynbench",
    version,
    after_help = "\
Start here:
  dynbench init plan.toml                 write a commented plan
  dynbench check plan.toml                find every mistake in it
  dynbench plan plan.toml                 show what would be done, how long it takes, what it costs
  dynbench apply plan.toml                do it
  dynbench apply plan.toml --resume       go on after a failure, measuring nothing twice

Exit codes:
  0 done   2 usage or invalid plan   3 failed or invalid steps   4 objective missed   5 others outstanding
  6 resources leaked   7 preflight failed   8 locked by another dynbench   9 resume refused   10 `plan --exit-code`: work left
  11 journal, results or stdout cannot be written   70 a bug of dynbench   130/143 interrupted"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a commented plan to start from
    Init(Init),
    /// Find every mistake in plans, all at once
    Check(Check),
    /// Show every resolved value, every step with what it will do and why, and what it will cost
    Plan(PlanArguments),
    /// Write what would be started (manifests, commands) to a folder
    Render(Render),
    /// Print the steps and what each needs, for Graphviz or Mermaid
    Graph(Graph),
    /// Run a plan, or go on with a run
    Apply(Apply),
    /// Write summary and plots of a run again, from its data
    Report(Report),
    /// Say field by field why a step would or would not run again
    Explain(Explain),
    /// List, show, check and move runs
    #[command(subcommand)]
    Runs(Runs),
    /// End whatever an interrupted run left behind
    Cleanup(Cleanup),
    /// Print the Role that a plan needs in its clusters, and apart an optional ClusterRole
    Rbac(PlanFile),
    /// Serve the embedded engine alone
    Simulate(Simulate),
    /// Load one URL once, without a plan
    Load(Load),
    /// Print the JSON Schema of plans
    Schema,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The built-in templates
    #[command(subcommand)]
    Templates(Templates),
    /// Watch over a run from within its cluster, and end what it leaves behind when it dies
    #[command(hide = true)]
    Reap(Reap),
    /// Make an image of this program for `load.image`, without Docker
    Image(ImageArguments),
    /// Take orders for load beside the server under test (how load comes from inside a cluster)
    #[command(hide = true)]
    Worker(WorkerFlags),
    /// Wait for a line on stdin, then become another program (how processes are started without ever losing one)
    #[command(hide = true)]
    Hold {
        /// Program and arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// Where to write it; never overwrites
    #[arg(default_value = "plan.toml")]
    pub(super) path: PathBuf,
    /// What the deployments are
    #[arg(long, value_enum, default_value_t = InitTarget::Simulated)]
    pub(super) target: InitTarget,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum InitTarget {
    Simulated,
    Process,
    Endpoint,
    Kubernetes,
}

/// A plan and what may be changed about it from the command line.
#[derive(Debug, Args)]
pub(super) struct PlanFile {
    /// The plan file
    pub(super) plan: PathBuf,
    /// Replace a value of the plan, such as `workload.isl=400` or `policy.retries=0`; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) sets: Vec<String>,
    /// Replace `target.namespace`
    #[arg(long, value_name = "NAME")]
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The plan files
    #[arg(required = true)]
    pub(super) plans: Vec<PathBuf>,
    /// Print the problems as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    #[command(flatten)]
    pub(super) file: PlanFile,
    /// Print it as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
    /// Exit with 10 if there is work left, 0 if not
    #[arg(long)]
    pub(super) exit_code: bool,
    /// Ask the clusters too: what stands in the way, and what would become of every object
    #[arg(long)]
    pub(super) server: bool,
    /// The run's own folder, as for `apply`
    #[arg(long, value_name = "DIR")]
    pub(super) output_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Render {
    #[command(flatten)]
    pub(super) file: PlanFile,
    /// The folder to write to
    #[arg(long, short, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// The version of DynamoGraphDeployment to write; in a run the cluster says which it serves
    #[arg(long, value_enum, default_value_t = ApiVersion::V1beta1)]
    pub(super) api_version: ApiVersion,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ApiVersion {
    /// Dynamo 1.2 and later
    V1beta1,
    /// Dynamo 0.4 and later
    V1alpha1,
}

impl From<ApiVersion> for app::GraphVersion {
    fn from(version: ApiVersion) -> Self {
        match version {
            ApiVersion::V1beta1 => Self::V1beta1,
            ApiVersion::V1alpha1 => Self::V1alpha1,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Graph {
    #[command(flatten)]
    pub(super) file: PlanFile,
    /// The language to print
    #[arg(long, value_enum, default_value_t = GraphFormat::Dot)]
    pub(super) format: GraphFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum GraphFormat {
    /// Graphviz
    Dot,
    /// Mermaid
    Mermaid,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("edits").args(["frozen", "accept_changes", "new"]))]
pub(super) struct Apply {
    #[command(flatten)]
    pub(super) file: PlanFile,
    /// Go on with the newest run of this plan; starts one if there is none
    #[arg(long)]
    pub(super) resume: bool,
    /// With --resume: ignore edits of the plan since the run started
    #[arg(long)]
    pub(super) frozen: bool,
    /// With --resume: measure again what edits of the plan made invalid; old results are kept aside
    #[arg(long)]
    pub(super) accept_changes: bool,
    /// Start a new run, whatever became of earlier ones
    #[arg(long)]
    pub(super) new: bool,
    /// The run's own folder, instead of results/<plan>/<run>/
    #[arg(long, value_name = "DIR")]
    pub(super) output_dir: Option<PathBuf>,
    /// Only steps whose address matches (`agg`, `*/default/load/c64`), and what they need; repeatable
    #[arg(long, value_name = "ADDRESS")]
    pub(super) only: Vec<String>,
    /// Measure again steps whose address matches, even good ones; repeatable
    #[arg(long, value_name = "ADDRESS")]
    pub(super) rerun: Vec<String>,
    /// Stop after this step
    #[arg(long, value_name = "ADDRESS")]
    pub(super) until: Option<String>,
    /// Leave deployments up at the end
    #[arg(long)]
    pub(super) keep: bool,
    /// Write events as JSON lines to a file, or `-` for stdout
    #[arg(long, value_name = "FILE|-")]
    pub(super) events: Option<PathBuf>,
    /// Print every detail of every step
    #[arg(long, short)]
    pub(super) verbose: bool,
    /// Print the outcome as JSON on stdout at the end
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Report {
    /// The run: its folder, its id or the start of it, or `latest`
    #[arg(default_value = "latest")]
    pub(super) run: String,
    /// Only these built-in plots; repeatable (all that the data allow, if none is named)
    #[arg(long = "plot", value_name = "ID")]
    pub(super) plots: Vec<String>,
    /// A plot of your own: `x=METRIC,y=METRIC[,statistic=p50][,scale=log-x][,title=...]`; repeatable
    #[arg(long = "draw", value_name = "SPEC")]
    pub(super) draw: Vec<String>,
    /// Draw these results beside the run's: another run, or what AIPerf, GenAI-Perf or vLLM's bench wrote (one result or
    /// the folder of a sweep); repeatable, needs --out. RUN may be such a folder as well
    #[arg(long, value_name = "[NAME=]PATH[,gpus=N]")]
    pub(super) with: Vec<String>,
    /// Write to this folder instead of the run's own
    #[arg(short, long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Print all numbers as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The step's address, such as `agg/default/load/c64`
    pub(super) address: String,
    /// The plan to compare with; without it only the run is shown
    #[arg(long)]
    pub(super) plan: Option<PathBuf>,
    /// The run: its folder, its id or the start of it, or `latest`
    #[arg(long, default_value = "latest")]
    pub(super) run: String,
    /// Print it as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Runs {
    /// All runs below results/
    List {
        /// Print them as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// One run, step by step
    Show {
        /// The run: its folder, its id or the start of it, or `latest`
        #[arg(default_value = "latest")]
        run: String,
        /// Print it as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Remove old runs; never one that is running or has something left to clean up
    Prune {
        /// How many of each plan to keep
        #[arg(long, default_value_t = 10)]
        keep: usize,
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// Verify journal, checksums and published results of a run, and repair what is safe to repair
    Fsck {
        /// The run: its folder, its id or the start of it, or `latest`
        #[arg(default_value = "latest")]
        run: String,
    },
    /// Pack a run into one file, to go on with it elsewhere
    Export {
        /// The run: its folder, its id or the start of it, or `latest`
        run: String,
        /// The file to write (.tar.gz)
        file: PathBuf,
    },
    /// Unpack a run that `export` packed
    Import {
        /// The file to read
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").args(["run", "plan", "expired"]).multiple(true))]
pub(super) struct Cleanup {
    /// The run: its folder, its id or the start of it, or `latest`; without it every run below results/. On a machine that
    /// does not have its folder: its whole id, with --namespace or --context, which say where its labels are looked for
    #[arg(long)]
    pub(super) run: Option<String>,
    /// Runs of this plan only
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    pub(super) plan: Option<PathBuf>,
    /// Runs in a cluster that gave no sign of life for the time of their Lease, whoever started them
    #[arg(long, conflicts_with = "run")]
    pub(super) expired: bool,
    /// Look into this context's cluster by labels; the run is named by its whole id then
    #[arg(long, requires = "which")]
    pub(super) context: Option<String>,
    /// Look into this namespace by labels
    #[arg(long, value_name = "NAME", requires = "which")]
    pub(super) namespace: Option<String>,
    /// Only say what would be ended
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print it as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Reap {
    /// Id of the run
    #[arg(long)]
    pub(super) run: String,
    /// Its namespace; the pod's own, if not given
    #[arg(long)]
    pub(super) namespace: Option<String>,
    /// It is dead when it gave no sign of life for so long, such as 1h
    #[arg(long)]
    pub(super) after: String,
}

#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// Which engine: aggregated (the default), disaggregated or vanilla
    #[arg(long)]
    pub(super) engine: Option<String>,
    /// The port; 0 takes a free one
    #[arg(long, default_value_t = 8000)]
    pub(super) port: u16,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: std::net::IpAddr,
    /// The model id to serve
    #[arg(long)]
    pub(super) model: Option<String>,
    /// Engine parameters as JSON, the keys of the plan's `simulated` deployments
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Set one engine parameter, such as `replicas=2` or `fixed={"ttft-ms":100,"itl-ms":10}`; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) sets: Vec<String>,
    /// Write what really happened to each request, by its x-request-id, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(super) truth: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Templates {
    /// All of them, a line each
    List,
    /// One of them, with its variables
    Show {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct ImageArguments {
    /// Write an archive that `docker load`, `ctr images import` and the like read
    #[arg(long, short, value_name = "FILE.tar")]
    pub(super) out: Option<PathBuf>,
    /// Push it, with the login that docker or podman have: registry/path/name:tag
    #[arg(long, value_name = "REF")]
    pub(super) push: Option<String>,
    /// The static program to put in; this one, if not given
    #[arg(long, value_name = "PATH")]
    pub(super) binary: Option<PathBuf>,
    /// What the program must be for: amd64 or arm64
    #[arg(long)]
    pub(super) arch: Option<String>,
    /// Name of the image in the archive
    #[arg(long, default_value = concat!("localhost/dynbench:", env!("CARGO_PKG_VERSION")))]
    pub(super) name: String,
    /// The registry speaks plain HTTP
    #[arg(long)]
    pub(super) insecure: bool,
}

#[derive(Debug, Args)]
pub(super) struct WorkerFlags {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8701")]
    pub(super) listen: std::net::SocketAddr,
    /// A folder for results
    #[arg(long)]
    pub(super) dir: PathBuf,
    /// How long to hold a result that nobody fetches
    #[arg(long, default_value = "12h")]
    pub(super) hold: String,
    /// How long to stay when there is nothing to hold and nobody asks
    #[arg(long, default_value = "30m")]
    pub(super) idle: String,
}
