//! The start of a connection: everything before its first query (`ProcessStartupPacket` in
//! PostgreSQL's `tcop/backend_startup.c`).

use bytes::Bytes;
use trunkline_sql::error::SqlError;

use crate::error::{Failure, protocol_violation};
use crate::frontend::utf8;
use crate::session::{SessionFactory, StartupParameters};
use crate::startup_options::parse_options;
use crate::wire::Wire;

/// `MAX_STARTUP_PACKET_LENGTH`, its length word included.
const MAX_PACKET_BYTES: usize = 10_000;

const CANCEL_REQUEST: u32 = 1234 << 16 | 5678;
const SSL_REQUEST: u32 = 1234 << 16 | 5679;
const GSS_REQUEST: u32 = 1234 << 16 | 5680;

/// Minor versions of protocol 3: from 3.2 on, cancel keys are long.
const LATEST_MINOR: u16 = 2;

/// Names are cut at `NAMEDATALEN - 1` bytes.
const MAX_NAME_BYTES: usize = 63;

/// What a new connection wants.
pub(crate) enum Request {
    /// A session.
    Start(StartupPacket),
    /// Another connection's statement cancelled. There is no answer.
    Cancel { pid: i32, key: Bytes },
}

/// A startup packet, checked as far as it can be without a database.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StartupPacket {
    minor: u16,
    user: String,
    database: Option<String>,
    /// `options` first, so that the packet's own settings win.
    settings: Vec<(String, String)>,
    /// Protocol extensions that the client asks for; none is known.
    extensions: Vec<String>,
}

impl StartupPacket {
    /// Whether cancel keys are longer than 4 bytes.
    pub(crate) fn has_long_key(&self) -> bool {
        self.minor >= 2
    }

    /// What to say if the client wants more of the protocol than there is: the newest version,
    /// and what is not known.
    pub(crate) fn negotiation(&self) -> Option<(i32, Vec<String>)> {
        let is_newer = self.minor > LATEST_MINOR;
        (is_newer || !self.extensions.is_empty()).then(|| {
            (
                3 << 16 | i32::from(self.minor.min(LATEST_MINOR)),
                self.extensions.clone(),
            )
        })
    }

    /// The session that it asks for. A client that names no database means the one named like its
    /// user; if there is none, it gets `postgres`.
    pub(crate) fn parameters<F: SessionFactory>(
        self,
        factory: &F,
    ) -> Result<StartupParameters, SqlError> {
        let asked = self.database.unwrap_or_else(|| self.user.clone());
        let database = if factory.has_database(&asked) {
            asked
        } else if asked == self.user {
            "postgres".to_owned()
        } else {
            return Err(SqlError::new(
                "3D000",
                format!("database \"{asked}\" does not exist"),
            ));
        };
        Ok(StartupParameters {
            user: self.user,
            database,
            settings: self.settings,
        })
    }
}

/// Reads what a new connection wants, refusing encryption on the way.
pub(crate) async fn read_request(wire: &mut Wire) -> Result<Request, Failure> {
    let mut has_refused_ssl = false;
    let mut has_refused_gss = false;
    loop {
        let Some(length) = wire.read_array::<4>().await? else {
            return Err(Failure::Lost);
        };
        let length = u32::from_be_bytes(length) as usize;
        if !(8..=MAX_PACKET_BYTES).contains(&length) {
            tracing::info!("invalid length of startup packet");
            return Err(Failure::Lost);
        }
        let Some(packet) = wire.read_exact(length - 4).await? else {
            return Err(Failure::Lost);
        };
        let Some((code, body)) = packet.split_first_chunk::<4>() else {
            return Err(Failure::Lost);
        };
        match u32::from_be_bytes(*code) {
            CANCEL_REQUEST => {
                let Some((pid, key)) = body.split_first_chunk::<4>() else {
                    tracing::info!("invalid length of cancel request packet");
                    return Err(Failure::Lost);
                };
                let pid = i32::from_be_bytes(*pid);
                return Ok(Request::Cancel {
                    pid,
                    key: packet.slice_ref(key),
                });
            }
            SSL_REQUEST if !has_refused_ssl => has_refused_ssl = true,
            GSS_REQUEST if !has_refused_gss => has_refused_gss = true,
            version => {
                let packet = parse_packet(version, body).map_err(|error| {
                    Failure::Fatal(SqlError {
                        is_fatal: true,
                        ..error
                    })
                })?;
                return Ok(Request::Start(packet));
            }
        }
        wire.output_mut().push(b'N');
        wire.flush_uninterrupted().await?;
    }
}

fn parse_packet(version: u32, body: &[u8]) -> Result<StartupPacket, SqlError> {
    let [major, minor] = [(version >> 16) as u16, version as u16];
    if major != 3 {
        return Err(SqlError::not_supported(format!(
            "unsupported frontend protocol {major}.{minor}: server supports 3.0 to \
             3.{LATEST_MINOR}"
        )));
    }
    let mut user = None;
    let mut database = None;
    let mut options = Vec::new();
    let mut settings = Vec::new();
    let mut extensions = Vec::new();
    let mut strings = body.split(|byte| *byte == 0);
    let bad_layout =
        || protocol_violation("invalid startup packet layout: expected terminator as last byte");
    loop {
        let name = utf8(strings.next().ok_or_else(bad_layout)?)?;
        if name.is_empty() {
            break;
        }
        let value = utf8(strings.next().ok_or_else(bad_layout)?)?;
        match name.as_str() {
            "user" => user = Some(value),
            "database" => database = Some(value),
            "options" => options = parse_options(&value)?,
            "replication" => refuse_replication(&value)?,
            name if name.starts_with("_pq_.") => extensions.push(name.to_owned()),
            _ => settings.push((name, value)),
        }
    }
    // Behind the terminator there is only what `split` sees after the last NUL: nothing.
    if strings.next() != Some(&[][..]) || strings.next().is_some() {
        return Err(bad_layout());
    }
    let user = user.filter(|user| !user.is_empty()).ok_or_else(|| {
        SqlError::new(
            "28000",
            "no PostgreSQL user name specified in startup packet",
        )
    })?;
    options.extend(settings);
    Ok(StartupPacket {
        minor,
        user: cut_name(user),
        database: database
            .filter(|database| !database.is_empty())
            .map(cut_name),
        settings: options,
        extensions,
    })
}

fn cut_name(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(MAX_NAME_BYTES));
    name
}

fn refuse_replication(value: &str) -> Result<(), SqlError> {
    let lower = value.to_ascii_lowercase();
    match lower.as_str() {
        "" => Err(invalid_replication(value)),
        "0" | "off" => Ok(()),
        "1" | "on" | "database" => Err(no_replication()),
        // `parse_bool` takes any unique beginning of these.
        word if "false".starts_with(word) || "no".starts_with(word) || "of" == word => Ok(()),
        word if "true".starts_with(word) || "yes".starts_with(word) => Err(no_replication()),
        _ => Err(invalid_replication(value)),
    }
}

fn no_replication() -> SqlError {
    SqlError::not_supported("replication connections are not supported")
}

fn invalid_replication(value: &str) -> SqlError {
    SqlError::new(
        "22023",
        format!("invalid value for parameter \"replication\": \"{value}\""),
    )
    .with_hint("Valid values are: \"false\", 0, \"true\", 1, \"database\".")
}

#[cfg(test)]
mod tests {
    use super::*;

    const V3_0: u32 = 3 << 16;

    fn refused(version: u32, body: &[u8]) -> String {
        let error = parse_packet(version, body).unwrap_err();
        format!("{}: {}", error.sqlstate, error.message)
    }

    #[test]
    fn options_come_before_other_settings() {
        let packet = parse_packet(
            V3_0,
            b"user\0ann\0datestyle\0sql\0options\0-c work_mem=1MB\0database\0db\0replication\0off\0\0",
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = StartupPacket {
            minor: 0,
            user: "ann".to_owned(),
            database: Some("db".to_owned()),
            settings: vec![pair("work_mem", "1MB"), pair("datestyle", "sql")],
            extensions: vec![],
        };
        assert_eq!(packet, Ok(expected));
    }

    /// The expected texts are PostgreSQL 18's answers to the same bytes.
    #[test]
    fn malformed_packets_get_postgresql_errors() {
        assert_eq!(
            refused(4 << 16, b"user\0ann\0\0"),
            "0A000: unsupported frontend protocol 4.0: server supports 3.0 to 3.2"
        );
        let layout = "08P01: invalid startup packet layout: expected terminator as last byte";
        for body in [
            &b"user\0"[..],
            b"user\0ann\0",
            b"",
            b"user\0ann\0\0x",
            b"user\0ann\0\0\0",
        ] {
            assert_eq!(refused(V3_0, body), layout, "{body:?}");
        }
        let no_user = "28000: no PostgreSQL user name specified in startup packet";
        assert_eq!(refused(V3_0, b"database\0x\0\0"), no_user);
        assert_eq!(refused(V3_0, b"\0"), no_user);
        assert_eq!(
            refused(V3_0, b"user\0ann\0replication\0x\0\0"),
            "22023: invalid value for parameter \"replication\": \"x\""
        );
    }

    #[test]
    fn newer_protocols_and_extensions_are_negotiated_down() {
        let packet = |minor, body: &[u8]| parse_packet(V3_0 | minor, body).unwrap();
        assert_eq!(packet(0, b"user\0ann\0\0").negotiation(), None);
        assert_eq!(packet(2, b"user\0ann\0\0").negotiation(), None);
        let newer = packet(9999, b"user\0ann\0_pq_.foo\x001\0\0");
        assert_eq!(
            newer.negotiation(),
            Some((3 << 16 | 2, vec!["_pq_.foo".to_owned()]))
        );
        assert!(newer.has_long_key());
        assert!(!packet(0, b"user\0ann\0\0").has_long_key());
    }

    #[test]
    fn names_are_cut_at_a_character() {
        let name = "é".repeat(40);
        assert_eq!(cut_name(name), "é".repeat(31));
    }
}
