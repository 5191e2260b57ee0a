//! Metrics and health over HTTP/1.1, for Prometheus and for whoever starts and stops daemons.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | 200, Prometheus's text format ([`crate::metrics`]) |
//! | `/healthz` | 200 while live, else 503 ([`crate::health`]) |
//! | `/readyz` | 200 while ready, else 503 |
//!
//! Health is told as text, or as JSON to whoever accepts `application/json`. Anything else is 404, any method but GET and HEAD 405.
//!
//! Who may connect is the address's affair: nothing here can be changed, and nothing of the keys is shown. What can go
//! wrong, and what happens: a connection that takes longer than [`CONNECTION_TIMEOUT`], whatever it does, is closed; of more
//! than [`MAX_CONNECTIONS`] the others wait in the kernel's queue; a head beyond [`MAX_HEAD_BYTES`] is refused. A connection
//! serves one request: scrapes are seconds apart, and an idle one would keep others waiting.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Daemon, StartError, observe};
use crate::health::Verdict;

/// Connections that are served at a time.
const MAX_CONNECTIONS: usize = 8;
/// Longest life of a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head, at most: the least that hyper can be given.
const MAX_HEAD_BYTES: usize = 8192;
/// Header lines of a request, at most.
const MAX_HEADERS: usize = 64;
/// Pause after a failed accept (no descriptors left, mostly).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Listens, where that is wanted; the address is as given, with the kernel's choice for port 0.
///
/// # Errors
/// [`StartError::Metrics`].
pub async fn listen(address: Option<SocketAddr>) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |source| StartError::Metrics { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, "metrics and health are served");
    Ok(Some((listener, address)))
}

/// Serves until the task is dropped.
pub async fn serve(daemon: Arc<Daemon>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // A semaphore that nobody closes always has a place in the end.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let daemon = Arc::clone(&daemon);
                tokio::spawn(async move {
                    // Whether the other end heard the answer is its own affair.
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, converse(daemon, stream)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn converse(daemon: Arc<Daemon>, stream: TcpStream) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&daemon, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let outcome = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection for metrics failed");
    }
}

fn answer(daemon: &Daemon, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", observe::page(daemon))
        }
        "/healthz" => verdict(request, &observe::facts(daemon).live(), "not live"),
        "/readyz" => verdict(request, &observe::facts(daemon).ready(), "not ready"),
        _ => plain(StatusCode::NOT_FOUND, "there is /metrics, /healthz and /readyz\n".to_owned()),
    }
}

fn verdict(request: &Request<Incoming>, verdict: &Verdict, no: &str) -> Response<Full<Bytes>> {
    let status = if verdict.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match serde_json::to_string(verdict) {
        Ok(json) if accepted.contains("application/json") => {
            response(status, "application/json", json + "\n")
        }
        _ => plain(status, verdict.to_text(no)),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text)
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}
