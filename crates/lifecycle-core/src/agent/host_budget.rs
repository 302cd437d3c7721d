//! Whether a host has room for another agent.

use bytesize::ByteSize;

/// The share of the last 10 s, in percent, in which some process waited for memory, from which on the host counts as full
/// (`some avg10` of the kernel's accounting/psi.rst). By then the kernel is busy with finding memory, and another
/// agent would slow down all of them.
pub const HIGH_PRESSURE: f64 = 40.0;

/// The memory of a host.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HostMemory {
    /// What there is, in bytes.
    pub total: u64,
    /// What can be had without taking it from others, in bytes; of the control group, where that has less.
    pub available: u64,
    /// The share of the last 10 s in which some process waited for memory, in percent; `None` where the kernel does not say.
    pub pressure: Option<f64>,
}

impl HostMemory {
    /// Why no further agent is to be started; `None` if one may. `reserve` is to be kept available, in bytes.
    #[must_use]
    pub fn why_full(&self, reserve: u64) -> Option<String> {
        let size = |bytes: u64| ByteSize::b(bytes).display().iec().to_string();
        if self.available < reserve {
            let (available, total, reserve) = (size(self.available), size(self.total), size(reserve));
            return Some(format!(
                "{available} of {total} are available, and host.memory_reserve is {reserve}"
            ));
        }
        let pressure = self.pressure.filter(|pressure| *pressure >= HIGH_PRESSURE)?;
        Some(format!("processes waited for memory in {pressure:.0} % of the last 10 s"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_full_below_its_reserve_or_under_pressure() {
        let host = HostMemory { total: 4 << 30, available: 1 << 30, pressure: Some(39.9) };
        assert_eq!((host.why_full(1 << 30), host.why_full(0)), (None, None));
        assert_eq!(
            host.why_full((1 << 30) + 1).as_deref(),
            Some("1.0 GiB of 4.0 GiB are available, and host.memory_reserve is 1.0 GiB")
        );
        let pressed = HostMemory { pressure: Some(40.0), ..host };
        assert_eq!(
            pressed.why_full(0).as_deref(),
            Some("processes waited for memory in 40 % of the last 10 s")
        );
        assert_eq!(HostMemory { pressure: None, ..host }.why_full(0), None);
    }
}
