//! Which path is answered by what, and the headers of every response.
//!
//! | path | needs |
//! |---|---|
//! | `/metrics`, `/healthz`, `/readyz` | nothing |
//! | files of the page | `[web] api`, a host of this port |
//! | `/api/` | the same, and the token if there is one |

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, HeaderName};
use http::{HeaderValue, StatusCode};
use tokio::task::spawn_blocking;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

use crate::gateway::TilesUrl;

use super::answer::{TEXT_TYPE, typed};
use super::metrics::metrics;
use super::problem::Problem;
use super::state::{Web, WebState};
use super::{clients, herd, page, places, watch};

/// Content type of the metrics page.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Headers of every response, except the content security policy. No page of another site may
/// read, frame or guess what is here.
const HEADERS: [(&str, &str); 3] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// A further one with TLS. Without it, browsers ignore it and complain.
const TLS_HEADER: (&str, &str) = ("cross-origin-opener-policy", "same-origin");

/// Returns the routes of a port.
pub(super) fn router(state: Arc<WebState>) -> Router {
    // Archives stay as they are, and a stream of events must not be held back.
    let is_compressed = DefaultPredicate::new().and(NotForContentType::new("application/gzip"));
    let compression = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(is_compressed);
    Router::new()
        .route("/metrics", get(serve_metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/api/v1/herd", get(herd::herd))
        .route("/api/v1/clients", get(clients::list))
        .route("/api/v1/clients/{id}", get(herd::locate))
        .route("/api/v1/near", get(clients::near))
        .route("/api/v1/places", get(places::places))
        .route("/api/v1/names", get(places::names))
        .route("/api/v1/watch", get(watch::watch))
        .fallback(page::file)
        .layer(from_fn_with_state(state.clone(), guard))
        .layer(compression)
        .with_state(state)
}

/// Checks a request before it is answered, and adds the headers of every response.
async fn guard(State(web): Web, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = match web.check(&parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    };
    let settings = web.gateway().settings();
    let headers = response.headers_mut();
    let of_tls = settings.web.tls.then_some(TLS_HEADER);
    for (name, value) in HEADERS.into_iter().chain(of_tls) {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = content_security_policy(settings.web.tiles.as_ref());
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert("content-security-policy", policy);
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn content_security_policy(tiles: Option<&TilesUrl>) -> String {
    let tiles = tiles.map_or(String::new(), |tiles| format!(" {}", tiles.origin()));
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:{tiles}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

async fn serve_metrics(State(web): Web) -> Result<Response<Body>, Problem> {
    let source = web.source.clone();
    let text = spawn_blocking(move || metrics(&source)).await;
    text.map(|text| typed(METRICS_TYPE, text))
        .map_err(|_| Problem::internal())
}

async fn health() -> Response<Body> {
    typed(TEXT_TYPE, "the server runs\n")
}

/// A server is ready until it shuts down: it listens before this port answers. Links that are down
/// do not make it unready, since it still serves clients.
async fn readiness(State(web): Web) -> Response<Body> {
    if web.gateway().shutdown().has_begun() {
        let text = "the server shuts down and accepts no more clients\n";
        let mut response = typed(TEXT_TYPE, text);
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    } else {
        typed(TEXT_TYPE, "the server accepts clients\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_images_of_the_tiles_come_from_another_origin() {
        let own = content_security_policy(None);
        assert!(own.contains("img-src 'self' data:;"), "{own}");
        assert!(!own.contains("unsafe") && !own.contains("http"), "{own}");
        let tiles = TilesUrl::parse("https://tile.example.org/{z}/{x}/{y}.png").unwrap();
        let with_tiles = content_security_policy(Some(&tiles));
        assert_eq!(
            with_tiles,
            own.replace("data:", "data: https://tile.example.org")
        );
    }
}
