//! What the user typed: the config file and the flags, everything optional.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use evopress_registries::Endpoints;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ByteSize, ConfigError};

/// The flags that say where things are; every command has them.
#[derive(Args, Clone, Debug, Default)]
pub struct ToolFlags {
    /// Folder of the plugins, files libevopress_*.so [default: `plugins` beside evopressd, else its
    /// own folder]
    #[arg(long, value_name = "DIR", env = "EVOPRESS_PLUGINS")]
    pub plugins: Option<PathBuf>,
    /// Folder that a relative path in a spec is looked for in, after the spec's own folder; may be
    /// repeated
    #[arg(
        long = "data-root",
        value_name = "DIR",
        env = "EVOPRESS_DATA_ROOT",
        value_delimiter = ':'
    )]
    pub data_roots: Vec<PathBuf>,
    /// The worker program [default: evopress-worker beside evopressd]
    #[arg(long, value_name = "PROGRAM", env = "EVOPRESS_WORKER")]
    pub worker: Option<PathBuf>,
}

/// The flags of `evopressd serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeFlags {
    /// YAML file with the same settings; a flag or an environment variable goes before it
    #[arg(long, value_name = "FILE", env = "EVOPRESS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder to watch for pipeline specs (*.yaml, *.yml)
    #[arg(long, value_name = "DIR", env = "EVOPRESS_WATCH")]
    pub watch: Option<PathBuf>,
    /// Folder of runs and journal [default: $STATE_DIRECTORY, else ~/.local/state/evopressd]
    #[arg(long, value_name = "DIR", env = "EVOPRESS_STATE")]
    pub state: Option<PathBuf>,
    /// Address for metrics, API and page [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS", env = "EVOPRESS_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Name under which a browser or Prometheus may ask, besides localhost and IP addresses; may be
    /// repeated
    #[arg(
        long = "allowed-host",
        value_name = "NAME",
        env = "EVOPRESS_ALLOWED_HOST",
        value_delimiter = ','
    )]
    pub allowed_hosts: Vec<String>,
    /// Runs at the same time [default: 1]
    #[arg(long, value_name = "N", env = "EVOPRESS_MAX_CONCURRENT_RUNS")]
    pub max_concurrent_runs: Option<usize>,
    /// What each worker may take of the machine.
    #[command(flatten)]
    pub resources: ResourceFlags,
    /// Limit of the cache of level databases and models; the least recently used go first [default:
    /// 50GiB]
    #[arg(long, value_name = "SIZE", env = "EVOPRESS_CACHE_SIZE")]
    pub cache_size: Option<ByteSize>,
    /// Seconds between scans of the watched folder, besides those that follow events of the system
    /// [default: 10]
    #[arg(long, value_name = "SECONDS", env = "EVOPRESS_RESCAN_SECONDS")]
    pub rescan_seconds: Option<f64>,
    /// Where plugins, data and the worker are.
    #[command(flatten)]
    pub tools: ToolFlags,
}

/// What a worker may take of the machine.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct ResourceFlags {
    /// Threads of each worker [default: one for each core; one on a GPU]
    #[arg(long, value_name = "N", env = "EVOPRESS_THREADS")]
    pub threads: Option<usize>,
    /// Most memory that a worker takes, such as 6GB; less costs time, and changes no result
    /// [default: what is free, within the limits of the container, service or shell]
    #[arg(long, value_name = "SIZE", env = "EVOPRESS_MEMORY")]
    pub memory: Option<ByteSize>,
    /// Most memory of a GPU that a worker takes [default: what is free there]
    #[arg(long, value_name = "SIZE", env = "EVOPRESS_DEVICE_MEMORY")]
    pub device_memory: Option<ByteSize>,
}

/// The config file of `evopressd serve`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServeFile {
    /// Folder to watch for pipeline specs, files `*.yaml` and `*.yml`. Default: none; it is
    /// required here or as a flag.
    #[schemars(example = &"pipelines")]
    pub watch: Option<PathBuf>,
    /// Folder of runs, journal and cache. Default: $STATE_DIRECTORY, else ~/.local/state/evopressd.
    #[schemars(example = &"/var/lib/evopressd")]
    pub state: Option<PathBuf>,
    /// Folder of the plugins, files `libevopress_*.so`. Default: `plugins` beside evopressd, else
    /// its own folder.
    pub plugins: Option<PathBuf>,
    /// Folders that a relative path in a spec is looked for in, after the spec's own folder.
    #[serde(default)]
    pub data_roots: Vec<PathBuf>,
    /// The worker program. Default: evopress-worker beside evopressd.
    pub worker: Option<PathBuf>,
    /// Address for metrics, API and page. Default: 127.0.0.1:9464.
    #[schemars(with = "Option<String>", example = &"127.0.0.1:9464")]
    pub listen: Option<SocketAddr>,
    /// Names under which a browser or Prometheus may ask, besides localhost and IP addresses.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
    /// Runs at the same time, at least 1. Default: 1.
    #[schemars(range(min = 1))]
    pub max_concurrent_runs: Option<usize>,
    /// Threads of each worker. Default: one for each core; one on a GPU.
    pub threads: Option<usize>,
    /// Limits on the memory of each worker.
    #[serde(default)]
    pub limits: LimitsFile,
    /// The cache of level databases and models.
    #[serde(default)]
    pub cache: CacheFile,
    /// Servers of registries that specs do not name.
    #[serde(default)]
    pub endpoints: Endpoints,
    /// Seconds between scans of the watched folder besides those that the system's notifications
    /// cause. Default: 10.
    #[schemars(range(min = 0.001, max = 86_400.0))]
    pub rescan_seconds: Option<f64>,
    /// Attempts of a run whose worker crashes, in all. Default: 3.
    #[schemars(range(min = 1))]
    pub attempts: Option<u32>,
    /// Seconds before the second attempt; the pause doubles before each further one. Default: 2.
    #[schemars(range(min = 0.001, max = 86_400.0))]
    pub backoff_seconds: Option<f64>,
    /// Seconds that workers may take to write their checkpoints when the daemon stops. Default: 30.
    #[schemars(range(min = 0.001, max = 86_400.0))]
    pub drain_seconds: Option<f64>,
    /// Seconds that the worker's check of one spec may take. Default: 300.
    #[schemars(range(min = 0.001, max = 86_400.0))]
    pub check_seconds: Option<f64>,
}

/// Limits on the memory of each worker.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsFile {
    /// Most memory that a worker takes; less costs time, and changes no result. Default: what is
    /// free, within the limits of the container, service or shell.
    #[schemars(example = &"6GB")]
    pub memory: Option<ByteSize>,
    /// Most memory of a GPU that a worker takes. Default: what is free there.
    #[schemars(example = &"24GiB")]
    pub device_memory: Option<ByteSize>,
}

/// The cache of level databases and models.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheFile {
    /// Limit of the cache; the least recently used entries go first, never one in use. Default:
    /// 50GiB.
    pub max_size_bytes: Option<ByteSize>,
}

impl ServeFile {
    /// Reads the file; paths in it are relative to its folder. The one place that parses YAML in
    /// this crate.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be; the message has line and column.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError::new(format!(
                "cannot read the config file {}: {error}",
                path.display()
            ))
        })?;
        let file: Option<Self> = serde_yaml::from_str(&text).map_err(|error| {
            ConfigError::new(format!("the config file {}: {error}", path.display()))
        })?;
        let mut file = file.unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new(""));
        for place in [
            &mut file.watch,
            &mut file.state,
            &mut file.plugins,
            &mut file.worker,
        ]
        .into_iter()
        .flatten()
        {
            *place = folder.join(&*place);
        }
        for root in &mut file.data_roots {
            *root = folder.join(&*root);
        }
        Ok(file)
    }
}
