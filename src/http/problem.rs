//! Errors as people and programs read them: problem details (RFC 9457). An answer carries its problem along, so
//! that whoever asked for a page is answered with one.

use std::time::Duration;

use axum::{
    Json,
    extract::rejection::{FormRejection, JsonRejection, PathRejection, QueryRejection},
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::controllers::desk::Refused;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, about one request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// Which kind of problem: the meaning of its status and nothing more.
    r#type: &'static str,
    /// The same for people.
    title: &'static str,
    /// The HTTP status.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// This very one, for people.
    detail: String,
    #[serde(skip)]
    after: Option<Duration>,
}

impl Problem {
    /// A problem with this status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            after: None,
        }
    }

    /// The same, worth asking again after so long.
    pub fn after(self, after: Duration) -> Self {
        Self { after: Some(after), ..self }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Which kind it is, for people.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// This very one, for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// When to ask again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.after
    }

    /// A request that cannot be understood.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Unknown(_) => Self::new(StatusCode::UNAUTHORIZED, detail),
            Refused::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, detail),
            Refused::NotFound(_) => Self::new(StatusCode::NOT_FOUND, detail),
            Refused::Conflict(_) => Self::new(StatusCode::CONFLICT, detail),
            Refused::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            Refused::TooMany { after, .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, detail).after(after)
            }
            Refused::Unavailable { after, .. } => {
                Self { after: Some(after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
            }
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<FormRejection> for Problem {
    fn from(rejection: FormRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let after = self.after;
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(after) = after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
