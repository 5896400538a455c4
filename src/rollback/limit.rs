//! Work that has so much time and no more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Does something that looks at `stop` on its way, and sets that when its time is over. Says whether
/// it did; what had passed its last look came to its end all the same.
pub fn within<T>(limit: Duration, stop: &AtomicBool, act: impl FnOnce() -> T) -> (T, bool) {
    let (finished, wait) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let is_late = wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if is_late {
                stop.store(true, Ordering::Relaxed);
            }
            is_late
        });
        let done = act();
        drop(finished);
        (done, watch.join().unwrap_or(false))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_late_is_told_to_stop_and_nobody_else() {
        let stop = AtomicBool::new(false);
        let patient = Duration::from_secs(600);
        assert_eq!(within(patient, &stop, || 1), (1, false));
        assert!(!stop.load(Ordering::Relaxed));
        let (_, is_late) = within(Duration::from_millis(1), &stop, || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        });
        assert!(is_late);
    }
}
