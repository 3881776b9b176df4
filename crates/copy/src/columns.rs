//! The columns of a COPY and the lists that name them.

use trunkline_types::ColumnType;

use crate::{ColumnList, CopyError};

/// A column whose values are in the data, in the order of the data.
#[derive(Debug, Clone)]
pub struct CopyColumn {
    /// The column's name.
    pub name: String,
    /// Its type.
    pub ty: ColumnType,
    /// Whether it has a default expression (for the DEFAULT option).
    pub has_default: bool,
}

/// The numbers (from 0) of the columns that a COPY reads or writes: those in `list`, or all
/// if there is no list (copy.c, `CopyGetAttnums`). `relation` is the name that messages
/// show; a query has none.
pub fn select_columns(
    table_columns: &[&str],
    relation: Option<&str>,
    list: Option<&[String]>,
) -> Result<Vec<usize>, CopyError> {
    let Some(list) = list else {
        return Ok((0..table_columns.len()).collect());
    };
    let mut numbers = Vec::with_capacity(list.len());
    for name in list {
        let Some(number) = table_columns.iter().position(|column| column == name) else {
            let message = match relation {
                Some(relation) => {
                    format!("column \"{name}\" of relation \"{relation}\" does not exist")
                }
                None => format!("column \"{name}\" does not exist"),
            };
            return Err(CopyError::new("42703", message));
        };
        if numbers.contains(&number) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(CopyError::new("42701", message));
        }
        numbers.push(number);
    }
    Ok(numbers)
}

/// What is copied: a relation (or the rows of a query) and which of its columns.
#[derive(Debug, Clone)]
pub struct CopySubject {
    /// The relation's name as messages show it; a query has none.
    pub relation: Option<String>,
    /// The names of all columns of the relation.
    pub table_columns: Vec<String>,
    /// The numbers (from 0) of the columns in the data, see [`select_columns`].
    pub copied: Vec<usize>,
    /// Those columns, in the same order.
    pub columns: Vec<CopyColumn>,
}

impl CopySubject {
    /// All columns of a relation.
    pub fn whole(relation: impl Into<String>, columns: Vec<CopyColumn>) -> Self {
        Self {
            relation: Some(relation.into()),
            ..Self::query(columns)
        }
    }

    /// The columns of a query's result.
    pub fn query(columns: Vec<CopyColumn>) -> Self {
        Self {
            relation: None,
            table_columns: columns.iter().map(|column| column.name.clone()).collect(),
            copied: (0..columns.len()).collect(),
            columns,
        }
    }

    /// The relation's name for context lines.
    pub(crate) fn relation_name(&self) -> String {
        self.relation.clone().unwrap_or_default()
    }

    /// The columns named by FORCE_QUOTE, FORCE_NULL or FORCE_NOT_NULL, as one flag for each
    /// column in the data.
    pub(crate) fn flags(&self, option: &str, list: &ColumnList) -> Result<Vec<bool>, CopyError> {
        let names = match list {
            ColumnList::None => return Ok(vec![false; self.copied.len()]),
            ColumnList::All => return Ok(vec![true; self.copied.len()]),
            ColumnList::Names(names) => names,
        };
        let table_columns: Vec<&str> = self.table_columns.iter().map(String::as_str).collect();
        let forced = select_columns(&table_columns, self.relation.as_deref(), Some(names))?;
        if let Some(stranger) = forced.iter().find(|number| !self.copied.contains(number)) {
            return Err(CopyError::new(
                "42P10",
                format!(
                    "{option} column \"{}\" not referenced by COPY",
                    table_columns[*stranger]
                ),
            ));
        }
        Ok(self
            .copied
            .iter()
            .map(|number| forced.contains(number))
            .collect())
    }
}
