//! What a sleeping thread waits for, by the system call that it is in.
//!
//! The numbers are those of the kernel's tables (`syscall_64.tbl`, `asm-generic/unistd.h`); on other
//! machines nothing is known, and that is what is said.

use std::collections::BTreeSet;
use std::path::Path;

/// What a thread waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Nothing: it runs, or is ready to.
    Running,
    /// Storage.
    Disk,
    /// A page of its own memory that is read from storage.
    Page,
    /// A lock. Sure of a file's lock or a semaphore; a futex may also be the end of another thread.
    Lock {
        /// Whether it can be nothing else.
        is_sure: bool,
    },
    /// The network.
    Network,
    /// Time.
    Sleep,
    /// Somebody else, or something not known.
    #[default]
    Other,
}

/// What a system call tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// All of it.
    Known(Waiting),
    /// It depends on what this descriptor is.
    File(u64),
    /// It depends on the sockets of the process; whether it ends by itself.
    Events { ends: bool },
}

/// A system call with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    number: u64,
    arguments: [u64; 6],
}

impl Call {
    /// Reads `/proc/PID/syscall`: the number in decimal and six arguments in hexadecimal; nothing
    /// for a thread that runs or was stopped outside of one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let number = words.next()?.parse().ok()?;
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            let word = words.next()?.strip_prefix("0x")?;
            *argument = u64::from_str_radix(word, 16).ok()?;
        }
        Some(Self { number, arguments })
    }
}

/// Whether a thread that sleeps uninterruptibly does so outside of any system call: it touched memory
/// that has to be read first.
pub(super) fn is_in_fault(text: &str) -> bool {
    text.starts_with("-1 ")
}

/// Kinds of calls that wait.
#[derive(Clone, Copy)]
enum Kind {
    Sleep,
    Futex,
    Lock,
    Fcntl,
    Socket,
    File,
    Poll,
    EpollWait,
    PointerWait(usize),
}

#[cfg(target_arch = "x86_64")]
const CALLS: &[(&[u64], Kind)] = &[
    (&[35, 230], Kind::Sleep),
    (&[202, 449], Kind::Futex),
    (&[65, 73, 220], Kind::Lock),
    (&[72], Kind::Fcntl),
    (&[42, 43, 44, 45, 46, 47, 288, 299], Kind::Socket),
    (&[0, 1, 19, 20], Kind::File),
    (&[7], Kind::Poll),
    (&[232, 281], Kind::EpollWait),
    (&[23, 270], Kind::PointerWait(4)),
    (&[271], Kind::PointerWait(2)),
    (&[441], Kind::PointerWait(3)),
];

#[cfg(target_arch = "aarch64")]
const CALLS: &[(&[u64], Kind)] = &[
    (&[101, 115], Kind::Sleep),
    (&[98, 449], Kind::Futex),
    (&[32, 192, 193], Kind::Lock),
    (&[25], Kind::Fcntl),
    (&[202, 203, 206, 207, 211, 212, 242, 243], Kind::Socket),
    (&[63, 64, 65, 66], Kind::File),
    (&[22], Kind::EpollWait),
    (&[72], Kind::PointerWait(4)),
    (&[73], Kind::PointerWait(2)),
    (&[441], Kind::PointerWait(3)),
];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CALLS: &[(&[u64], Kind)] = &[];

/// `F_SETLKW` and `F_OFD_SETLKW` (fcntl(2)).
const WAITING_LOCKS: [u64; 2] = [7, 38];

/// What a call waits for.
pub(super) fn of(call: &Call) -> Answer {
    let kind = CALLS
        .iter()
        .find(|(numbers, _)| numbers.contains(&call.number));
    let argument = |at: usize| call.arguments.get(at).copied().unwrap_or(0);
    // A timeout of poll and epoll_wait is an int; negative means none.
    let is_finite = |at| (argument(at) as u32 as i32) >= 0;
    match kind.map(|(_, kind)| *kind) {
        None => Answer::Known(Waiting::Other),
        Some(Kind::Sleep) => Answer::Known(Waiting::Sleep),
        // Who waits with a timeout looks around in between, as no one does who wants a lock.
        Some(Kind::Futex) if argument(3) != 0 => Answer::Known(Waiting::Other),
        Some(Kind::Futex) => Answer::Known(Waiting::Lock { is_sure: false }),
        Some(Kind::Fcntl) if !WAITING_LOCKS.contains(&argument(1)) => Answer::Known(Waiting::Other),
        Some(Kind::Lock | Kind::Fcntl) => Answer::Known(Waiting::Lock { is_sure: true }),
        Some(Kind::Socket) => Answer::Known(Waiting::Network),
        Some(Kind::File) => Answer::File(argument(0)),
        Some(Kind::Poll) => Answer::Events { ends: is_finite(2) },
        Some(Kind::EpollWait) => Answer::Events { ends: is_finite(3) },
        Some(Kind::PointerWait(at)) => Answer::Events {
            ends: argument(at) != 0,
        },
    }
}

/// Whether a process has a socket of TCP or UDP. A pair that only wakes its own event loop, and a
/// socket of this machine's services, is none.
pub(super) fn has_socket(process: &Path) -> bool {
    let entries = std::fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    let inode = |link: std::path::PathBuf| {
        let name = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(name.to_owned())
    };
    let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let own: BTreeSet<String> = links.filter_map(inode).collect();
    let is_own = |line: &str| {
        line.split_ascii_whitespace()
            .nth(9)
            .is_some_and(|it| own.contains(it))
    };
    let lists = |name: &&str| {
        let table = std::fs::read_to_string(process.join("net").join(name));
        table.is_ok_and(|table| table.lines().any(is_own))
    };
    !own.is_empty() && ["tcp", "tcp6", "udp", "udp6"].iter().any(lists)
}

#[cfg(all(test, target_arch = "x86_64"))]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn answer(text: &str) -> Option<Answer> {
        Call::parse(text).map(|call| of(&call))
    }

    #[test]
    fn knows_what_calls_wait_for() {
        let zeros = " 0x0 0x0 0x0 0x0 0x0 0x0 0x7ffc 0x7f00\n";
        let known = |waiting| Some(Answer::Known(waiting));
        for (text, expected) in [
            (format!("230{zeros}"), known(Waiting::Sleep)),
            (
                format!("202{zeros}"),
                known(Waiting::Lock { is_sure: false }),
            ),
            (
                "202 0x1 0x2 0x3 0x4 0x5 0x6 0x7 0x8".into(),
                known(Waiting::Other),
            ),
            (format!("73{zeros}"), known(Waiting::Lock { is_sure: true })),
            (
                "72 0x3 0x7 0x0 0x0 0x0 0x0 0x1 0x2".into(),
                known(Waiting::Lock { is_sure: true }),
            ),
            (
                "72 0x3 0x1 0x0 0x0 0x0 0x0 0x1 0x2".into(),
                known(Waiting::Other),
            ),
            (format!("45{zeros}"), known(Waiting::Network)),
            (format!("61{zeros}"), known(Waiting::Other)),
            (
                "0 0x1f 0x0 0x0 0x0 0x0 0x0 0x1 0x2".into(),
                Some(Answer::File(31)),
            ),
            (
                "7 0x1 0x1 0xffffffff 0x0 0x0 0x0 0x1 0x2".into(),
                Some(Answer::Events { ends: false }),
            ),
            (
                "232 0x3 0x1 0x1 0x64 0x0 0x0 0x1 0x2".into(),
                Some(Answer::Events { ends: true }),
            ),
            (
                "270 0x1 0x1 0x0 0x0 0x7fff 0x0 0x1 0x2".into(),
                Some(Answer::Events { ends: true }),
            ),
            ("running\n".into(), None),
            ("-1 0x7ffc 0x7f00\n".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(answer(&text), expected, "{text}");
        }
        assert!(
            is_in_fault("-1 0x7ffc 0x7f00\n") && !is_in_fault("1 0x1") && !is_in_fault("running")
        );
    }

    #[test]
    fn tells_a_socket_of_the_internet_from_a_pair() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["fd", "net"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let table =
            "  sl  local_address\n   0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 4242 1\n";
        std::fs::write(at("net/tcp"), table).unwrap();
        std::os::unix::fs::symlink("socket:[7]", at("fd/3")).unwrap();
        assert!(!has_socket(folder.path()));
        std::os::unix::fs::symlink("socket:[4242]", at("fd/4")).unwrap();
        assert!(has_socket(folder.path()));
    }
}
