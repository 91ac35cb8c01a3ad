//! The JSON door in HTTP: `POST /` and `GET /` with a JSON body, `GET /?request=<JSON>`, `GET /healthz`, and beside it
//! `GET /metrics`. Every other answer that this program writes is JSON, those about HTTP itself among them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use model::forms::{
    Answer, Code, FormError, MAX_REQUEST_BYTES, Refused, read_request, refusal, too_large,
};
use serde::Serialize;

use crate::actions::Actions;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::metrics::{self, Entrance, Metrics};
use crate::origin::check_origin;

/// How long a client may take to send a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The door's routes. Each request carries its connection's [`Caller`] as an extension.
pub(crate) fn router(actions: Arc<Actions>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/", any(door))
        .route("/healthz", any(healthz))
        .with_state(actions)
        .merge(metrics::router(metrics, Entrance::Door))
        .fallback(no_such_path)
}

/// The routes of an address that is there for figures alone.
pub(crate) fn metrics_router(metrics: Arc<Metrics>) -> Router {
    metrics::router(metrics, Entrance::Own).fallback(no_such_path)
}

async fn door(
    State(actions): State<Arc<Actions>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Response {
    let text = match check_origin(&request, caller.peer) {
        Ok(()) => request_text(request).await,
        Err(failure) => Err(failure),
    };
    let text = match text {
        Ok(text) => text,
        Err(failure) => return fail(None, None, &failure),
    };
    let (action, kind, request) = read_request(&text);
    let outcome = match request {
        Ok(request) => {
            let (action, kind) = (request.action, request.kind);
            let user = match request.user.clone() {
                Some(user) => user,
                None => caller.name().await,
            };
            tracing::debug!(?action, ?kind, user, "a request");
            let outcome = actions.perform(request, user).await;
            outcome.map(|info| Answer::successful(action, kind, info))
        }
        Err(error) => Err(Failure::Form(error)),
    };
    match outcome {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(failure) => fail(action, kind, &failure),
    }
}

/// The JSON text of a request, from its body or its query.
async fn request_text(request: Request) -> Result<Vec<u8>, Failure> {
    let (parts, body) = request.into_parts();
    if !matches!(parts.method, Method::GET | Method::POST) {
        return Err(method_not_allowed("send GET or POST"));
    }
    let from_query = parts.uri.query().map(request_parameter).transpose()?;
    let body = match tokio::time::timeout(
        BODY_TIMEOUT,
        Limited::new(body, MAX_REQUEST_BYTES).collect(),
    )
    .await
    {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large().into()),
        Ok(Err(error)) => {
            return Err(Failure::Http {
                status: StatusCode::BAD_REQUEST,
                code: "bad-body",
                message: format!("the request's body ended early: {error}"),
                hint: "send it again".into(),
            });
        }
        Err(_) => {
            return Err(Failure::Http {
                status: StatusCode::REQUEST_TIMEOUT,
                code: "request-timeout",
                message: format!(
                    "the request's body took longer than {} s",
                    BODY_TIMEOUT.as_secs()
                ),
                hint: "send it at once".into(),
            });
        }
    };
    match from_query {
        Some(_) if !body.is_empty() => Err(Failure::Form(FormError::new(
            Code::ConflictingFields,
            "request",
            "there is a request in the URL and another in the body",
            "send one of them",
        ))),
        Some(text) => Ok(text),
        None => Ok(body.into()),
    }
}

/// The one parameter of the query.
fn request_parameter(query: &str) -> Result<Vec<u8>, Failure> {
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    match (parameters.next(), parameters.next()) {
        (Some((name, text)), None) if name == "request" => Ok(text.into_owned().into_bytes()),
        _ => Err(Failure::Form(FormError::new(
            Code::UnknownField,
            "",
            "the URL's query is not `request=` with a URL-encoded JSON text",
            "with curl: curl -G <url> --data-urlencode 'request={…}'",
        ))),
    }
}

/// Whether this process answers and its store can be read.
async fn healthz(State(actions): State<Arc<Actions>>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return fail(None, None, &method_not_allowed("send GET"));
    }
    #[derive(Serialize)]
    struct Well {
        status: &'static str,
    }
    match actions.intent.get(store::intent::INTENT) {
        Ok(_) => json(
            StatusCode::OK,
            &Well {
                status: "successful",
            },
        ),
        Err(error) => fail(None, None, &Failure::Store(error)),
    }
}

async fn no_such_path(request: Request) -> Response {
    let failure = Failure::Http {
        status: StatusCode::NOT_FOUND,
        code: "no-such-path",
        message: format!("there is nothing at {}", request.uri().path()),
        hint: "requests go to /, as JSON in the body; figures are at /metrics".into(),
    };
    fail(None, None, &failure)
}

pub(crate) fn method_not_allowed(hint: &str) -> Failure {
    Failure::Http {
        status: StatusCode::METHOD_NOT_ALLOWED,
        code: "method-not-allowed",
        message: "this method means nothing here".into(),
        hint: hint.into(),
    }
}

pub(crate) fn fail(
    action: Option<model::forms::Action>,
    kind: Option<model::forms::Kind>,
    failure: &Failure,
) -> Response {
    if failure.status().is_server_error() {
        tracing::error!(error = %failure, "a request failed");
    }
    let mut response = json(
        failure.status(),
        &refusal(action, kind, Refused::from(failure)),
    );
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    response
}

fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    let (status, mut text) = match serde_json::to_vec(answer) {
        Ok(text) => (status, text),
        Err(error) => {
            tracing::error!(%error, "an answer has no JSON form");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                br#"{"status":"fail"}"#.to_vec(),
            )
        }
    };
    text.push(b'\n');
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
