//! INSERT.

use std::sync::Arc;

use trunkline_catalog::RelationDesc;
use trunkline_engine::{Load, LoadColumns};
use trunkline_txn::LockMode;
use trunkline_types::Oid;

use super::ddl::shown;
use super::{Backend, Prepared};
use crate::error::SqlError;
use crate::query::sqlparser::ast::{Query, SetExpr};
use crate::query::{Batch, InsertTarget, ParameterValues, PgType, Planner};
use crate::relations::lock_session;
use crate::statement::Insert;

impl Backend {
    /// Runs an INSERT; the number of rows. A plan that can be kept is, in `prepared`.
    pub(super) fn insert(
        &mut self,
        sql: &str,
        insert: &Insert,
        values: &ParameterValues,
        prepared: Option<&Prepared>,
    ) -> Result<u64, SqlError> {
        let relation = self.insert_relation(insert)?;
        let given = given_columns(insert, &relation)?;
        let Some(source) = &insert.source else {
            return self.insert_defaults(relation);
        };
        let styles = self.styles();
        let planner = self.planner(&styles)?;
        let targets = targets(&relation, &given);
        refuse_narrow_source(&planner, sql, insert, source, values)?;
        let mut stream = self
            .shared
            .block_on(planner.run_insert(sql, source, &targets, values))?;
        lock_session(&self.engine).refuse_if_read_only("INSERT")?;
        if let Some(prepared) = prepared {
            // What cannot be kept is planned anew each time, and told of then.
            let plan = self.plan_insert(&planner, sql, &relation, &given, source, values);
            prepared.keep_plan(plan.ok().flatten());
        }
        let width = stream.fields().len();
        let given = given[..width].to_vec();
        let defaults = self.evaluate_defaults(&relation, |index| !given.contains(&index))?;
        let columns = LoadColumns { given, defaults };
        let mut load = Load::begin(
            &mut lock_session(&self.engine),
            relation,
            columns,
            false,
            styles.output.clone(),
        )?;
        let cancel = self.cancel();
        while let Some(batch) = self.next_batch(&mut stream, &cancel)? {
            load_batch(&mut load, &batch)?;
        }
        Ok(load.finish()?)
    }

    /// Types of the parameters of an INSERT.
    pub(super) fn describe_insert(
        &mut self,
        sql: &str,
        insert: &Insert,
        declared: &[Oid],
    ) -> Result<Vec<Oid>, SqlError> {
        let relation = self.insert_relation(insert)?;
        let given = given_columns(insert, &relation)?;
        let Some(source) = &insert.source else {
            return Ok(Vec::new());
        };
        let planner = self.planner(&self.styles())?;
        let targets = targets(&relation, &given);
        let types = planner.describe_insert(sql, source, &targets, declared)?;
        Ok(types.iter().map(|ty| ty.oid).collect())
    }

    fn insert_defaults(&mut self, relation: Arc<RelationDesc>) -> Result<u64, SqlError> {
        lock_session(&self.engine).refuse_if_read_only("INSERT")?;
        let defaults = self.evaluate_defaults(&relation, |_| true)?;
        let columns = LoadColumns {
            given: Vec::new(),
            defaults,
        };
        let style = self.styles().output.clone();
        let mut session = lock_session(&self.engine);
        let mut load = Load::begin(&mut session, relation, columns, false, style)?;
        load.row(&[])?;
        Ok(load.finish()?)
    }

    fn insert_relation(&self, insert: &Insert) -> Result<Arc<RelationDesc>, SqlError> {
        let relation = self
            .open_relation(&insert.table, LockMode::RowExclusive)
            .map_err(
                // Unlike a utility statement, INSERT does not tell a missing schema from a missing
                // table.
                |error| match error.sqlstate.as_ref() {
                    "3F000" => SqlError::new(
                        "42P01",
                        format!("relation \"{}\" does not exist", shown(&insert.table)),
                    ),
                    _ => error,
                },
            )?;
        lock_session(&self.engine).check_user_table(&relation)?;
        Ok(relation)
    }
}

/// The indexes of the columns that the rows have values for.
fn given_columns(insert: &Insert, relation: &RelationDesc) -> Result<Vec<usize>, SqlError> {
    if insert.columns.is_empty() {
        return Ok(match insert.source {
            Some(_) => (0..relation.desc.len()).collect(),
            None => Vec::new(),
        });
    }
    let mut given = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let found = relation
            .desc
            .attrs()
            .iter()
            .position(|attribute| attribute.name == *name);
        let Some(index) = found else {
            return Err(SqlError::new(
                "42703",
                format!(
                    "column \"{name}\" of relation \"{}\" does not exist",
                    relation.name
                ),
            ));
        };
        if given.contains(&index) {
            return Err(SqlError::new(
                "42701",
                format!("column \"{name}\" specified more than once"),
            ));
        }
        given.push(index);
    }
    Ok(given)
}

fn targets<'r>(relation: &'r RelationDesc, given: &[usize]) -> Vec<InsertTarget<'r>> {
    given
        .iter()
        .map(|index| {
            let attribute = &relation.desc.attrs()[*index];
            InsertTarget {
                name: &attribute.name,
                ty: PgType::with_typmod(attribute.type_oid, attribute.typmod),
                default: relation.defaults.get(*index).and_then(Option::as_deref),
            }
        })
        .collect()
}

/// A list of columns must be filled; without one, the last columns may be left to their defaults.
fn refuse_narrow_source(
    planner: &Planner,
    sql: &str,
    insert: &Insert,
    source: &Query,
    values: &ParameterValues,
) -> Result<(), SqlError> {
    if insert.columns.is_empty() {
        return Ok(());
    }
    let width = match source.body.as_ref() {
        SetExpr::Values(values) => values.rows.first().map_or(0, |row| row.content.len()),
        _ => {
            let declared: Vec<Oid> = values.types.iter().map(|ty| ty.oid).collect();
            planner.describe(sql, source, &declared)?.fields.len()
        }
    };
    if width < insert.columns.len() {
        return Err(SqlError::new(
            "42601",
            "INSERT has more target columns than expressions",
        ));
    }
    Ok(())
}

/// Loads the rows of a batch, whose columns have the types of the load's.
fn load_batch(load: &mut Load, batch: &Batch) -> Result<(), SqlError> {
    batch.for_each_row(|values| Ok(load.row(values)?))
}
