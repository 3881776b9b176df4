//! The client's messages, decoded as PostgreSQL does (`libpq/pqformat.c` and `tcop/postgres.c`):
//! any bytes give a message or PostgreSQL's error, never a panic.

use bytes::{Buf, Bytes};
use trunkline_sql::error::SqlError;
use trunkline_types::{Oid, verify_utf8};

use crate::error::protocol_violation;

/// What a Describe or Close is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Statement,
    Portal,
}

/// A message that a connection acts upon, apart from COPY data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrontendMessage {
    Query {
        query: String,
    },
    Parse {
        statement: String,
        query: String,
        param_types: Vec<Oid>,
    },
    Bind(Bind),
    Describe {
        target: Target,
        name: String,
    },
    Execute {
        portal: String,
        max_rows: i32,
    },
    Close {
        target: Target,
        name: String,
    },
    Flush,
    Sync,
    FunctionCall,
    Terminate,
    CopyDone,
    CopyFail {
        message: String,
    },
}

/// The Bind message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) portal: String,
    pub(crate) statement: String,
    pub(crate) param_formats: Vec<i16>,
    pub(crate) params: Vec<Option<Bytes>>,
    pub(crate) result_formats: Vec<i16>,
}

/// Whether an error in a message of this type is followed by skipping until Sync.
pub(crate) fn is_extended(kind: u8) -> bool {
    matches!(kind, b'P' | b'B' | b'D' | b'E' | b'C' | b'H')
}

/// Decodes the message `kind`, one of those that the wire lets through.
///
/// # Errors
/// 08P01 if the body does not fit the type, 22021 if a string in it is not UTF-8.
pub(crate) fn decode(kind: u8, body: Bytes) -> Result<FrontendMessage, SqlError> {
    let mut body = Body(body);
    let message = match kind {
        b'Q' => FrontendMessage::Query {
            query: body.string()?,
        },
        b'P' => {
            let statement = body.string()?;
            let query = body.string()?;
            let count = body.u16()?;
            let mut param_types = Vec::new();
            for _ in 0..count {
                param_types.push(Oid(body.u32()?));
            }
            FrontendMessage::Parse {
                statement,
                query,
                param_types,
            }
        }
        b'B' => FrontendMessage::Bind(body.bind()?),
        b'D' => FrontendMessage::Describe {
            target: body.target("DESCRIBE")?,
            name: body.string()?,
        },
        b'E' => {
            let portal = body.string()?;
            FrontendMessage::Execute {
                portal,
                max_rows: body.u32()?.cast_signed(),
            }
        }
        b'C' => FrontendMessage::Close {
            target: body.target("CLOSE")?,
            name: body.string()?,
        },
        b'H' => FrontendMessage::Flush,
        b'S' => FrontendMessage::Sync,
        // Refused whatever it holds.
        b'F' => return Ok(FrontendMessage::FunctionCall),
        // The client is leaving, however it says so.
        b'X' => return Ok(FrontendMessage::Terminate),
        b'c' => FrontendMessage::CopyDone,
        b'f' => FrontendMessage::CopyFail {
            message: body.string()?,
        },
        _ => {
            return Err(protocol_violation(format!(
                "invalid frontend message type {kind}"
            )));
        }
    };
    if body.0.is_empty() {
        Ok(message)
    } else {
        Err(protocol_violation("invalid message format"))
    }
}

/// What is left of a message's body.
struct Body(Bytes);

fn insufficient() -> SqlError {
    protocol_violation("insufficient data left in message")
}

impl Body {
    fn u8(&mut self) -> Result<u8, SqlError> {
        // `pq_getmsgbyte` has a text of its own.
        self.0
            .try_get_u8()
            .map_err(|_| protocol_violation("no data left in message"))
    }

    fn u16(&mut self) -> Result<u16, SqlError> {
        self.0.try_get_u16().map_err(|_| insufficient())
    }

    fn u32(&mut self) -> Result<u32, SqlError> {
        self.0.try_get_u32().map_err(|_| insufficient())
    }

    fn string(&mut self) -> Result<String, SqlError> {
        let end = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| protocol_violation("invalid string in message"))?;
        let string = self.0.split_to(end);
        self.0.advance(1);
        utf8(&string)
    }

    fn formats(&mut self) -> Result<Vec<i16>, SqlError> {
        let count = self.u16()?;
        let mut formats = Vec::new();
        for _ in 0..count {
            formats.push(self.u16()?.cast_signed());
        }
        Ok(formats)
    }

    fn target(&mut self, message: &str) -> Result<Target, SqlError> {
        match self.u8()? {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            other => Err(protocol_violation(format!(
                "invalid {message} message subtype {other}"
            ))),
        }
    }

    fn bind(&mut self) -> Result<Bind, SqlError> {
        let portal = self.string()?;
        let statement = self.string()?;
        let param_formats = self.formats()?;
        let count = self.u16()?;
        let mut params = Vec::new();
        for _ in 0..count {
            // -1 is NULL; other negative lengths are too long for any message.
            params.push(match self.u32()? {
                u32::MAX => None,
                length if length as usize <= self.0.len() => Some(self.0.split_to(length as usize)),
                _ => return Err(insufficient()),
            });
        }
        let result_formats = self.formats()?;
        Ok(Bind {
            portal,
            statement,
            param_formats,
            params,
            result_formats,
        })
    }
}

/// The text of a string from the client.
pub(crate) fn utf8(bytes: &[u8]) -> Result<String, SqlError> {
    match verify_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(SqlError::new(error.sqlstate, error.message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: u8, body: &'static [u8]) -> (String, String) {
        let error = decode(kind, Bytes::from_static(body)).unwrap_err();
        (error.sqlstate.into_owned(), error.message)
    }

    fn violation(message: &str) -> (String, String) {
        ("08P01".to_owned(), message.to_owned())
    }

    /// The expected texts are PostgreSQL 18's answers to the same bytes.
    #[test]
    fn malformed_messages_get_postgresql_errors() {
        let bad_utf8 = "invalid byte sequence for encoding \"UTF8\": 0xff".to_owned();
        assert_eq!(
            refused(b'Q', b"select \xff\0"),
            ("22021".to_owned(), bad_utf8)
        );
        assert_eq!(
            refused(b'Q', b"select 1"),
            violation("invalid string in message")
        );
        assert_eq!(refused(b'S', b"xx"), violation("invalid message format"));
        let short = violation("insufficient data left in message");
        assert_eq!(refused(b'B', b"\0\0\0"), short);
        assert_eq!(refused(b'P', b"\0select 1\0\0\x05"), short);
        assert_eq!(refused(b'B', b"\0\0\0\0\0\x01\0\0\0\x05x\0\0"), short);
        assert_eq!(refused(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfex\0\0"), short);
        assert_eq!(
            refused(b'D', b"Xa\0"),
            violation("invalid DESCRIBE message subtype 88")
        );
        assert_eq!(
            refused(b'C', b"Xa\0"),
            violation("invalid CLOSE message subtype 88")
        );
        assert_eq!(
            refused(b'B', b"\0\0\0\0\0\0\0\0x"),
            violation("invalid message format")
        );
    }

    #[test]
    fn bind_takes_nulls_and_values() {
        let body = b"po\0st\0\0\x01\0\x01\0\x03\xff\xff\xff\xff\0\0\0\0\0\0\0\x02ab\0\x01\0\x01";
        let bind = Bind {
            portal: "po".to_owned(),
            statement: "st".to_owned(),
            param_formats: vec![1],
            params: vec![None, Some(Bytes::new()), Some(Bytes::from_static(b"ab"))],
            result_formats: vec![1],
        };
        assert_eq!(
            decode(b'B', Bytes::from_static(body)),
            Ok(FrontendMessage::Bind(bind))
        );
    }

    /// Every prefix of every message is a message or an error.
    #[test]
    fn no_body_panics() {
        let bodies: [(u8, &'static [u8]); 5] = [
            (b'P', b"st\0select $1\0\0\x02\0\0\0\x17\0\0\0\0"),
            (
                b'B',
                b"po\0st\0\0\x01\0\x01\0\x02\xff\xff\xff\xff\0\0\0\x02ab\0\x01\0\x01",
            ),
            (b'D', b"Sst\0"),
            (b'E', b"po\0\0\0\0\x02"),
            (b'f', b"no\0"),
        ];
        for (kind, body) in bodies {
            assert!(decode(kind, Bytes::from_static(body)).is_ok());
            for cut in 0..body.len() {
                assert!(decode(kind, Bytes::from_static(&body[..cut])).is_err());
            }
        }
    }
}
