//! CREATE TABLE, DROP TABLE, TRUNCATE and LOCK TABLE.

use std::sync::Arc;

use trunkline_catalog::{
    ColumnDefinition, NotNull, RelationDesc, RelationPersistence, TableDefinition, check_namespace,
    column_type_by_name, oids,
};
use trunkline_engine::{CreateTableOutcome, relation_tag};
use trunkline_txn::LockMode;
use trunkline_types::{
    ColumnType, Oid, format_type, input_text, oids as type_oids, output_text, type_by_sql_name,
    typmod_in,
};

use super::Backend;
use crate::error::SqlError;
use crate::outcome::{Notice, NoticeSeverity};
use crate::query::sqlparser::ast;
use crate::query::{PgType, Styles};
use crate::relations::lock_session;
use crate::statement::{
    self, ColumnDefault, CreateTable, DropTable, LockTable, QualifiedName, TableElement, TypeName,
};

/// A name as messages show it.
pub(super) fn shown(name: &QualifiedName) -> String {
    match &name.schema {
        Some(schema) => format!("{schema}.{}", name.name),
        None => name.name.clone(),
    }
}

/// The OID and modifier that a type's name means.
pub(super) fn resolve_type_name(name: &TypeName) -> Result<(Oid, i32), SqlError> {
    let at = |error: SqlError| error.at(name.position);
    let mut modifiers = name.modifiers.clone();
    let info = match name.name.as_str() {
        "float" => return float_type(name).map_err(at),
        // The one-byte type is spelt with quotes, which the parser has taken off.
        "character" | "nchar" => {
            if modifiers.is_empty() {
                modifiers.push(1);
            }
            type_by_sql_name("bpchar")
        }
        "char" if !name.is_quoted => {
            if modifiers.is_empty() {
                modifiers.push(1);
            }
            type_by_sql_name("bpchar")
        }
        "char" => type_by_sql_name("\"char\""),
        other => type_by_sql_name(other),
    };
    let info = match info {
        Some(info) => column_type_by_name(info.name, &name.name),
        None => column_type_by_name(&name.name, &name.name),
    }
    .map_err(|error| at(error.into()))?;
    let typmod = if modifiers.is_empty() {
        -1
    } else {
        typmod_in(info.oid, &modifiers).map_err(|error| at(error.into()))?
    };
    Ok((info.oid, typmod))
}

/// `float(p)`: single or double precision by the number of bits.
fn float_type(name: &TypeName) -> Result<(Oid, i32), SqlError> {
    use trunkline_types::oids;
    match name.modifiers.as_slice() {
        [] | [25..=53] => Ok((oids::FLOAT8, -1)),
        [1..=24] => Ok((oids::FLOAT4, -1)),
        [..=0] => Err(SqlError::new(
            "22023",
            "precision for type float must be at least 1 bit",
        )),
        [_] => Err(SqlError::new(
            "22023",
            "precision for type float must be less than 54 bits",
        )),
        _ => Err(SqlError::new("42601", "syntax error at or near \",\"")),
    }
}

/// Functions whose value is another one for every row; a default is evaluated once a statement.
const VOLATILE: &[&str] = &[
    "clock_timestamp",
    "gen_random_uuid",
    "nextval",
    "random",
    "random_normal",
    "setseed",
    "timeofday",
    "uuidv4",
    "uuidv7",
];

impl Backend {
    pub(super) fn create_table(&mut self, create: &CreateTable) -> Result<(), SqlError> {
        let name = &create.name;
        let namespace = self
            .with_session(|session, io| session.creation_namespace(name.schema.as_deref(), io))?;
        check_namespace(namespace, &name.name)?;
        if create.if_not_exists {
            let schema = self.with_session(|session, io| {
                let snapshot = session.snapshot()?;
                let own_changes = session.has_own_catalog_changes();
                let catalog = session.database().catalog();
                let mut view = catalog.view(&snapshot, own_changes, io);
                view.relation_oid(namespace, &name.name)
                    .map_err(trunkline_engine::EngineError::from)
            })?;
            if schema.is_some() {
                self.notice_exists(&name.name);
                return Ok(());
            }
        }
        let mut columns = Vec::with_capacity(create.elements.len());
        for element in &create.elements {
            match element {
                TableElement::Column(column) => columns.push(self.column(column)?),
                TableElement::Like {
                    source,
                    including_defaults,
                } => {
                    columns.extend(self.columns_like(source, *including_defaults)?);
                }
            }
        }
        let mut definition = TableDefinition {
            persistence: if create.unlogged {
                RelationPersistence::Unlogged
            } else {
                RelationPersistence::Permanent
            },
            name: name.name.clone(),
            namespace,
            owner: oids::BOOTSTRAP_SUPERUSER,
            columns,
        };
        definition.validate()?;
        self.check_defaults(&mut definition, create)?;
        let outcome = self.with_session(|session, io| {
            session.create_table(&definition, create.if_not_exists, io)
        })?;
        if outcome == CreateTableOutcome::Existed {
            self.notice_exists(&name.name);
        }
        Ok(())
    }

    fn notice_exists(&mut self, name: &str) {
        self.notice(Notice::new(
            NoticeSeverity::Notice,
            "42P07",
            format!("relation \"{name}\" already exists, skipping"),
        ));
    }

    fn column(&self, column: &statement::ColumnDefinition) -> Result<ColumnDefinition, SqlError> {
        let (type_oid, typmod) = resolve_type_name(&column.type_name)?;
        let mut definition = ColumnDefinition::new(&column.name, type_oid, typmod);
        definition.not_null = column.not_null.then(NotNull::default);
        definition.default = column.default.as_ref().map(|default| default.text.clone());
        Ok(definition)
    }

    fn columns_like(
        &self,
        source: &QualifiedName,
        including_defaults: bool,
    ) -> Result<Vec<ColumnDefinition>, SqlError> {
        let source = self.open_relation(source, LockMode::AccessShare)?;
        let columns = source
            .desc
            .attrs()
            .iter()
            .enumerate()
            .map(|(index, attribute)| {
                let mut column =
                    ColumnDefinition::new(&attribute.name, attribute.type_oid, attribute.typmod);
                // Constraints keep their names (`expandTableLikeClause`).
                column.not_null = attribute.not_null.then(|| NotNull {
                    constraint_name: source
                        .not_null_constraints
                        .iter()
                        .find(|constraint| usize::try_from(constraint.column) == Ok(index + 1))
                        .map(|constraint| constraint.name.clone()),
                });
                if including_defaults {
                    column.default = source.defaults.get(index).cloned().flatten();
                }
                column
            });
        Ok(columns.collect())
    }

    /// Evaluates every default once: what cannot be a value of its column is refused now. What
    /// passes is brought to the text that is stored of it.
    fn check_defaults(
        &self,
        definition: &mut TableDefinition,
        create: &CreateTable,
    ) -> Result<(), SqlError> {
        let written = |name: &str| {
            create.elements.iter().find_map(|element| match element {
                TableElement::Column(column) if column.name == name => column.default.as_ref(),
                _ => None,
            })
        };
        let styles = self.styles();
        let planner = self.planner(&styles)?;
        for column in &mut definition.columns {
            let Some(text) = &column.default else {
                continue;
            };
            for function in statement::called_functions(text)? {
                if VOLATILE.contains(&function.as_str()) {
                    return Err(SqlError::not_supported(format!(
                        "a default with the volatile function {function}() is not supported"
                    )));
                }
            }
            let ty = PgType::with_typmod(column.type_oid, column.typmod);
            let default = written(&column.name);
            planner
                .expression(text, &column.name, ty)
                .map_err(|error| default_error(error.into(), default))?;
            if let Some(default) = default {
                column.default = stored_default(default, ty, &styles)?;
            }
        }
        Ok(())
    }

    /// Opens a relation that must exist.
    pub(super) fn open_relation(
        &self,
        name: &QualifiedName,
        mode: LockMode,
    ) -> Result<Arc<RelationDesc>, SqlError> {
        self.with_session(|session, io| {
            session.open_relation(name.schema.as_deref(), &name.name, mode, io)
        })
    }

    pub(super) fn drop_tables(&mut self, drop: &DropTable) -> Result<(), SqlError> {
        for name in &drop.names {
            let found = self.with_session(|session, io| {
                session.open_relation_if_exists(
                    name.schema.as_deref(),
                    &name.name,
                    LockMode::AccessExclusive,
                    io,
                )
            });
            let relation = match found {
                Ok(found) => found,
                Err(error) if drop.if_exists && error.sqlstate == "3F000" => {
                    self.notice_skipping(&error.message);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(relation) = relation else {
                let message = format!("table \"{}\" does not exist", name.name);
                if drop.if_exists {
                    self.notice_skipping(&message);
                    continue;
                }
                return Err(SqlError::new("42P01", message));
            };
            self.refuse_if_scanned("DROP TABLE", &relation)?;
            self.with_session(|session, io| session.drop_table(&relation, io))?;
        }
        Ok(())
    }

    fn notice_skipping(&mut self, message: &str) {
        self.notice(Notice::new(
            NoticeSeverity::Notice,
            "00000",
            format!("{message}, skipping"),
        ));
    }

    pub(super) fn truncate(&mut self, names: &[QualifiedName]) -> Result<(), SqlError> {
        for name in names {
            let relation = self.open_relation(name, LockMode::AccessExclusive)?;
            self.refuse_if_scanned("TRUNCATE", &relation)?;
            self.with_session(|session, io| session.truncate_table(&relation, io))?;
        }
        Ok(())
    }

    /// This session's own lock does not keep its own running queries out.
    fn refuse_if_scanned(&self, command: &str, relation: &RelationDesc) -> Result<(), SqlError> {
        if self.scans.is_in_use(relation.oid) {
            return Err(SqlError::new(
                "55006",
                format!(
                    "cannot {command} \"{}\" because it is being used by active queries in this \
                     session",
                    relation.name
                ),
            ));
        }
        self.scans.wait_for_stopped(relation.oid);
        Ok(())
    }

    pub(super) fn lock_tables(&mut self, lock: &LockTable) -> Result<(), SqlError> {
        if !self.is_in_block() {
            return Err(SqlError::new(
                "25P01",
                "LOCK TABLE can only be used in transaction blocks",
            ));
        }
        let mode = lock_mode(&lock.mode)?;
        for name in &lock.names {
            if !lock.no_wait {
                self.open_relation(name, mode)?;
                continue;
            }
            let (found, free) = self.with_session(|session, io| {
                let schema = name.schema.as_deref();
                let found = session.find_relation(schema, &name.name, io)?;
                let relation = match found {
                    Some(oid) => session.relation(oid, io)?,
                    None => None,
                };
                let free = match &relation {
                    Some(relation) => session.try_lock(relation_tag(relation), mode)?,
                    None => true,
                };
                Ok::<_, trunkline_engine::EngineError>((relation.is_some(), free))
            })?;
            if !found {
                return Err(SqlError::new(
                    "42P01",
                    format!("relation \"{}\" does not exist", shown(name)),
                ));
            }
            if !free {
                return Err(SqlError::new(
                    "55P03",
                    format!("could not obtain lock on relation \"{}\"", name.name),
                ));
            }
            // It may have been dropped between the look and the lock.
            self.open_relation(name, mode)?;
        }
        Ok(())
    }

    /// The payloads of the defaults of the columns that `wanted` picks, `None` for NULL.
    pub(super) fn evaluate_defaults(
        &self,
        relation: &RelationDesc,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<Vec<u8>>>, SqlError> {
        let mut values = vec![None; relation.desc.len()];
        let mut planner = None;
        for (index, attribute) in relation.desc.attrs().iter().enumerate() {
            let Some(Some(text)) = relation.defaults.get(index) else {
                continue;
            };
            if !wanted(index) {
                continue;
            }
            let planner = match &planner {
                Some(planner) => planner,
                None => planner.insert(self.planner(&self.styles())?),
            };
            let ty = PgType::with_typmod(attribute.type_oid, attribute.typmod);
            values[index] = planner.expression(text, &attribute.name, ty)?;
        }
        Ok(values)
    }

    /// The session's name as a lock owner and in the views.
    pub(super) fn backend_pid(&self) -> i32 {
        lock_session(&self.engine).backend_pid()
    }
}

/// An error of a default in the words that PostgreSQL has for it (`cookDefault`), at its place in
/// the statement.
fn default_error(mut error: SqlError, default: Option<&ColumnDefault>) -> SqlError {
    let start = default.map(|default| default.position);
    let shift = |position: Option<usize>| Some(position? + start? - 1);
    error.position = shift(error.position);
    match error.sqlstate.as_ref() {
        "42804" => {
            error.message = error.message.replace(
                " but expression is of type ",
                " but default expression is of type ",
            );
            error.position = None;
        }
        // A default stands in no FROM clause.
        "42703" => {
            let position = error.position;
            error = SqlError::not_supported("cannot use column reference in DEFAULT expression");
            error.position = position;
        }
        "0A000" if error.message.contains("subquery") => {
            error = SqlError::not_supported("cannot use subquery in DEFAULT expression");
            let offset = default.and_then(|default| {
                let text = default.text.to_lowercase();
                let select = text.find("select")?;
                Some(text[..text[..select].rfind('(')?].chars().count() + 1)
            });
            error.position = shift(offset);
        }
        _ => {}
    }
    error
}

/// The text that is stored of a default: a literal as PostgreSQL shows one of the column's type
/// (`get_const_expr`, `ruleutils.c`), anything else as it was written. None for NULL, which is what
/// a column without a default gets (`AddRelationNewConstraints`).
fn stored_default(
    default: &ColumnDefault,
    ty: PgType,
    styles: &Styles,
) -> Result<Option<String>, SqlError> {
    let mut expression = default.expression.as_ref();
    while let ast::Expr::Nested(inner) = expression {
        expression = inner;
    }
    let as_written = || Ok(Some(default.text.clone()));
    let value = match expression {
        ast::Expr::Value(value) => &value.value,
        ast::Expr::UnaryOp {
            op: ast::UnaryOperator::Minus,
            expr,
        } => {
            let ast::Expr::Value(value) = expr.as_ref() else {
                return as_written();
            };
            let ast::Value::Number(digits, _) = &value.value else {
                return as_written();
            };
            let ty = if digits.parse::<i32>().is_ok() {
                "integer"
            } else if digits.parse::<i64>().is_ok() {
                "bigint"
            } else {
                "numeric"
            };
            return Ok(Some(format!("'-{digits}'::{ty}")));
        }
        // Functions that SQL writes without parentheses.
        ast::Expr::Function(function) if matches!(function.args, ast::FunctionArguments::None) => {
            return Ok(Some(default.text.to_uppercase()));
        }
        _ => return as_written(),
    };
    let text = match value {
        ast::Value::Null => return Ok(None),
        ast::Value::SingleQuotedString(text) | ast::Value::EscapedStringLiteral(text) => text,
        _ => return as_written(),
    };
    let plain = ColumnType::new(ty.oid, -1)?;
    let mut payload = Vec::new();
    input_text(&plain, text, &styles.input, &mut payload)?;
    let mut printed = Vec::new();
    output_text(&plain, &payload, &styles.output, &mut printed)?;
    let printed = String::from_utf8_lossy(&printed);
    Ok(Some(match ty.oid {
        type_oids::BOOL => if printed == "t" { "true" } else { "false" }.to_owned(),
        type_oids::INT4 if !printed.starts_with('-') => printed.into_owned(),
        oid => {
            // What is read back with standard_conforming_strings needs no escapes.
            format!(
                "'{}'::{}",
                printed.replace('\'', "''"),
                format_type(oid, -1)
            )
        }
    }))
}

fn lock_mode(words: &str) -> Result<LockMode, SqlError> {
    Ok(match words {
        "ACCESS SHARE" => LockMode::AccessShare,
        "ROW SHARE" => LockMode::RowShare,
        "ROW EXCLUSIVE" => LockMode::RowExclusive,
        "SHARE UPDATE EXCLUSIVE" => LockMode::ShareUpdateExclusive,
        "SHARE" => LockMode::Share,
        "SHARE ROW EXCLUSIVE" => LockMode::ShareRowExclusive,
        "EXCLUSIVE" => LockMode::Exclusive,
        "ACCESS EXCLUSIVE" => LockMode::AccessExclusive,
        other => {
            let word = other.split(' ').next().unwrap_or_default().to_lowercase();
            return Err(SqlError::new(
                "42601",
                format!("syntax error at or near \"{word}\""),
            ));
        }
    })
}
