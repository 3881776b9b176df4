//! A sink that keeps rows, and what the tests say about columns.

use trunkline_copy::{CopyColumn, CopyError, CopyNotice, RowSink};
use trunkline_types::{
    ColumnType, InputStyle, TypeError, input_text, output_text, type_by_sql_name, typmod_in,
};

/// A datum's payload or null.
pub type Cell = Option<Vec<u8>>;

/// A column with its type's text form of the default, if it has one.
pub struct TestColumn {
    pub column: CopyColumn,
    pub default: Option<String>,
}

/// Keeps the rows and notices that it is given.
#[derive(Default)]
pub struct RowCollector {
    pub defaults: Vec<Cell>,
    pub rows: Vec<Vec<Cell>>,
    pub notices: Vec<CopyNotice>,
    row: Vec<Cell>,
}

impl RowSink for RowCollector {
    fn begin_row(&mut self) {
        self.row.clear();
    }

    fn null(&mut self) {
        self.row.push(None);
    }

    fn default_value(&mut self) -> Result<(), CopyError> {
        self.row.push(self.defaults[self.row.len()].clone());
        Ok(())
    }

    fn value<F>(&mut self, write: F) -> Result<(), TypeError>
    where
        F: FnOnce(&mut Vec<u8>) -> Result<(), TypeError>,
    {
        let mut payload = Vec::new();
        write(&mut payload)?;
        self.row.push(Some(payload));
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), CopyError> {
        self.rows.push(std::mem::take(&mut self.row));
        Ok(())
    }

    fn notice(&mut self, notice: CopyNotice) {
        self.notices.push(notice);
    }
}

/// The payload of a value's text form.
pub fn payload(ty: &ColumnType, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    input_text(ty, text, &InputStyle::default(), &mut out).unwrap();
    out
}

/// The text form of a payload.
pub fn text(ty: &ColumnType, payload: &[u8]) -> String {
    let mut out = Vec::new();
    output_text(ty, payload, &Default::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Reads `a int4, "b c" varchar(3) default 'x'`.
pub fn columns(spec: &str) -> Vec<TestColumn> {
    let mut rest = spec.trim();
    let mut columns = Vec::new();
    while !rest.is_empty() {
        let (name, after) = identifier(rest);
        let end = after.find(", ").unwrap_or(after.len());
        let words: Vec<&str> = after[..end].split_whitespace().collect();
        let default = words
            .iter()
            .position(|word| *word == "default")
            .map(|at| words[at + 1].trim_matches('\'').to_owned());
        let ty = column_type(words[0]);
        columns.push(TestColumn {
            column: CopyColumn {
                name,
                ty,
                has_default: default.is_some(),
            },
            default,
        });
        rest = after[end..].trim_start_matches(", ");
    }
    columns
}

fn identifier(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (name, rest) = text.split_once(' ').unwrap();
        return (name.to_owned(), rest);
    };
    let mut name = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        if character != '"' {
            name.push(character);
        } else if quoted[at + 1..].starts_with('"') {
            name.push('"');
            characters.next();
        } else {
            return (name, quoted[at + 1..].trim_start());
        }
    }
    panic!("unterminated identifier in {text}");
}

fn column_type(name: &str) -> ColumnType {
    let (name, modifiers) = match name.split_once('(') {
        Some((name, modifiers)) => (
            name,
            modifiers
                .trim_end_matches(')')
                .split(',')
                .map(|modifier| modifier.parse().unwrap())
                .collect(),
        ),
        None => (name, Vec::new()),
    };
    let oid = type_by_sql_name(name).unwrap().oid;
    let typmod = if modifiers.is_empty() {
        -1
    } else {
        typmod_in(oid, &modifiers).unwrap()
    };
    ColumnType::new(oid, typmod).unwrap()
}
