//! The stylesheet, the script and the icon, in the binary. Their addresses hold what they are, so that browsers keep
//! them for ever and a new version is another address.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};

use crate::{domain::Digest, http::problem::Problem};

/// A file of the pages.
struct Asset {
    name: String,
    media_type: &'static str,
    bytes: &'static [u8],
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(include_bytes!("assets/style.css"), "css", "text/css; charset=utf-8")
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(include_bytes!("assets/live.js"), "js", "text/javascript; charset=utf-8")
});

static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new(include_bytes!("assets/icon.svg"), "svg", "image/svg+xml"));

impl Asset {
    fn new(bytes: &'static [u8], ending: &str, media_type: &'static str) -> Self {
        let name = format!("{}.{ending}", Digest::of_bytes(bytes).short());
        Self { name, media_type, bytes }
    }
}

/// Where the stylesheet is.
pub fn style() -> String {
    format!("/assets/{}", STYLE.name)
}

/// Where the script is.
pub fn script() -> String {
    format!("/assets/{}", SCRIPT.name)
}

/// Where the icon is.
pub fn icon() -> String {
    format!("/assets/{}", ICON.name)
}

/// The file of this name. Says nothing about the cluster, so it needs no token.
pub async fn asset(Path(name): Path<String>) -> Response {
    let found = [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.name == name);
    let Some(asset) = found else {
        return Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path")
            .into_response();
    };
    let headers =
        [(CONTENT_TYPE, asset.media_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, asset.bytes).into_response()
}
