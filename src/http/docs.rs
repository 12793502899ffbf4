//! What the service says of itself: `/openapi.json`, `/asyncapi.json`, and `/docs` to read the first in a browser.

use std::sync::{Arc, LazyLock};

use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use utoipa_swagger_ui::{Config, serve};

use super::extract::PathFile;
use super::problem::{Problem, ProblemBody};

/// The HTTP document, OpenAPI 3.1, written once.
static OPENAPI: LazyLock<Result<String, serde_json::Error>> = LazyLock::new(openapi_json);

static UI: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::from("/openapi.json")));

/// The OpenAPI document, for people and programs.
///
/// # Errors
/// None that the document's types allow.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    super::openapi().to_pretty_json()
}

/// The AsyncAPI 3 document of the websocket.
pub const fn asyncapi_json() -> &'static str {
    include_str!("asyncapi.json")
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "documents",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub async fn openapi() -> Result<Response, Problem> {
    let text = OPENAPI.as_ref().map_err(|error| {
        tracing::error!(%error, "the OpenAPI document cannot be written");
        Problem::internal()
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response())
}

/// The document of the websocket `/v1/stream`.
#[utoipa::path(
    get,
    path = "/asyncapi.json",
    tag = "documents",
    responses((status = 200, description = "AsyncAPI 3.0", body = Object))
)]
pub async fn asyncapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], asyncapi_json())
}

/// To the page that shows this document: for who opens the service's address in a browser.
#[utoipa::path(get, path = "/", tag = "documents", responses((status = 303, description = "To `/docs/index.html`")))]
pub async fn root() -> Redirect {
    docs().await
}

/// To the page that shows this document.
#[utoipa::path(get, path = "/docs", tag = "documents", responses((status = 303, description = "To `/docs/index.html`")))]
pub async fn docs() -> Redirect {
    // The page's own links are relative: they need the slash.
    Redirect::to("/docs/index.html")
}

/// The page that shows this document, and its parts.
#[utoipa::path(
    get,
    path = "/docs/{file}",
    tag = "documents",
    params(("file" = String, Path, description = "`index.html` …")),
    responses((status = 200, body = String, content_type = "text/html"), (status = 404, body = ProblemBody))
)]
pub async fn docs_file(PathFile(file): PathFile) -> Result<Response, Problem> {
    let found = serve(&file, Arc::clone(&UI)).map_err(|error| {
        tracing::error!(%error, file, "a file of the documentation could not be served");
        Problem::internal()
    })?;
    let found = found.ok_or_else(|| Problem::not_found("File"))?;
    Ok(([(header::CONTENT_TYPE, found.content_type)], found.bytes.into_owned()).into_response())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::stream::{AppMessage, ServerMessage};
    use serde_json::Value;

    fn document() -> Value {
        serde_json::from_str(asyncapi_json()).expect("JSON")
    }

    /// The messages of one direction, as the document lists them.
    fn messages(document: &Value, operation: &str) -> Vec<Value> {
        let list = document["operations"][operation]["messages"].as_array().expect("messages");
        let follow = |reference: &Value| {
            let pointer = reference["$ref"].as_str().and_then(|r| r.strip_prefix('#')).expect("a reference");
            document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} leads nowhere")).clone()
        };
        list.iter().map(|reference| follow(&follow(reference))).collect()
    }

    fn names(messages: &[Value]) -> BTreeSet<&str> {
        messages.iter().filter_map(|message| message["name"].as_str()).collect()
    }

    #[test]
    fn every_example_of_an_apps_message_is_understood() {
        let document = document();
        let messages = messages(&document, "fromApp");
        assert_eq!(
            names(&messages),
            BTreeSet::from([
                "auth",
                "location",
                "availability",
                "offer.received",
                "offer.accept",
                "offer.decline",
                "watch"
            ])
        );
        for message in messages {
            let example = &message["examples"][0]["payload"];
            assert!(serde_json::from_value::<AppMessage>(example.clone()).is_ok(), "{example}");
        }
    }

    #[test]
    fn every_message_to_an_app_is_described() {
        // A new variant does not compile here: then it belongs into the document, and its name into the list.
        let name = |message: &ServerMessage| match message {
            ServerMessage::Welcome { .. } => "welcome",
            ServerMessage::Ack { .. } => "ack",
            ServerMessage::Rejected(_) => "rejected",
            ServerMessage::Offer(_) => "offer",
            ServerMessage::OfferClosed { .. } => "offer.closed",
            ServerMessage::Booking(_) => "booking",
            ServerMessage::Reminder(_) => "reminder",
            ServerMessage::Message(_) => "message",
            ServerMessage::Position(_) => "position",
            ServerMessage::Availability { .. } => "availability",
            ServerMessage::Error { .. } => "error",
        };
        assert_eq!(name(&ServerMessage::Ack { seq: 1 }), "ack");
        let all = ["welcome", "ack", "rejected", "offer", "offer.closed", "booking", "reminder", "position"];
        let all = BTreeSet::from(all).into_iter().chain(["availability", "message", "error"]).collect();
        assert_eq!(names(&messages(&document(), "toApp")), all);
    }

    #[test]
    fn every_reference_of_the_asyncapi_document_leads_somewhere() {
        let document = document();
        for reference in document.to_string().split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().expect("a pointer");
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
