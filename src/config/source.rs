//! Reads the text of a config file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::ConfigError;
use super::problems::Problems;

/// Maximum size of a file, in bytes: room for thousands of servers. It bounds every
/// list in a config, since each element takes bytes of its own.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Returns whether a path stands for standard input.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Returns the name of a file in messages.
pub(super) fn title(path: &Path) -> &Path {
    if is_stdin(path) {
        Path::new("standard input")
    } else {
        path
    }
}

/// Reads a file of UTF-8, of at most [`MAX_FILE_BYTES`]. `-` is standard input.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let mut bytes = Vec::new();
    let mut read = |source: &mut dyn Read| source.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    let result = if is_stdin(path) {
        read(&mut io::stdin())
    } else {
        File::open(path).and_then(|mut file| read(&mut file))
    };
    let path = title(path);
    result.map_err(|cause| ConfigError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large(path));
    }
    String::from_utf8(bytes).map_err(|error| not_utf8(path, &error))
}

fn too_large(path: &Path) -> ConfigError {
    let mut problems = Problems::new("");
    problems.general(format!(
        "the file is larger than the limit of {MAX_FILE_BYTES} bytes; check that it is the \
         herd's file"
    ));
    problems.into_error(path)
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> ConfigError {
    let valid = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes());
    let mut problems = Problems::new(&text);
    problems.exact(
        valid,
        "not UTF-8; save the file as UTF-8 (plain ASCII is UTF-8 too)",
    );
    problems.into_error(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(content: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("herd.toml");
        std::fs::write(&path, content).unwrap();
        let text = read(&path).unwrap_err().to_string();
        text.replace(&format!("{}", path.display()), "FILE")
    }

    #[test]
    fn an_unreadable_file_is_reported_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let missing = read(&dir.path().join("no.toml")).unwrap_err().to_string();
        assert!(missing.contains("no.toml: no such file; name another one with --config FILE or"));
        assert!(missing.contains("config/herd.toml"));
        let directory = read(dir.path()).unwrap_err().to_string();
        assert!(directory.contains("is a directory"), "{directory}");
    }

    #[test]
    fn other_encodings_are_reported_with_line_and_column() {
        let error = error_of(b"# caf\xc3\xa9\n# caf\xe9 ol\xe9\n");
        assert!(error.starts_with("FILE:2:6: not UTF-8"), "{error}");
    }

    #[test]
    fn a_file_beyond_the_limit_is_rejected() {
        let full = vec![b'#'; MAX_FILE_BYTES as usize + 1];
        assert!(
            error_of(&full).starts_with("FILE: the file is larger than the limit of 1048576 bytes")
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("herd.toml");
        std::fs::write(&path, &full[1..]).unwrap();
        assert_eq!(read(&path).unwrap().len() as u64, MAX_FILE_BYTES);
    }
}
