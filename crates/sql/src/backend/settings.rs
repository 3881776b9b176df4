//! SET, RESET, SHOW and DISCARD.

use trunkline_engine::settings::{definitions, flatten};
use trunkline_types::{ColumnType, oids};

use super::{Backend, setting_text};
use crate::error::SqlError;
use crate::outcome::{DatumRows, FieldDesc, Outcome, RowStream, RowTag};
use crate::relations::lock_session;
use crate::statement::{Discard, SetStatement};

/// A computed column of type text.
pub(super) fn text_field(name: &str) -> FieldDesc {
    FieldDesc {
        name: name.to_owned(),
        table_oid: trunkline_types::Oid::INVALID,
        column_number: 0,
        type_oid: oids::TEXT,
        type_len: -1,
        typmod: -1,
    }
}

impl Backend {
    /// The columns that SHOW gives.
    pub(super) fn show_fields(&self, name: Option<&str>) -> Result<Vec<FieldDesc>, SqlError> {
        match name {
            None => Ok(["name", "setting", "description"].map(text_field).to_vec()),
            Some(name) => {
                let (name, _) = lock_session(&self.engine).settings().show(name)?;
                Ok(vec![text_field(&name)])
            }
        }
    }

    pub(super) fn show(&mut self, name: Option<&str>) -> Result<Outcome, SqlError> {
        let session = lock_session(&self.engine);
        let settings = session.settings();
        let rows: Vec<Vec<String>> = match name {
            Some(name) => vec![vec![settings.show(name)?.1]],
            None => definitions()
                .iter()
                .enumerate()
                .filter(|(_, definition)| definition.is_listed())
                .map(|(index, definition)| {
                    vec![
                        definition.name.to_owned(),
                        setting_text(definition, settings.get(index)),
                        definition.description.to_owned(),
                    ]
                })
                .collect(),
        };
        drop(session);
        let width = if name.is_some() { 1 } else { 3 };
        text_rows(&rows, width, RowTag::Plain("SHOW"))
    }

    pub(super) fn set(&mut self, statement: &SetStatement) -> Result<(), SqlError> {
        match statement {
            SetStatement::Value {
                name,
                values,
                local,
            } => {
                self.warn_local(*local);
                let value = flatten(name, values)?;
                let mut session = lock_session(&self.engine);
                Ok(session.settings_mut().set(name, &value, *local, true)?)
            }
            SetStatement::Default { name, local, .. } => {
                self.warn_local(*local);
                let mut session = lock_session(&self.engine);
                if *local {
                    // The value that RESET would give, for this transaction only.
                    let value = session.settings().reset_value(name)?;
                    return Ok(session.settings_mut().set(name, &value, true, true)?);
                }
                Ok(session.settings_mut().reset(name, true)?)
            }
            SetStatement::ResetAll => {
                lock_session(&self.engine).settings_mut().reset_all(true);
                Ok(())
            }
            SetStatement::Transaction(modes) => {
                if !self.is_in_block() {
                    self.warn(
                        "25P01",
                        "SET TRANSACTION can only be used in transaction blocks",
                    );
                }
                self.set_modes(modes)
            }
            SetStatement::Characteristics(defaults) => {
                let mut session = lock_session(&self.engine);
                for (name, value) in defaults {
                    session.settings_mut().set(name, value, false, true)?;
                }
                Ok(())
            }
        }
    }

    fn warn_local(&mut self, local: bool) {
        if local && !self.is_in_block() {
            self.warn("25P01", "SET LOCAL can only be used in transaction blocks");
        }
    }

    pub(super) fn discard(&mut self, what: Discard) -> Result<&'static str, SqlError> {
        match what {
            Discard::All => {
                self.refuse_in_block("DISCARD ALL")?;
                lock_session(&self.engine).settings_mut().reset_all(true);
                self.named.clear();
                Ok("DISCARD ALL")
            }
            // Plans are made anew for every execution; the other two have nothing to forget.
            Discard::Plans => Ok("DISCARD PLANS"),
            Discard::Sequences => Ok("DISCARD SEQUENCES"),
            Discard::Temporary => Ok("DISCARD TEMP"),
        }
    }
}

/// A small result of `width` columns of type text.
pub(super) fn text_rows(
    rows: &[Vec<String>],
    width: usize,
    tag: RowTag,
) -> Result<Outcome, SqlError> {
    let column = ColumnType::new(oids::TEXT, -1)?;
    let mut result = DatumRows::new(vec![column; width].into(), Default::default());
    for row in rows {
        let values: Vec<Option<&[u8]>> = row.iter().map(|text| Some(text.as_bytes())).collect();
        result.push(&values);
    }
    Ok(Outcome::Rows(RowStream::ready(tag, result)))
}
