//! The memory of this host, as the kernel tells.

use std::fs;

use lifecycle_core::agent::host_budget::HostMemory;

use super::memory_use::own_cgroup;

/// The memory of this host, or of the control group of this process where that has less. `None` where the kernel does not
/// say.
#[must_use]
pub fn host_memory() -> Option<HostMemory> {
    let (total, available) = of_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let pressure = fs::read_to_string("/proc/pressure/memory").ok().and_then(|text| some_avg10(&text));
    let host = HostMemory { total, available, pressure };
    let group = own_cgroup().and_then(|group| Some((group.max?, group.current)));
    Some(match group {
        Some((max, current)) if max.saturating_sub(current) < available => {
            HostMemory { total: max, available: max.saturating_sub(current), ..host }
        }
        _ => host,
    })
}

/// proc(5), `/proc/meminfo`: what there is and what is available, in bytes.
fn of_meminfo(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}

/// The kernel's accounting/psi.rst.
fn some_avg10(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_pressure_are_read_as_the_kernel_writes_them() {
        let memory = "MemTotal:        4000 kB\nMemFree: 1 kB\nMemAvailable:    1000 kB\n";
        assert_eq!(of_meminfo(memory), Some((4000 * 1024, 1000 * 1024)));
        let pressure =
            "some avg10=1.53 avg60=0.87 avg300=0.73 total=1\nfull avg10=0.00 avg60=0 avg300=0 total=0\n";
        assert_eq!(some_avg10(pressure), Some(1.53));
        assert_eq!((of_meminfo(""), some_avg10("")), (None, None));
    }
}
