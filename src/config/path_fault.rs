//! Paths that a shell, systemd or a template would have changed.
//!
//! Nothing here expands a path, except the variables that a file may have in every value. A path
//! that expects more would silently be a strange directory beside the program.

use std::path::PathBuf;

/// Returns why a path cannot be meant as it is written; completes `dir = "...": `. Sections that
/// are inserted for each server are removed before.
/// `variable` ends the message about a variable with another way to write it.
pub(super) fn path_fault(path: &str, variable: &str) -> Option<String> {
    let expanded = |what: &str, remedy: &str| {
        format!("{what} is not expanded here; write the whole path{remedy}")
    };
    let follows = |at: usize, is_name: fn(char) -> bool| path[at + 1..].starts_with(is_name);
    if path.is_empty() {
        return Some("a path cannot be empty".to_owned());
    }
    if path.chars().any(char::is_control) {
        return Some("a path cannot have control characters".to_owned());
    }
    if path.starts_with('~') {
        return Some(expanded("~", ", or ./~ for a file that is called so"));
    }
    let is_variable: fn(char) -> bool = |c| c.is_ascii_alphabetic() || "_{(".contains(c);
    let mut dollars = path.match_indices('$');
    if dollars.any(|(at, _)| follows(at, is_variable)) {
        return Some(expanded("a variable ($)", variable));
    }
    let mut percents = path.match_indices('%');
    if percents.any(|(at, _)| follows(at, |c| c.is_ascii_alphabetic())) {
        return Some(expanded("a specifier (%)", ""));
    }
    path.contains(['{', '}'])
        .then(|| expanded("a placeholder ({})", ""))
}

/// Parses a path of the command line.
///
/// # Errors
///
/// Why it cannot be meant as it is written.
pub fn parse_path(path: &str) -> Result<PathBuf, String> {
    match path_fault(path, "") {
        Some(fault) => Err(fault),
        None => Ok(path.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_expect_to_be_expanded_are_rejected() {
        for path in [
            "~",
            "~/logs",
            "~herd/logs",
            "$HOME/logs",
            "/var/${USER}",
            "/var/$(id)",
            "/var/log/%n",
            "%h/logs",
            "%USERPROFILE%/logs",
            "logs/{name}",
            "logs/{{server}}",
            "logs/}",
            "",
            "a\0b",
            "a\nb",
        ] {
            assert!(path_fault(path, "").is_some(), "{path}");
        }
        for path in [
            "logs",
            "/var/log/herd",
            "./~",
            "a~b",
            "5$",
            "$5",
            "100%",
            "a%20b",
            "Zoë/ü",
        ] {
            assert_eq!(path_fault(path, ""), None, "{path}");
        }
    }
}
