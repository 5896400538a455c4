//! Where links lead. By text alone: as if no folder on the way were a link itself, which would be
//! told of by itself.

/// Whether a link at a path leads out of the tree that the path starts in. An absolute one does:
/// it leads elsewhere as soon as the tree is moved.
pub(super) fn leads_out(path: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut depth = path.iter().filter(|byte| **byte == b'/').count();
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_their_texts_say() {
        for (path, target, expected) in [
            (&b"a/link"[..], &b"../b"[..], false),
            (b"a/link", b"../../b", true),
            (b"link", b"..", true),
            (b"link", b".", false),
            (b"link", b"/b", true),
            (b"a/b/link", b"c/../../../../x", true),
            (b"a/b/link", b"..a/x", false),
        ] {
            assert_eq!(leads_out(path, target), expected, "{path:?} {target:?}");
        }
    }
}
