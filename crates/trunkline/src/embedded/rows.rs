//! A query's result.

use trunkline_sql::arrow::array::RecordBatch;
use trunkline_sql::arrow::datatypes::SchemaRef;
use trunkline_sql::arrow_form::ArrowForm;
use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::RowStream;

use super::Session;

/// Rows as they come, in batches. The statement is over, and committed outside of a transaction
/// block, once [`Rows::next`] has given None or an error; dropping it earlier stops the query.
#[derive(Debug)]
pub struct Rows<'s> {
    session: &'s mut Session,
    form: ArrowForm,
    stream: Option<RowStream>,
    rows: u64,
    tag: String,
}

impl<'s> Rows<'s> {
    pub(super) fn new(
        session: &'s mut Session,
        form: ArrowForm,
        stream: Option<RowStream>,
        tag: String,
    ) -> Rows<'s> {
        Rows {
            session,
            form,
            stream,
            rows: 0,
            tag,
        }
    }

    /// Names and types of the columns; what is which type, `arrow_form` of the crate `sql` says.
    pub fn schema(&self) -> &SchemaRef {
        self.form.schema()
    }

    /// The next rows; None after the last.
    ///
    /// # Errors
    /// The query's; it is over then, and rolled back. Also values that have no form in Arrow.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let Some(stream) = &mut self.stream else {
            return Ok(None);
        };
        let batch = match stream.next().await {
            None => {
                self.tag = stream.tag().text(self.rows);
                self.stream = None;
                self.session.finish().await?;
                return Ok(None);
            }
            Some(batch) => batch.and_then(|rows| self.form.batch(&rows)),
        };
        match batch {
            Ok(batch) => {
                self.rows += batch.num_rows() as u64;
                Ok(Some(batch))
            }
            Err(error) => {
                self.stream = None;
                self.session.undo().await;
                Err(error)
            }
        }
    }

    /// The command tag (`SELECT 5`), once all rows were read.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}
