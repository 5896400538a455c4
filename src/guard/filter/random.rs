//! Whether a text looks drawn at random.

/// Shannon entropy of the bytes' frequencies, bits per byte, 0 for nothing.
pub fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value {
        counts[usize::from(*byte)] += 1;
    }
    let total = value.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0);
    shares
        .map(|count| {
            let share = f64::from(*count) / total;
            -share * share.log2()
        })
        .sum()
}

/// Whether a text of eight characters and more looks drawn at random rather than written by a
/// person or made of words.
pub fn is_random(value: &[u8]) -> bool {
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    value.len() >= 8 && entropy(value) >= 2.8 && digits * 20 >= value.len()
}
