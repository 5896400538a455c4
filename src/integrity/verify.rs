//! Proves a tree intact against its manifest, in four checks and a fixed order: parse strictly,
//! find the key, check the MAC, then consistency, time, and at last the files.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::checks::{check_consistency, compare, count_problems};
use super::parse::{self, ParseError, Parsed};
use super::section::{Check, Checks, Counters, Identity, Section};
use super::terms::check_times;
use super::tree::{self, Parts, Shared, problem_findings};
use super::{Manifest, RootRelation, Sealed};
use crate::base::files;
use crate::base::naming::{below, path_within, shown};
use crate::base::relpath::RelPath;
use crate::base::shard::Shard;
use crate::inventory::{self, Globs, Progress, TakeError};
use crate::report::{Finding, Resource, Verdict, codes};
use crate::seal::{Key, Keyring, Secret, Status, Weakness};

pub use super::terms::Terms;

/// What to verify, with what, and under which terms.
pub struct Request<'a> {
    /// The manifest; not a symbolic link.
    pub manifest: &'a Path,
    /// The tree; `None`: where the signed manifest says.
    pub input_dir: Option<&'a Path>,
    /// What will be written; refused where it would overwrite what was signed.
    pub outputs: &'a [&'a Path],
    /// Keys, with the ones that were revoked.
    pub keyring: &'a Keyring,
    /// What else must hold.
    pub terms: &'a Terms,
    /// Looks at matching paths only; the answer is then about that part alone.
    pub only: Option<&'a Globs>,
    /// Where the digest cache lives; `None`: every file is read.
    pub cache_dir: Option<&'a Path>,
    /// What others have read of the tree; `None`: nothing.
    pub parts: Option<Parts<'a>>,
    /// How far the work is, and whether to stop.
    pub progress: &'a Progress,
}

/// The answer about one manifest.
pub struct Verification {
    /// What was found; empty where all is well.
    pub findings: Vec<Finding>,
    /// The part of the report that is about this manifest.
    pub section: Section,
    /// What was read.
    pub resources: Vec<Resource>,
}

/// Why there is no answer at all about a manifest.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The report would overwrite a file that the manifest lists.
    #[error("the output `{0}` is a signed file")]
    OutputListed(String),
}

/// Verifies one manifest and its tree.
///
/// # Errors
/// An interruption, and an output that would overwrite what was signed. Whatever else goes wrong
/// is a finding about this manifest, so that others are still verified.
pub fn verify(request: &Request<'_>) -> Result<Verification, VerifyError> {
    let mut verification = Verification::begin(request);
    match parse_manifest(request.manifest) {
        Ok(parsed) => verification.judge(request, parsed)?,
        Err(finding) => {
            let finding = finding.at(shown(request.manifest));
            verification.section.checks.manifest_consistency =
                Check::of(std::slice::from_ref(&finding));
            verification.findings.push(finding);
        }
    }
    verification.conclude();
    Ok(verification)
}

/// A shard of a tree that is to be verified once all of it has been read.
#[derive(Clone, Copy, Debug)]
pub struct ShareRequest<'a> {
    /// The manifest, of which nothing is proven: a shard needs no key, and only learns from it what it need not
    /// read. Whoever judges authenticates it, and makes sure that it is the same.
    pub manifest: &'a Path,
    /// The tree: where an unproven manifest says that it lies does not count.
    pub input_dir: &'a Path,
    /// Looks at matching paths only.
    pub only: Option<&'a Globs>,
    /// How far the work is, and whether to stop.
    pub progress: &'a Progress,
}

/// Why there is nothing read of a shard.
#[derive(Debug)]
pub enum ShareError {
    /// The manifest cannot be used.
    Manifest(Finding),
    /// The tree cannot be opened, or somebody asked to stop.
    Take(TakeError),
}

/// Reads a shard of a tree: of its files those that the manifest lists, where their sizes leave a doubt.
///
/// # Errors
/// As [`ShareError`] says.
pub fn share(request: &ShareRequest<'_>, shard: Shard) -> Result<Shared, ShareError> {
    let at_path = |finding: Finding| ShareError::Manifest(finding.at(shown(request.manifest)));
    let sealed = parse_manifest(request.manifest).map_err(at_path)?.sealed;
    let excludes = compile_excludes(&sealed).map_err(at_path)?;
    let mut exempt = sealed.manifest.options.exempt.clone();
    exempt.extend(path_within(request.input_dir, request.manifest));
    let expected = match request.only {
        None => sealed.manifest.inventory,
        Some(only) => sealed.manifest.inventory.filtered(only),
    };
    let asked = inventory::Request {
        root: request.input_dir,
        excludes: &excludes,
        exempt: &exempt,
        expected: Some(&expected),
        progress: request.progress,
    };
    tree::share(&asked, (shard, None)).map_err(ShareError::Take)
}

/// Reads a manifest for another purpose than judging its tree: only an authentic one is given.
///
/// # Errors
/// The finding that says why it is not.
pub fn read_authentic(path: &Path, keyring: &Keyring) -> Result<Sealed, Finding> {
    let parsed = parse_manifest(path).map_err(|finding| finding.at(shown(path)))?;
    let at_path = |finding: Finding| finding.at(shown(path));
    if let Some(text) = parsed.contradiction {
        return Err(at_path(Finding::new(&codes::MANIFEST_INCONSISTENT, text)));
    }
    let (_, secret) = find_secret(&parsed.sealed, keyring).map_err(at_path)?;
    match parsed.sealed.is_authentic(&secret) {
        Ok(true) => Ok(parsed.sealed),
        _ => Err(at_path(invalid_signature(&parsed.sealed))),
    }
}

/// Reads a manifest that is to be carried on: whatever verification would object to before it
/// looks at files, is objected to here.
///
/// # Errors
/// All objections; at least one.
pub(super) fn read_verified(
    (path, root): (&Path, &Path),
    keyring: &Keyring,
    terms: &Terms,
) -> Result<Sealed, Vec<Finding>> {
    let parsed = parse_manifest(path).map_err(|finding| vec![finding.at(shown(path))])?;
    let (_, mut findings) = check_signature(&parsed, keyring);
    if Verdict::of(&findings) == Verdict::Pass {
        let own = path_within(root, path);
        match compile_excludes(&parsed.sealed) {
            Ok(excludes) => {
                let place = (own.as_ref(), &excludes);
                findings.extend(check_consistency(&parsed.sealed, place, terms));
            }
            Err(finding) => findings.push(finding),
        }
        findings.extend(check_times(&parsed.sealed, terms));
    }
    match Verdict::of(&findings) {
        Verdict::Pass => Ok(parsed.sealed),
        _ => Err(findings
            .into_iter()
            .map(|finding| finding.at(shown(path)))
            .collect()),
    }
}

/// What should be said of a weak secret.
pub(super) fn weakness(secret: &Secret) -> Option<Finding> {
    let message = match secret.weakness()? {
        Weakness::Placeholder => "the signing secret is a placeholder that everybody knows".into(),
        Weakness::Short { found_bytes } => {
            format!(
                "the signing secret has {found_bytes} bytes; 32 random bytes are as strong as the signature"
            )
        }
    };
    Some(Finding::new(&codes::KEY_WEAK, message))
}

fn parse_manifest(path: &Path) -> Result<Parsed, Finding> {
    let file = files::open_regular_no_link(path).map_err(|error| {
        let is_link = path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        match is_link {
            true => Finding::new(&codes::MANIFEST_SYMLINK, "the manifest is a symbolic link"),
            false => Finding::new(&codes::MANIFEST_UNREADABLE, error.in_full()),
        }
    })?;
    parse::read(file).map_err(|error| {
        let code = match &error {
            ParseError::Read(_) => &codes::MANIFEST_UNREADABLE,
            ParseError::Malformed(_) => &codes::MANIFEST_MALFORMED,
            ParseError::Legacy => &codes::MANIFEST_LEGACY_FORMAT,
            ParseError::Unsupported { .. } => &codes::MANIFEST_UNSUPPORTED_VERSION,
        };
        match error {
            ParseError::Read(source) => {
                Finding::new(code, format!("cannot read the manifest: {source}"))
            }
            other => Finding::new(code, other.to_string()),
        }
    })
}

fn find_secret<'k>(
    sealed: &Sealed,
    keyring: &'k Keyring,
) -> Result<(&'k Key, std::rc::Rc<Secret>), Finding> {
    let key_id = sealed.signature.key_id;
    let Some(key) = keyring.find(key_id) else {
        return Err(match keyring.active() {
            Ok(active) => Finding::new(
                &codes::SIGNATURE_UNKNOWN_KEY,
                format!(
                    "signed with key {key_id}; the secret from {} is key {}",
                    active.origin, active.id
                ),
            ),
            Err(_) if keyring.is_empty() => Finding::new(
                &codes::KEY_UNAVAILABLE,
                format!("signed with key {key_id}, and no signing secret is configured"),
            )
            .with_hint(
                "set POCKETMON_SIGN_SECRET, or give `--key-file`, `--key-command` or `--key-stdin`",
            ),
            Err(_) => Finding::new(
                &codes::SIGNATURE_UNKNOWN_KEY,
                format!("signed with key {key_id}"),
            ),
        });
    };
    if key.status == Status::Revoked {
        let text = format!("signed with key {key_id}, which was revoked");
        return Err(Finding::new(&codes::SIGNATURE_REVOKED_KEY, text));
    }
    match key.secret() {
        Ok(secret) => Ok((key, secret)),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let text = format!("{error}{}", cause.unwrap_or_default());
            Err(Finding::new(&codes::KEY_UNAVAILABLE, text))
        }
    }
}

fn invalid_signature(sealed: &Sealed) -> Finding {
    let key_id = sealed.signature.key_id;
    let text = format!("the manifest is not what key {key_id} signed");
    Finding::new(&codes::SIGNATURE_INVALID, text)
}

impl Verification {
    fn begin(request: &Request<'_>) -> Self {
        let section = Section {
            manifest: shown(request.manifest),
            root: None,
            status: "unknown",
            verdict: "error",
            scope: if request.only.is_some() {
                "partial"
            } else {
                "full"
            },
            identity: None,
            checks: Checks::NONE,
            counters: Counters::default(),
            exclude: Vec::new(),
            exempt: Vec::new(),
            reused: 0,
        };
        Self {
            findings: Vec::new(),
            section,
            resources: Vec::new(),
        }
    }

    /// Everything after parsing.
    fn judge(&mut self, request: &Request<'_>, parsed: Parsed) -> Result<(), VerifyError> {
        let sealed = &parsed.sealed;
        self.section.identity = Some(Identity::of(sealed));
        self.section
            .exclude
            .clone_from(&sealed.manifest.options.exclude);
        let manifest_path = shown(request.manifest);
        let at_manifest = |findings: Vec<Finding>| -> Vec<Finding> {
            findings
                .into_iter()
                .map(|finding| finding.at(manifest_path.clone()))
                .collect()
        };

        let (secret, findings) = check_signature(&parsed, request.keyring);
        let findings = at_manifest(findings);
        let authentic = Verdict::of(&findings) == Verdict::Pass;
        self.section.checks.signature_validity = Check::of(&findings);
        self.findings.extend(findings);
        let (true, Some(secret)) = (authentic, secret) else {
            return Ok(());
        };

        let located = locate((request.manifest, request.input_dir), &sealed.manifest);
        let own = located
            .as_ref()
            .ok()
            .and_then(|located| located.own_path.clone());
        let excludes = compile_excludes(sealed);
        let findings = at_manifest(match &excludes {
            Ok(excludes) => check_consistency(sealed, (own.as_ref(), excludes), request.terms),
            Err(finding) => vec![finding.clone()],
        });
        self.section.checks.manifest_consistency = Check::of(&findings);
        self.findings.extend(findings);

        let findings = at_manifest(check_times(sealed, request.terms));
        self.section.checks.timestamp_validation = Check::of(&findings);
        self.findings.extend(findings);

        if let Ok(located) = &located {
            for output in request.outputs {
                let findings = check_output(output, &sealed.manifest, &located.root)?;
                self.findings.extend(findings);
            }
        }
        let findings = match (located, excludes) {
            (Ok(located), Ok(excludes)) => {
                self.check_files(request, (sealed, &excludes), (&located, &secret))?
            }
            (Err(finding), _) => at_manifest(vec![finding]),
            // Told of before; without them nothing can be said of the files.
            (_, Err(_)) => return Ok(()),
        };
        self.section.checks.file_integrity = Check::of(&findings);
        self.findings.extend(findings);
        Ok(())
    }

    fn check_files(
        &mut self,
        request: &Request<'_>,
        (sealed, excludes): (&Sealed, &Globs),
        (located, secret): (&Located, &Secret),
    ) -> Result<Vec<Finding>, VerifyError> {
        let options = &sealed.manifest.options;
        let mut exempt = options.exempt.clone();
        exempt.extend(located.own_path.clone());
        let root = shown(&located.root);
        self.section.root = Some(root.clone());
        let expected = match request.only {
            None => Cow::Borrowed(&sealed.manifest.inventory),
            Some(only) => Cow::Owned(sealed.manifest.inventory.filtered(only)),
        };
        let asked = inventory::Request {
            root: &located.root,
            excludes,
            exempt: &exempt,
            expected: Some(&expected),
            progress: request.progress,
        };
        let cache = request.cache_dir.map(|directory| (directory, secret));
        let taken = match &request.parts {
            Some(parts) => tree::take_parts(&asked, parts, None).map(|taken| (taken, Vec::new())),
            None => tree::take(&asked, cache),
        };
        let (mut taken, mut findings) = match taken {
            Ok(taken) => taken,
            Err(TakeError::Interrupted) => return Err(VerifyError::Interrupted),
            Err(error @ TakeError::Open { .. }) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let text = format!("{error}: {}", cause.unwrap_or_default());
                return Ok(vec![Finding::new(&codes::FILE_UNREADABLE, text).at(root)]);
            }
        };
        self.section.exempt = exempt.iter().map(|path| below(&root, path)).collect();
        self.section.reused = taken.cache.reused;
        if let Some(only) = request.only {
            findings.push(narrow(&mut taken, only).at(root.clone()));
        }
        let counters = &mut self.section.counters;
        counters.excluded = taken.skipped.excluded;
        count_problems(&taken.problems, counters);
        findings.extend(problem_findings(&taken.problems, &root));
        let differences = compare(&expected, &taken, (&root, counters));
        // Where something differs, not all of it was read.
        let sha256 = differences.is_empty().then(|| taken.inventory.digest());
        self.resources.push(Resource {
            path: root,
            access: "read",
            sha256,
        });
        findings.extend(differences);
        Ok(findings)
    }

    fn conclude(&mut self) {
        self.findings.sort();
        let verdict = Verdict::of(&self.findings);
        self.section.verdict = verdict.word();
        self.section.status = match (verdict, self.section.scope) {
            (Verdict::Pass, "full") => "valid",
            (Verdict::Pass, _) => "partial",
            (Verdict::Error, _) => "unknown",
            _ => "invalid",
        };
        let path = self.section.manifest.clone();
        self.resources.push(Resource {
            path,
            access: "read",
            sha256: None,
        });
    }
}

fn check_signature(
    parsed: &Parsed,
    keyring: &Keyring,
) -> (Option<std::rc::Rc<Secret>>, Vec<Finding>) {
    let sealed = &parsed.sealed;
    let (key, secret) = match find_secret(sealed, keyring) {
        Ok(found) => found,
        Err(finding) => return (None, vec![finding]),
    };
    if let Some(text) = &parsed.contradiction {
        return (
            None,
            vec![Finding::new(&codes::MANIFEST_INCONSISTENT, text.clone())],
        );
    }
    let mut findings = Vec::new();
    match sealed.is_authentic(&secret) {
        Ok(true) => {}
        Ok(false) => return (None, vec![invalid_signature(sealed)]),
        Err(error) => {
            return (
                None,
                vec![Finding::new(&codes::MANIFEST_MALFORMED, error.to_string())],
            );
        }
    }
    if !key.covers(sealed.signature.signed_at) {
        let signed_at = sealed.signature.signed_at.to_seconds_string();
        let text = format!("signed at {signed_at}, when key {} was not in use", key.id);
        findings.push(Finding::new(&codes::SIGNATURE_KEY_PERIOD, text));
    }
    findings.extend(weakness(&secret));
    (Some(secret), findings)
}

/// The globs of an authentic manifest: compiling is dear, so that a stranger's are only read.
fn compile_excludes(sealed: &Sealed) -> Result<Globs, Finding> {
    Globs::compile(&sealed.manifest.options.exclude)
        .map_err(|error| Finding::new(&codes::MANIFEST_MALFORMED, error.to_string()))
}

/// Keeps of a walk what was asked for, and says that it is a part.
fn narrow(taken: &mut inventory::Taken, only: &Globs) -> Finding {
    taken.inventory = taken.inventory.filtered(only);
    taken.problems.retain(|problem| {
        let path = problem.path.as_ref();
        path.is_none_or(|path| only.excludes(path))
    });
    let text = format!("only `{}` was looked at", only.patterns().join("`, `"));
    Finding::new(&codes::SCOPE_PARTIAL, text)
}

/// Refuses to overwrite a signed file, and warns of one that will not be known to the tree.
fn check_output(
    output: &Path,
    manifest: &Manifest,
    root: &Path,
) -> Result<Option<Finding>, VerifyError> {
    let Some(path) = path_within(root, output) else {
        return Ok(None);
    };
    if manifest.inventory.get(&path).is_some() {
        return Err(VerifyError::OutputListed(shown(output)));
    }
    let known = manifest
        .options
        .exempt
        .iter()
        .any(|exempt| path.is_within(exempt));
    let text = "it lies inside the signed tree, which does not exempt it";
    Ok((!known).then(|| Finding::new(&codes::OUTPUT_UNLISTED, text).at(shown(output))))
}

/// Whether something new at `path` would make the manifest's tree look changed: it would lie
/// inside, and the manifest does not exempt it. Nothing is authenticated: good only for deciding
/// to leave a place alone.
pub fn is_disturbed((manifest, input_dir): (&Path, Option<&Path>), path: &Path) -> bool {
    let parsed = parse_manifest(manifest).map(|parsed| parsed.sealed.manifest);
    let located = parsed
        .as_ref()
        .map(|parsed| locate((manifest, input_dir), parsed));
    let root = match &located {
        Ok(Ok(located)) => &located.root,
        _ => input_dir.unwrap_or_else(|| files::parent_of(manifest)),
    };
    // Of several directories to be made, the outermost is what the tree would notice.
    let mut made = path.ancestors();
    let outermost = made.find(|made| files::parent_of(made).is_dir());
    let path = outermost.unwrap_or(path);
    let exempt = parsed.as_ref().map(|parsed| &parsed.options.exempt[..]);
    let exempt = exempt.unwrap_or_default();
    path_within(root, path).is_some_and(|path| !exempt.iter().any(|exempt| path.is_within(exempt)))
}

/// The root that an authentic manifest names.
pub(super) fn root_of(path: &Path, sealed: &Sealed) -> Result<PathBuf, Finding> {
    locate((path, None), &sealed.manifest).map(|located| located.root)
}

/// Where a tree lies.
struct Located {
    root: PathBuf,
    /// The manifest's own path in the tree; `None` where it lies outside.
    own_path: Option<RelPath>,
}

/// Finds the root, from what the user says or else from what was signed.
fn locate(
    (path, input_dir): (&Path, Option<&Path>),
    manifest: &Manifest,
) -> Result<Located, Finding> {
    let directory = files::parent_of(path);
    let root = match (input_dir, manifest.root) {
        (Some(root), _) => root.to_owned(),
        (None, RootRelation::Up(levels)) => {
            let mut root = directory.to_owned();
            root.extend(std::iter::repeat_n("..", levels));
            root
        }
        (None, RootRelation::Elsewhere) => {
            let text = "the manifest lies outside its tree";
            return Err(Finding::new(&codes::MANIFEST_ROOT_UNKNOWN, text));
        }
    };
    Ok(Located {
        own_path: path_within(&root, path),
        root,
    })
}
