//! The JSON gateway: `POST /v3/…` with a message as JSON, answered with a message as JSON.
//!
//! A path names a gRPC method; its descriptor says how to turn JSON into the request and the answer
//! into JSON, and whether the answer is a stream. So a new method is one line in [`PATHS`]. The
//! call goes through the same routes as a gRPC client's.
//!
//! Output is etcd's, byte for byte: field names as in the definitions, 64-bit integers as strings,
//! bytes in base64, enums by name, defaults left out; a stream is one `{"result":…}` a line. Input
//! may also use camel case and base64's URL alphabet. Unknown fields are ignored, as in etcd.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use prost::Message;
use prost_reflect::{
    DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use tonic::{Code, Status};
use tower_service::Service;

use super::FrontBody;
use super::{Routes, respond, text};
use crate::api::descriptors;

/// What stands before a message on the wire: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Paths behind `/v3` (and `/v3beta`, which etcd keeps), and the methods they call. A method that
/// this build does not define answers as etcd answers a path it does not know.
pub const PATHS: &[(&str, &str)] = &[
    ("/kv/range", "/etcdserverpb.KV/Range"),
    ("/kv/put", "/etcdserverpb.KV/Put"),
    ("/kv/deleterange", "/etcdserverpb.KV/DeleteRange"),
    ("/kv/txn", "/etcdserverpb.KV/Txn"),
    ("/kv/compaction", "/etcdserverpb.KV/Compact"),
    ("/watch", "/etcdserverpb.Watch/Watch"),
    ("/lease/grant", "/etcdserverpb.Lease/LeaseGrant"),
    ("/lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"),
    ("/kv/lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"),
    ("/lease/keepalive", "/etcdserverpb.Lease/LeaseKeepAlive"),
    ("/lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive"),
    (
        "/kv/lease/timetolive",
        "/etcdserverpb.Lease/LeaseTimeToLive",
    ),
    ("/lease/leases", "/etcdserverpb.Lease/LeaseLeases"),
    ("/kv/lease/leases", "/etcdserverpb.Lease/LeaseLeases"),
    ("/cluster/member/add", "/etcdserverpb.Cluster/MemberAdd"),
    (
        "/cluster/member/remove",
        "/etcdserverpb.Cluster/MemberRemove",
    ),
    (
        "/cluster/member/update",
        "/etcdserverpb.Cluster/MemberUpdate",
    ),
    ("/cluster/member/list", "/etcdserverpb.Cluster/MemberList"),
    (
        "/cluster/member/promote",
        "/etcdserverpb.Cluster/MemberPromote",
    ),
    ("/maintenance/alarm", "/etcdserverpb.Maintenance/Alarm"),
    ("/maintenance/status", "/etcdserverpb.Maintenance/Status"),
    (
        "/maintenance/defragment",
        "/etcdserverpb.Maintenance/Defragment",
    ),
    ("/maintenance/hash", "/etcdserverpb.Maintenance/Hash"),
    ("/maintenance/hashkv", "/etcdserverpb.Maintenance/HashKV"),
    (
        "/maintenance/snapshot",
        "/etcdserverpb.Maintenance/Snapshot",
    ),
    (
        "/maintenance/transfer-leadership",
        "/etcdserverpb.Maintenance/MoveLeader",
    ),
    (
        "/maintenance/downgrade",
        "/etcdserverpb.Maintenance/Downgrade",
    ),
    ("/auth/enable", "/etcdserverpb.Auth/AuthEnable"),
    ("/auth/disable", "/etcdserverpb.Auth/AuthDisable"),
    ("/auth/status", "/etcdserverpb.Auth/AuthStatus"),
    ("/auth/authenticate", "/etcdserverpb.Auth/Authenticate"),
    ("/auth/user/add", "/etcdserverpb.Auth/UserAdd"),
    ("/auth/user/get", "/etcdserverpb.Auth/UserGet"),
    ("/auth/user/list", "/etcdserverpb.Auth/UserList"),
    ("/auth/user/delete", "/etcdserverpb.Auth/UserDelete"),
    (
        "/auth/user/changepw",
        "/etcdserverpb.Auth/UserChangePassword",
    ),
    ("/auth/user/grant", "/etcdserverpb.Auth/UserGrantRole"),
    ("/auth/user/revoke", "/etcdserverpb.Auth/UserRevokeRole"),
    ("/auth/role/add", "/etcdserverpb.Auth/RoleAdd"),
    ("/auth/role/get", "/etcdserverpb.Auth/RoleGet"),
    ("/auth/role/list", "/etcdserverpb.Auth/RoleList"),
    ("/auth/role/delete", "/etcdserverpb.Auth/RoleDelete"),
    ("/auth/role/grant", "/etcdserverpb.Auth/RoleGrantPermission"),
    (
        "/auth/role/revoke",
        "/etcdserverpb.Auth/RoleRevokePermission",
    ),
    ("/lock/lock", "/v3lockpb.Lock/Lock"),
    ("/lock/unlock", "/v3lockpb.Lock/Unlock"),
    ("/election/campaign", "/v3electionpb.Election/Campaign"),
    ("/election/proclaim", "/v3electionpb.Election/Proclaim"),
    ("/election/leader", "/v3electionpb.Election/Leader"),
    ("/election/observe", "/v3electionpb.Election/Observe"),
    ("/election/resign", "/v3electionpb.Election/Resign"),
];

/// The method behind a path of the gateway, and its gRPC path.
fn find(path: &str) -> Option<(&'static str, MethodDescriptor)> {
    let path = path
        .strip_prefix("/v3beta")
        .or_else(|| path.strip_prefix("/v3"))?;
    let (_, grpc) = PATHS.iter().find(|(known, _)| *known == path)?;
    Some((grpc, descriptors::method(grpc)?))
}

/// Answers a request to the gateway; its body may have `receive_bytes` once it is no longer JSON.
pub async fn answer(
    mut routes: Routes,
    request: Request<Incoming>,
    receive_bytes: usize,
) -> Response<FrontBody> {
    let Some((path, method)) = find(request.uri().path()) else {
        return text(StatusCode::NOT_FOUND, "Not Found\n");
    };
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    }
    let (parts, body) = request.into_parts();
    // Base64 takes a third more, and escapes more again.
    let body = match Limited::new(body, 2 * receive_bytes).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return failure(&Status::resource_exhausted("the request is too large"));
        }
        Err(error) => return failure(&Status::invalid_argument(error.to_string())),
    };
    let messages = match encode(&method, &body) {
        Ok(messages) => messages,
        Err(reason) => return failure(&Status::invalid_argument(reason)),
    };
    let mut request = Request::new(Full::new(messages));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = metadata(&parts.headers);
    // The connection's certificate is not passed on: as in etcd, a user of the gateway is who his
    // token says.
    let response = match routes.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers)
        && status.code() != Code::Ok
    {
        return match method.is_server_streaming() {
            true => stream_failure(&status),
            false => failure(&status),
        };
    }
    match method.is_server_streaming() {
        true => stream(body, method.output()).await,
        false => unary(body, method.output()).await,
    }
}

/// The request's messages as gRPC wants them: one, or for a client's stream as many as there are.
fn encode(method: &MethodDescriptor, body: &[u8]) -> Result<Bytes, String> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<serde_json::Value>();
    let mut framed = BytesMut::new();
    let mut count = 0;
    while count == 0 || method.is_client_streaming() {
        let message = match values.next() {
            // etcd takes it for a message without fields.
            Some(Ok(serde_json::Value::Null)) => DynamicMessage::new(method.input()),
            Some(value) => {
                let mut value = value.map_err(|error| error.to_string())?;
                drop_unknown_fields(&mut value, &method.input());
                DynamicMessage::deserialize_with_options(method.input(), value, &options)
                    .map_err(|error| error.to_string())?
            }
            None if count == 0 => DynamicMessage::new(method.input()),
            None => break,
        };
        count += 1;
        framed.put_u8(0);
        framed.put_u32(message.encoded_len() as u32);
        message
            .encode(&mut framed)
            .map_err(|error| error.to_string())?;
    }
    Ok(framed.freeze())
}

/// Drops what the message has no field for, as etcd does. (The decoder's own leniency goes further:
/// it would take an unknown name of an enum for its default.) JSON nests no deeper than its parser
/// allows.
fn drop_unknown_fields(value: &mut serde_json::Value, kind: &MessageDescriptor) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    let field = |name: &str| {
        kind.get_field_by_json_name(name)
            .or_else(|| kind.get_field_by_name(name))
    };
    object.retain(|name, _| field(name).is_some());
    for (name, value) in object.iter_mut() {
        let inner = field(name).map(|field| field.kind());
        let Some(prost_reflect::Kind::Message(kind)) = inner else {
            continue;
        };
        match value {
            serde_json::Value::Array(items) => {
                for item in items {
                    drop_unknown_fields(item, &kind);
                }
            }
            value => drop_unknown_fields(value, &kind),
        }
    }
}

/// The headers of the call: gRPC's own, and those of the caller that are meant for it.
fn metadata(from: &HeaderMap) -> HeaderMap {
    const FOR_GRPC: &str = "grpc-metadata-";
    let mut headers = HeaderMap::new();
    for (name, value) in from {
        let name = name.as_str();
        if let Some(name) = name.strip_prefix(FOR_GRPC)
            && let Ok(name) = HeaderName::try_from(name)
        {
            headers.append(name, value.clone());
        } else if name == "authorization" {
            headers.append(header::AUTHORIZATION, value.clone());
        }
    }
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers
}

/// Takes a whole message off the front of `buffer`, if it is there.
fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let mut prefix = buffer.get(1..PREFIX_BYTES)?;
    let length = prefix.get_u32() as usize;
    if buffer.len() < PREFIX_BYTES + length {
        return None;
    }
    buffer.advance(PREFIX_BYTES);
    Some(buffer.split_to(length).freeze())
}

/// A message as etcd's gateway writes it.
fn to_json(kind: &MessageDescriptor, message: Bytes) -> Result<String, Status> {
    let wrong = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
    let message = DynamicMessage::decode(kind.clone(), message).map_err(|error| wrong(&error))?;
    let mut json = Vec::new();
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(true)
        .skip_default_fields(true);
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options)
        .map_err(|error| wrong(&error))?;
    let json = String::from_utf8(json).map_err(|error| wrong(&error))?;
    Ok(escape_markup(json))
}

/// Go escapes what a browser might take for markup. These characters stand in strings alone.
fn escape_markup(json: String) -> String {
    if !json.contains(['<', '>', '&']) {
        return json;
    }
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

async fn unary(body: tonic::body::Body, kind: MessageDescriptor) -> Response<FrontBody> {
    let collected = match body.collect().await {
        Ok(collected) => collected,
        Err(status) => return failure(&status),
    };
    let status = collected.trailers().and_then(Status::from_header_map);
    if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
        return failure(&status);
    }
    let mut buffer = BytesMut::from(collected.to_bytes());
    let Some(message) = take_message(&mut buffer) else {
        return failure(&Status::internal("the method answered nothing"));
    };
    match to_json(&kind, message) {
        Ok(json) => with_metadata(respond(StatusCode::OK, "application/json", json)),
        Err(status) => failure(&status),
    }
}

/// Waits for the first line, whose kind decides the response's status, and sends the rest as it
/// comes.
async fn stream(body: tonic::body::Body, kind: MessageDescriptor) -> Response<FrontBody> {
    let mut lines = Box::pin(lines(body, kind));
    let first = match lines.next().await {
        Some(Ok(first)) => first,
        Some(Err(status)) => return stream_failure(&status),
        None => return with_metadata(respond(StatusCode::OK, "application/json", "")),
    };
    let rest = lines.map(|line| match line {
        Ok(line) => line,
        Err(status) => stream_error(&status),
    });
    let all = futures::stream::once(std::future::ready(first)).chain(rest);
    let mut response = respond(StatusCode::OK, "application/json", "");
    *response.body_mut() = FrontBody::lines(Box::pin(all));
    with_metadata(response)
}

/// The messages of a stream as lines, and its error as the last item if it ends with one.
fn lines(
    body: tonic::body::Body,
    kind: MessageDescriptor,
) -> impl futures::Stream<Item = Result<Bytes, Status>> + Send {
    let state = (body, BytesMut::new(), kind, false);
    futures::stream::unfold(state, |(mut body, mut buffer, kind, ended)| async move {
        if ended {
            return None;
        }
        loop {
            if let Some(message) = take_message(&mut buffer) {
                let line = to_json(&kind, message).map(|json| format!("{{\"result\":{json}}}\n"));
                let ended = line.is_err();
                return Some((line.map(Bytes::from), (body, buffer, kind, ended)));
            }
            let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
            match frame.await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => buffer.extend_from_slice(&data),
                    Err(frame) => {
                        let status = frame.trailers_ref().and_then(Status::from_header_map);
                        let status = status.filter(|status| status.code() != Code::Ok)?;
                        return Some((Err(status), (body, buffer, kind, true)));
                    }
                },
                Some(Err(status)) => return Some((Err(status), (body, buffer, kind, true))),
                None => return None,
            }
        }
    })
}

fn with_metadata(mut response: Response<FrontBody>) -> Response<FrontBody> {
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("grpc-metadata-content-type"),
        HeaderValue::from_static("application/grpc"),
    );
    response
}

/// An error as etcd's gateway gives it.
fn failure(status: &Status) -> Response<FrontBody> {
    let message = json_string(status.message());
    let code = status.code() as i32;
    let body = format!("{{\"error\":{message},\"code\":{code},\"message\":{message}}}");
    respond(http_status(status.code()), "application/json", body)
}

/// The error of a stream that has not begun.
fn stream_failure(status: &Status) -> Response<FrontBody> {
    let http = http_status(status.code());
    respond(http, "application/json", stream_error(status))
}

/// The error that a stream ends with.
fn stream_error(status: &Status) -> Bytes {
    let http = http_status(status.code());
    let body = format!(
        "{{\"error\":{{\"grpc_code\":{},\"http_code\":{},\"message\":{},\"http_status\":{}}}}}\n",
        status.code() as i32,
        http.as_u16(),
        json_string(status.message()),
        json_string(http.canonical_reason().unwrap_or_default()),
    );
    Bytes::from(body)
}

fn json_string(text: &str) -> String {
    escape_markup(serde_json::Value::from(text).to_string())
}

fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
