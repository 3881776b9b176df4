//! Where decoded rows go.

use trunkline_types::TypeError;

use crate::CopyError;

/// Takes rows as the decoder reads them: `begin_row`, then for each column of the COPY, in
/// the order of the data, one of `null`, `default_value` and `value`, then `end_row`.
///
/// A row of binary input may span several pushes. `begin_row` after an unfinished row
/// discards that row (ON_ERROR ignore, or an error). A `TupleFormer` that is given the
/// columns in the table's order fits under it directly: `begin`, `push_null`, `push_with`,
/// `finish`.
pub trait RowSink {
    /// A new row begins.
    fn begin_row(&mut self);

    /// The next column is null.
    fn null(&mut self);

    /// The next column takes its default: the data has the DEFAULT option's string.
    fn default_value(&mut self) -> Result<(), CopyError>;

    /// The next column has a value: `write` appends the datum's payload to the buffer that
    /// it is given.
    fn value<F>(&mut self, write: F) -> Result<(), TypeError>
    where
        F: FnOnce(&mut Vec<u8>) -> Result<(), TypeError>;

    /// The row is complete. An error stops the COPY; without a context line of its own it
    /// gets the line's.
    fn end_row(&mut self) -> Result<(), CopyError>;

    /// Something that the user should be told (ON_ERROR ignore).
    fn notice(&mut self, notice: CopyNotice);
}

/// A NOTICE raised while reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyNotice {
    /// The message.
    pub message: String,
    /// The CONTEXT line.
    pub context: Option<String>,
}
