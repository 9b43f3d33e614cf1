//! Length-prefixed, checksummed frames over a byte stream.
//!
//! A frame is a 4-byte big-endian payload length, the payload's CRC-32C (4 bytes, big-endian), and
//! the payload. A reader never allocates more than it has received plus [`READ_STEP`].

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest payload a peer may send (bytes): a batch of maximal raft messages fits.
pub const MAX_PAYLOAD: usize = 64 << 20;

/// How much is read, and allocated, at a time (bytes). A shorter payload is copied out of the
/// reader's buffer: an entry stays in memory for as long as the log keeps it, and as a slice of the
/// buffer it would keep the whole of it.
const READ_STEP: usize = 64 << 10;

/// Room for at least this much is offered to each read (bytes).
const READ_MIN: usize = 4 << 10;

const HEADER: usize = 8;

/// Appends a frame with `message` as its payload.
pub fn encode(message: &impl Message, into: &mut BytesMut) {
    let start = into.len();
    into.put_bytes(0, HEADER);
    message
        .encode(into)
        .expect("a BytesMut grows as far as needed");
    finish(into, start);
}

/// Appends a frame with `payload`; an empty one marks the end of a stream.
pub fn encode_bytes(payload: &[u8], into: &mut BytesMut) {
    let start = into.len();
    into.put_bytes(0, HEADER);
    into.put_slice(payload);
    finish(into, start);
}

fn finish(buffer: &mut BytesMut, start: usize) {
    let length = buffer.len() - start - HEADER;
    assert!(
        length <= MAX_PAYLOAD,
        "a frame of {length} bytes cannot be read back"
    );
    let checksum = crc32c::crc32c(&buffer[start + HEADER..]);
    buffer[start..start + 4].copy_from_slice(&(length as u32).to_be_bytes());
    buffer[start + 4..start + HEADER].copy_from_slice(&checksum.to_be_bytes());
}

/// Writes one frame and flushes it.
pub async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Message,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    encode(message, &mut buffer);
    stream.write_all(&buffer).await?;
    stream.flush().await
}

/// Reads frames from a stream, several from one read where they come together.
pub struct Reader<S> {
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    /// Wraps a stream from its current position.
    pub fn new(stream: S) -> Reader<S> {
        Reader {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The stream itself, to write on.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The next frame's payload of at most `limit` bytes. Cancel-safe.
    ///
    /// # Errors
    /// `UnexpectedEof` when the stream ends, `InvalidData` for a frame that is too large or whose
    /// checksum does not match.
    pub async fn next_bytes(&mut self, limit: usize) -> io::Result<Bytes> {
        loop {
            if let Some(payload) = self.take_frame(limit)? {
                return Ok(payload);
            }
            if self.buffer.capacity() - self.buffer.len() < READ_MIN {
                self.buffer.reserve(READ_STEP);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next frame, decoded.
    pub async fn next<M: Message + Default>(&mut self, limit: usize) -> io::Result<M> {
        let payload = self.next_bytes(limit).await?;
        M::decode(payload).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn take_frame(&mut self, limit: usize) -> io::Result<Option<Bytes>> {
        let Some((header, _)) = self.buffer.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let checksum = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        if length > limit.min(MAX_PAYLOAD) {
            let text = format!("frame of {length} bytes exceeds the limit of {limit}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let payload = if length < READ_STEP {
            let copy = Bytes::copy_from_slice(&self.buffer[..length]);
            self.buffer.advance(length);
            copy
        } else {
            self.buffer.split_to(length).freeze()
        };
        if crc32c::crc32c(&payload) != checksum {
            let text = "frame checksum does not match";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Some(payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::proto::vetcdpb::PeerHello;
    use futures::executor::block_on;

    fn hello() -> PeerHello {
        PeerHello {
            protocol: 1,
            cluster_id: 7,
            ..Default::default()
        }
    }

    #[test]
    fn frames_come_back_whole_and_in_order() {
        let mut buffer = BytesMut::new();
        encode(&hello(), &mut buffer);
        encode_bytes(b"", &mut buffer);
        let bytes = buffer.freeze();
        let mut reader = Reader::new(&bytes[..]);
        block_on(async {
            let first: PeerHello = reader.next(1024).await.expect("a whole frame");
            assert_eq!(first, hello());
            assert!(
                reader
                    .next_bytes(1024)
                    .await
                    .expect("the end mark")
                    .is_empty()
            );
            let end = reader.next_bytes(1024).await.expect_err("nothing is left");
            assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        });
    }

    #[test]
    fn any_flipped_byte_or_cut_is_an_error() {
        let mut buffer = BytesMut::new();
        encode(&hello(), &mut buffer);
        for position in 0..buffer.len() {
            let mut damaged = buffer.to_vec();
            damaged[position] ^= 0x40;
            let result = block_on(Reader::new(&damaged[..]).next::<PeerHello>(1024));
            assert!(result.is_err(), "byte {position}");
            let cut = block_on(Reader::new(&buffer[..position]).next::<PeerHello>(1024));
            assert!(cut.is_err(), "cut at {position}");
        }
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let claim = [0xff; 8];
        let error =
            block_on(Reader::new(&claim[..]).next_bytes(usize::MAX)).expect_err("too large");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
