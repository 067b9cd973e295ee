//! The files of the page.

use super::herd;
use crate::common::{ALONE, http_get, http_get_with};

#[test]
fn the_page_is_served_with_its_type_and_asked_for_again_only_if_it_changed() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    let page = http_get(web, "/");
    assert_eq!(page.status, 200);
    assert!(
        page.head
            .contains("\r\ncontent-type: text/html; charset=utf-8\r\n")
    );
    assert!(page.head.contains("\r\ncache-control: no-cache\r\n"));
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
    assert_eq!(http_get(web, "/index.html").body, page.body);
    let (_, etag) = page.head.split_once("\r\netag: w/").unwrap();
    let etag = etag.lines().next().unwrap();
    let again = http_get_with(web, "/", &format!("If-None-Match: \"x\", W/{etag}\r\n"));
    assert_eq!((again.status, &*again.body), (304, ""));
    assert_eq!(
        http_get_with(web, "/", "If-None-Match: \"x\"\r\n").status,
        200
    );
}

#[test]
fn no_file_outside_the_page_is_served() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    for path in [
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "//etc/passwd",
        "/data/",
        "/data/README.md",
    ] {
        assert_eq!(http_get(web, path).status, 404, "{path}");
    }
}

#[test]
fn answers_are_compressed_for_those_who_accept_that() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    let head = |path: &str| {
        let request =
            format!("HEAD {path} HTTP/1.1\r\nHost: {web}\r\nAccept-Encoding: gzip\r\n\r\n");
        crate::common::http_send(web, &request).head
    };
    assert!(head("/api/v1/herd").contains("\r\ncontent-encoding: gzip\r\n"));
    assert!(!head("/data/labels.json.gz").contains("content-encoding"));
    let plain = http_get(web, "/api/v1/herd").head;
    assert!(!plain.contains("content-encoding"), "{plain}");
}
