//! What the configuration came to: nothing optional that has a default, every path absolute.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use evopress_registries::Endpoints;

use super::{ConfigError, ResourceFlags, ServeFile, ServeFlags, ToolFlags};

/// Where the worker, its plugins and the data are.
#[derive(Clone, Debug, PartialEq)]
pub struct Tools {
    /// The worker program.
    pub worker: PathBuf,
    /// The folder of plugins.
    pub plugins: PathBuf,
    /// Folders for relative paths of specs.
    pub data_roots: Vec<PathBuf>,
    /// What each worker may take of the machine, where the user has set it.
    pub resources: ResourceFlags,
    /// How long a check of one spec may take.
    pub check_timeout: Duration,
    /// The cache folder, where checks remember what they have read.
    pub cache: Option<PathBuf>,
}

/// How runs are driven.
#[derive(Clone, Debug, PartialEq)]
pub struct SupervisorSettings {
    /// Runs at the same time.
    pub max_concurrent_runs: usize,
    /// Attempts in all of a run whose worker crashes.
    pub attempts: u32,
    /// Pause before the second attempt.
    pub backoff: Duration,
    /// Time for the workers to stop.
    pub drain: Duration,
    /// Bytes that the cache may take when no run needs more.
    pub cache_max_bytes: u64,
    /// Servers of registries that specs do not name.
    pub endpoints: Endpoints,
}

impl Default for SupervisorSettings {
    fn default() -> Self {
        Self {
            max_concurrent_runs: 1,
            attempts: 3,
            backoff: Duration::from_secs(2),
            drain: Duration::from_secs(30),
            cache_max_bytes: DEFAULT_CACHE_BYTES,
            endpoints: Endpoints::default().or_from_environment(),
        }
    }
}

/// All that `evopressd serve` needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ServeSettings {
    /// The folder to watch.
    pub watch: PathBuf,
    /// The state folder.
    pub state: PathBuf,
    /// Where HTTP listens.
    pub listen: SocketAddr,
    /// Names that a `Host` header may have besides localhost and IP addresses.
    pub allowed_hosts: Vec<String>,
    /// Time between scans of the watched folder that no event causes.
    pub rescan: Duration,
    /// Worker, plugins, data.
    pub tools: Tools,
    /// How runs are driven.
    pub supervisor: SupervisorSettings,
}

/// The port of the daemon's HTTP server where none is set.
const DEFAULT_PORT: u16 = 9464;
/// Against a check that hangs: a large vocabulary on a busy machine takes more than a minute.
const CHECK_SECONDS: f64 = 300.0;
/// What the cache may take where nothing is set: 50 GiB.
pub const DEFAULT_CACHE_BYTES: u64 = 50 << 30;

impl ServeSettings {
    /// Puts flags and the config file together; a flag goes first.
    ///
    /// # Errors
    /// A setting is missing or makes no sense.
    pub fn resolve(flags: ServeFlags, file: ServeFile) -> Result<Self, ConfigError> {
        let watch = flags.watch.or(file.watch).ok_or_else(|| {
            ConfigError::new("there is no folder to watch: set --watch DIR, EVOPRESS_WATCH, or `watch:` in the config file")
        })?;
        let defaults = SupervisorSettings::default();
        let max_concurrent_runs = flags
            .max_concurrent_runs
            .or(file.max_concurrent_runs)
            .unwrap_or(defaults.max_concurrent_runs);
        let attempts = file.attempts.unwrap_or(defaults.attempts);
        if max_concurrent_runs == 0 || attempts == 0 {
            return Err(ConfigError::new(
                "max_concurrent_runs and attempts must be at least 1",
            ));
        }
        let mut tools = Tools::resolve(ToolFlags {
            plugins: flags.tools.plugins.or(file.plugins),
            data_roots: if flags.tools.data_roots.is_empty() {
                file.data_roots
            } else {
                flags.tools.data_roots
            },
            worker: flags.tools.worker.or(file.worker),
        })?;
        tools.resources = ResourceFlags {
            threads: flags.resources.threads.or(file.threads),
            memory: flags.resources.memory.or(file.limits.memory),
            device_memory: flags.resources.device_memory.or(file.limits.device_memory),
        };
        tools.check_timeout =
            seconds("check_seconds", file.check_seconds.unwrap_or(CHECK_SECONDS))?;
        Ok(Self {
            watch: absolute(&watch)?,
            state: absolute(&flags.state.or(file.state).unwrap_or_else(default_state))?,
            listen: flags
                .listen
                .or(file.listen)
                .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()),
            allowed_hosts: if flags.allowed_hosts.is_empty() {
                file.allowed_hosts
            } else {
                flags.allowed_hosts
            },
            rescan: seconds(
                "rescan_seconds",
                flags.rescan_seconds.or(file.rescan_seconds).unwrap_or(10.0),
            )?,
            tools,
            supervisor: SupervisorSettings {
                max_concurrent_runs,
                attempts,
                backoff: file.backoff_seconds.map_or(Ok(defaults.backoff), |value| {
                    seconds("backoff_seconds", value)
                })?,
                drain: file
                    .drain_seconds
                    .map_or(Ok(defaults.drain), |value| seconds("drain_seconds", value))?,
                cache_max_bytes: flags
                    .cache_size
                    .or(file.cache.max_size_bytes)
                    .map_or(defaults.cache_max_bytes, |size| size.0),
                endpoints: file.endpoints.or_from_environment(),
            },
        })
    }
}

impl Tools {
    /// Finds the worker and the plugins.
    ///
    /// # Errors
    /// The worker is not where it should be.
    pub fn resolve(flags: ToolFlags) -> Result<Self, ConfigError> {
        let program = std::env::current_exe().map_err(|error| {
            ConfigError::new(format!("cannot tell where evopressd itself is: {error}"))
        })?;
        let beside = program.parent().unwrap_or(Path::new("/"));
        let worker = absolute(
            &flags
                .worker
                .unwrap_or_else(|| beside.join("evopress-worker")),
        )?;
        if !worker.is_file() {
            let message = "is not there: install evopress-worker beside evopressd, or set --worker or EVOPRESS_WORKER";
            return Err(ConfigError::new(format!(
                "the worker {} {message}",
                worker.display()
            )));
        }
        let plugins = flags.plugins.unwrap_or_else(|| {
            let subfolder = beside.join("plugins");
            if subfolder.is_dir() {
                subfolder
            } else {
                beside.to_owned()
            }
        });
        Ok(Self {
            worker,
            plugins: absolute(&plugins)?,
            data_roots: flags
                .data_roots
                .iter()
                .map(|root| absolute(root))
                .collect::<Result<_, _>>()?,
            resources: ResourceFlags::default(),
            check_timeout: Duration::from_secs_f64(CHECK_SECONDS),
            cache: None,
        })
    }
}

/// The state folder where none is set: systemd's, else the user's.
#[must_use]
pub fn default_state() -> PathBuf {
    let folder = |variable| {
        std::env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(state) = folder("STATE_DIRECTORY") {
        return state;
    }
    let base = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")));
    base.unwrap_or_else(|| PathBuf::from("/var/lib"))
        .join("evopressd")
}

fn absolute(path: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path)
        .map_err(|error| ConfigError::new(format!("the path {}: {error}", path.display())))
}

fn seconds(name: &str, value: f64) -> Result<Duration, ConfigError> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|duration| {
            *duration >= Duration::from_millis(1) && *duration <= Duration::from_secs(86_400)
        })
        .ok_or_else(|| {
            ConfigError::new(format!(
                "{name} is {value}, expected seconds from 0.001 to 86400"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(folder: &Path) -> ServeFlags {
        let worker = folder.join("evopress-worker");
        std::fs::write(&worker, "").unwrap();
        ServeFlags {
            tools: ToolFlags {
                worker: Some(worker),
                ..ToolFlags::default()
            },
            ..ServeFlags::default()
        }
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("evopressd.yaml");
        std::fs::write(
            &config,
            "watch: specs\nrescan_seconds: 20\nmax_concurrent_runs: 2\ncache: {max_size_bytes: 10GiB}\n",
        )
        .unwrap();
        let typed = ServeFlags {
            max_concurrent_runs: Some(3),
            ..flags(folder.path())
        };
        let settings = ServeSettings::resolve(typed, ServeFile::read(&config).unwrap()).unwrap();
        assert_eq!(
            settings.watch,
            folder.path().join("specs"),
            "relative to the config file"
        );
        assert_eq!(settings.rescan, Duration::from_secs(20));
        assert_eq!(settings.supervisor.max_concurrent_runs, 3);
        assert_eq!(settings.supervisor.cache_max_bytes, 10 << 30);
        assert_eq!(settings.listen.to_string(), "127.0.0.1:9464");
    }

    #[test]
    fn mistakes_are_sentences() {
        let folder = tempfile::tempdir().unwrap();
        let resolve = |text: &str| {
            let config = folder.path().join("evopressd.yaml");
            std::fs::write(&config, text).unwrap();
            ServeFile::read(&config)
                .and_then(|file| ServeSettings::resolve(flags(folder.path()), file))
                .unwrap_err()
                .to_string()
        };
        assert!(resolve("").contains("there is no folder to watch"));
        assert!(resolve("watch: a\nrescan_seconds: -1").contains("rescan_seconds is -1"));
        assert!(resolve("watch: a\nmax_concurrent_runs: 0").contains("at least 1"));
        assert!(resolve("watch: a\ncache: {max_size_bytes: big}").contains("such as 50GiB"));
        assert!(resolve("wach: a").contains("unknown field `wach`"));
        let missing = ToolFlags {
            worker: Some("/nowhere/worker".into()),
            ..ToolFlags::default()
        };
        assert!(
            Tools::resolve(missing)
                .unwrap_err()
                .to_string()
                .contains("/nowhere/worker is not there")
        );
    }
}
