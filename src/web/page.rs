//! The files of the page, which are compiled into the program.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode, Uri};
use include_dir::{Dir, include_dir};
use twox_hash::XxHash3_64;

use super::answer::typed;
use super::problem::Problem;

/// The page, without tests and what else is only for its development.
static PAGE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/page");

/// The data of its map.
const DATA: [(&str, &[u8]); 2] = [
    (
        "/data/outline.bin.gz",
        include_bytes!("../../data/outline.bin.gz"),
    ),
    (
        "/data/labels.json.gz",
        include_bytes!("../../data/labels.json.gz"),
    ),
];

/// Types by the end of a file's name. Other files are not served.
const TYPES: [(&str, &str); 6] = [
    (".html", "text/html; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".json", "application/json"),
    (".svg", "image/svg+xml"),
    (".gz", "application/gzip"),
];

/// A file that is served.
struct PageFile {
    content_type: &'static str,
    /// It changes with the content, so browsers ask each time and are answered without a body.
    etag: HeaderValue,
    content: &'static [u8],
}

/// The files by their paths.
static FILES: LazyLock<HashMap<String, PageFile>> = LazyLock::new(|| {
    let mut files = HashMap::new();
    collect(&PAGE, &mut files);
    for (path, content) in DATA {
        add(&mut files, path.to_owned(), content);
    }
    files
});

fn collect(dir: &'static Dir<'_>, files: &mut HashMap<String, PageFile>) {
    for file in dir.files() {
        let path = format!("/{}", file.path().display());
        add(files, path, file.contents());
    }
    dir.dirs().for_each(|dir| collect(dir, files));
}

fn add(files: &mut HashMap<String, PageFile>, path: String, content: &'static [u8]) {
    let mut types = TYPES.iter();
    let Some((_, content_type)) = types.find(|(end, _)| path.ends_with(end)) else {
        return;
    };
    let hash = XxHash3_64::oneshot(content);
    // Weak, since a body may be compressed.
    let etag = HeaderValue::from_str(&format!("W/\"{hash:016x}\""));
    let file = PageFile {
        content_type,
        etag: etag.expect("hexadecimal digits are valid in a header"),
        content,
    };
    files.insert(path, file);
}

/// Answers a path that nothing else answers.
pub(super) async fn file(request: Request) -> Result<Response, Problem> {
    let file = find(request.uri()).ok_or_else(|| {
        Problem::not_found("not found: the page is at /, and docs/api.md lists the API")
    })?;
    let has_it = request.headers().get_all(IF_NONE_MATCH).iter().any(|it| {
        let tags = it.to_str().unwrap_or_default().split(',');
        tags.map(str::trim)
            .any(|tag| tag == "*" || tag.as_bytes() == file.etag.as_bytes())
    });
    let mut response = if has_it {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        typed(file.content_type, file.content)
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, file.etag.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn find(uri: &Uri) -> Option<&'static PageFile> {
    match uri.path() {
        "/" => FILES.get("/index.html"),
        path => FILES.get(path),
    }
}
