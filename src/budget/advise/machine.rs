//! What the machine has, uses and lacks.

use super::{Amounts, Question};
use crate::base::units;
use crate::budget::section::{ResourceState, Utilization};
use crate::system::{Pressure, Sample};

/// From this share of time on in which something waits for a disk, disks are short.
const IO_SHORT: f64 = 0.2;

/// Describes and judges the machine.
pub(super) fn utilization(question: &Question<'_>, amounts: &Amounts) -> Utilization {
    let sample = question.sample;
    let cpus = cpus(sample);
    let (total, available) = memory(sample);
    let load = sample.load.map(|load| load[0]);
    let share = |pressure: Option<Pressure>| pressure.map(|one| one.some_percent / 100.0);
    let ratio = question.policy.alerts.resource_exhaustion_ratio;
    let threshold = question
        .policy
        .performance_benchmarks
        .cpu_utilization_threshold;
    // Memory and disk are also short where the work wants more than there is.
    let wanted =
        |amount: &Option<super::AmountBudget>| amount.as_ref().map_or(0.0, |one| one.recommended);
    let used = |total: Option<u64>, available: Option<u64>, wanted: f64| {
        let (total, available) = (total? as f64, available? as f64);
        let free = (available - wanted).min(available);
        (total > 0.0).then(|| (total - free) / total)
    };
    let disk = question.disk;
    let memory_used = used(total, available, wanted(&amounts.peak_memory));
    let disk_used = used(
        disk.map(|disk| disk.total_bytes),
        disk.map(|disk| disk.available_bytes),
        wanted(&amounts.written),
    );
    Utilization {
        cpus,
        load,
        memory_total_bytes: total,
        memory_available_bytes: available,
        memory_limit_bytes: sample.limits.memory_bytes,
        disk_available_bytes: disk.map(|disk| disk.available_bytes),
        pressure_cpu: share(sample.pressure_cpu),
        pressure_memory: share(sample.pressure_memory),
        pressure_io: share(sample.pressure_io),
        resources: vec![
            state("cpu", load.map(|load| load / cpus), threshold),
            state("memory", memory_used, ratio),
            state("io", share(sample.pressure_io), IO_SHORT),
            state("disk", disk_used, ratio),
        ],
        missing: sample
            .missing
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
    }
}

fn state(resource: &str, used_share: Option<f64>, short_from: f64) -> ResourceState {
    let state = match used_share {
        None => "unknown",
        Some(share) if share >= short_from => "short",
        Some(_) => "free",
    };
    ResourceState {
        resource: resource.to_owned(),
        state: state.to_owned(),
        used_share,
        short_from,
    }
}

/// Processors, as many as the control group's share is worth at most.
fn cpus(sample: &Sample) -> f64 {
    let all = f64::from(sample.cpus.max(1));
    sample
        .limits
        .cpus
        .map_or(all, |limit| limit.min(all))
        .max(0.01)
}

/// Memory in total and available, the control group's limit counted.
fn memory(sample: &Sample) -> (Option<u64>, Option<u64>) {
    let limits = &sample.limits;
    let memory = sample.memory;
    let within = limits.memory_bytes.map(|limit| {
        let used = limits.memory_used_bytes.unwrap_or(0);
        (limit, limit.saturating_sub(used))
    });
    let tighter = |all: Option<u64>, limit: Option<u64>| match (all, limit) {
        (Some(all), Some(limit)) => Some(all.min(limit)),
        (all, limit) => all.or(limit),
    };
    (
        tighter(
            memory.map(|memory| memory.total_bytes),
            within.map(|(limit, _)| limit),
        ),
        tighter(
            memory.map(|memory| memory.available_bytes),
            within.map(|(_, free)| free),
        ),
    )
}

/// What is short, in words.
pub(super) fn shortage(state: &ResourceState, utilization: &Utilization) -> String {
    let percent = state.used_share.unwrap_or_default() * 100.0;
    let short_from = state.short_from * 100.0;
    let bytes = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), units::bytes);
    match state.resource.as_str() {
        "cpu" => format!(
            "processors are short: {:.1} tasks want {:.1} of them ({percent:.0} %; short from {short_from:.0} %)",
            utilization.load.unwrap_or_default(),
            utilization.cpus
        ),
        "io" => format!(
            "disks are short: something waited for them in {percent:.0} % of the last ten seconds (short from {short_from:.0} %)"
        ),
        "memory" => format!(
            "memory is short: {} of {} can be had, and with this work {percent:.0} % would be in use (short from {short_from:.0} %)",
            bytes(utilization.memory_available_bytes),
            bytes(utilization.memory_total_bytes)
        ),
        _ => format!(
            "the disk is short: {} may still be written, and with this work {percent:.0} % would be in use (short from {short_from:.0} %)",
            bytes(utilization.disk_available_bytes)
        ),
    }
}
