//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use evopressd::config::{ByteSize, ResourceFlags, ServeFlags, ToolFlags};

/// Watches a folder of pipeline specs; each becomes a smaller, working language model.
///
/// A pipeline spec is a YAML file that names a model, calibration text, a compression method, a
/// budget, and where the result goes. `evopressd schema` prints its JSON Schema,
/// `evopressd plugins` the methods that there are.
#[derive(Debug, Parser)]
#[command(name = "evopressd", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    /// Format of the log on stderr.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "EVOPRESS_LOG_FORMAT",
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  evopressd serve --watch pipelines --state /var/lib/evopressd
        run whatever is dropped into ./pipelines; metrics and page on http://127.0.0.1:9464
  evopressd run pipelines/smollm2-depth.yaml
        run one spec here and now, with a progress bar; for CI, look at the exit code
  evopressd run spec.yaml --json | jq .evaluation
        the report alone on stdout
  evopressd validate pipelines/*.yaml
        all mistakes of each spec, and what a run would need
  evopressd follow --name smollm2-depth
        watch the newest run of a pipeline in a running daemon
  evopressd cache prune --max-size 10GiB
        make room: what was not used for longest goes first

Exit codes: 0 done, 1 run failed, 2 usage, 3 quality gate failed, 4 a registry has it not yet, 78 bad spec.
EVOPRESS_LOG sets what is logged, e.g. `debug` or `evopressd::watch=debug`.";

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch a folder and run every pipeline spec that appears in it
    Serve(ServeFlags),
    /// Run one spec and wait for its end
    #[command(
        after_help = "Exit codes: 0 done, 1 run failed, 2 usage, 3 quality gate failed, 4 a registry has it not yet, 78 bad spec.
The same spec with the same inputs is not run twice: the stored report is printed. After an interruption, the same
command continues where the run stopped."
    )]
    Run(RunFlags),
    /// Check specs without running them, and say what a run would need
    #[command(after_help = "Exit codes: 0 all specs are good, 78 some are bad, 2 usage.")]
    Validate(ValidateFlags),
    /// List the plugins that specs can name
    Plugins(PluginsFlags),
    /// Print the JSON Schema of a pipeline spec, for completion in editors
    #[command(after_help = "With the YAML extension of VS Code:
  evopressd schema > .evopress.schema.json
and as the first line of a spec:
  # yaml-language-server: $schema=.evopress.schema.json")]
    Schema,
    /// Watch a run of a running daemon until it ends
    #[command(
        after_help = "Exit codes: 0 done, 1 run failed, 2 usage, 3 quality gate failed, 4 a registry has it not yet, 78 spec rejected."
    )]
    Follow(FollowFlags),
    /// Publish a finished run again, or where it could not be published before; also beside a
    /// running daemon
    #[command(
        after_help = "Exit codes: 0 all registries have it, 1 it cannot be published, 2 usage, 4 a registry has it not yet.
Publishing twice changes nothing: a registry recognises the run."
    )]
    Publish(PublishFlags),
    /// Look after the cache of level databases and models, also beside a running daemon
    #[command(subcommand)]
    Cache(CacheCommand),
}

/// What to do with the cache.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List what is in the cache
    List(CacheFlags),
    /// Read everything in the cache and hold it against its digests
    #[command(
        after_help = "Exit codes: 0 all is whole, 1 something is damaged, 2 usage.
A run that uses what is damaged makes just these layers, or fetches just these files, anew."
    )]
    Verify(CacheFlags),
    /// Remove what is over the limit, the least recently used first; what a run uses or builds
    /// stays
    Prune(PruneFlags),
}

/// The flags of `cache`.
#[derive(Args, Debug)]
pub(crate) struct CacheFlags {
    /// The state folder, which the cache is in [default: ~/.local/state/evopressd]
    #[arg(long, value_name = "DIR", env = "EVOPRESS_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// The daemon's config file, for its state folder and its limit
    #[arg(long, value_name = "FILE", env = "EVOPRESS_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The flags of `cache prune`.
#[derive(Args, Debug)]
pub(crate) struct PruneFlags {
    /// What may be left, e.g. 10GiB [default: the configured limit, else 50GiB]
    #[arg(long, value_name = "SIZE", env = "EVOPRESS_CACHE_SIZE")]
    pub(crate) max_size: Option<ByteSize>,
    /// Remove everything that no run uses
    #[arg(long)]
    pub(crate) all: bool,
    /// Where the cache is.
    #[command(flatten)]
    pub(crate) cache: CacheFlags,
}

/// The flags of `run`.
#[derive(Args, Debug)]
pub(crate) struct RunFlags {
    /// The pipeline spec
    pub(crate) spec: PathBuf,
    /// Folder of runs and journal [default: ~/.local/state/evopressd]
    #[arg(long, value_name = "DIR", env = "EVOPRESS_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Print the report as JSON on stdout, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
    /// What the worker may take of the machine.
    #[command(flatten)]
    pub(crate) resources: ResourceFlags,
    /// Limit of the cache of level databases and models; the least recently used go first [default:
    /// 50GiB]
    #[arg(long, value_name = "SIZE", env = "EVOPRESS_CACHE_SIZE")]
    pub(crate) cache_size: Option<ByteSize>,
    /// Where things are.
    #[command(flatten)]
    pub(crate) tools: ToolFlags,
}

/// The flags of `validate`.
#[derive(Args, Debug)]
pub(crate) struct ValidateFlags {
    /// The pipeline specs
    #[arg(required = true)]
    pub(crate) specs: Vec<PathBuf>,
    /// Print a JSON list, one object a spec
    #[arg(long)]
    pub(crate) json: bool,
    /// The state folder, if there is one: what its cache knows of large files is not read again
    /// [default: ~/.local/state/evopressd]
    #[arg(long, value_name = "DIR", env = "EVOPRESS_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// What the worker of a run might take of the machine.
    #[command(flatten)]
    pub(crate) resources: ResourceFlags,
    /// Where things are.
    #[command(flatten)]
    pub(crate) tools: ToolFlags,
}

/// The flags of `plugins`.
#[derive(Args, Debug)]
pub(crate) struct PluginsFlags {
    /// Print JSON, with the schemas of the options
    #[arg(long)]
    pub(crate) json: bool,
    /// Where things are.
    #[command(flatten)]
    pub(crate) tools: ToolFlags,
}

/// The flags of `follow`.
#[derive(Args, Debug)]
pub(crate) struct FollowFlags {
    /// The run's ID [default: the newest run]
    #[arg(conflicts_with = "name")]
    pub(crate) run: Option<String>,
    /// The newest run of the pipeline of this name; waits until there is one
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The daemon's state folder [default: ~/.local/state/evopressd]
    #[arg(long, value_name = "DIR", env = "EVOPRESS_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Print the report as JSON on stdout, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
}

/// The flags of `publish`.
#[derive(Args, Debug)]
pub(crate) struct PublishFlags {
    /// The run's ID
    pub(crate) run: String,
    /// Only to this registry of its spec: a kind (mlflow, s3, …) or a place as `evopressd validate`
    /// prints it [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) to: Option<String>,
    /// The state folder [default: ~/.local/state/evopressd]
    #[arg(long, value_name = "DIR", env = "EVOPRESS_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// The daemon's config file, for its state folder and its registries' endpoints
    #[arg(long, value_name = "FILE", env = "EVOPRESS_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where things are.
    #[command(flatten)]
    pub(crate) tools: ToolFlags,
}
