//! `pg_settings`, `pg_locks` and `pg_tables`, with PostgreSQL 18's columns.

use trunkline_catalog::oids::{PG_CATALOG_NAMESPACE, PG_PUBLIC_NAMESPACE};
use trunkline_engine::EngineError;
use trunkline_engine::settings::{
    SettingContext, SettingDefinition, SettingKind, SettingSource, SettingValue, definitions,
};
use trunkline_txn::LockTag;
use trunkline_types::{ColumnType, InputStyle, input_text, oids};

use super::{Sources, View};
use crate::relations::RowsBuilder;

pub(super) const PG_SETTINGS: View = View {
    name: "pg_settings",
    columns: &[
        ("name", oids::TEXT),
        ("setting", oids::TEXT),
        ("unit", oids::TEXT),
        ("category", oids::TEXT),
        ("short_desc", oids::TEXT),
        ("extra_desc", oids::TEXT),
        ("context", oids::TEXT),
        ("vartype", oids::TEXT),
        ("source", oids::TEXT),
        ("min_val", oids::TEXT),
        ("max_val", oids::TEXT),
        ("enumvals", oids::TEXT_ARRAY),
        ("boot_val", oids::TEXT),
        ("reset_val", oids::TEXT),
        ("sourcefile", oids::TEXT),
        ("sourceline", oids::INT4),
        ("pending_restart", oids::BOOL),
    ],
    rows: settings,
};

fn context_name(context: SettingContext) -> &'static str {
    match context {
        SettingContext::Internal => "internal",
        SettingContext::Postmaster => "postmaster",
        SettingContext::Sighup => "sighup",
        SettingContext::SuperuserBackend => "superuser-backend",
        SettingContext::Backend => "backend",
        SettingContext::Superuser => "superuser",
        SettingContext::User => "user",
    }
}

fn kind_name(kind: SettingKind) -> &'static str {
    match kind {
        SettingKind::Bool => "bool",
        SettingKind::Integer => "integer",
        SettingKind::Real => "real",
        SettingKind::String => "string",
        SettingKind::Enum => "enum",
    }
}

fn text_array(words: &[&str]) -> Option<Vec<u8>> {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let ty = ColumnType::new(oids::TEXT_ARRAY, -1).ok()?;
    let mut payload = Vec::new();
    let text = format!("{{{}}}", quoted.join(","));
    input_text(&ty, &text, &InputStyle::default(), &mut payload).ok()?;
    Some(payload)
}

fn settings(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    let own = sources.session.settings();
    let configuration = sources.shared.database().configuration();
    for (index, definition) in definitions().iter().enumerate() {
        let definition: &SettingDefinition = definition;
        if !definition.is_listed() {
            continue;
        }
        rows.text(definition.name)
            .text(&own.get(index).setting(definition));
        rows.optional_text((!definition.unit.is_empty()).then_some(definition.unit));
        rows.text(definition.category)
            .text(definition.description)
            .null();
        rows.text(context_name(definition.context))
            .text(kind_name(definition.kind));
        let source = own.source(index);
        rows.text(source.name());
        for bound in [definition.min, definition.max] {
            match definition.kind {
                SettingKind::Integer => rows.text(&bound.to_string()),
                SettingKind::Real => rows.text(&SettingValue::Real(bound).plain()),
                _ => rows.null(),
            };
        }
        match definition.kind {
            SettingKind::Enum => rows.payload(text_array(&definition.words)),
            _ => rows.null(),
        };
        rows.text(definition.boot)
            .text(&own.reset_setting(index).plain());
        match source {
            SettingSource::ConfigurationFile { file, line } => rows
                .text(&file.display().to_string())
                .int4(i32::try_from(line).unwrap_or(i32::MAX)),
            _ => rows.null().null(),
        };
        rows.bool(configuration.is_pending_restart(index)).end_row();
    }
    Ok(())
}

pub(super) const PG_LOCKS: View = View {
    name: "pg_locks",
    columns: &[
        ("locktype", oids::TEXT),
        ("database", oids::OID),
        ("relation", oids::OID),
        ("page", oids::INT4),
        ("tuple", oids::INT2),
        ("virtualxid", oids::TEXT),
        ("transactionid", oids::XID),
        ("classid", oids::OID),
        ("objid", oids::OID),
        ("objsubid", oids::INT2),
        ("virtualtransaction", oids::TEXT),
        ("pid", oids::INT4),
        ("mode", oids::TEXT),
        ("granted", oids::BOOL),
        ("fastpath", oids::BOOL),
        ("waitstart", oids::TIMESTAMPTZ),
    ],
    rows: locks,
};

fn locks(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    for lock in sources.shared.database().locks().snapshot() {
        rows.text(lock.tag.lock_type());
        match lock.tag {
            LockTag::Relation { database, relation }
            | LockTag::RelationExtend { database, relation } => {
                rows.oid(database).oid(relation).null().null().null().null();
                rows.null().null().null();
            }
            LockTag::Transaction(xid) => {
                rows.null().null().null().null().null().xid(xid);
                rows.null().null().null();
            }
            LockTag::Object {
                database,
                class,
                object,
                sub_id,
            } => {
                rows.oid(database).null().null().null().null().null();
                rows.oid(class)
                    .oid(object)
                    .int2(i16::try_from(sub_id).unwrap_or(0));
            }
        }
        rows.text(&format!("{}/0", lock.process_id))
            .int4(lock.process_id);
        rows.text(lock.mode.name()).bool(lock.granted).bool(false);
        let wait_start_us = lock.wait_start.map(|since| {
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX) - crate::backend::UNIX_TO_PG_US
        });
        rows.timestamptz(wait_start_us).end_row();
    }
    Ok(())
}

pub(super) const PG_TABLES: View = View {
    name: "pg_tables",
    columns: &[
        ("schemaname", oids::NAME),
        ("tablename", oids::NAME),
        ("tableowner", oids::NAME),
        ("tablespace", oids::NAME),
        ("hasindexes", oids::BOOL),
        ("hasrules", oids::BOOL),
        ("hastriggers", oids::BOOL),
        ("rowsecurity", oids::BOOL),
    ],
    rows: tables,
};

fn tables(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    let session = sources.session;
    let snapshot = session.snapshot()?;
    let mut view = sources.shared.database().catalog().view(
        &snapshot,
        session.has_own_catalog_changes(),
        sources.io,
    );
    // Schemas cannot be made yet, so these are all that hold tables.
    for namespace in [PG_CATALOG_NAMESPACE, PG_PUBLIC_NAMESPACE] {
        let Some(schema) = view.namespace_name(namespace)? else {
            continue;
        };
        for class in view.relations(namespace)? {
            if !matches!(class.relkind.0, b'r' | b'p') {
                continue;
            }
            rows.text(&schema)
                .text(&class.relname)
                .text("postgres")
                .null();
            rows.bool(class.relhasindex)
                .bool(class.relhasrules)
                .bool(class.relhastriggers)
                .bool(class.relrowsecurity)
                .end_row();
        }
    }
    Ok(())
}
