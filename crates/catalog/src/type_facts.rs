//! What `pg_type`'s initial rows say about the types that a column can have.

use std::collections::HashMap;
use std::sync::LazyLock;

use trunkline_pgformat::Oid;
use trunkline_types::Align;

use crate::copy_text::BuiltInFile;

pub(crate) const FILE: BuiltInFile = BuiltInFile {
    name: "rows/pg_type.tsv",
    text: include_str!("../bootstrap/rows/pg_type.tsv"),
};

/// The columns of a `pg_type` row that `pg_attribute` repeats or that decide about a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypeFacts {
    /// `typlen`
    pub len: i16,
    /// `typbyval`
    pub by_val: bool,
    /// `typalign`
    pub align: Align,
    /// `typstorage`
    pub storage: char,
    /// `typtype`: `b`ase or `p`seudo
    pub kind: char,
    /// `typcategory`
    pub category: char,
    /// `typcollation`
    pub collation: Oid,
}

impl TypeFacts {
    fn parse(field: impl Fn(&str) -> Option<String>) -> Option<(Oid, TypeFacts)> {
        let letter = |name| field(name)?.chars().next();
        let facts = TypeFacts {
            len: field("typlen")?.parse().ok()?,
            by_val: field("typbyval")? == "t",
            align: Align::from_code(letter("typalign")?)?,
            storage: letter("typstorage")?,
            kind: letter("typtype")?,
            category: letter("typcategory")?,
            collation: Oid(field("typcollation")?.parse().ok()?),
        };
        Some((Oid(field("oid")?.parse().ok()?), facts))
    }
}

static FACTS: LazyLock<HashMap<Oid, TypeFacts>> = LazyLock::new(|| {
    let names: Vec<&str> = FILE.header().collect();
    FILE.records()
        .filter_map(|(_, fields)| {
            TypeFacts::parse(|name| {
                let index = names.iter().position(|other| *other == name)?;
                fields.get(index)?.clone()
            })
        })
        .collect()
});

/// The facts about a type that `init` puts into `pg_type`.
pub(crate) fn type_facts(oid: Oid) -> Option<&'static TypeFacts> {
    FACTS.get(&oid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_types::type_info;

    #[test]
    fn every_line_is_understood() {
        assert_eq!(FACTS.len(), FILE.records().count());
    }

    /// The types crate's table and PostgreSQL's rows say the same.
    #[test]
    fn types_agree_with_postgres() {
        let mut compared = 0;
        for info in trunkline_types::all_types() {
            let Some(facts) = type_facts(info.oid) else {
                continue;
            };
            assert_eq!(
                (
                    facts.len,
                    facts.by_val,
                    facts.align,
                    facts.storage,
                    facts.category
                ),
                (
                    info.len,
                    info.by_val,
                    info.align,
                    info.storage,
                    info.category
                ),
                "{}",
                info.name
            );
            compared += 1;
        }
        assert!(compared > 50, "{compared}");
    }

    /// Every type that a value of a base row can have is known to the types crate.
    #[test]
    fn base_types_are_known() {
        for (oid, facts) in FACTS.iter().filter(|(_, facts)| facts.kind == 'b') {
            let info = type_info(*oid);
            assert!(
                info.is_some(),
                "type {oid} of category {} is unknown",
                facts.category
            );
        }
    }
}
