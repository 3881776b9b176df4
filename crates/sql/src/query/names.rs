//! What the catalogs call things: names, comments and signatures of objects by OID, for functions
//! like `pg_get_userbyid` and `obj_description` and for printing OID aliases.
//!
//! Each part is read once a statement, when analysis meets something that needs it: running must
//! not wait for a catalog.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use trunkline_pgformat::Oid;
use trunkline_types::array::array_parts;
use trunkline_types::{ObjectNames, OidAlias, format_type, oids, quote_identifier, type_info};

use super::error::QueryError;
use super::session::{SessionFunctions, SystemRow, TableResolver};

/// OID of the namespace `pg_catalog`.
const PG_CATALOG: u32 = 11;

/// A part of the catalogs that is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamesPart {
    Relations,
    Types,
    Functions,
    Operators,
    Collations,
    Roles,
    Comments,
    Constraints,
}

/// An object with a name in a namespace.
#[derive(Clone, Debug)]
struct Named {
    namespace: u32,
    name: String,
    /// Nothing of the same name comes before it on the search path.
    is_visible: bool,
    /// `relkind`, `typtype`, `prokind`: what the catalog says the object is.
    kind: char,
    /// The element type of an array type.
    element: u32,
}

type Objects = HashMap<u32, Named>;

/// A function's arguments and result as `\df` prints them.
#[derive(Clone, Debug)]
struct Signature {
    arguments: String,
    result: Option<String>,
}

/// Names of one statement's catalogs.
#[derive(Debug, Default)]
pub struct CatalogNames {
    namespaces: OnceLock<HashMap<u32, String>>,
    /// The search path's namespaces in order, `pg_catalog` included.
    path: OnceLock<Vec<u32>>,
    relations: OnceLock<Objects>,
    types: OnceLock<Objects>,
    functions: OnceLock<Objects>,
    signatures: OnceLock<HashMap<u32, Signature>>,
    operators: OnceLock<Objects>,
    collations: OnceLock<Objects>,
    roles: OnceLock<HashMap<u32, String>>,
    /// By object, catalog and column.
    comments: OnceLock<HashMap<(u32, u32, i32), String>>,
    shared_comments: OnceLock<HashMap<(u32, u32), String>>,
    constraints: OnceLock<HashMap<u32, String>>,
}

fn damaged() -> QueryError {
    QueryError::new("XX001", "a catalog row has a column of a wrong type")
}

fn bytes(row: &SystemRow, column: usize) -> Result<&[u8], QueryError> {
    row.get(column)
        .and_then(Option::as_deref)
        .ok_or_else(damaged)
}

fn oid(row: &SystemRow, column: usize) -> Result<u32, QueryError> {
    let word = bytes(row, column)?.try_into().map_err(|_| damaged())?;
    Ok(u32::from_le_bytes(word))
}

fn int2(row: &SystemRow, column: usize) -> Result<i16, QueryError> {
    let word = bytes(row, column)?.try_into().map_err(|_| damaged())?;
    Ok(i16::from_le_bytes(word))
}

fn text(row: &SystemRow, column: usize) -> Result<String, QueryError> {
    let bytes = bytes(row, column)?;
    // A name is padded with zeros.
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| damaged())
}

fn character(row: &SystemRow, column: usize) -> Result<char, QueryError> {
    Ok(bytes(row, column)?.first().copied().map_or(' ', char::from))
}

fn oid_list(row: &SystemRow, column: usize) -> Option<Vec<u32>> {
    let parts = array_parts(row.get(column)?.as_deref()?)?;
    parts
        .elements
        .into_iter()
        .map(|element| Some(u32::from_le_bytes(element?.try_into().ok()?)))
        .collect()
}

fn text_list(row: &SystemRow, column: usize) -> Option<Vec<String>> {
    let parts = array_parts(row.get(column)?.as_deref()?)?;
    parts
        .elements
        .into_iter()
        .map(|element| String::from_utf8(element?.to_vec()).ok())
        .collect()
}

impl CatalogNames {
    /// Reads a part unless it was read before.
    pub(crate) fn load(
        &self,
        part: NamesPart,
        tables: &dyn TableResolver,
        session: &dyn SessionFunctions,
    ) -> Result<(), QueryError> {
        match part {
            NamesPart::Relations => {
                self.load_namespaces(tables, session)?;
                fill(&self.relations, || {
                    let columns = &["oid", "relnamespace", "relname", "relkind"];
                    self.objects(tables.system_rows("pg_class", columns)?, None)
                })
            }
            NamesPart::Types => {
                self.load_namespaces(tables, session)?;
                fill(&self.types, || {
                    let columns = &["oid", "typnamespace", "typname", "typcategory", "typelem"];
                    self.objects(tables.system_rows("pg_type", columns)?, Some(4))
                })
            }
            NamesPart::Functions => {
                self.load(NamesPart::Types, tables, session)?;
                self.load_functions(tables)
            }
            NamesPart::Operators => {
                self.load_namespaces(tables, session)?;
                fill(&self.operators, || {
                    let columns = &["oid", "oprnamespace", "oprname", "oprkind"];
                    self.objects(tables.system_rows("pg_operator", columns)?, None)
                })
            }
            NamesPart::Collations => {
                self.load_namespaces(tables, session)?;
                fill(&self.collations, || {
                    let columns = &["oid", "collnamespace", "collname", "collprovider"];
                    self.objects(tables.system_rows("pg_collation", columns)?, None)
                })
            }
            NamesPart::Roles => fill(&self.roles, || {
                let rows = tables.system_rows("pg_authid", &["oid", "rolname"])?;
                rows.iter()
                    .map(|row| Ok((oid(row, 0)?, text(row, 1)?)))
                    .collect()
            }),
            NamesPart::Comments => {
                self.load(NamesPart::Relations, tables, session)?;
                fill(&self.comments, || {
                    let columns = &["objoid", "classoid", "objsubid", "description"];
                    let rows = tables.system_rows("pg_description", columns)?;
                    rows.iter()
                        .map(|row| {
                            let key = (oid(row, 0)?, oid(row, 1)?, oid(row, 2)? as i32);
                            Ok((key, text(row, 3)?))
                        })
                        .collect()
                })?;
                fill(&self.shared_comments, || {
                    let columns = &["objoid", "classoid", "description"];
                    let rows = tables.system_rows("pg_shdescription", columns)?;
                    rows.iter()
                        .map(|row| Ok(((oid(row, 0)?, oid(row, 1)?), text(row, 2)?)))
                        .collect()
                })
            }
            NamesPart::Constraints => self.load_constraints(tables),
        }
    }

    fn load_namespaces(
        &self,
        tables: &dyn TableResolver,
        session: &dyn SessionFunctions,
    ) -> Result<(), QueryError> {
        fill(&self.namespaces, || {
            let rows = tables.system_rows("pg_namespace", &["oid", "nspname"])?;
            rows.iter()
                .map(|row| Ok((oid(row, 0)?, text(row, 1)?)))
                .collect()
        })?;
        fill(&self.path, || {
            let known = self.namespaces.get().into_iter().flatten();
            let by_name: HashMap<&str, u32> =
                known.map(|(oid, name)| (name.as_str(), *oid)).collect();
            let mut path: Vec<u32> = session
                .search_path()
                .iter()
                .filter_map(|name| by_name.get(name.as_str()).copied())
                .collect();
            // Unless the path names it, `pg_catalog` comes before everything.
            if !path.contains(&PG_CATALOG) {
                path.insert(0, PG_CATALOG);
            }
            Ok(path)
        })
    }

    /// Objects of rows that begin with OID, namespace, name and kind.
    fn objects(&self, rows: Vec<SystemRow>, element: Option<usize>) -> Result<Objects, QueryError> {
        let path = self.path.get().map(Vec::as_slice).unwrap_or_default();
        let rank = |namespace: u32| path.iter().position(|other| *other == namespace);
        let mut objects = Objects::with_capacity(rows.len());
        let mut first: HashMap<String, usize> = HashMap::new();
        for row in &rows {
            let named = Named {
                namespace: oid(row, 1)?,
                name: text(row, 2)?,
                is_visible: false,
                kind: character(row, 3)?,
                element: match element {
                    Some(column) => oid(row, column)?,
                    None => 0,
                },
            };
            if let Some(rank) = rank(named.namespace) {
                let known = first.entry(named.name.clone()).or_insert(rank);
                *known = rank.min(*known);
            }
            objects.insert(oid(row, 0)?, named);
        }
        for named in objects.values_mut() {
            let place = rank(named.namespace);
            named.is_visible = place.is_some() && first.get(&named.name).copied() == place;
        }
        Ok(objects)
    }

    fn load_functions(&self, tables: &dyn TableResolver) -> Result<(), QueryError> {
        if self.functions.get().is_some() {
            return Ok(());
        }
        let columns = &[
            "oid",
            "pronamespace",
            "proname",
            "prokind",
            "proretset",
            "prorettype",
            "proargtypes",
            "proallargtypes",
            "proargmodes",
            "proargnames",
            "proargdefaults",
        ];
        let rows = tables.system_rows("pg_proc", columns)?;
        let signatures = rows
            .iter()
            .map(|row| Ok((oid(row, 0)?, self.signature(row)?)))
            .collect::<Result<_, QueryError>>()?;
        let functions = self.objects(rows, None)?;
        fill(&self.signatures, || Ok(signatures))?;
        fill(&self.functions, || Ok(functions))
    }

    /// `print_function_arguments` and `print_function_rettype` (`ruleutils.c`).
    fn signature(&self, row: &SystemRow) -> Result<Signature, QueryError> {
        let inputs = oid_list(row, 6).ok_or_else(damaged)?;
        let modes = row[8]
            .as_deref()
            .and_then(array_parts)
            .map(|parts| {
                let first = |element: Option<&[u8]>| element.and_then(|e| e.first().copied());
                parts.elements.into_iter().map(first).collect::<Vec<_>>()
            })
            .unwrap_or_default();
        let types = oid_list(row, 7).unwrap_or_else(|| inputs.clone());
        let names = text_list(row, 9).unwrap_or_default();
        let defaults = match row[10] {
            Some(_) => expression_list(&text(row, 10)?),
            None => Vec::new(),
        };
        let without_default = inputs.len().saturating_sub(defaults.len());
        let mut printed = Vec::new();
        let mut table = Vec::new();
        let mut input = 0_usize;
        for (index, ty) in types.iter().enumerate() {
            let mode = modes.get(index).copied().flatten().unwrap_or(b'i');
            let prefix = match mode {
                b'o' => "OUT ",
                b'b' => "INOUT ",
                b'v' => "VARIADIC ",
                _ => "",
            };
            let mut argument = prefix.to_owned();
            if let Some(name) = names.get(index).filter(|name| !name.is_empty()) {
                argument.push_str(&quote_identifier(name));
                argument.push(' ');
            }
            argument.push_str(&self.format_type(*ty, None));
            if mode == b't' {
                table.push(argument);
                continue;
            }
            if mode != b'o' {
                if let Some(default) = input
                    .checked_sub(without_default)
                    .and_then(|index| defaults.get(index))
                {
                    argument.push_str(" DEFAULT ");
                    argument.push_str(default);
                }
                input += 1;
            }
            printed.push(argument);
        }
        let is_set = bytes(row, 4)?.first() == Some(&1);
        let result = if character(row, 3)? == 'p' {
            None
        } else if !table.is_empty() {
            Some(format!("TABLE({})", table.join(", ")))
        } else {
            let set = if is_set { "SETOF " } else { "" };
            Some(format!("{set}{}", self.format_type(oid(row, 5)?, None)))
        };
        Ok(Signature {
            arguments: printed.join(", "),
            result,
        })
    }

    /// The text of constraints; there are NOT NULL ones only.
    fn load_constraints(&self, tables: &dyn TableResolver) -> Result<(), QueryError> {
        fill(&self.constraints, || {
            let columns = &["oid", "conrelid", "contype", "conkey"];
            let rows = tables.system_rows("pg_constraint", columns)?;
            let columns = &["attrelid", "attnum", "attname"];
            let mut attributes = HashMap::new();
            for row in tables.system_rows("pg_attribute", columns)? {
                attributes.insert((oid(&row, 0)?, int2(&row, 1)?), text(&row, 2)?);
            }
            let mut constraints = HashMap::new();
            for row in &rows {
                let key = row[3].as_deref().and_then(array_parts);
                let number = key
                    .and_then(|parts| parts.elements.first().copied().flatten())
                    .and_then(|element| element.try_into().ok())
                    .map(i16::from_le_bytes);
                let column = number.and_then(|number| attributes.get(&(oid(row, 1).ok()?, number)));
                if let (Some(column), 'n') = (column, character(row, 2)?) {
                    let text = format!("NOT NULL {}", quote_identifier(column));
                    constraints.insert(oid(row, 0)?, text);
                }
            }
            Ok(constraints)
        })
    }

    fn qualified(&self, named: &Named) -> String {
        let name = quote_identifier(&named.name);
        if named.is_visible {
            return name;
        }
        match self.namespace(named.namespace) {
            Some(namespace) => format!("{}.{name}", quote_identifier(namespace)),
            None => name,
        }
    }

    fn namespace(&self, oid: u32) -> Option<&str> {
        Some(self.namespaces.get()?.get(&oid)?.as_str())
    }

    /// The OID of a system table.
    pub(crate) fn system_table(&self, name: &str) -> Option<u32> {
        let mut relations = self.relations.get()?.iter();
        relations
            .find(|(_, named)| named.namespace == PG_CATALOG && named.name == name)
            .map(|(oid, _)| *oid)
    }

    /// `relkind` of a relation.
    pub(crate) fn relation_kind(&self, oid: u32) -> Option<char> {
        Some(self.relations.get()?.get(&oid)?.kind)
    }

    pub(crate) fn relation_is_visible(&self, oid: u32) -> Option<bool> {
        Some(self.relations.get()?.get(&oid)?.is_visible)
    }

    pub(crate) fn type_is_visible(&self, oid: u32) -> Option<bool> {
        Some(self.types.get()?.get(&oid)?.is_visible)
    }

    pub(crate) fn function_is_visible(&self, oid: u32) -> Option<bool> {
        Some(self.functions.get()?.get(&oid)?.is_visible)
    }

    pub(crate) fn operator_is_visible(&self, oid: u32) -> Option<bool> {
        Some(self.operators.get()?.get(&oid)?.is_visible)
    }

    pub(crate) fn collation_is_visible(&self, oid: u32) -> Option<bool> {
        Some(self.collations.get()?.get(&oid)?.is_visible)
    }

    /// `pg_get_function_arguments`
    pub(crate) fn function_arguments(&self, oid: u32) -> Option<&str> {
        Some(&self.signatures.get()?.get(&oid)?.arguments)
    }

    /// `pg_get_function_result`
    pub(crate) fn function_result(&self, oid: u32) -> Option<&str> {
        self.signatures.get()?.get(&oid)?.result.as_deref()
    }

    /// The text of a constraint.
    pub(crate) fn constraint(&self, oid: u32) -> Option<&str> {
        Some(self.constraints.get()?.get(&oid)?.as_str())
    }

    /// The comment on an object of a catalog, or on a column of a relation.
    pub(crate) fn comment(&self, object: u32, catalog: u32, column: i32) -> Option<&str> {
        let comments = self.comments.get()?;
        Some(comments.get(&(object, catalog, column))?.as_str())
    }

    /// The comment on an object of whatever catalog.
    pub(crate) fn comment_anywhere(&self, object: u32) -> Option<&str> {
        let mut comments = self.comments.get()?.iter();
        comments
            .find(|((other, _, column), _)| *other == object && *column == 0)
            .map(|(_, comment)| comment.as_str())
    }

    /// The comment on an object that all databases share.
    pub(crate) fn shared_comment(&self, object: u32, catalog: u32) -> Option<&str> {
        let comments = self.shared_comments.get()?;
        Some(comments.get(&(object, catalog))?.as_str())
    }

    /// `format_type_extended` for types of users' tables too; without a modifier, that of a type
    /// name by itself.
    pub(crate) fn format_type(&self, oid: u32, typmod: Option<i32>) -> String {
        if oid == oids::BPCHAR.0 && typmod.is_none() {
            return "character".to_owned();
        }
        if oid == 0 || type_info(Oid(oid)).is_some() {
            return format_type(Oid(oid), typmod.unwrap_or(-1));
        }
        match self.types.get().and_then(|types| types.get(&oid)) {
            Some(named) if named.kind == 'A' && named.element != 0 => {
                format!("{}[]", self.format_type(named.element, typmod))
            }
            Some(named) => self.qualified(named),
            None => "???".to_owned(),
        }
    }

    fn function_name(&self, oid: u32) -> Option<String> {
        let functions = self.functions.get()?;
        let named = functions.get(&oid)?;
        let namesakes = functions
            .values()
            .filter(|other| other.name == named.name && other.is_visible)
            .count();
        let alone = Named {
            is_visible: named.is_visible && namesakes == 1,
            ..named.clone()
        };
        Some(self.qualified(&alone))
    }

    /// The relation of this name, for input of OID aliases.
    pub(crate) fn find(&self, alias: OidAlias, schema: Option<&str>, name: &str) -> BTreeSet<u32> {
        let in_schema = |named: &Named| match schema {
            Some(schema) => self.namespace(named.namespace) == Some(schema),
            None => named.is_visible,
        };
        let among = |objects: Option<&Objects>| {
            let objects = objects.into_iter().flatten();
            objects
                .filter(|(_, named)| named.name == name && in_schema(named))
                .map(|(oid, _)| *oid)
                .collect()
        };
        let plain = |names: Option<&HashMap<u32, String>>| {
            let names = names.into_iter().flatten();
            names
                .filter(|(_, other)| schema.is_none() && *other == name)
                .map(|(oid, _)| *oid)
                .collect()
        };
        match alias {
            OidAlias::Class => among(self.relations.get()),
            OidAlias::Type => among(self.types.get()),
            OidAlias::Proc => among(self.functions.get()),
            OidAlias::Namespace => plain(self.namespaces.get()),
            OidAlias::Role => plain(self.roles.get()),
        }
    }
}

/// The parts that reading or printing values of a type needs.
pub(crate) fn parts_of_type(ty: Oid) -> &'static [NamesPart] {
    let element = type_info(ty).map(|info| info.elem);
    match ty {
        oids::REGCLASS | oids::REGNAMESPACE => &[NamesPart::Relations],
        oids::REGTYPE => &[NamesPart::Types],
        oids::REGPROC => &[NamesPart::Functions],
        oids::REGROLE | oids::ACLITEM => &[NamesPart::Roles],
        _ => match element {
            Some(element) if element.is_valid() && element != ty => parts_of_type(element),
            _ => &[],
        },
    }
}

impl ObjectNames for CatalogNames {
    fn printed_name(&self, alias: OidAlias, oid: u32) -> Option<String> {
        match alias {
            OidAlias::Class => Some(self.qualified(self.relations.get()?.get(&oid)?)),
            OidAlias::Type => {
                self.types.get()?.get(&oid)?;
                Some(self.format_type(oid, None))
            }
            OidAlias::Proc => self.function_name(oid),
            OidAlias::Namespace => Some(quote_identifier(self.namespace(oid)?)),
            OidAlias::Role => Some(quote_identifier(&self.role_name(oid)?)),
        }
    }

    fn role_name(&self, oid: u32) -> Option<String> {
        self.roles.get()?.get(&oid).cloned()
    }
}

fn fill<T>(
    cell: &OnceLock<T>,
    read: impl FnOnce() -> Result<T, QueryError>,
) -> Result<(), QueryError> {
    if cell.get().is_none() {
        let value = read()?;
        // One statement's analysis is not done twice at a time.
        let _ = cell.set(value);
    }
    Ok(())
}

/// The expressions of a list that SQL text separates by commas.
fn expression_list(text: &str) -> Vec<String> {
    let mut list = Vec::new();
    let mut start = 0;
    let (mut depth, mut quoted) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '(' | '[' if !quoted => depth += 1,
            ')' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                list.push(text[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    list.push(text[start..].trim().to_owned());
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_their_own_commas() {
        assert_eq!(
            expression_list("'a, b'::text, f(1, 2), NULL::bigint"),
            ["'a, b'::text", "f(1, 2)", "NULL::bigint"]
        );
    }
}
