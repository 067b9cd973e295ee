//! The address of a provider: a URL to which paths are appended.

use std::fmt;

use reqwest::Url;

/// `https://HOST[:PORT][/PATH]`, or `http` where unencrypted traffic is intended.
///
/// Invariant: it has a host, no user, password, query or fragment, and no `/` at its end except
/// that of an empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// The fault of the text. The message does not repeat it, since it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| {
            let remedy = if text.is_ascii() {
                ""
            } else {
                "; write a host with other letters than ASCII as its xn-- name"
            };
            format!("this is no URL: {error}{remedy}")
        })?;
        if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
            return Err("a URL begins with https:// or http://, then a host".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("leave out user and password: the key is all that is sent".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                "leave out what begins with ? or #: only a host and a path make sense".to_owned(),
            );
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(BaseUrl(url))
    }

    /// Returns whether data sent to the URL is encrypted or stays on this machine.
    pub fn is_private(&self) -> bool {
        self.0.scheme() == "https" || self.is_loopback()
    }

    /// Returns whether the host is this machine. A DNS name other than `localhost` counts as
    /// remote.
    pub fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        ip.map_or(host == "localhost", |ip| ip.is_loopback())
    }

    /// Returns the URL of a path, which begins with `/`.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        url
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_paths() {
        for (base, url) in [
            (
                "https://maps.googleapis.com",
                "https://maps.googleapis.com/a:b",
            ),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/a:b"),
            (
                "https://example.org/google//",
                "https://example.org/google/a:b",
            ),
        ] {
            assert_eq!(BaseUrl::parse(base).unwrap().at("/a:b").as_str(), url);
        }
    }

    #[test]
    fn displays_without_a_trailing_slash() {
        let shown = |text| BaseUrl::parse(text).unwrap().to_string();
        assert_eq!(
            shown("https://maps.googleapis.com/"),
            "https://maps.googleapis.com"
        );
        assert_eq!(shown("http://[::1]:80/x/"), "http://[::1]/x");
    }

    #[test]
    fn hosts_with_other_letters_have_their_xn_names() {
        let named = BaseUrl::parse("https://xn--mller-kva.example").unwrap();
        assert_eq!(named.to_string(), "https://xn--mller-kva.example");
        let rejection = BaseUrl::parse("https://m\u{fc}ller.example").unwrap_err();
        assert!(rejection.starts_with("this is no URL: "), "{rejection}");
        assert!(rejection.ends_with("as its xn-- name"), "{rejection}");
    }

    #[test]
    fn rejects_an_invalid_base_without_repeating_it() {
        for (text, expected) in [
            ("", "no URL"),
            ("maps.googleapis.com", "no URL"),
            ("ftp://example.org", "https://"),
            ("file:///etc", "https://"),
            ("https://user@example.org", "user"),
            ("https://:secret@example.org", "user"),
            ("https://example.org?key=secret", "leave out"),
            ("https://example.org/#", "leave out"),
        ] {
            let rejection = BaseUrl::parse(text).unwrap_err();
            assert!(rejection.contains(expected), "{text}: {rejection}");
            assert!(!rejection.contains("secret"), "{rejection}");
        }
    }

    #[test]
    fn detects_unencrypted_traffic_beyond_this_machine() {
        let private = |text| BaseUrl::parse(text).unwrap().is_private();
        for text in [
            "https://example.org",
            "http://localhost:1",
            "http://127.9.0.1",
            "http://[::1]:8080",
        ] {
            assert!(private(text), "{text}");
        }
        for text in [
            "http://example.org",
            "http://10.0.0.1",
            "http://localhost.example.org",
        ] {
            assert!(!private(text), "{text}");
        }
    }
}
