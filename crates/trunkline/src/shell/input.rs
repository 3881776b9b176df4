//! Where statements, and COPY data between them, come from. Whatever blocks does so on a thread of
//! its own, so that a signal or a failed load can end the wait.

use std::io::{self, Read};
use std::sync::mpsc as thread_channel;
use std::thread;

use bytes::{Bytes, BytesMut};
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};
use tokio::sync::mpsc;

/// How much is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Chunks that wait to be looked at.
const CHUNKS_AHEAD: usize = 4;

/// Statements that the history keeps.
const HISTORY_STATEMENTS: usize = 10_000;

/// A file or pipe, read ahead by a thread.
pub struct ChunkReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
}

impl ChunkReader {
    /// Begins to read `source`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn new(mut source: impl Read + Send + 'static) -> io::Result<ChunkReader> {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        // Not joined: it may wait for input that never comes, and holds nothing but the source.
        thread::Builder::new()
            .name("trunkline-input".to_owned())
            .spawn(move || {
                loop {
                    let mut chunk = vec![0; CHUNK_BYTES];
                    let read = match source.read(&mut chunk) {
                        Ok(0) => return,
                        Ok(len) => {
                            chunk.truncate(len);
                            Ok(Bytes::from(chunk))
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) => Err(error),
                    };
                    let is_over = read.is_err();
                    if sender.blocking_send(read).is_err() || is_over {
                        return;
                    }
                }
            })?;
        Ok(ChunkReader { chunks })
    }

    /// The next bytes; None at the end. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// The source's.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.chunks.recv().await.transpose()
    }
}

/// Lines of a file or pipe.
pub struct LineReader {
    source: ChunkReader,
    buffer: BytesMut,
    /// Up to here the buffer holds no line feed.
    searched: usize,
    is_at_end: bool,
}

impl LineReader {
    /// The lines of `source`.
    pub fn new(source: ChunkReader) -> LineReader {
        LineReader {
            source,
            buffer: BytesMut::new(),
            searched: 0,
            is_at_end: false,
        }
    }

    /// The next line with its line feed, if it has one; None at the end.
    ///
    /// # Errors
    /// The source's.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(line) = self.take_buffered_line() {
                return Ok(Some(line));
            }
            if self.is_at_end {
                self.searched = 0;
                let rest = self.buffer.split().freeze();
                return Ok((!rest.is_empty()).then_some(rest));
            }
            match self.source.next().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => self.is_at_end = true,
            }
        }
    }

    /// The next line, if the buffer has it whole.
    fn take_buffered_line(&mut self) -> Option<Bytes> {
        let rest = &self.buffer[self.searched..];
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(offset) => {
                let end = self.searched + offset + 1;
                self.searched = 0;
                Some(self.buffer.split_to(end).freeze())
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    /// The next lines of inline COPY data, as many as are at hand.
    ///
    /// # Errors
    /// The source's.
    pub async fn next_copy_data(&mut self) -> io::Result<CopyData> {
        let mut lines = BytesMut::new();
        let Some(mut line) = self.next().await? else {
            return Ok(CopyData::end(lines, 0));
        };
        let mut count = 0;
        loop {
            count += 1;
            if is_end_of_copy_data(&line) {
                return Ok(CopyData::end(lines, count));
            }
            lines.extend_from_slice(&line);
            if lines.len() >= CHUNK_BYTES {
                break;
            }
            match self.take_buffered_line() {
                Some(next) => line = next,
                None => break,
            }
        }
        Ok(CopyData {
            bytes: lines.freeze(),
            lines: count,
            is_end: false,
        })
    }
}

/// Inline COPY data.
#[derive(Debug)]
pub struct CopyData {
    /// Whole lines.
    pub bytes: Bytes,
    /// How many lines were taken from the input.
    pub lines: usize,
    /// That was all.
    pub is_end: bool,
}

impl CopyData {
    fn end(bytes: BytesMut, lines: usize) -> CopyData {
        CopyData {
            bytes: bytes.freeze(),
            lines,
            is_end: true,
        }
    }
}

/// Whether a line of inline data ends it: `\.` alone.
pub fn is_end_of_copy_data(line: &[u8]) -> bool {
    matches!(line, b"\\." | b"\\.\n" | b"\\.\r\n")
}

/// A line from the terminal.
#[derive(Debug)]
pub enum Typed {
    /// Without its line feed.
    Line(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D.
    End,
}

enum Request {
    Read { prompt: String },
    Remember { statement: String },
}

/// The terminal, edited by rustyline on a thread of its own.
pub struct Terminal {
    requests: thread_channel::Sender<Request>,
    lines: mpsc::Receiver<io::Result<Typed>>,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open() -> io::Result<Terminal> {
        let config = Config::builder()
            .max_history_size(HISTORY_STATEMENTS)
            .map_err(io::Error::other)?
            .build();
        let mut editor = DefaultEditor::with_config(config).map_err(io::Error::other)?;
        let (requests, incoming) = thread_channel::channel();
        let (sender, lines) = mpsc::channel(1);
        // Not joined: it may wait for a key.
        thread::Builder::new()
            .name("trunkline-terminal".to_owned())
            .spawn(move || {
                for request in incoming {
                    match request {
                        Request::Remember { statement } => {
                            // A history without it is still a history.
                            let _ = editor.add_history_entry(statement);
                        }
                        Request::Read { prompt } => {
                            let typed = match editor.readline(&prompt) {
                                Ok(line) => Ok(Typed::Line(line)),
                                Err(ReadlineError::Interrupted) => Ok(Typed::Interrupted),
                                Err(ReadlineError::Eof) => Ok(Typed::End),
                                Err(error) => Err(io::Error::other(error)),
                            };
                            if sender.blocking_send(typed).is_err() {
                                return;
                            }
                        }
                    }
                }
            })?;
        Ok(Terminal { requests, lines })
    }

    /// Prompts, and waits for a line.
    ///
    /// # Errors
    /// The terminal's.
    pub async fn read(&mut self, prompt: &str) -> io::Result<Typed> {
        let request = Request::Read {
            prompt: prompt.to_owned(),
        };
        if self.requests.send(request).is_err() {
            return Ok(Typed::End);
        }
        self.lines.recv().await.unwrap_or(Ok(Typed::End))
    }

    /// Puts a statement into the history.
    pub fn remember(&self, statement: &str) {
        // The thread ends only with this value.
        let _ = self.requests.send(Request::Remember {
            statement: statement.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(text: &'static str) -> LineReader {
        LineReader::new(ChunkReader::new(text.as_bytes()).unwrap())
    }

    #[tokio::test]
    async fn lines_keep_their_ends() {
        let mut lines = reader("a\n\nb");
        assert_eq!(lines.next().await.unwrap().unwrap(), "a\n");
        assert_eq!(lines.next().await.unwrap().unwrap(), "\n");
        assert_eq!(lines.next().await.unwrap().unwrap(), "b");
        assert!(lines.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn inline_data_ends_at_its_mark() {
        let mut lines = reader("1\n\\.x\n\\.\r\nselect");
        let data = lines.next_copy_data().await.unwrap();
        assert_eq!(data.bytes, "1\n\\.x\n");
        assert_eq!((data.lines, data.is_end), (3, true));
        assert_eq!(lines.next().await.unwrap().unwrap(), "select");
        let data = lines.next_copy_data().await.unwrap();
        assert!(data.is_end && data.bytes.is_empty());
    }
}
