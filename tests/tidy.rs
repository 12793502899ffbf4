//! The house rules that no compiler checks: who may import whom, where SQL may be, how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

/// Longer than this, a file holds two ideas.
const LINES: usize = 600;

/// Modules of the crate, and those that each may import besides itself. What is not listed (the command line, the node,
/// the demo) stands on top and may import everything.
const MAY_IMPORT: [(&str, &[&str]); 10] = [
    ("core", &[]),
    ("clock", &["core"]),
    ("cities", &["core"]),
    ("wire", &["core"]),
    ("cluster", &["core", "wire", "clock"]),
    ("store", &["core", "wire", "clock", "cities"]),
    ("engine", &["core", "wire", "clock", "cluster", "store"]),
    ("http", &["core", "wire", "clock", "cities", "cluster", "store", "engine", "telemetry"]),
    // What an app does: only what an app can see.
    ("client", &["core", "wire", "clock", "cities"]),
    ("postgres", &["clock"]),
];

/// Crates that the pure core may use. None of them knows a clock, a socket, a file or a global source of chance.
const CORE_CRATES: [&str; 12] = [
    "arc_swap",
    "arcstr",
    "h3o",
    "libm",
    "loom",
    "rstar",
    "rust_decimal",
    "serde",
    "serde_json",
    "smallvec",
    "thiserror",
    "uuid",
];

/// Fields of answers that are a `Decimal` and no sum of money: lengths, stars.
const NO_SUMS: [&str; 2] = ["distance_km", "min_rating"];

struct Source {
    /// From the root of the project.
    path: String,
    /// The whole text.
    text: String,
    /// The text without comments and without its test module.
    code: String,
}

impl Source {
    /// `src/store/users.rs` -> `store`
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or_default();
        inside.split(['/', '.']).next().unwrap_or_default()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        let mut entries: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push(Source { code: code_of(&path, &text), path, text });
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {dir}");
    found
}

fn code_of(path: &str, text: &str) -> String {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return String::new();
    }
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let starts_tests = line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod "));
        if starts_tests && lines.peek().is_some_and(|next| next.ends_with('{')) {
            break; // the test module is the last thing in a file
        }
        let uncommented = line.split_once("//").map_or(line, |(before, _)| before);
        // `https://` in a string is no comment; what is cut from a string is no import either.
        code.push_str(uncommented);
        code.push('\n');
    }
    code
}

/// `crate::a::b` and `crate::{a::b, c}` -> a, c
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for after in code.split("crate::").skip(1) {
        let names: Vec<String> = match after.strip_prefix('{') {
            Some(group) => top_level(group),
            None => vec![after.to_owned()],
        };
        found.extend(names.iter().map(|name| {
            name.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        }));
    }
    found
}

/// The parts of `a::{b, c}, d}...` between commas that are in no inner braces.
fn top_level(group: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            other => parts.last_mut().unwrap().push(other),
        }
    }
    parts
}

fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_run_one_way() {
    let mut faults = Vec::new();
    for source in sources("src") {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(module, _)| *module == source.module()) else { continue };
        for name in imports(&source.code) {
            if name != source.module() && !allowed.contains(&name.as_str()) && name.chars().all(|c| !c.is_uppercase()) {
                faults.push(format!("{} imports {name}, allowed: {allowed:?}", source.path));
            }
        }
    }
    none(faults);
}

#[test]
fn the_core_uses_only_pure_crates() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let barred: Vec<String> = dependencies
        .lines()
        .filter_map(|line| line.split(['.', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(|name| name.replace('-', "_"))
        .filter(|name| !CORE_CRATES.contains(&name.as_str()))
        .collect();
    assert!(barred.contains(&"tokio".to_owned()) && barred.contains(&"sqlx".to_owned()), "{barred:?}");
    let impure = ["std::fs", "std::net", "std::env", "std::process", "std::thread", "SystemTime", "std::io"];
    let mut faults = Vec::new();
    for source in sources("src/core") {
        let words: Vec<&str> = source.code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').collect();
        for name in &barred {
            if words.iter().any(|word| word.starts_with(&format!("{name}::"))) {
                faults.push(format!("{} uses the crate {name}, allowed: {CORE_CRATES:?}", source.path));
            }
        }
        faults.extend(
            impure.iter().filter(|name| source.code.contains(*name)).map(|name| format!("{}: {name}", source.path)),
        );
    }
    none(faults);
}

#[test]
fn sql_is_only_in_the_store() {
    let calls = ["sqlx::query", "query_as(", "query_as::<", "query_scalar(", "query_scalar::<", "raw_sql("];
    let statements = ["\"SELECT ", "\"INSERT INTO ", "\"UPDATE ", "\"DELETE FROM ", "\"WITH "];
    let mut faults = Vec::new();
    for source in sources("src").into_iter().chain(sources("load/src")) {
        // The private cluster makes databases, before there is one that a store could work on.
        if ["store", "postgres"].contains(&source.module()) {
            continue;
        }
        let found = calls.iter().chain(&statements).filter(|text| source.code.contains(*text));
        faults.extend(found.map(|text| format!("{} has {text}", source.path)));
    }
    none(faults);
}

#[test]
fn no_answer_writes_a_sum_as_a_bare_decimal() {
    // PostgreSQL's zero comes without its decimals: `Money` always writes both.
    let mut faults = Vec::new();
    for source in ["src/store", "src/wire", "src/http"].into_iter().flat_map(sources) {
        for (name, field) in decimals_written(&source.code) {
            if !NO_SUMS.contains(&&*field) {
                faults.push(format!("{}: {name}.{field} is a Decimal; a sum is core::money::Money", source.path));
            }
        }
    }
    none(faults);
}

/// The fields with a `Decimal`, of structs that become JSON.
fn decimals_written(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for derived in code.split("derive(").skip(1) {
        let Some((traits, rest)) = derived.split_once(')') else { continue };
        let Some((before, rest)) = rest.split_once("struct ") else { continue };
        if !traits.contains("Serialize") || before.contains(['{', ';']) {
            continue;
        }
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        let fields = rest.split("\n}").next().unwrap_or_default();
        for line in fields.lines().filter(|line| line.contains("Decimal")) {
            if let Some((field, _)) = line.trim().trim_start_matches("pub ").split_once(':') {
                found.push((name.clone(), field.to_owned()));
            }
        }
    }
    found
}

#[test]
fn no_file_is_too_long() {
    let all = ["src", "tests", "load/src"].into_iter().flat_map(sources);
    let long = all.filter(|source| source.text.lines().count() > LINES);
    none(
        long.map(|source| format!("{} has {} lines, allowed: {LINES}", source.path, source.text.lines().count()))
            .collect(),
    );
}

#[test]
fn nothing_is_left_undone_or_skipped() {
    // In two parts, so that this file does not find itself.
    let everywhere =
        [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[", "ignore"), concat!("dbg", "!(")];
    let in_code = [".unwrap()", "allow(clippy::unwrap_used", "allow(clippy::all", "allow(warnings", "allow(dead_code"];
    let mut faults = Vec::new();
    for source in ["src", "tests", "load/src"].into_iter().flat_map(sources) {
        let found = everywhere.iter().filter(|text| source.text.contains(*text));
        faults.extend(found.map(|text| format!("{} has {text}", source.path)));
        if !source.path.starts_with("tests/") {
            let found = in_code.iter().filter(|text| source.code.contains(*text));
            faults.extend(found.map(|text| format!("{} has {text}", source.path)));
            if source.path != "src/clock.rs" && source.code.contains("allow(clippy::disallowed_methods") {
                faults.push(format!("{} asks the time past src/clock.rs", source.path));
            }
        }
    }
    none(faults);
}

#[test]
fn the_rules_see_what_they_are_about() {
    let text = "use crate::{core::{geo, ids}, store};\nfn f() { crate::http::x() } // crate::engine\n\
                #[cfg(test)]\nmod tests {\n use crate::wire;\n}\n";
    assert_eq!(imports(&code_of("src/a.rs", text)), ["core", "store", "http"]);
    let row = "#[derive(Debug, Serialize)]\n#[schema(as = Row)]\npub struct Row {\n    pub price: Option<Decimal>,\n    pub tip: Money,\n}\n\
               #[derive(FromRow)]\nstruct Read {\n    price: Decimal,\n}\n";
    assert_eq!(decimals_written(row), [("Row".to_owned(), "price".to_owned())]);
    let source = Source { path: "src/store/users.rs".into(), text: String::new(), code: String::new() };
    assert_eq!(source.module(), "store");
}
