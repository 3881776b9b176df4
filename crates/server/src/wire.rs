//! A socket as frames: what comes in is cut at message boundaries, what goes out is buffered.
//!
//! No buffer is held while the client is idle. COPY data is given out in the pieces in which it
//! arrives, so that a message of a gigabyte needs no gigabyte here.

use std::future::Future;
use std::io;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use pgwire::messages::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::Failure;
use crate::interrupt::Interrupt;

/// Output is sent when it has reached this size, in bytes.
const FLUSH_BYTES: usize = 64 << 10;

/// How long a client may take to accept the message that its connection ends with.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// How much one read may bring, in bytes: few while messages are small, more in a stream of COPY
/// data or a large message.
const SMALL_READ_BYTES: usize = 4 << 10;
const LARGE_READ_BYTES: usize = 64 << 10;

/// `PQ_SMALL_MESSAGE_LIMIT` and `PQ_LARGE_MESSAGE_LIMIT` in `libpq/libpq.h`: of a message's
/// length word.
const SMALL_MESSAGE_LIMIT_BYTES: usize = 10_000;
const LARGE_MESSAGE_LIMIT_BYTES: usize = 0x3fff_ffff - 1;

/// Type byte and length word.
const HEADER_BYTES: usize = 5;

/// A message from the client, not yet decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A whole message.
    Message {
        /// Its type byte.
        kind: u8,
        /// What follows its length.
        body: Bytes,
    },
    /// Some of the data of CopyData messages.
    CopyData(Bytes),
}

/// What is wrong with the bytes from the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// No message has this type.
    Type(u8),
    /// A length that no message of this type can have.
    Length,
}

/// The longest message of a type (`SocketBackend` in `tcop/postgres.c`); None if there is no such
/// type.
fn limit_bytes(kind: u8) -> Option<usize> {
    match kind {
        b'Q' | b'P' | b'B' | b'F' | b'd' => Some(LARGE_MESSAGE_LIMIT_BYTES),
        b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' => Some(SMALL_MESSAGE_LIMIT_BYTES),
        _ => None,
    }
}

/// Bytes from the client on their way to frames.
#[derive(Debug, Default)]
struct Input {
    bytes: BytesMut,
    /// Bytes of the current CopyData message that are still to come.
    copy_data_left: usize,
    /// How much the next read may bring.
    read_bytes: usize,
}

impl Input {
    /// Type and body length of the message that begins here, if both are there.
    fn header(&self) -> Result<Option<(u8, usize)>, FrameError> {
        let Some(&kind) = self.bytes.first() else {
            return Ok(None);
        };
        let limit = limit_bytes(kind).ok_or(FrameError::Type(kind))?;
        let Some(&length) = self.bytes.get(1..).and_then(|rest| rest.first_chunk::<4>()) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(length) as usize;
        if (4..=limit).contains(&length) {
            Ok(Some((kind, length - 4)))
        } else {
            Err(FrameError::Length)
        }
    }

    /// Moves the data of the CopyData messages that come next to `chunk`, until it has
    /// `limit_bytes`. Stops before what is no such message.
    fn take_copy_data(&mut self, chunk: &mut BytesMut, limit_bytes: usize) {
        while chunk.len() < limit_bytes {
            if self.copy_data_left == 0 {
                let Ok(Some((b'd', body_bytes))) = self.header() else {
                    return;
                };
                self.bytes.advance(HEADER_BYTES);
                self.copy_data_left = body_bytes;
            } else if self.bytes.is_empty() {
                return;
            } else {
                let room = limit_bytes - chunk.len();
                let piece = self.copy_data_left.min(self.bytes.len()).min(room);
                if chunk.is_empty() {
                    chunk.reserve(limit_bytes.min(self.bytes.len()));
                }
                chunk.extend_from_slice(&self.bytes[..piece]);
                self.bytes.advance(piece);
                self.copy_data_left -= piece;
            }
        }
    }

    /// The next frame, if it is there.
    fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if self.copy_data_left > 0 {
                if self.bytes.is_empty() {
                    return Ok(None);
                }
                let piece = self.copy_data_left.min(self.bytes.len());
                self.copy_data_left -= piece;
                return Ok(Some(Frame::CopyData(self.bytes.split_to(piece).freeze())));
            }
            let Some((kind, body_bytes)) = self.header()? else {
                return Ok(None);
            };
            if kind == b'd' {
                self.bytes.advance(HEADER_BYTES);
                self.copy_data_left = body_bytes;
            } else if self.bytes.len() - HEADER_BYTES < body_bytes {
                self.read_bytes = LARGE_READ_BYTES;
                return Ok(None);
            } else {
                self.bytes.advance(HEADER_BYTES);
                let body = self.bytes.split_to(body_bytes).freeze();
                return Ok(Some(Frame::Message { kind, body }));
            }
        }
    }
}

/// A connection's socket with its two buffers.
pub(crate) struct Wire {
    stream: TcpStream,
    input: Input,
    output: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Wire {
        Wire {
            stream,
            input: Input::default(),
            output: Vec::new(),
        }
    }

    /// The next frame, if it has arrived already.
    pub(crate) fn buffered_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        self.input.next_frame()
    }

    /// Moves COPY data that has arrived to `chunk`, until that has `limit_bytes`.
    pub(crate) fn take_copy_data(&mut self, chunk: &mut BytesMut, limit_bytes: usize) {
        self.input.take_copy_data(chunk, limit_bytes);
    }

    /// Reads what the client sent, waiting if there is nothing. `false` at the connection's end.
    /// May be dropped while it waits: nothing is lost.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|context| {
            self.input
                .bytes
                .reserve(self.input.read_bytes.max(SMALL_READ_BYTES));
            // Unlike `try_read_buf` this knows after a short read that there is no more, and does not
            // ask the system again.
            let read = std::pin::pin!(self.stream.read_buf(&mut self.input.bytes)).poll(context);
            match read {
                Poll::Ready(Ok(0)) => Poll::Ready(Ok(false)),
                Poll::Ready(Ok(read_bytes)) => {
                    let was_large = read_bytes >= SMALL_READ_BYTES;
                    self.input.read_bytes = if was_large {
                        LARGE_READ_BYTES
                    } else {
                        SMALL_READ_BYTES
                    };
                    Poll::Ready(Ok(true))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => {
                    if self.input.bytes.is_empty() {
                        self.input.bytes = BytesMut::new();
                    }
                    if self.output.is_empty() {
                        self.output = Vec::new();
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Exactly `N` bytes, for what comes before the first message. None at the connection's end.
    pub(crate) async fn read_array<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        loop {
            if let Some(&array) = self.input.bytes.first_chunk::<N>() {
                self.input.bytes.advance(N);
                return Ok(Some(array));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Exactly `count` bytes; see [`read_array`](Wire::read_array).
    pub(crate) async fn read_exact(&mut self, count: usize) -> io::Result<Option<Bytes>> {
        while self.input.bytes.len() < count {
            if !self.fill().await? {
                return Ok(None);
            }
        }
        Ok(Some(self.input.bytes.split_to(count).freeze()))
    }

    /// Appends a message. One that the protocol cannot carry (longer than its kind may be) ends
    /// the connection.
    pub(crate) fn put(&mut self, message: &impl Message) -> Result<(), Failure> {
        let mut encoded = BytesMut::with_capacity(message.message_length() + 1);
        message.encode(&mut encoded).map_err(|error| {
            tracing::error!(%error, "cannot encode a message");
            Failure::Lost
        })?;
        self.output.extend_from_slice(&encoded);
        Ok(())
    }

    /// The output buffer, to append encoded messages to.
    pub(crate) fn output_mut(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether it is time to [`flush`](Wire::flush).
    pub(crate) fn is_full(&self) -> bool {
        self.output.len() >= FLUSH_BYTES
    }

    /// Sends all output. A client that does not read holds it up until the connection is
    /// terminated.
    pub(crate) async fn flush(&mut self, interrupt: &Interrupt) -> Result<(), Failure> {
        if self.output.is_empty() {
            return Ok(());
        }
        tokio::select! {
            written = self.stream.write_all(&self.output) => written?,
            () = interrupt.terminated() => {
                // Part of a message may be sent already: no further word can be said.
                tracing::debug!("terminated while the client does not read");
                return Err(Failure::Lost);
            }
        }
        self.output.clear();
        Ok(())
    }

    /// Sends all output before the connection has a session to interrupt; the caller sets the
    /// time limit.
    pub(crate) async fn flush_uninterrupted(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// Says the last word, if the client takes it soon, and closes the socket.
    pub(crate) async fn close(mut self) {
        let _ = tokio::time::timeout(LAST_WORD_TIMEOUT, self.stream.write_all(&self.output)).await;
        let _ = self.stream.shutdown().await;
        // Input that nobody read would turn the close into a reset, which may overtake the word.
        let mut discarded = [0; 1024];
        while matches!(self.stream.try_read(&mut discarded), Ok(read_bytes) if read_bytes > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input {
        Input {
            bytes: BytesMut::from(bytes),
            ..Input::default()
        }
    }

    fn message(kind: u8, body: &'static [u8]) -> Frame {
        Frame::Message {
            kind,
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn frames_are_found_whatever_the_pieces() {
        let bytes = b"Q\0\0\0\x06a\0S\0\0\0\x04d\0\0\0\x07xyzd\0\0\0\x04c\0\0\0\x04X\0\0\0\x04";
        for cut in 0..bytes.len() {
            let mut input = input(&bytes[..cut]);
            let mut frames = Vec::new();
            let mut copied = Vec::new();
            for rest in [&bytes[cut..], &[]] {
                while let Some(frame) = input.next_frame().unwrap() {
                    match frame {
                        Frame::CopyData(piece) => copied.extend_from_slice(&piece),
                        frame @ Frame::Message { .. } => frames.push(frame),
                    }
                }
                input.bytes.extend_from_slice(rest);
            }
            let expected = [
                message(b'Q', b"a\0"),
                message(b'S', b""),
                message(b'c', b""),
                message(b'X', b""),
            ];
            assert_eq!(frames, expected, "cut at {cut}");
            assert_eq!(copied, b"xyz", "cut at {cut}");
        }
    }

    #[test]
    fn copy_data_is_taken_up_to_the_limit_and_the_next_message() {
        let mut input = input(b"d\0\0\0\x07xyzd\0\0\0\x04d\0\0\0\x06uvc\0\0\0\x04d");
        let mut chunk = BytesMut::new();
        input.take_copy_data(&mut chunk, 2);
        assert_eq!(&chunk[..], b"xy");
        chunk.clear();
        input.take_copy_data(&mut chunk, 100);
        assert_eq!(&chunk[..], b"zuv");
        assert_eq!(input.next_frame(), Ok(Some(message(b'c', b""))));
        input.take_copy_data(&mut chunk, 100);
        assert_eq!(input.next_frame(), Ok(None));
        assert_eq!(&chunk[..], b"zuv");
    }

    #[test]
    fn bad_types_and_lengths_are_refused_before_their_data_arrives() {
        assert_eq!(input(b"~").next_frame(), Err(FrameError::Type(b'~')));
        assert_eq!(input(b"p").next_frame(), Err(FrameError::Type(b'p')));
        assert_eq!(input(b"Q\0\0\0\x03").next_frame(), Err(FrameError::Length));
        assert_eq!(
            input(b"Q\x3f\xff\xff\xff").next_frame(),
            Err(FrameError::Length)
        );
        assert_eq!(input(b"Q\x3f\xff\xff\xfe").next_frame(), Ok(None));
        assert_eq!(
            input(b"S\0\0\x27\x11").next_frame(),
            Err(FrameError::Length)
        );
        assert_eq!(input(b"S\0\0\x27\x10").next_frame(), Ok(None));
        assert_eq!(
            input(b"Q\xff\xff\xff\xff").next_frame(),
            Err(FrameError::Length)
        );
    }
}
