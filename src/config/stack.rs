//! `[stack.NAME]`

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::tz::TimeZone;

use super::{
    Name, SecretSource, Vault,
    reader::{Field, NamedSections, Read, Section},
    values::duration,
};
use crate::{
    domain::{
        guard::RequireApproval,
        reference,
        window::{Days, Freeze, TimeOfDay, Window, parse_day},
    },
    manifest::{self, Authentication, Environment, Keyless, OpenApi, PatchSource, Template},
    webhook::RefName,
};

const DEFAULT_BRANCH: &str = "main";
const DEFAULT_INCLUDE: [&str; 5] = ["**/*.yaml", "**/*.yml", "**/*.json", "**/*.pem", "**/*.crt"];
const DEFAULT_DELETION_LIMIT: u32 = 3;
const MOST_WINDOWS: usize = 64;
const MOST_VALUES_FILES: usize = 64;
const MOST_SECRETS: usize = 1_000;
const DEFAULT_APPROVAL_VALID: Duration = Duration::from_hours(24);
const SHORTEST_APPROVAL_VALID: Duration = Duration::from_mins(1);
const LONGEST_APPROVAL_VALID: Duration = Duration::from_hours(30 * 24);

#[derive(Clone, Debug)]
pub struct Stack {
    pub repository: Name,
    pub branch: RefName,
    pub path: RepositoryPath,
    pub target: Name,
    pub drift: DriftPolicy,
    /// Whether owned objects that left Git are deleted.
    pub prune: bool,
    /// More deletions than this within 24 hours wait for an approval.
    pub deletion_limit: u32,
    /// Objects that are never deleted without an approval.
    pub protect: Protect,
    pub require_approval: RequireApproval,
    /// When nothing goes live by itself, and the clock of the stack.
    pub freeze: Freeze,
    /// How many people must approve; 1 at least.
    pub min_approvers: u32,
    /// Whether an approval without a token counts, from the command line straight at the database.
    pub allow_local_approval: bool,
    /// How long an approval may wait to be carried out.
    pub approval_valid: Duration,
    pub files: FileFilter,
    /// Values, patches, and what plain OpenAPI documents become.
    pub environment: Environment,
    /// What the manifests may refer to as `${secret:NAME}`.
    pub secrets: BTreeMap<String, SecretSource>,
    /// What to say of an API that everybody can call.
    pub keyless: Keyless,
    /// Whether a warning about a manifest stops a run as a problem does.
    pub strict: bool,
}

/// What to do when the live state differs from what the last run left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftPolicy {
    /// Tell, and leave it to the next run to put it back.
    Report,
    /// Put back what Git says.
    Revert,
    /// Put it back once somebody has approved that.
    Approve,
}

/// Globs over an object's `kind/id`, its id and its name; `*` crosses every character.
#[derive(Clone, Debug, Default)]
pub struct Protect(GlobSet);

impl Protect {
    pub fn names(&self, kind_and_id: &str, id: &str, name: &str) -> bool {
        [kind_and_id, id, name]
            .iter()
            .any(|text| self.0.is_match(text))
    }
}

/// A folder of a repository, `/` between its parts and none around them; empty for the whole repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryPath(String);

/// Which files of the folder are manifests. Patterns are of paths below the stack's folder; `*` stays within
/// one folder, `**` does not.
#[derive(Clone, Debug)]
pub struct FileFilter {
    include: Patterns,
    exclude: Patterns,
}

/// Patterns that are known to be valid, and their texts for whoever reads the files.
#[derive(Clone, Debug, Default)]
struct Patterns {
    texts: Vec<String>,
    globs: GlobSet,
}

impl RepositoryPath {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let is_plain = |part: &str| {
            let is_git = part.eq_ignore_ascii_case(".git");
            !part.is_empty() && part != "." && part != ".." && !is_git
        };
        let is_valid = text.is_empty() || text.split('/').all(is_plain);
        let is_text = !text.contains('\\') && !text.chars().any(char::is_control);
        if is_valid && is_text {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "must be a folder of the repository, like \"apis/shop\": no leading /, no . or .. parts, no \\",
            )
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FileFilter {
    pub fn new(include: &[&str], exclude: &[&str]) -> Result<Self, globset::Error> {
        Ok(Self {
            include: Patterns::new(include)?,
            exclude: Patterns::new(exclude)?,
        })
    }

    /// `path` is relative to the stack's folder.
    pub fn matches(&self, path: &str) -> bool {
        self.include.globs.is_match(path) && !self.exclude.globs.is_match(path)
    }

    pub fn include(&self) -> &[String] {
        &self.include.texts
    }

    pub fn exclude(&self) -> &[String] {
        &self.exclude.texts
    }
}

/// What the rest of the file says about approvals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Approvals {
    /// Whoever can open the embedded mode's folder owns everything in it anyway.
    pub(super) is_embedded: bool,
    /// How many people the file names.
    pub(super) people: usize,
}

pub(super) fn read(
    section: &Section<'_>,
    repositories: &BTreeSet<&Name>,
    targets: &BTreeSet<&Name>,
    approvals: Approvals,
) -> Read<Stack> {
    let repository = section
        .required("repository")
        .and_then(|field| field.name_among("repository", repositories));
    let branch = section.optional("branch", |field| field.parse(branch_name));
    let path = section.or_default("path", RepositoryPath::default(), |field| {
        field.parse(RepositoryPath::parse)
    });
    let target = section
        .required("target")
        .and_then(|field| field.name_among("target", targets));
    let drift = section.or_default("drift", DriftPolicy::Report, |field| {
        field.parse(drift_policy)
    });
    let prune = section.or_default("prune", true, Field::boolean);
    let deletion_limit = section.or_default("deletion_limit", DEFAULT_DELETION_LIMIT, Field::count);
    let protect = section.or_default("protect", Protect::default(), read_protect);
    let require_approval =
        section.or_default("require_approval", RequireApproval::default(), |field| {
            field.parse(require_approval)
        });
    let freeze = read_freeze(section);
    let allow_local_approval = section.or_default(
        "allow_local_approval",
        approvals.is_embedded,
        Field::boolean,
    );
    let min_approvers = section.or_default("min_approvers", 1, |field| {
        read_min_approvers(field, allow_local_approval, approvals.people)
    });
    let approval_valid = section.or_default("approval_valid", DEFAULT_APPROVAL_VALID, |field| {
        field.parse(duration(SHORTEST_APPROVAL_VALID, LONGEST_APPROVAL_VALID))
    });
    let environment = read_environment(section);
    let keyless = section.or_default("allow_keyless", Keyless::default(), |field| {
        field.boolean().map(Keyless::of)
    });
    let strict = section.or_default("strict", false, Field::boolean);
    let include = section.optional("include", read_globs);
    let exclude = section.optional("exclude", read_globs);
    let secrets = section.or_default("secrets", BTreeMap::new(), read_secrets);
    let include = match include? {
        Some(include) => include,
        None => built_in(section, Patterns::new(&DEFAULT_INCLUDE))?,
    };
    let branch = match branch? {
        Some(branch) => branch,
        None => built_in(section, branch_name(DEFAULT_BRANCH))?,
    };
    Ok(Stack {
        repository: repository?,
        branch,
        path: path?,
        target: target?,
        drift: drift?,
        prune: prune?,
        deletion_limit: deletion_limit?,
        protect: protect?,
        require_approval: require_approval?,
        freeze: freeze?,
        min_approvers: min_approvers?,
        allow_local_approval: allow_local_approval?,
        approval_valid: approval_valid?,
        files: FileFilter {
            include,
            exclude: exclude?.unwrap_or_default(),
        },
        environment: environment?,
        secrets: secrets?,
        keyless: keyless?,
        strict: strict?,
    })
}

fn read_environment(section: &Section<'_>) -> Read<Environment> {
    let values = section.or_default("values", Vec::new(), |field| {
        if field.is_text() {
            return Ok(vec![read_file_path(field)?]);
        }
        let items = field.items()?;
        if items.len() > MOST_VALUES_FILES {
            return Err(field.problem(&format!("has more than {MOST_VALUES_FILES} files")));
        }
        items.iter().map(read_file_path).collect()
    });
    let patches = section.or_default("patches", Vec::new(), |field| {
        let items: Vec<Read<PatchSource>> = field.items()?.iter().map(read_patch).collect();
        items.into_iter().collect()
    });
    let openapi = match section.table("openapi") {
        Ok(table) => table.map(|table| read_openapi(&table)).transpose(),
        Err(absent) => Err(absent),
    };
    Ok(Environment {
        values: values?,
        patches: patches?,
        openapi: openapi?,
    })
}

fn read_file_path(field: &Field<'_>) -> Read<String> {
    field.parse(|text| match RepositoryPath::parse(text) {
        Ok(path) if !path.as_str().is_empty() => Ok(path.as_str().to_owned()),
        _ => Err(
            "must be a file of the repository, seen from its root, like \"env/production.yaml\"",
        ),
    })
}

fn read_patch(field: &Field<'_>) -> Read<PatchSource> {
    if field.is_text() {
        return read_file_path(field).map(PatchSource::File);
    }
    let patch = field.json()?;
    manifest::check_patch(&patch).map_err(|problem| field.problem(&problem))?;
    Ok(PatchSource::Inline {
        name: field.place(),
        patch,
    })
}

fn read_openapi(section: &Section<'_>) -> Read<OpenApi> {
    let listen_path = section
        .required("listen_path")
        .and_then(|field| field.parse(Template::listen_path));
    let upstream = section.optional("upstream", |field| field.parse(Template::parse));
    // Nothing is open to everybody because somebody forgot a line.
    let authentication = section.required("authentication").and_then(|field| {
        field.parse(|text| {
            let found = Authentication::WORDS.iter().find(|(word, _)| *word == text);
            found
                .map(|(_, authentication)| *authentication)
                .ok_or("must be \"none\", \"token\" or \"document\"")
        })
    });
    section.refuse_unknown_keys();
    Ok(OpenApi {
        listen_path: listen_path?,
        upstream: upstream?,
        authentication: authentication?,
    })
}

/// Two stacks may overlap, each object still has one owner. Two that are the same would fight over all.
pub(super) fn refuse_twins(sections: &NamedSections<'_>, stacks: &BTreeMap<Name, Stack>) {
    let mut first_with = BTreeMap::new();
    for (name, stack) in stacks {
        let content = (&stack.target, &stack.repository, &stack.branch, &stack.path);
        let Some(first) = first_with.get(&content) else {
            first_with.insert(content, name);
            continue;
        };
        if let Some(section) = sections.get(name) {
            section.problem(&format!(
                "has the target, repository, branch and path of stack.{first}; give it another path or remove it"
            ));
        }
    }
}

/// A secret can be in Vault only where the file says which one.
pub(super) fn refuse_vault_without_section(
    sections: &NamedSections<'_>,
    stacks: &BTreeMap<Name, Stack>,
    vault: &Read<Option<Vault>>,
) {
    if !matches!(vault, Ok(None)) {
        return;
    }
    for (name, stack) in stacks {
        let is_in_vault = |source: &SecretSource| matches!(source, SecretSource::Vault(_));
        let needs_vault = stack.secrets.iter().find(|(_, source)| is_in_vault(source));
        if let (Some((secret, _)), Some(section)) = (needs_vault, sections.get(name)) {
            let message =
                format!("the secret {secret} is in Vault, and the file has no [vault] section");
            section.problem(&message);
        }
    }
}

fn read_secrets(field: &Field<'_>) -> Read<BTreeMap<String, SecretSource>> {
    let entries = field.entries()?;
    if entries.len() > MOST_SECRETS {
        return Err(field.problem(&format!("has more than {MOST_SECRETS} secrets")));
    }
    let secrets: Vec<Read<_>> = entries
        .iter()
        .map(|(name, field)| {
            if !reference::is_name(name) {
                return Err(field.problem(&"a secret's name is 1 to 63 letters, digits, _ and -"));
            }
            Ok(((*name).to_owned(), field.secret_source()?))
        })
        .collect();
    secrets.into_iter().collect()
}

pub(super) fn branch_name(text: &str) -> Result<RefName, String> {
    if text.starts_with("refs/") {
        return Err("is the short name of a branch, like \"main\", without refs/heads/".to_owned());
    }
    RefName::parse(text).map_err(|error| error.to_string())
}

fn drift_policy(text: &str) -> Result<DriftPolicy, &'static str> {
    match text {
        "report" => Ok(DriftPolicy::Report),
        "revert" => Ok(DriftPolicy::Revert),
        "approve" => Ok(DriftPolicy::Approve),
        _ => Err("must be \"report\", \"revert\" or \"approve\""),
    }
}

fn require_approval(text: &str) -> Result<RequireApproval, &'static str> {
    RequireApproval::WORDS
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, rule)| *rule)
        .ok_or("must be \"always\", \"deletions\" or \"never\"")
}

fn read_min_approvers(field: &Field<'_>, local: Read<bool>, people: usize) -> Read<u32> {
    let count = field.count()?;
    if count == 0 {
        return Err(field.problem(&"must be 1 or more; require_approval = \"never\" asks for none"));
    }
    if matches!(local, Ok(false)) && usize::try_from(count).is_ok_and(|count| count > people) {
        return Err(field.problem(&format!(
            "is more than the {people} people whom the file names, so that nothing could ever be approved; add a [person.…] section"
        )));
    }
    Ok(count)
}

fn read_protect(field: &Field<'_>) -> Read<Protect> {
    let mut builder = GlobSetBuilder::new();
    let items: Vec<Read<()>> = field
        .items()?
        .iter()
        .map(|item| {
            item.parse(|pattern| {
                GlobBuilder::new(pattern).build().map(|glob| {
                    builder.add(glob);
                })
            })
        })
        .collect();
    items.into_iter().collect::<Read<()>>()?;
    builder
        .build()
        .map(Protect)
        .map_err(|error| field.problem(&error))
}

fn read_freeze(section: &Section<'_>) -> Read<Freeze> {
    let time_zone = section.or_default("time_zone", TimeZone::UTC, |field| {
        field.parse(|name| {
            TimeZone::get(name).map_err(|_| {
                format!("there is no time zone {name:?}; write a name like \"Europe/Berlin\"")
            })
        })
    });
    let Some(field) = section.field("freeze") else {
        return Freeze::new(Vec::new(), time_zone?).map_err(|error| section.problem(&error));
    };
    let items = field.items()?;
    if items.len() > MOST_WINDOWS {
        return Err(field.problem(&format!("has more than {MOST_WINDOWS} windows")));
    }
    let windows: Vec<Read<Window>> = items.iter().map(read_window).collect();
    let windows = windows.into_iter().collect::<Read<Vec<Window>>>()?;
    Freeze::new(windows, time_zone?).map_err(|error| field.problem(&error))
}

fn read_window(field: &Field<'_>) -> Read<Window> {
    let window = field.section()?;
    let days = window.or_default("days", Days::ALL, |field| {
        let days: Vec<Read<_>> = field
            .items()?
            .iter()
            .map(|day| day.parse(parse_day))
            .collect();
        let days = days.into_iter().collect::<Read<Vec<_>>>()?;
        Days::new(days).map_err(|error| field.problem(&error))
    });
    let time = |field: &Field<'_>| field.parse(str::parse::<TimeOfDay>);
    let from = window.or_default("from", TimeOfDay::START, time);
    let to = window.or_default("to", TimeOfDay::END, time);
    window.refuse_unknown_keys();
    let (from, to) = (from?, to?);
    Window::new(days?, from, to).map_err(|error| field.problem(&error))
}

fn read_globs(field: &Field<'_>) -> Read<Patterns> {
    let patterns: Vec<Read<String>> = field
        .items()?
        .iter()
        .map(|item| item.parse(|pattern| Patterns::new(&[pattern]).map(|_| pattern.to_owned())))
        .collect();
    let patterns = patterns.into_iter().collect::<Read<Vec<String>>>()?;
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    Patterns::new(&patterns).map_err(|error| field.problem(&error))
}

impl Patterns {
    fn new(patterns: &[&str]) -> Result<Self, globset::Error> {
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            builder.add(GlobBuilder::new(pattern).literal_separator(true).build()?);
        }
        Ok(Self {
            texts: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
            globs: builder.build()?,
        })
    }
}

pub(super) fn built_in<T, E: fmt::Display>(section: &Section<'_>, value: Result<T, E>) -> Read<T> {
    value.map_err(|error| section.problem(&error))
}
