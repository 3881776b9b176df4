//! What each setting is: PostgreSQL 18's own table of names, types, units, ranges and contexts,
//! and what this engine does with each.
//!
//! The table is `postgresql-18-settings.tsv`, the facts of PostgreSQL 18's `pg_settings`. Settings
//! that PostgreSQL does not have are in [`OWN`].

use std::collections::HashMap;
use std::sync::OnceLock;

/// PostgreSQL's type of a setting (`pg_settings.vartype`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingKind {
    /// `on` or `off`.
    Bool,
    /// A 32-bit integer, in the setting's unit.
    Integer,
    /// A floating-point number, in the setting's unit.
    Real,
    /// Any text.
    String,
    /// One of a list of words.
    Enum,
}

/// When a setting may change (`pg_settings.context`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SettingContext {
    /// Never: it reports a fact.
    Internal,
    /// Only at start.
    Postmaster,
    /// From the configuration file.
    Sighup,
    /// When a connection starts, by a superuser.
    SuperuserBackend,
    /// When a connection starts.
    Backend,
    /// In a session, by a superuser (every user is one until roles exist).
    Superuser,
    /// In a session, by anyone.
    User,
}

/// What this engine does with a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// It works, or all of its values come to the same because there is nothing that they are about.
    Works,
    /// It is known, but what it steers does not exist here: changing it from its default is refused.
    Inert,
}

/// One setting's definition.
#[derive(Debug)]
pub struct SettingDefinition {
    /// Its name as PostgreSQL spells it.
    pub name: &'static str,
    /// Its type.
    pub kind: SettingKind,
    /// Its unit as `pg_settings.unit` has it (`kB`, `8kB`, `ms`, ...); empty when it has none.
    pub unit: &'static str,
    /// The heading of PostgreSQL's documentation that it stands under.
    pub category: &'static str,
    /// When it may change.
    pub context: SettingContext,
    /// The smallest legal value, for numbers.
    pub min: f64,
    /// The largest legal value, for numbers.
    pub max: f64,
    /// The legal words, for enums.
    pub words: Vec<&'static str>,
    /// Its value when nothing sets it, in the base unit.
    pub boot: &'static str,
    /// One line of description.
    pub description: &'static str,
    /// What this engine does with it.
    pub support: Support,
}

/// Settings that SHOW knows and no list has (`GUC_NO_SHOW_ALL`).
const NOT_LISTED: [&str; 5] = [
    "default_with_oids",
    "is_superuser",
    "role",
    "session_authorization",
    "ssl_renegotiation_limit",
];

impl SettingDefinition {
    /// Whether SHOW ALL and `pg_settings` have it.
    pub fn is_listed(&self) -> bool {
        !NOT_LISTED.contains(&self.name)
    }
}

/// Index of a setting in [`definitions`].
pub type SettingIndex = usize;

const POSTGRESQL: &str = include_str!("postgresql-18-settings.tsv");

/// Settings that PostgreSQL does not have or does not list, in the same columns.
const OWN: &str = "\
checkpoint_io_concurrency\tinteger\t\tWrite-Ahead Log / Checkpoints\tsighup\t1\t1000\t\t32\t\
Number of writes that a checkpoint keeps in flight.
default_with_oids\tbool\t\tVersion and Platform Compatibility / Previous PostgreSQL Versions\tuser\t\t\t\toff\t\
WITH OIDS is no longer supported; this can only be false.
io_direct\tstring\t\tResource Usage / I/O\tpostmaster\t\t\t\tdata,wal,wal_init\t\
Uses direct I/O for these kinds of files, where the file system allows it.
io_wal_concurrency\tinteger\t\tWrite-Ahead Log / Settings\tpostmaster\t1\t256\t\t32\t\
Number of writes of the write-ahead log that may be in flight.
io_wal_pad_partial\tbool\t\tWrite-Ahead Log / Settings\tpostmaster\t\t\t\ton\t\
Fills up the block that the log ends in where a flush would have to wait for another one's write of it.
io_wal_target_blocks\tinteger\t8kB\tWrite-Ahead Log / Settings\tpostmaster\t1\t131072\t\t64\t\
Amount of WAL inserted and not sent to the disk after which an inserter starts its write.
is_superuser\tbool\t\tReporting and Logging / What to Log\tinternal\t\t\t\ton\t\
Shows whether the current user is a superuser.
role\tstring\t\tUngrouped\tuser\t\t\t\tnone\t\
Sets the current role.
session_authorization\tstring\t\tUngrouped\tuser\t\t\t\tpostgres\t\
Sets the session user name.
ssl_renegotiation_limit\tinteger\t\tConnections and Authentication / SSL\tuser\t0\t0\t\t0\t\
SSL renegotiation is no longer supported; this can only be 0.
";

/// PostgreSQL's settings that do here what they do there.
const WORKING: &[&str] = &[
    "application_name",
    "backend_flush_after",
    "bgwriter_delay",
    "bgwriter_flush_after",
    "bgwriter_lru_maxpages",
    "bgwriter_lru_multiplier",
    "bytea_output",
    "checkpoint_completion_target",
    "checkpoint_flush_after",
    "checkpoint_io_concurrency",
    "checkpoint_timeout",
    "checkpoint_warning",
    "client_encoding",
    "client_min_messages",
    "data_directory",
    "DateStyle",
    "deadlock_timeout",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "effective_io_concurrency",
    "extra_float_digits",
    "full_page_writes",
    "huge_pages",
    "ignore_checksum_failure",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "io_combine_limit",
    "io_direct",
    "io_max_combine_limit",
    "io_max_concurrency",
    "io_method",
    "io_wal_concurrency",
    "io_wal_pad_partial",
    "io_wal_target_blocks",
    "io_workers",
    "is_superuser",
    "listen_addresses",
    "lock_timeout",
    "log_checkpoints",
    "log_startup_progress_interval",
    "log_min_messages",
    "maintenance_io_concurrency",
    "max_connections",
    "max_files_per_process",
    "max_parallel_workers_per_gather",
    "max_wal_size",
    "min_wal_size",
    "port",
    "recovery_prefetch",
    "role",
    "search_path",
    "session_authorization",
    "shared_buffers",
    "statement_timeout",
    "synchronous_commit",
    "temp_file_limit",
    "TimeZone",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "wal_buffers",
    "wal_compression",
    "wal_consistency_checking",
    "wal_decode_buffer_size",
    "wal_init_zero",
    "wal_level",
    "wal_recycle",
    "wal_segment_size",
    "wal_sync_method",
    "wal_writer_delay",
    "wal_writer_flush_after",
    "work_mem",
    "zero_damaged_pages",
];

/// PostgreSQL's settings that clients set (the scripts that `pg_dump` writes do), and whose values are all
/// the same here, because there can be nothing that they are about: policies of rows, bodies of functions.
const OF_WHAT_NOBODY_CAN_MAKE: &[&str] = &["check_function_bodies", "row_security"];

/// Defaults that differ from PostgreSQL's because this engine differs.
const OWN_DEFAULTS: &[(&str, &str)] = &[
    // A quarter of the memory that the process may use; resolved at start.
    ("shared_buffers", "-1"),
    // io_uring where it works, else worker; resolved at start.
    ("io_method", "auto"),
    ("io_max_combine_limit", "128"),
    ("io_combine_limit", "32"),
    ("huge_pages", "try"),
    ("port", "5432"),
    ("client_encoding", "UTF8"),
    ("TimeZone", "UTC"),
    ("data_checksums", "on"),
    ("server_encoding", "UTF8"),
    ("lc_messages", "C"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("default_text_search_config", "pg_catalog.simple"),
    ("timezone_abbreviations", "Default"),
    ("listen_addresses", "127.0.0.1"),
    // Direct writes of the log that are durable by themselves: with several in flight more than twice as
    // fast as with a sync behind each (docs/decisions/0010).
    ("wal_sync_method", "open_datasync"),
];

/// Settings that a session may change in PostgreSQL, but that hold for all sessions here.
const SERVER_WIDE: &[&str] = &[
    "backend_flush_after",
    "deadlock_timeout",
    "log_min_messages",
    "wal_compression",
    "wal_consistency_checking",
    "wal_init_zero",
    "wal_recycle",
];

/// Words of an enum that this engine adds to those of the PostgreSQL that the table is from.
const OWN_WORDS: &[(&str, &[&str])] = &[
    ("io_method", &["posix_aio", "auto"]),
    // PostgreSQL has them where it is built with these libraries.
    ("wal_compression", &["lz4", "zstd"]),
];

fn parse_kind(word: &str) -> SettingKind {
    match word {
        "bool" => SettingKind::Bool,
        "integer" => SettingKind::Integer,
        "real" => SettingKind::Real,
        "enum" => SettingKind::Enum,
        _ => SettingKind::String,
    }
}

fn parse_context(word: &str) -> SettingContext {
    match word {
        "internal" => SettingContext::Internal,
        "postmaster" => SettingContext::Postmaster,
        "sighup" => SettingContext::Sighup,
        "superuser-backend" => SettingContext::SuperuserBackend,
        "backend" => SettingContext::Backend,
        "superuser" => SettingContext::Superuser,
        _ => SettingContext::User,
    }
}

fn parse_line(line: &'static str) -> SettingDefinition {
    let mut columns = line.split('\t');
    let mut next = || columns.next().unwrap_or("");
    let (name, kind, unit, category, context) = (next(), next(), next(), next(), next());
    let (min, max, words, boot, description) = (next(), next(), next(), next(), next());
    let own_default = OWN_DEFAULTS.iter().find(|(own, _)| *own == name);
    // One of them may be empty.
    let mut words: Vec<&'static str> = match words {
        "" => Vec::new(),
        words => words.split(',').collect(),
    };
    if let Some((_, own)) = OWN_WORDS.iter().find(|(own, _)| *own == name) {
        words.extend_from_slice(own);
    }
    SettingDefinition {
        name,
        kind: parse_kind(kind),
        unit,
        category,
        context: if SERVER_WIDE.contains(&name) {
            SettingContext::Postmaster
        } else {
            parse_context(context)
        },
        min: min.parse().unwrap_or(f64::NEG_INFINITY),
        max: max.parse().unwrap_or(f64::INFINITY),
        words,
        boot: own_default.map_or(boot, |(_, value)| value),
        description,
        support: if WORKING.contains(&name) || OF_WHAT_NOBODY_CAN_MAKE.contains(&name) {
            Support::Works
        } else {
            Support::Inert
        },
    }
}

/// Every setting, in the order of its name as PostgreSQL sorts them.
pub fn definitions() -> &'static [SettingDefinition] {
    static DEFINITIONS: OnceLock<Vec<SettingDefinition>> = OnceLock::new();
    DEFINITIONS.get_or_init(|| {
        let mut all: Vec<SettingDefinition> = POSTGRESQL
            .lines()
            .chain(OWN.lines())
            .map(parse_line)
            .collect();
        all.sort_by_key(|definition| definition.name.to_ascii_lowercase());
        all
    })
}

/// The setting called `name`, in any case.
pub fn find(name: &str) -> Option<SettingIndex> {
    static NAMES: OnceLock<HashMap<String, SettingIndex>> = OnceLock::new();
    NAMES
        .get_or_init(|| {
            definitions()
                .iter()
                .enumerate()
                .map(|(index, definition)| (definition.name.to_ascii_lowercase(), index))
                .collect()
        })
        .get(&name.to_ascii_lowercase())
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_working_setting_is_defined() {
        for name in WORKING.iter().chain(OF_WHAT_NOBODY_CAN_MAKE) {
            assert!(find(name).is_some(), "{name}");
        }
        for (name, _) in OWN_DEFAULTS {
            assert!(find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(find("timezone"), find("TimeZone"));
        assert!(find("no_such_setting").is_none());
    }
}
