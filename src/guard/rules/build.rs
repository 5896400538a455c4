//! Runs before the crate is compiled: the files of rules become one text that is read faster than
//! TOML, since every run of guard reads it, and one of their examples, which few runs need.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Lists of the same name are joined in the order of the files' names.
fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new("src/guard/rules");
    writeln!(io::stdout(), "cargo::rerun-if-changed={}", folder.display())?;
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<Result<Vec<PathBuf>, io::Error>>()?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "toml")
    });
    files.sort();
    let mut all = toml::Table::new();
    for file in files {
        let place = |error| format!("{}: {error}", file.display());
        let table: toml::Table = fs::read_to_string(&file)?.parse().map_err(place)?;
        for (name, list) in table {
            let joined = all
                .entry(name)
                .or_insert_with(|| toml::Value::Array(Vec::new()));
            match (joined, list) {
                (toml::Value::Array(joined), toml::Value::Array(list)) => joined.extend(list),
                _ => return Err(format!("{}: no list of tables", file.display()).into()),
            }
        }
    }
    let mut examples = Vec::new();
    // As they are kept: to sort them again costs every run.
    let id = |rule: &toml::Value| rule.get("id").and_then(|id| id.as_str().map(str::to_owned));
    if let Some(rules) = all.get_mut("rule").and_then(toml::Value::as_array_mut) {
        rules.sort_by_cached_key(id);
        for rule in rules.iter_mut().filter_map(toml::Value::as_table_mut) {
            let (good, bad) = (rule.remove("examples"), rule.remove("negatives"));
            examples.push((rule.get("id").cloned(), good, bad));
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    fs::write(out.join("rules.json"), serde_json::to_vec(&all)?)?;
    fs::write(out.join("examples.json"), serde_json::to_vec(&examples)?)?;
    Ok(())
}
