//! How much memory this process may take: what is free on the machine, within the limits that a
//! container, a service manager or a shell has set.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a limit on memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// What the kernel says is free.
    Machine,
    /// A control group: a container, a systemd unit, a Kubernetes pod.
    ControlGroup,
    /// `ulimit -v` or `ulimit -d`.
    Process,
    /// A setting of the program or of the spec.
    Setting,
    /// What a GPU has.
    Device,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "free on this machine",
            Self::ControlGroup => "left in this control group",
            Self::Process => "left of this process's limit (ulimit)",
            Self::Setting => "allowed by `limits`",
            Self::Device => "free on the GPU",
        })
    }
}

/// Bytes that this process may have, and what limits them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Bytes that it may have now, with those that it has already.
    pub bytes: u64,
    /// Bytes that there would be if nothing else took any.
    pub capacity: u64,
    /// The tightest limit.
    pub limit: Limit,
}

/// What this process may have without others, or itself, being killed for it. Pages of files
/// that the kernel can drop count as free.
///
/// Where nothing can be read (no `/proc`), 4 GiB are assumed.
pub fn granted() -> Granted {
    granted_in(Path::new("/"))
}

impl Granted {
    /// Within a limit that somebody has set for the process; none: as it is.
    #[must_use]
    pub fn within(self, limit_bytes: Option<u64>) -> Self {
        let Some(limit_bytes) = limit_bytes.filter(|bytes| *bytes < self.capacity) else {
            return self;
        };
        Self {
            bytes: self.bytes.min(limit_bytes),
            capacity: limit_bytes,
            limit: match limit_bytes < self.bytes {
                true => Limit::Setting,
                false => self.limit,
            },
        }
    }
}

/// As [`granted`], with the kernel's files below `root`.
fn granted_in(root: &Path) -> Granted {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let meminfo = read("proc/meminfo");
    let free = kilobytes(&meminfo, "MemAvailable:").unwrap_or(4 << 30);
    let machine = Left {
        bytes: free,
        limit_bytes: kilobytes(&meminfo, "MemTotal:").unwrap_or(free),
    };
    let groups = groups(&read("proc/self/cgroup"), &root.join("sys/fs/cgroup"));
    let of_groups = groups.iter().filter_map(|folder| left_in(folder));
    let of_process = left_of_process(&read("proc/self/limits"), &read("proc/self/status"));
    let all = [(machine, Limit::Machine)].into_iter();
    let all = all.chain(of_groups.map(|left| (left, Limit::ControlGroup)));
    let all: Vec<(Left, Limit)> = all
        .chain(of_process.into_iter().map(|left| (left, Limit::Process)))
        .collect();
    let own = kilobytes(&read("proc/self/status"), "RssAnon:").unwrap_or(0);
    let tightest = all.iter().min_by_key(|(left, _)| left.bytes);
    let smallest = all.iter().map(|(left, _)| left.limit_bytes).min();
    Granted {
        bytes: tightest.map_or(free, |(left, _)| left.bytes) + own,
        capacity: smallest.unwrap_or(free),
        limit: tightest.map_or(Limit::Machine, |(_, limit)| *limit),
    }
}

/// What is left of a limit.
struct Left {
    bytes: u64,
    limit_bytes: u64,
}

/// The folders of this process's control groups that may limit memory, parents included: a limit of
/// a parent holds for all of its children. `listed` is `/proc/self/cgroup`.
fn groups(listed: &str, mount: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in listed.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mounts = match controllers {
            // Version 2, or its mount beside version 1.
            "" => [mount.to_path_buf(), mount.join("unified")],
            _ if controllers.split(',').any(|it| it == "memory") => {
                [mount.join("memory"), mount.join(controllers)]
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        // In a container the path may be the host's, which is not there: then the mount itself is the group.
        let of_mount = |mount: &PathBuf| {
            let of_path = path.ancestors().map(|path| mount.join(path));
            of_path.collect::<Vec<_>>()
        };
        folders.extend(mounts.iter().flat_map(of_mount));
    }
    folders
}

/// What is left in a group; none where it sets no limit.
fn left_in(folder: &Path) -> Option<Left> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let (limit, used, cached) = match number("memory.current") {
        Some(used) => {
            let limits = [number("memory.max"), number("memory.high")];
            let limit = limits.into_iter().flatten().min()?;
            (limit, used, ["inactive_file", "active_file"])
        }
        None => (
            number("memory.limit_in_bytes")?,
            number("memory.usage_in_bytes")?,
            ["total_inactive_file", "total_active_file"],
        ),
    };
    let statistics = read("memory.stat").unwrap_or_default();
    let of_files = cached.iter().filter_map(|name| {
        let mut lines = statistics.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found?.trim().parse::<u64>().ok()
    });
    Some(Left {
        bytes: limit.saturating_sub(used.saturating_sub(of_files.sum())),
        limit_bytes: limit,
    })
}

/// What is left of the soft limits of this process.
fn left_of_process(limits: &str, status: &str) -> Vec<Left> {
    let left = |name: &str, used: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        let limit_bytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(Left {
            bytes: limit_bytes.saturating_sub(kilobytes(status, used)?),
            limit_bytes,
        })
    };
    let of_space = left("Max address space", "VmSize:");
    let of_data = left("Max data size", "VmData:");
    [of_space, of_data].into_iter().flatten().collect()
}

/// A line `NAME: 123 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number = line.trim().strip_suffix("kB")?.trim();
    Some(number.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's files with a machine that has 8 GB free, and these ones.
    fn granted_with(files: &[(&str, &str)]) -> Granted {
        let root = tempfile::tempdir().unwrap();
        let meminfo = (
            "proc/meminfo",
            "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n",
        );
        for (name, text) in [meminfo].iter().chain(files) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        granted_in(root.path())
    }

    fn bytes(limit: Limit, bytes: u64, capacity: u64) -> Granted {
        Granted {
            bytes,
            capacity,
            limit,
        }
    }

    #[test]
    fn the_machines_free_memory() {
        assert_eq!(
            granted_with(&[]),
            bytes(Limit::Machine, 8_192_000_000, 9_216_000_000)
        );
        let unlimited = [
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.current", "5\n"),
            (
                "proc/self/limits",
                "Max address space         unlimited            unlimited            bytes\n",
            ),
        ];
        assert_eq!(
            granted_with(&unlimited),
            bytes(Limit::Machine, 8_192_000_000, 9_216_000_000)
        );
        assert!(granted().bytes > 0);
    }

    #[test]
    fn a_group_of_version_2_or_its_parent() {
        let files = [
            ("proc/self/cgroup", "0::/system.slice/evopressd.service\n"),
            (
                "sys/fs/cgroup/system.slice/evopressd.service/memory.max",
                "6000000000\n",
            ),
            (
                "sys/fs/cgroup/system.slice/evopressd.service/memory.current",
                "1000000000\n",
            ),
            (
                "sys/fs/cgroup/system.slice/evopressd.service/memory.stat",
                "anon 1\nactive_file 300000000\ninactive_file 200000000\ninactive_file_x 7\n",
            ),
        ];
        assert_eq!(
            granted_with(&files),
            bytes(Limit::ControlGroup, 5_500_000_000, 6_000_000_000)
        );
        let of_parent = [
            ("sys/fs/cgroup/system.slice/memory.high", "3000000000\n"),
            ("sys/fs/cgroup/system.slice/memory.current", "2500000000\n"),
        ];
        let all: Vec<_> = files.into_iter().chain(of_parent).collect();
        assert_eq!(
            granted_with(&all),
            bytes(Limit::ControlGroup, 500_000_000, 3_000_000_000)
        );
    }

    #[test]
    fn a_group_of_version_1_in_a_container() {
        let files = [
            ("proc/self/cgroup", "7:cpu:/\n4:memory:/docker/4f2a\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "900000000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "cache 1\ntotal_inactive_file 400000000\ntotal_active_file 100000000\n",
            ),
        ];
        assert_eq!(
            granted_with(&files),
            bytes(Limit::ControlGroup, 1_600_000_000, 2_000_000_000)
        );
    }

    #[test]
    fn limits_of_the_process() {
        let files = [
            (
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max data size             1500000000           unlimited            bytes     \n\
                 Max address space         4000000000           unlimited            bytes     \n",
            ),
            (
                "proc/self/status",
                "VmSize:\t 1000000 kB\nVmData:\t  500000 kB\nRssAnon:\t  100000 kB\n",
            ),
        ];
        let granted = granted_with(&files);
        assert_eq!(granted, bytes(Limit::Process, 1_090_400_000, 1_500_000_000));
        assert_eq!(granted.within(None), granted);
        assert_eq!(granted.within(Some(2_000_000_000)), granted);
        let within = granted.within(Some(700_000_000));
        assert_eq!(within, bytes(Limit::Setting, 700_000_000, 700_000_000));
    }
}
