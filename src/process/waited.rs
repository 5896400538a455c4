//! What everything that we have waited for has used, orphans that were handed over to us included
//! (getrusage(2), `RUSAGE_CHILDREN`).

use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Sums since this process began; two of them tell what was used between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// CPU in user mode.
    pub cpu_user: Duration,
    /// CPU in the kernel.
    pub cpu_system: Duration,
    /// Page faults without I/O.
    pub minor_faults: u64,
    /// Page faults that read from storage.
    pub major_faults: u64,
    /// Times that a thread gave up its processor to wait.
    pub voluntary_switches: u64,
    /// Times that a thread's processor was given to another.
    pub involuntary_switches: u64,
}

/// All until now; nothing where the system does not say.
pub fn waited_for() -> Waited {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or_else(|_| Waited::default(), |usage| of(&usage))
}

fn of(usage: &Usage) -> Waited {
    let time = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0))
    };
    let count = |count: std::ffi::c_long| u64::try_from(count).unwrap_or(0);
    Waited {
        cpu_user: time(usage.user_time()),
        cpu_system: time(usage.system_time()),
        minor_faults: count(usage.minor_page_faults()),
        major_faults: count(usage.major_page_faults()),
        voluntary_switches: count(usage.voluntary_context_switches()),
        involuntary_switches: count(usage.involuntary_context_switches()),
    }
}

impl Waited {
    /// What was used since an earlier sum.
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_user: self.cpu_user.saturating_sub(before.cpu_user),
            cpu_system: self.cpu_system.saturating_sub(before.cpu_system),
            minor_faults: self.minor_faults.saturating_sub(before.minor_faults),
            major_faults: self.major_faults.saturating_sub(before.major_faults),
            voluntary_switches: self
                .voluntary_switches
                .saturating_sub(before.voluntary_switches),
            involuntary_switches: self
                .involuntary_switches
                .saturating_sub(before.involuntary_switches),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn sums_grow_with_what_was_waited_for() {
        let before = waited_for();
        let script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", script])
            .status();
        assert!(status.unwrap().success());
        let used = waited_for().since(before);
        assert!(
            used.cpu_user > Duration::ZERO && used.minor_faults > 0,
            "{used:?}"
        );
        assert_eq!(before.since(waited_for()), Waited::default());
    }
}
