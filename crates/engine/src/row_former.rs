//! Rows formed as tuples of a table: values put into the table's order, NULLs that are not allowed, rows that
//! are too big.

use std::ops::Range;
use std::sync::Arc;

use trunkline_catalog::RelationDesc;
use trunkline_copy::CopyError;
use trunkline_types::{ColumnType, OutputStyle, TupleFormer, TypeError, output_text};

use crate::error::StatementError;

/// Which of the table's columns a load's rows have.
#[derive(Clone, Debug)]
pub struct LoadColumns {
    /// For each value of a row, in the order of the data, the index of its column.
    pub given: Vec<usize>,
    /// For each column of the table, the payload that it gets when the data has none for it; `None`
    /// is NULL.
    pub defaults: Vec<Option<Vec<u8>>>,
}

impl LoadColumns {
    /// Rows that have every column of `relation`, in order.
    pub fn all(relation: &RelationDesc) -> LoadColumns {
        LoadColumns {
            given: (0..relation.desc.len()).collect(),
            defaults: vec![None; relation.desc.len()],
        }
    }

    fn are_in_table_order(&self) -> bool {
        self.given.len() == self.defaults.len()
            && self
                .given
                .iter()
                .enumerate()
                .all(|(index, column)| index == *column)
    }
}

/// A value of a row that has to be put into the table's order first.
#[derive(Clone, Debug, Default)]
struct Gathered {
    payload: Vec<u8>,
    is_null: bool,
}

/// Forms rows of one table, one after the other.
pub(crate) struct RowFormer {
    relation: Arc<RelationDesc>,
    columns: LoadColumns,
    /// Columns that refuse NULL, by index.
    not_null: Vec<usize>,
    former: TupleFormer,
    /// The row's values by column, unless they come in the table's order.
    gathered: Option<Vec<Gathered>>,
    /// Values of the row seen so far.
    seen: usize,
    nulls: Vec<bool>,
    output_style: OutputStyle,
}

impl RowFormer {
    /// For rows of `relation` that have `columns`. Errors show values in `output_style`.
    pub fn new(
        relation: Arc<RelationDesc>,
        columns: LoadColumns,
        output_style: OutputStyle,
    ) -> RowFormer {
        let width = relation.desc.len();
        let in_order = columns.are_in_table_order();
        let not_null = relation
            .desc
            .attrs()
            .iter()
            .enumerate()
            .filter(|(_, attribute)| attribute.not_null)
            .map(|(index, _)| index)
            .collect();
        RowFormer {
            relation,
            columns,
            not_null,
            former: TupleFormer::new(),
            gathered: (!in_order).then(|| vec![Gathered::default(); width]),
            seen: 0,
            nulls: vec![false; width],
            output_style,
        }
    }

    /// A row's values, one payload for each given column.
    ///
    /// # Panics
    /// If there are more or fewer.
    #[inline]
    pub fn fill(&mut self, values: &[Option<&[u8]>]) -> Result<(), StatementError> {
        assert_eq!(values.len(), self.columns.given.len(), "values of the row");
        self.begin_row();
        for value in values {
            match value {
                None => self.null(),
                Some(payload) => self
                    .value(|out| {
                        out.extend_from_slice(payload);
                        Ok(())
                    })
                    .map_err(|error| from_type_error(&error))?,
            }
        }
        Ok(())
    }

    /// The row before is forgotten.
    #[inline]
    pub fn begin_row(&mut self) {
        self.seen = 0;
        match &mut self.gathered {
            None => self.former.begin(&self.relation.desc),
            Some(gathered) => {
                for (value, default) in gathered.iter_mut().zip(&self.columns.defaults) {
                    value.payload.clear();
                    value.is_null = default.is_none();
                    value
                        .payload
                        .extend_from_slice(default.as_deref().unwrap_or_default());
                }
            }
        }
    }

    /// The next value is NULL.
    #[inline]
    pub fn null(&mut self) {
        let column = self.columns.given[self.seen];
        match &mut self.gathered {
            None => {
                self.nulls[column] = true;
                self.former.push_null();
            }
            Some(gathered) => {
                gathered[column].payload.clear();
                gathered[column].is_null = true;
            }
        }
        self.seen += 1;
    }

    /// The next value is its column's default.
    pub fn default_value(&mut self) {
        let column = self.columns.given[self.seen];
        // A gathered row has its defaults since it began.
        if self.gathered.is_none() {
            let default = self.columns.defaults[column].as_deref();
            self.nulls[column] = default.is_none();
            self.former.push(default);
        }
        self.seen += 1;
    }

    /// The next value is the payload that `write` makes.
    ///
    /// # Errors
    /// That of `write`.
    #[inline]
    pub fn value<F>(&mut self, write: F) -> Result<(), TypeError>
    where
        F: FnOnce(&mut Vec<u8>) -> Result<(), TypeError>,
    {
        let column = self.columns.given[self.seen];
        // `write` is called in one place, so that it becomes part of the caller's loop.
        let (open, out) = match &mut self.gathered {
            None => {
                self.nulls[column] = false;
                (Some(self.former.begin_value()), self.former.buffer())
            }
            Some(gathered) => {
                let value = &mut gathered[column];
                value.payload.clear();
                value.is_null = false;
                (None, &mut value.payload)
            }
        };
        write(out)?;
        if let Some(open) = open {
            self.former.end_value(open);
        }
        self.seen += 1;
        Ok(())
    }

    /// The row as a tuple.
    ///
    /// # Errors
    /// 23502 for a NULL that is not allowed, 54000 for a row that fits no page.
    #[inline]
    pub fn end_row(&mut self) -> Result<&[u8], CopyError> {
        let place = self.finish()?;
        Ok(&self.former.buffer()[place])
    }

    /// The row as a tuple, which stays in the former's buffer, and its place there.
    ///
    /// # Errors
    /// As [`RowFormer::end_row`].
    #[inline]
    pub fn keep_row(&mut self) -> Result<Range<usize>, CopyError> {
        let place = self.finish()?;
        self.former.keep();
        Ok(place)
    }

    /// Bytes of the rows that stay.
    #[inline]
    pub fn kept_bytes(&self) -> usize {
        self.former.kept_bytes()
    }

    /// Exchanges the rows that stay: [`TupleFormer::exchange_kept`].
    pub fn exchange_kept(&mut self, tuples: &mut Vec<u8>) {
        self.former.exchange_kept(tuples);
    }

    #[inline]
    fn finish(&mut self) -> Result<Range<usize>, CopyError> {
        if self.gathered.is_some() {
            self.form_gathered();
        }
        if let Some(column) = self
            .not_null
            .iter()
            .copied()
            .find(|column| self.nulls[*column])
        {
            return Err(self.null_violation(column));
        }
        self.former
            .finish_in_place()
            .map_err(|too_big| CopyError::new("54000", too_big.to_string()))
    }

    /// Forms the gathered row in the table's order.
    fn form_gathered(&mut self) {
        let Some(gathered) = &self.gathered else {
            return;
        };
        self.former.begin(&self.relation.desc);
        for (column, value) in gathered.iter().enumerate() {
            self.nulls[column] = value.is_null;
            self.former
                .push((!value.is_null).then_some(value.payload.as_slice()));
        }
    }

    fn null_violation(&mut self, column: usize) -> CopyError {
        let relation = Arc::clone(&self.relation);
        let name = &relation.desc.attrs()[column].name;
        let mut error = CopyError::new(
            "23502",
            format!(
                "null value in column \"{name}\" of relation \"{}\" violates not-null constraint",
                relation.name
            ),
        );
        error.detail = self
            .describe_row()
            .map(|row| format!("Failing row contains ({row})."));
        error
    }

    /// The row as `ExecBuildSlotValueDescription` prints it: values cut to 64 bytes.
    fn describe_row(&mut self) -> Option<String> {
        let tuple = self.former.finish().ok()?;
        let mut values = Vec::new();
        trunkline_types::deform(&self.relation.desc, tuple, &mut values).ok()?;
        let mut shown = Vec::with_capacity(values.len());
        for (attribute, value) in self.relation.desc.attrs().iter().zip(values) {
            let mut text = Vec::new();
            match value {
                None => text.extend_from_slice(b"null"),
                Some(payload) => {
                    let column = ColumnType::new(attribute.type_oid, attribute.typmod).ok()?;
                    output_text(&column, payload, &self.output_style, &mut text).ok()?;
                }
            }
            let mut text = String::from_utf8_lossy(&text).into_owned();
            if text.len() > 64 {
                let mut end = 64;
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                text.truncate(end);
                text.push_str("...");
            }
            shown.push(text);
        }
        Some(shown.join(", "))
    }
}

/// A row's error as a statement's.
pub(crate) fn row_error(error: CopyError) -> StatementError {
    let mut statement = StatementError::new(error.sqlstate, error.message);
    statement.detail = error.detail;
    statement
}

fn from_type_error(error: &TypeError) -> StatementError {
    let mut statement = StatementError::new(error.sqlstate, error.message.clone());
    statement.detail = error.detail.clone();
    statement.hint = error.hint.clone();
    statement
}
