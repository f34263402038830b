//! How much memory the machine has left, and how much this process has held. Only Linux tells here.

use std::path::Path;

/// Memory that this process can still take without another one losing its own, in bytes: what the
/// machine can free, and no more than a container or a job is allowed; `None` where the system does
/// not tell.
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let swap = entry(&text, "SwapFree:").unwrap_or(0);
    let free = entry(&text, "MemAvailable:")?.saturating_add(swap);
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit(Path::new("/sys/fs/cgroup"), &group);
    Some(limit.map_or(free, |limit| limit.min(free)))
}

/// The most memory that this process has held so far, in bytes; `None` where the system does not
/// tell.
pub fn peak_memory() -> Option<u64> {
    entry(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// A number of kB behind a name, in bytes.
fn entry(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The least limit of a process's control group, which a line `0::/path` of `group` names below
/// `root`, and of those that it is in; none where there is no limit.
fn limit(root: &Path, group: &str) -> Option<u64> {
    let path = group.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let groups = Path::new(path).ancestors();
    let limits = groups.filter_map(|group| {
        let text = std::fs::read_to_string(root.join(group).join("memory.max")).ok()?;
        // `max` is no limit
        text.trim().parse().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_some_memory() {
        assert!(peak_memory().unwrap() > 1 << 20);
        assert!(available_memory().unwrap() > 1 << 20);
    }

    #[test]
    fn the_least_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        let job = root.path().join("jobs/7");
        std::fs::create_dir_all(&job).unwrap();
        let group = "1:cpu:/other\n0::/jobs/7\n";
        assert_eq!(limit(root.path(), group), None);
        std::fs::write(job.join("memory.max"), "4096\n").unwrap();
        std::fs::write(root.path().join("jobs/memory.max"), "max\n").unwrap();
        assert_eq!(limit(root.path(), group), Some(4096));
        std::fs::write(root.path().join("memory.max"), "1024\n").unwrap();
        assert_eq!(limit(root.path(), group), Some(1024));
        assert_eq!(entry("MemFree:  3 kB\nMemAvailable:   12 kB\n", "MemAvailable:"), Some(12_288));
    }
}
