//! Reads Rust sources for one thing: which file imports which. It follows `mod` lines, `use` trees and qualified paths, and does not
//! know types: what a method call reaches is not seen.

use std::collections::{BTreeMap, BTreeSet};

/// The files that each file imports.
pub(crate) type Imports = BTreeMap<String, BTreeSet<String>>;

/// A path inside a crate, such as `["plan", "split"]`; empty for its root.
type Module = Vec<String>;

/// The imports between the files of one crate, read from its root file on. Modules that `read` does not find are left out.
pub(crate) fn imports(root: &str, read: &dyn Fn(&str) -> Option<String>) -> Imports {
    let mut files: BTreeMap<Module, String> = BTreeMap::new();
    let mut uses = Vec::new();
    let mut waiting = vec![(Module::new(), root.to_owned(), folder(root))];
    while let Some((module, file, below)) = waiting.pop() {
        let Some(source) = read(&file) else { continue };
        let said = said(&words(&source));
        for child in said.inline {
            files.insert([module.as_slice(), &child].concat(), file.clone());
        }
        for child in said.declared {
            let path = [below.as_slice(), &child].concat().join("/");
            let places = [format!("{path}.rs"), format!("{path}/mod.rs")];
            let Some(place) = places.into_iter().find(|place| read(place).is_some()) else { continue };
            let below = path.split('/').map(str::to_owned).collect();
            waiting.push(([module.as_slice(), &child].concat(), place, below));
        }
        files.insert(module.clone(), file);
        uses.push((module, said.paths));
    }
    let mut imports = Imports::new();
    for (module, paths) in uses {
        let Some(file) = files.get(&module) else { continue };
        let found = imports.entry(file.clone()).or_default();
        found.extend(targets(&files, &module, &paths).into_iter().filter(|target| target != file));
    }
    imports
}

fn folder(file: &str) -> Vec<String> {
    let mut parts: Vec<String> = file.split('/').map(str::to_owned).collect();
    parts.pop();
    parts
}

/// A path as it stands in a file.
struct Path {
    /// The inline module around it.
    inside: Module,
    segments: Vec<String>,
    /// The name that a `use` gives it.
    name: Option<String>,
}

/// What one file says of modules.
#[derive(Default)]
struct Said {
    declared: Vec<Module>,
    inline: Vec<Module>,
    paths: Vec<Path>,
}

/// The files that these paths lead to: each path goes as far down as there are modules.
fn targets(files: &BTreeMap<Module, String>, module: &Module, paths: &[Path]) -> BTreeSet<String> {
    let descend = |mut at: Module, segments: &[String]| {
        for segment in segments {
            at.push(segment.clone());
            if !files.contains_key(&at) {
                at.pop();
                return (at, false);
            }
        }
        (at, true)
    };
    let mut named: BTreeMap<&str, Module> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for path in paths {
        let here = [module.as_slice(), &path.inside].concat();
        let [first, after @ ..] = path.segments.as_slice() else { continue };
        let (from, below) = match first.as_str() {
            "crate" => (Module::new(), after),
            "self" => (here, after),
            "super" => above(here, &path.segments),
            child if files.contains_key(&[here.as_slice(), &[child.to_owned()]].concat()) => {
                (here, path.segments.as_slice())
            }
            name => match named.get(name) {
                Some(module) => (module.clone(), after),
                None => continue, // another crate, or a type
            },
        };
        let (at, is_module) = descend(from, below);
        found.extend(files.get(&at).cloned());
        if let Some(name) = path.name.as_deref().filter(|_| is_module) {
            named.insert(name, at);
        }
    }
    found
}

/// As many modules up as the path begins with `super`, and the rest of the path.
fn above(mut from: Module, mut segments: &[String]) -> (Module, &[String]) {
    while let [word, after @ ..] = segments
        && word == "super"
    {
        from.pop();
        segments = after;
    }
    (from, segments)
}

fn said(words: &[String]) -> Said {
    let mut said = Said::default();
    let mut open: Vec<Option<String>> = Vec::new(); // a brace each, with the name of its module if it is one
    let mut rest = words;
    while let [word, after @ ..] = rest {
        let inside: Module = open.iter().flatten().cloned().collect();
        rest = match (word.as_str(), after) {
            ("mod", [name, mark, after @ ..]) if mark == ";" => {
                said.declared.push([inside, vec![name.clone()]].concat());
                after
            }
            ("mod", [name, mark, after @ ..]) if mark == "{" => {
                said.inline.push([inside, vec![name.clone()]].concat());
                open.push(Some(name.clone()));
                after
            }
            ("{", _) => {
                open.push(None);
                after
            }
            ("}", _) => {
                open.pop();
                after
            }
            ("use", _) => tree(after, &[], &mut |segments, name| {
                said.paths.push(Path { inside: inside.clone(), segments, name });
            }),
            ("::", [_, after @ ..]) => after, // continues from a type
            (_, [colons, ..]) if colons == "::" => {
                let mut segments = vec![word.clone()];
                let mut after = after;
                while let [colons, name, further @ ..] = after
                    && colons == "::"
                {
                    segments.push(name.clone());
                    after = further;
                }
                said.paths.push(Path { inside, segments, name: None });
                after
            }
            _ => after,
        };
    }
    said
}

/// Reads one tree of a `use` line, shows each of its paths with its name, and returns what follows.
fn tree<'w>(
    words: &'w [String],
    prefix: &[String],
    show: &mut dyn FnMut(Vec<String>, Option<String>),
) -> &'w [String] {
    let mut path = prefix.to_vec();
    let mut name = None;
    let mut rest = words;
    while let [word, after @ ..] = rest {
        match word.as_str() {
            "{" => {
                rest = after;
                loop {
                    match rest {
                        [mark, after @ ..] if mark == "," => rest = after,
                        [mark, after @ ..] if mark == "}" => return after,
                        [] => return rest,
                        _ => rest = tree(rest, &path, show),
                    }
                }
            }
            "," | "}" | ";" => break,
            "as" => name = after.first().cloned(),
            "self" if !prefix.is_empty() => {}
            "::" | "*" => {}
            _ if name.is_none() => path.push(word.clone()),
            _ => {}
        }
        rest = after;
    }
    let name = name.or_else(|| path.last().cloned());
    show(path, name);
    rest
}

/// The words of a source, `::` and the marks that structure it; no comments, texts or characters.
pub(crate) fn words(source: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let after = rest.strip_prefix(first).unwrap_or_default();
        let word = rest.split(|char: char| !char.is_alphanumeric() && char != '_').next().unwrap_or_default();
        rest = if rest.starts_with("//") {
            rest.split_once('\n').map_or("", |(_, after)| after)
        } else if rest.starts_with("/*") {
            rest.split_once("*/").map_or("", |(_, after)| after)
        } else if first == '"' {
            after_text(after)
        } else if first == '\'' {
            after_quote(after)
        } else if let Some(after) = rest.strip_prefix("::") {
            words.push("::".to_owned());
            after
        } else if !word.is_empty() {
            let after = rest.strip_prefix(word).unwrap_or_default();
            let raw = ["r", "br"].contains(&word).then(|| after_raw_text(after)).flatten();
            raw.unwrap_or_else(|| {
                words.push(word.to_owned());
                after
            })
        } else {
            words.extend("{},;*".contains(first).then(|| first.to_string()));
            after
        };
    }
    words
}

fn after_text(text: &str) -> &str {
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => drop(chars.next()),
            '"' => break,
            _ => {}
        }
    }
    chars.as_str()
}

/// `None` if this is not a text, as in `r#type`.
fn after_raw_text(text: &str) -> Option<&str> {
    let inner = text.trim_start_matches('#');
    let fence = text.strip_suffix(inner)?;
    inner.strip_prefix('"')?.split_once(&format!("\"{fence}")).map(|(_, after)| after)
}

/// Behind a character such as `'{'`; a lifetime is left to be read as a word.
fn after_quote(text: &str) -> &str {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), Some(_)) => chars.as_str().split_once('\'').map_or("", |(_, after)| after),
        (Some(_), Some('\'')) => chars.as_str(),
        _ => text,
    }
}
