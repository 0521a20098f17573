//! Commands in the docs: what evopressd, make and cargo are asked to do exists.

use std::process::Command;

use crate::places::repository;

/// Programs that readers have, or install as the docs say.
const OTHERS: [&str; 22] = [
    "apt-get",
    "cd",
    "cp",
    "curl",
    "cut",
    "dpkg-deb",
    "export",
    "git",
    "install",
    "jq",
    "kill",
    "llama-cli",
    "llama-server",
    "mkdir",
    "mv",
    "nvidia-smi",
    "pip",
    "promtool",
    "python3",
    "rustup",
    "systemctl",
    "useradd",
];

/// What is wrong with the commands of a block, one a line; a backslash continues a line, `#` begins
/// a comment.
pub(crate) fn mistakes(code: &str) -> Vec<String> {
    let joined = code.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .flat_map(simple_commands)
        .filter_map(|words| mistake(&words))
        .collect()
}

fn mistake(words: &[String]) -> Option<String> {
    // `VARIABLE=value program …`
    let mut words = words.iter().skip_while(|word| is_assignment(word));
    let program = words.next()?;
    let arguments: Vec<&str> = words.map(String::as_str).collect();
    let said = format!("`{program} {}`", arguments.join(" "));
    let wrong = match program.as_str() {
        "sudo" => {
            return mistake(
                &arguments
                    .iter()
                    .map(|it| (*it).to_owned())
                    .collect::<Vec<_>>(),
            );
        }
        "evopressd" => evopressd(&arguments),
        "make" => make(&arguments),
        "cargo" => cargo(&arguments),
        path if path.starts_with("scripts/") || path.starts_with("./") => {
            let there = repository().join(path).is_file();
            (!there).then(|| format!("there is no {path}"))
        }
        other => {
            let known = OTHERS.contains(&other);
            (!known).then(|| {
                "this program is not one that daemon/tests/docs/commands.rs knows".to_owned()
            })
        }
    };
    wrong.map(|wrong| format!("{said}: {wrong}"))
}

/// The words before `--help` are parsed first, so that a flag, a value or a command that does not
/// exist is refused.
fn evopressd(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evopressd"));
    let output = command.args(arguments).arg("--help").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then(|| said.lines().next().unwrap_or_default().to_owned())
}

fn make(arguments: &[&str]) -> Option<String> {
    let makefile = std::fs::read_to_string(repository().join("Makefile")).unwrap();
    let targets = arguments.iter().filter(|it| !is_assignment(it));
    let mut missing = targets.filter(|target| {
        let rule = format!("{target}:");
        !makefile.lines().any(|line| line.starts_with(&rule))
    });
    missing
        .next()
        .map(|target| format!("there is no target {target}"))
}

fn cargo(arguments: &[&str]) -> Option<String> {
    let after = |flag: &str| {
        let at = arguments.iter().position(|it| *it == flag)?;
        arguments.get(at + 1).copied()
    };
    let packages = packages();
    let package = after("-p").or(after("--package"));
    package
        .filter(|package| !packages.iter().any(|it| it == package))
        .map(|package| format!("the workspace has no package {package}"))
}

/// The names of the workspace's packages.
pub(crate) fn packages() -> Vec<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let output = command.current_dir(repository()).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect()
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|it| it.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
}

/// A line's commands, as words: pipes and `&&` separate them, what follows `>` is a file.
fn simple_commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut is_file = false;
    for word in words(line) {
        match word.as_str() {
            "|" | "&&" | "||" | ";" => commands.push(Vec::new()),
            ">" | ">>" | "2>" | "<" => is_file = true,
            "#" => break,
            _ if is_file => is_file = false,
            _ => {
                if let Some(command) = commands.last_mut() {
                    command.push(word);
                }
            }
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// Words of a shell line, with quotes taken off.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let check = |line: &str, expected: &str| {
        let found = mistakes(line).join("\n");
        assert!(
            found.contains(expected) && found.is_empty() == expected.is_empty(),
            "{line}: {found}"
        );
    };
    check(
        "evopressd run spec.yaml --json | jq '.evaluation[0]' > report.json",
        "",
    );
    check("evopressd cache prune --max-size 10GiB", "");
    check(
        "EVOPRESS_LOG=debug evopressd serve \\\n  --watch pipelines",
        "",
    );
    check("evopressd cache prune --max-size ten", "ten");
    check("evopressd rnu spec.yaml", "rnu");
    check(
        "evopressd run spec.yaml && make teste",
        "there is no target teste",
    );
    check("make test PIPELINE=x", "");
    check("cargo test -p evopress-spec", "");
    check("cargo test -p evopress-specs", "no package evopress-specs");
    check("scripts/nowhere.sh", "there is no scripts/nowhere.sh");
    check("evopress run", "not one that");
}
