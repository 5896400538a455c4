//! Which imports of a pickle mean harm: what of Python runs code or reaches beyond the process.

/// How bad an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Danger {
    /// It reaches files, the network or the inside of objects, which a payload may use.
    Reaches,
    /// It runs commands or code, or hides what it is.
    Runs,
}

/// Modules, with all that lies in them, that run commands or code.
const RUNNING: [&str; 35] = [
    "_aix_support",
    "_osx_support",
    "_posixsubprocess",
    "_pyrepl",
    "_winapi",
    "antigravity",
    "asyncio.subprocess",
    "asyncio.unix_events",
    "bdb",
    "cProfile",
    "cffi",
    "code",
    "codeop",
    "commands",
    "ctypes",
    "distutils",
    "doctest",
    "ensurepip",
    "idlelib",
    "imp",
    "importlib",
    "marshal",
    "nt",
    "os",
    "pdb",
    "pip",
    "popen2",
    "posix",
    "profile",
    "pty",
    "runpy",
    "subprocess",
    "sys",
    "timeit",
    "webbrowser",
];

/// Single names that run commands or code: module, names.
const RUNNING_NAMES: [(&str, &[&str]); 13] = [
    ("builtins", BUILT_IN),
    ("__builtin__", BUILT_IN),
    ("__builtins__", BUILT_IN),
    ("_pickle", UNPICKLERS),
    ("cPickle", UNPICKLERS),
    ("dill", UNPICKLERS),
    ("joblib", UNPICKLERS),
    ("pickle", UNPICKLERS),
    ("numpy.testing._private.utils", &["runstring"]),
    ("numpy.testing.utils", &["runstring"]),
    ("pkgutil", &["resolve_name"]),
    ("torch.hub", &["load", "load_state_dict_from_url"]),
    ("types", &["CodeType", "FunctionType"]),
];

const BUILT_IN: &[&str] = &[
    "__import__",
    "apply",
    "breakpoint",
    "compile",
    "eval",
    "exec",
    "execfile",
    "file",
    "globals",
    "input",
    "open",
    "raw_input",
];

const UNPICKLERS: &[&str] = &["Unpickler", "load", "loads"];

/// Modules, with all that lies in them, that reach beyond the process.
const REACHING: [&str; 30] = [
    "aiohttp",
    "asyncio",
    "atexit",
    "cloudpickle",
    "fileinput",
    "ftplib",
    "gc",
    "glob",
    "http",
    "httplib",
    "httpx",
    "imaplib",
    "inspect",
    "linecache",
    "mmap",
    "multiprocessing",
    "poplib",
    "requests",
    "shutil",
    "signal",
    "site",
    "smtplib",
    "socket",
    "socketserver",
    "sqlite3",
    "tempfile",
    "trace",
    "urllib",
    "urllib2",
    "xmlrpc",
];

/// Single names that reach beyond the process or into objects: module, names.
const REACHING_NAMES: [(&str, &[&str]); 10] = [
    ("builtins", INTO_OBJECTS),
    ("__builtin__", INTO_OBJECTS),
    ("_io", FILES),
    ("io", FILES),
    ("codecs", &["open"]),
    ("logging.config", &["dictConfig", "fileConfig", "listen"]),
    ("operator", &["attrgetter", "methodcaller"]),
    ("_operator", &["attrgetter", "methodcaller"]),
    ("tarfile", &["open", "TarFile"]),
    ("zipfile", &["ZipFile"]),
];

const INTO_OBJECTS: &[&str] = &["delattr", "getattr", "locals", "setattr", "vars"];
const FILES: &[&str] = &["FileIO", "open", "open_code"];

/// Plain data that happens to live in such a module.
const HARMLESS: [(&str, &[&str]); 6] = [
    ("os", &["stat_result", "terminal_size"]),
    ("posix", &["stat_result", "terminal_size"]),
    ("nt", &["stat_result"]),
    ("sys", &["float_info", "int_info", "version_info"]),
    ("inspect", &["Parameter", "Signature", "_ParameterKind"]),
    ("http.cookies", &["Morsel", "SimpleCookie"]),
];

/// How bad an import is; `None` for what is harmless or not known to be anything else.
pub(super) fn of(module: &str, name: &str) -> Option<Danger> {
    let listed = |table: &[(&str, &[&str])]| {
        let mut of_module = table.iter().filter(|(other, _)| *other == module);
        // `a.b` of a module is `b` of what `a` is: the first step decides.
        let first = name.split('.').next().unwrap_or_default();
        of_module.any(|(_, names)| names.contains(&first))
    };
    let lies_in = |modules: &[&str]| {
        modules.iter().any(|other| {
            let rest = module.strip_prefix(other);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let is_plain = |text: &str| {
        let is_inner = |c: char| c.is_alphanumeric() || "_.<>".contains(c);
        !text.is_empty() && text.chars().all(is_inner)
    };
    if !is_plain(module) || !is_plain(name) {
        // Spelled with escapes, or computed: nobody who means well does that.
        return Some(Danger::Runs);
    }
    if listed(&HARMLESS) {
        return None;
    }
    if lies_in(&RUNNING) || listed(&RUNNING_NAMES) {
        return Some(Danger::Runs);
    }
    (lies_in(&REACHING) || listed(&REACHING_NAMES)).then_some(Danger::Reaches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_runs_what_reaches_and_what_is_plain_data() {
        let (runs, reaches) = (Some(Danger::Runs), Some(Danger::Reaches));
        for (module, name, danger) in [
            ("os", "system", runs),
            ("os.path", "join", runs),
            ("oslo.config", "x", None),
            ("posix", "system", runs),
            ("os", "stat_result", None),
            ("builtins", "eval", runs),
            ("builtins", "eval.__call__", runs),
            ("builtins", "getattr", reaches),
            ("builtins", "set", None),
            ("__builtin__", "apply", runs),
            ("shutil", "rmtree", reaches),
            ("socket", "socket", reaches),
            ("urllib.request", "urlopen", reaches),
            ("collections", "OrderedDict", None),
            ("torch._utils", "_rebuild_tensor_v2", None),
            ("numpy.core.multiarray", "_reconstruct", None),
            ("my.module", "Klass.<locals>.f", None),
            ("?", "system", runs),
            ("\\x6fs", "system", runs),
            ("", "", runs),
        ] {
            assert_eq!(of(module, name), danger, "{module}.{name}");
        }
    }
}
