//! The address of a raster map that is made of tiles.

use http::Uri;

/// The placeholders of a tile: zoom, column and row.
const PLACEHOLDERS: [&str; 3] = ["{z}", "{x}", "{y}"];

/// The URL of the tiles of a raster map, with `{z}`, `{x}` and `{y}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TilesUrl {
    url: String,
    origin: String,
}

impl TilesUrl {
    /// Parses a URL. Returns `None` if it is not one of HTTP or HTTPS, lacks a placeholder, has one
    /// in its host, or has characters that end a directive of a content security policy.
    pub fn parse(url: &str) -> Option<Self> {
        let has_all = PLACEHOLDERS.iter().all(|it| url.contains(it));
        let is_plain = url
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b',' | b'\'' | b'"'));
        let example = PLACEHOLDERS
            .iter()
            .fold(url.to_owned(), |url, it| url.replace(it, "0"));
        let uri: Uri = example.parse().ok()?;
        let scheme = uri
            .scheme_str()
            .filter(|it| matches!(*it, "http" | "https"))?;
        let authority = uri.authority()?;
        let origin = format!("{scheme}://{authority}");
        let is_fixed = url.starts_with(&origin) && !authority.as_str().contains('@');
        (has_all && is_plain && is_fixed).then(|| Self {
            url: url.to_owned(),
            origin,
        })
    }

    /// Returns the URL.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Returns scheme, host and port, as in a content security policy.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_tiles_has_all_placeholders_and_a_fixed_origin() {
        let tiles = TilesUrl::parse("https://tile.example.org:8443/{z}/{x}/{y}.png?k=1").unwrap();
        assert_eq!(tiles.origin(), "https://tile.example.org:8443");
        for bad in [
            "",
            "https://tile.example.org/{z}/{x}.png",
            "https://{x}.example.org/{z}/{y}/{x}.png",
            "ftp://tile.example.org/{z}/{x}/{y}.png",
            "/{z}/{x}/{y}.png",
            "https://a:b@tile.example.org/{z}/{x}/{y}.png",
            "https://tile.example.org/{z}/{x}/{y}.png; script-src *",
        ] {
            assert_eq!(TilesUrl::parse(bad), None, "{bad}");
        }
    }
}
