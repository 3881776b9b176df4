//! Messages to the client, encoded into a [`Wire`].

use pgwire::messages::copy::{CopyDone, CopyInResponse, CopyOutResponse};
use pgwire::messages::data::{FieldDescription, NoData, ParameterDescription, RowDescription};
use pgwire::messages::extendedquery::{
    BindComplete, CloseComplete, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery,
    TransactionStatus as ReadyStatus,
};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};
use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{Cell, FieldDesc, Format, Notice, RowBatch, TransactionStatus};
use trunkline_types::Oid;

use crate::error::Failure;
use crate::wire::Wire;

fn format_code(format: Format) -> i16 {
    match format {
        Format::Text => 0,
        Format::Binary => 1,
    }
}

/// The fields of an error or notice that have a value (PostgreSQL's `protocol-error-fields`),
/// less those about its source code.
fn message_fields(fields: [(u8, Option<&str>); 8]) -> Vec<(u8, String)> {
    fields
        .into_iter()
        .filter_map(|(code, text)| text.map(|text| (code, without_nul(text))))
        .collect()
}

/// A field ends at its first NUL.
fn without_nul(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').collect()
}

impl Wire {
    pub(crate) fn put_error(&mut self, error: &SqlError) -> Result<(), Failure> {
        let severity = Some(if error.is_fatal { "FATAL" } else { "ERROR" });
        let position = error.position.map(|position| position.to_string());
        self.put(&ErrorResponse::new(message_fields([
            (b'S', severity),
            (b'V', severity),
            (b'C', Some(&error.sqlstate)),
            (b'M', Some(&error.message)),
            (b'D', error.detail.as_deref()),
            (b'H', error.hint.as_deref()),
            (b'P', position.as_deref()),
            (b'W', error.context.as_deref()),
        ])))
    }

    pub(crate) fn put_notice(&mut self, notice: &Notice) -> Result<(), Failure> {
        let severity = Some(notice.severity.name());
        self.put(&NoticeResponse::new(message_fields([
            (b'S', severity),
            (b'V', severity),
            (b'C', Some(&notice.sqlstate)),
            (b'M', Some(&notice.message)),
            (b'D', notice.detail.as_deref()),
            (b'H', notice.hint.as_deref()),
            (b'P', None),
            (b'W', notice.context.as_deref()),
        ])))
    }

    pub(crate) fn put_negotiation(
        &mut self,
        version: i32,
        unsupported_options: Vec<String>,
    ) -> Result<(), Failure> {
        self.put(&NegotiateProtocolVersion::new(version, unsupported_options))
    }

    pub(crate) fn put_authentication_ok(&mut self) -> Result<(), Failure> {
        self.put(&Authentication::Ok)
    }

    pub(crate) fn put_parameter_status(
        &mut self,
        name: String,
        value: String,
    ) -> Result<(), Failure> {
        self.put(&ParameterStatus::new(name, value))
    }

    /// `key` is 4 bytes long in protocol 3.0; longer keys go out as they are.
    pub(crate) fn put_backend_key(&mut self, pid: i32, key: &[u8]) -> Result<(), Failure> {
        let key = match key.try_into() {
            Ok(short) => SecretKey::I32(i32::from_be_bytes(short)),
            Err(_) => SecretKey::Bytes(key.to_vec().into()),
        };
        self.put(&BackendKeyData::new(pid, key))
    }

    pub(crate) fn put_ready(&mut self, status: TransactionStatus) -> Result<(), Failure> {
        self.put(&ReadyForQuery::new(match status {
            TransactionStatus::Idle => ReadyStatus::Idle,
            TransactionStatus::InBlock => ReadyStatus::Transaction,
            TransactionStatus::Failed => ReadyStatus::Error,
        }))
    }

    pub(crate) fn put_command_complete(&mut self, tag: &str) -> Result<(), Failure> {
        self.put(&CommandComplete::new(tag.to_owned()))
    }

    pub(crate) fn put_empty_query(&mut self) -> Result<(), Failure> {
        self.put(&EmptyQueryResponse::new())
    }

    pub(crate) fn put_parse_complete(&mut self) -> Result<(), Failure> {
        self.put(&ParseComplete::new())
    }

    pub(crate) fn put_bind_complete(&mut self) -> Result<(), Failure> {
        self.put(&BindComplete::new())
    }

    pub(crate) fn put_close_complete(&mut self) -> Result<(), Failure> {
        self.put(&CloseComplete::new())
    }

    pub(crate) fn put_portal_suspended(&mut self) -> Result<(), Failure> {
        self.put(&PortalSuspended::new())
    }

    pub(crate) fn put_no_data(&mut self) -> Result<(), Failure> {
        self.put(&NoData::new())
    }

    pub(crate) fn put_parameter_description(&mut self, types: &[Oid]) -> Result<(), Failure> {
        self.put(&ParameterDescription::new(
            types.iter().map(|oid| oid.0).collect(),
        ))
    }

    /// `formats` has an entry a field.
    pub(crate) fn put_row_description(
        &mut self,
        fields: &[FieldDesc],
        formats: &[Format],
    ) -> Result<(), Failure> {
        let fields = fields.iter().zip(formats).map(|(field, format)| {
            FieldDescription::new(
                without_nul(&field.name),
                field.table_oid.0.cast_signed(),
                field.column_number,
                field.type_oid.0,
                field.type_len,
                field.typmod,
                format_code(*format),
            )
        });
        self.put(&RowDescription::new(fields.collect()))
    }

    /// Announces COPY data to come from the client.
    pub(crate) fn put_copy_in(&mut self, format: Format, columns: usize) -> Result<(), Failure> {
        let (overall, columns, formats) = copy_formats(format, columns)?;
        self.put(&CopyInResponse::new(overall, columns, formats))
    }

    /// Announces COPY data to the client.
    pub(crate) fn put_copy_out(&mut self, format: Format, columns: usize) -> Result<(), Failure> {
        let (overall, columns, formats) = copy_formats(format, columns)?;
        self.put(&CopyOutResponse::new(overall, columns, formats))
    }

    pub(crate) fn put_copy_data(&mut self, data: &[u8]) -> Result<(), SqlError> {
        let output = self.output_mut();
        output.push(b'd');
        output.extend_from_slice(&length_word(data.len() + 4)?);
        output.extend_from_slice(data);
        Ok(())
    }

    pub(crate) fn put_copy_done(&mut self) -> Result<(), Failure> {
        self.put(&CopyDone::new())
    }

    /// Appends a row as a DataRow message. After an error, nothing of it is left.
    pub(crate) fn put_row(
        &mut self,
        batch: &RowBatch,
        row: usize,
        formats: &[Format],
    ) -> Result<(), SqlError> {
        let output = self.output_mut();
        let start = output.len();
        let result = append_row(output, batch, row, formats);
        if result.is_err() {
            output.truncate(start);
        }
        result
    }
}

fn append_row(
    output: &mut Vec<u8>,
    batch: &RowBatch,
    row: usize,
    formats: &[Format],
) -> Result<(), SqlError> {
    let start = output.len();
    output.push(b'D');
    output.extend_from_slice(&[0; 4]);
    let columns = u16::try_from(formats.len())
        .map_err(|_| SqlError::new("54011", "a row has too many columns"))?;
    output.extend_from_slice(&columns.to_be_bytes());
    for (column, format) in formats.iter().enumerate() {
        let length_at = output.len();
        // The length of NULL.
        output.extend_from_slice(&(-1_i32).to_be_bytes());
        if batch.encode(row, column, *format, output)? == Cell::Value {
            let length = length_word(output.len() - length_at - 4)?;
            output[length_at..length_at + 4].copy_from_slice(&length);
        }
    }
    let length = length_word(output.len() - start - 1)?;
    output[start + 1..start + 5].copy_from_slice(&length);
    Ok(())
}

/// A length on the wire, which clients read as signed.
fn length_word(bytes: usize) -> Result<[u8; 4], SqlError> {
    i32::try_from(bytes)
        .map(i32::to_be_bytes)
        .map_err(|_| SqlError::new("54000", "a message to the client would exceed 2 GB"))
}

fn copy_formats(format: Format, columns: usize) -> Result<(i8, i16, Vec<i16>), SqlError> {
    let count =
        i16::try_from(columns).map_err(|_| SqlError::new("54011", "a row has too many columns"))?;
    let overall = match format {
        Format::Text => 0,
        Format::Binary => 1,
    };
    Ok((overall, count, vec![format_code(format); columns]))
}
