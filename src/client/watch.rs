//! A stream of watches, as a client sees it.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::{CallError, Channel, Client, within};
use crate::api::proto::etcdserverpb as pb;

/// The generated watch client on a [`Channel`].
pub type WatchClient = pb::watch_client::WatchClient<Channel>;

/// Requests that may wait to be sent.
const REQUESTS_WAITING: usize = 16;

/// An open stream. Dropping it cancels its watches.
pub struct WatchStream {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl WatchStream {
    /// Asks for something more; waits while the server takes no requests.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn send(&self, request: pb::WatchRequest) -> Result<(), CallError> {
        let sent = self.requests.send(request).await;
        sent.map_err(|_| CallError::not_sent("the watch stream has ended".to_owned()))
    }

    /// The next response; `None` when the server has ended the stream in order.
    ///
    /// # Errors
    /// How the stream broke, or why the server ended it.
    pub async fn next(&mut self) -> Result<Option<pb::WatchResponse>, CallError> {
        self.responses.message().await.map_err(CallError::from)
    }
}

impl Client {
    /// Opens a stream of watches with a first request: some servers answer nothing before one.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn watch(
        &mut self,
        first: pb::WatchRequest,
        requires_leader: bool,
    ) -> Result<WatchStream, CallError> {
        let channel = self.channel_of_user().await?;
        let (requests, receiver) = mpsc::channel(REQUESTS_WAITING);
        // There is room: the channel is empty.
        let _ = requests.try_send(first);
        let mut request = Request::new(ReceiverStream::new(receiver));
        if requires_leader {
            let value = tonic::metadata::MetadataValue::from_static("true");
            request.metadata_mut().insert("hasleader", value);
        }
        let mut client = watch(channel);
        let limit = self.options.call_timeout;
        match within(&*self.host, limit, client.watch(request)).await {
            Some(Ok(response)) => Ok(WatchStream {
                requests,
                responses: response.into_inner(),
            }),
            Some(Err(status)) => Err(CallError::from(status)),
            None => Err(CallError::timed_out(limit)),
        }
    }
}

/// A watch client that accepts responses of any size, as etcd's own clients do.
pub fn watch(channel: Channel) -> WatchClient {
    WatchClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// A request to make a watch.
pub fn create(request: pb::WatchCreateRequest) -> pb::WatchRequest {
    pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(request)),
    }
}

/// A request to cancel one.
pub fn cancel(watch_id: i64) -> pb::WatchRequest {
    let request = pb::WatchCancelRequest { watch_id };
    pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CancelRequest(request)),
    }
}

/// A request to say how far the stream has come.
pub fn progress() -> pb::WatchRequest {
    let request = pb::WatchProgressRequest {};
    pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::ProgressRequest(request)),
    }
}
