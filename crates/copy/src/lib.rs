//! COPY's text, csv and binary formats: bytes to rows and rows to bytes.
//!
//! The crate does no I/O and knows no table. It knows PostgreSQL 18's formats, options and
//! error texts, and leaves the values to `trunkline-types`.
//!
//! ```text
//!  chunks ──▶ CopyDecoder ── text, csv: LineSplitter ▶ FieldSplitter ▶ input_text ──▶ RowSink
//!                         └─ binary:    length-prefixed parts ▶ input_binary ───────▶
//!  rows   ──▶ CopyEncoder ── output_text ▶ escapes or quotes;  output_binary ─────▶ bytes
//! ```
//!
//! A statement's options become [`CopyOptions`] by [`CopyOptions::from_list`]; its column list
//! becomes a [`CopySubject`] with the help of [`select_columns`]. The decoder takes chunks cut
//! anywhere and writes each value's payload straight to where its [`RowSink`] wants it. What a
//! row means (defaults, NOT NULL, where it is stored) is the sink's affair; an error that the
//! sink returns from `end_row` gets the line's context here.

mod binary;
mod columns;
mod decoder;
mod encoder;
mod encoding;
mod error;
mod fields;
mod line_decoder;
mod lines;
mod option_value;
mod options;
mod sink;

pub use columns::{CopyColumn, CopySubject, select_columns};
pub use decoder::CopyDecoder;
pub use encoder::CopyEncoder;
pub use error::CopyError;
pub use option_value::{ColumnList, OptionValue};
pub use options::{CopyFormat, CopyOptions, Header, LogVerbosity, OnError};
pub use sink::{CopyNotice, RowSink};
