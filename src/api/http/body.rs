//! Bodies that count what goes through them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::api::serve::BoxError;
use crate::host::{Host, Moment};
use crate::metrics::{Call, Messages, Metrics};
use bytes::Bytes;
use futures::Stream;
use http::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// A request's body, its messages counted.
pub struct Received {
    body: Incoming,
    messages: Messages,
    call: Option<Call>,
    metrics: Arc<Metrics>,
}

impl Received {
    pub fn new(body: Incoming, call: Option<Call>, metrics: Arc<Metrics>) -> Received {
        Received {
            body,
            messages: Messages::default(),
            call,
            metrics,
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let passed = self.messages.pass(data);
            self.metrics.calls.received_bytes.inc_by(passed.bytes);
            if let Some(call) = &self.call {
                call.received(passed.messages);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream of lines, for the gateway's streams.
pub type Lines = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// A response's body.
pub struct FrontBody(Kind);

enum Kind {
    Whole(Option<Bytes>),
    Lines(Lines),
    Grpc {
        body: tonic::body::Body,
        messages: Messages,
        metrics: Arc<Metrics>,
        ending: Option<Ending>,
    },
}

/// Counts a call's end, once; a call that is dropped was cancelled.
struct Ending {
    call: Call,
    timed: Option<(Moment, Arc<dyn Host>)>,
    counted: bool,
}

/// gRPC's code for a call whose client has gone.
const CANCELLED: i32 = 1;

impl Ending {
    fn count(&mut self, code: i32) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        self.call.end(code);
        if let Some((begun, host)) = &self.timed {
            self.call.took(host.now().since(*begun).as_secs_f64());
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.count(CANCELLED);
    }
}

fn code(headers: &http::HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

impl FrontBody {
    /// A body that is there already.
    pub fn whole(bytes: Bytes) -> FrontBody {
        FrontBody(Kind::Whole(Some(bytes)))
    }

    /// A body that comes line by line.
    pub fn lines(lines: Lines) -> FrontBody {
        FrontBody(Kind::Lines(lines))
    }

    /// The answer to `call`, counted.
    pub fn counted(
        response: Response<tonic::body::Body>,
        call: Option<Call>,
        timed: Option<(Moment, Arc<dyn Host>)>,
        metrics: Arc<Metrics>,
    ) -> Response<FrontBody> {
        let mut ending = call.map(|call| Ending {
            call,
            timed,
            counted: false,
        });
        if let Some(code) = code(response.headers())
            && let Some(ending) = &mut ending
        {
            ending.count(code);
        }
        response.map(|body| {
            FrontBody(Kind::Grpc {
                body,
                messages: Messages::default(),
                metrics,
                ending,
            })
        })
    }
}

impl Body for FrontBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Lines(lines) => lines
                .as_mut()
                .poll_next(cx)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
            Kind::Grpc {
                body,
                messages,
                metrics,
                ending,
            } => {
                let polled = std::task::ready!(Pin::new(body).poll_frame(cx));
                if let Some(Ok(frame)) = &polled {
                    if let Some(data) = frame.data_ref() {
                        let passed = messages.pass(data);
                        metrics.calls.sent_bytes.inc_by(passed.bytes);
                        if let Some(ending) = ending {
                            ending.call.sent(passed.messages);
                        }
                    }
                    if let Some(code) = frame.trailers_ref().and_then(code)
                        && let Some(ending) = ending
                    {
                        ending.count(code);
                    }
                }
                Poll::Ready(polled.map(|frame| frame.map_err(io::Error::other).map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Lines(_) => false,
            Kind::Grpc { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Lines(_) => SizeHint::default(),
            Kind::Grpc { body, .. } => body.size_hint(),
        }
    }
}
