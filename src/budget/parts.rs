//! How a batch is cut so that each part fits: runs of files in the order of their paths, so that
//! anybody can cut it the same way.

use super::workload::workload_of;
use crate::history::Workload;

/// More parts than this are no advice.
const PARTS_MAX: usize = 256;

/// One part of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    /// The first file.
    pub(super) first: String,
    /// The last file, which is in it.
    pub(super) last: String,
    /// What it weighs.
    pub(super) workload: Workload,
}

/// The fewest parts, from `least` on, each of which `fits`; `None` where no such cut is found.
pub(super) fn cut(
    files: &[(String, u64)],
    least: usize,
    fits: &mut dyn FnMut(&Workload) -> bool,
) -> Option<Vec<Part>> {
    let most = files.len().min(PARTS_MAX);
    let mut count = least.max(2);
    while count <= most {
        let parts = cut_into(files, count);
        if parts.iter().all(|part| fits(&part.workload)) {
            return Some(parts);
        }
        count += 1 + count / 8;
    }
    None
}

/// Cuts into that many parts or fewer, of equal weight in files and bytes as far as files let it.
fn cut_into(files: &[(String, u64)], count: usize) -> Vec<Part> {
    let bytes: f64 = files.iter().map(|(_, bytes)| *bytes as f64).sum();
    let per_file = 1.0 / files.len().max(1) as f64;
    let weight = |size: u64| {
        per_file
            + if bytes > 0.0 {
                size as f64 / bytes
            } else {
                per_file
            }
    };
    let (mut parts, mut start, mut sum) = (Vec::new(), 0, 0.0);
    for (at, (_, size)) in files.iter().enumerate() {
        // The middle of a file decides on which side of a cut it lies.
        let middle = sum + weight(*size) / 2.0;
        let due = 2.0 * (parts.len() + 1) as f64 / count as f64;
        if middle > due && at > start {
            parts.push(part(&files[start..at]));
            start = at;
        }
        sum += weight(*size);
    }
    if start < files.len() {
        parts.push(part(&files[start..]));
    }
    parts
}

fn part(files: &[(String, u64)]) -> Part {
    let name = |file: Option<&(String, u64)>| file.map(|(path, _)| path.clone());
    let weighed = files.iter().map(|(path, bytes)| (path.as_str(), *bytes));
    Part {
        first: name(files.first()).unwrap_or_default(),
        last: name(files.last()).unwrap_or_default(),
        workload: workload_of(weighed),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn files(sizes: &[u64]) -> Vec<(String, u64)> {
        let sizes = sizes.iter().enumerate();
        sizes
            .map(|(at, size)| (format!("f{at:03}"), *size))
            .collect()
    }

    #[test]
    fn parts_fit_are_few_and_hold_every_file_once() {
        let files = files(&[10; 100]);
        let parts = cut(&files, 2, &mut |part| part.bytes <= 260).unwrap();
        assert_eq!(parts.len(), 4);
        assert_eq!(
            parts.iter().map(|part| part.workload.files).sum::<u64>(),
            100
        );
        assert!(parts.windows(2).all(|pair| pair[0].last < pair[1].first));
        let by_files = cut(&files, 2, &mut |part| part.files <= 20).unwrap();
        assert!(by_files.iter().all(|part| part.workload.files <= 20));
    }

    #[test]
    fn what_no_cut_makes_fit_is_not_cut() {
        assert_eq!(
            cut(&files(&[1, 1, 500]), 2, &mut |part| part.bytes <= 260),
            None
        );
        assert_eq!(cut(&files(&[]), 2, &mut |_| true), None);
        assert_eq!(cut(&files(&[5]), 2, &mut |_| true), None);
        // Bytes of nothing: files alone count.
        assert_eq!(
            cut(&files(&[0; 10]), 2, &mut |part| part.files <= 5)
                .unwrap()
                .len(),
            2
        );
    }
}
