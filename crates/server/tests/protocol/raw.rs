//! A client that sends and sees raw messages.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const V3_0: u32 = 3 << 16;
pub const V3_2: u32 = 3 << 16 | 2;

pub struct Raw {
    pub stream: TcpStream,
}

/// A message as its type and its body, NULs shown as `|`.
pub fn show(kind: u8, body: &[u8]) -> String {
    let text: String = body
        .iter()
        .map(|byte| match byte {
            0 => '|'.to_string(),
            b' '..=b'~' => char::from(*byte).to_string(),
            other => format!("\\x{other:02x}"),
        })
        .collect();
    format!("{}:{text}", char::from(kind))
}

/// A startup packet.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    let mut packet = u32::try_from(body.len() + 4)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    packet.extend_from_slice(&body);
    packet
}

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Raw {
        Raw {
            stream: TcpStream::connect(address).await.unwrap(),
        }
    }

    /// A connection that is ready for queries.
    pub async fn start(address: SocketAddr) -> Raw {
        let mut raw = Raw::connect(address).await;
        raw.send_bytes(&startup(V3_0, &[("user", "postgres")]))
            .await;
        raw.until('Z').await;
        raw
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub async fn send(&mut self, messages: &[(char, &[u8])]) {
        let mut bytes = Vec::new();
        for (kind, body) in messages {
            bytes.extend_from_slice(&message(u8::try_from(*kind).unwrap(), body));
        }
        self.send_bytes(&bytes).await;
    }

    /// The next message; None at the connection's end.
    pub async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).await.ok()?;
        let length = u32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((header[0], body))
    }

    /// Messages up to one of `kind`, shown; an `end` if the connection ends first.
    pub async fn until(&mut self, kind: char) -> Vec<String> {
        let mut messages = Vec::new();
        loop {
            match self.receive().await {
                Some((found, body)) => {
                    messages.push(show(found, &body));
                    if char::from(found) == kind {
                        return messages;
                    }
                }
                None => {
                    messages.push("end".to_owned());
                    return messages;
                }
            }
        }
    }

    /// Sends, then the answers up to ReadyForQuery.
    pub async fn ask(&mut self, messages: &[(char, &[u8])]) -> Vec<String> {
        self.send(messages).await;
        self.until('Z').await
    }

    /// Sends a query string, and reads to the end of its answer without a look at it.
    pub async fn query_unseen(&mut self, query: &str) {
        const READY: &[u8] = b"Z\0\0\0\x05I";
        self.send(&[('Q', format!("{query}\0").as_bytes())]).await;
        let mut answer = Vec::new();
        while !answer.ends_with(READY) {
            assert!(self.stream.read_buf(&mut answer).await.unwrap() > 0);
        }
    }

    pub async fn query(&mut self, query: &str) -> Vec<String> {
        self.ask(&[('Q', format!("{query}\0").as_bytes())]).await
    }
}
