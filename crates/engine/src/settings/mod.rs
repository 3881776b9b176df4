//! Settings (PostgreSQL's GUCs): what exists, what each may be, and what it is now.
//!
//! - `definition`: every setting's name, type, unit, range and context
//! - `value`: parsing and printing of values
//! - `checks`: what single settings demand of their values beyond type and range
//! - `configuration_file`: `postgresql.conf` and `postgresql.auto.conf`
//! - `list`: values that are lists
//! - `source`: where a value comes from
//! - `ServerSettings`: the values that the server started with
//! - `reload`: what has changed in the files since
//! - `session`: a session's own values over them, undone by ROLLBACK
//!
//! A setting is never ignored: one that steers something which does not exist here is known by
//! name, shows PostgreSQL's default, and refuses every other value.

mod checks;
mod configuration_file;
mod definition;
mod list;
mod reload;
mod session;
mod source;
mod value;

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

pub use checks::check_resource_managers;
pub use configuration_file::{ConfigurationLine, read_configuration_file};
pub use definition::{
    SettingContext, SettingDefinition, SettingIndex, SettingKind, Support, definitions, find,
};
pub use list::{flatten, split_identifiers};
pub use reload::Configuration;
pub use session::SessionSettings;
pub use source::SettingSource;
pub use value::{SettingValue, parse_bool};

/// Why a setting could not be read or changed.
#[derive(Debug, Clone, Error, PartialEq)]
pub enum SettingError {
    /// No such setting.
    #[error("unrecognized configuration parameter \"{0}\"")]
    Unrecognized(String),
    /// The value does not parse, or is none of the words.
    #[error("invalid value for parameter \"{name}\": \"{value}\"")]
    InvalidValue {
        /// The setting.
        name: String,
        /// What was given.
        value: String,
        /// PostgreSQL's hint.
        hint: Option<String>,
    },
    /// The number is too small or too large.
    #[error("{value} is outside the valid range for parameter \"{name}\" ({min} .. {max})")]
    OutOfRange {
        /// The setting.
        name: String,
        /// What was given, with its unit.
        value: String,
        /// The smallest legal value.
        min: String,
        /// The largest legal value.
        max: String,
    },
    /// A switch was given something else.
    #[error("parameter \"{name}\" requires a Boolean value")]
    RequiresBoolean {
        /// The setting.
        name: String,
    },
    /// A name that a user makes up is not one.
    #[error("invalid configuration parameter name \"{0}\"")]
    InvalidName(String),
    /// Several values for a setting that is no list.
    #[error("SET {0} takes only one argument")]
    OneArgument(String),
    /// It reports a fact.
    #[error("parameter \"{0}\" cannot be changed")]
    Internal(String),
    /// It is read at start only.
    #[error("parameter \"{0}\" cannot be changed without restarting the server")]
    NeedsRestart(String),
    /// It is read from the configuration file only.
    #[error("parameter \"{0}\" cannot be changed now")]
    NotNow(String),
    /// It may be given in a connection's start-up packet only.
    #[error("parameter \"{0}\" cannot be set after connection start")]
    AfterStart(String),
    /// It describes the running transaction: there is no value that RESET could go back to.
    #[error("parameter \"{0}\" cannot be reset")]
    CannotBeReset(String),
    /// It may change only before the transaction's first query.
    #[error("{0} before any query")]
    AfterQuery(&'static str),
    /// The buffer pool would not fit.
    #[error(
        "parameter \"shared_buffers\" is {value}, but this process may use only {usable} of memory"
    )]
    BeyondMemory {
        /// What was given, with its unit.
        value: String,
        /// The memory that there is, with its unit.
        usable: String,
    },
    /// Fewer WAL segments than there must be.
    #[error("\"{0}\" must be at least twice \"wal_segment_size\"")]
    TooFewSegments(&'static str),
    /// What it steers does not exist in this engine.
    #[error("setting \"{name}\" to \"{value}\" is not supported")]
    NotSupported {
        /// The setting.
        name: String,
        /// What was given.
        value: String,
        /// Why, or what is supported.
        detail: String,
    },
    /// A line of the configuration file does not parse.
    #[error("syntax error in file \"{file}\" line {line}, near {near}")]
    FileSyntax {
        /// The file.
        file: String,
        /// One-based line.
        line: usize,
        /// The offending token.
        near: String,
    },
    /// The configuration file cannot be read.
    #[error("could not open configuration file \"{file}\": {reason}")]
    FileUnreadable {
        /// The file.
        file: String,
        /// The operating system's reason.
        reason: String,
    },
}

impl SettingError {
    /// PostgreSQL's SQLSTATE for it.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            SettingError::Unrecognized(_) => "42704",
            SettingError::InvalidName(_) => "42602",
            SettingError::InvalidValue { .. }
            | SettingError::OneArgument(_)
            | SettingError::OutOfRange { .. }
            | SettingError::RequiresBoolean { .. }
            | SettingError::TooFewSegments(_) => "22023",
            SettingError::Internal(_)
            | SettingError::NeedsRestart(_)
            | SettingError::NotNow(_)
            | SettingError::AfterStart(_) => "55P02",
            SettingError::NotSupported { .. } | SettingError::CannotBeReset(_) => "0A000",
            SettingError::AfterQuery(_) => "25001",
            SettingError::BeyondMemory { .. } => "53200",
            SettingError::FileSyntax { .. } | SettingError::FileUnreadable { .. } => "F0000",
        }
    }

    /// PostgreSQL's HINT for it, where it has one.
    pub fn hint(&self) -> Option<&str> {
        match self {
            SettingError::InvalidValue { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }

    /// The DETAIL of a refusal.
    pub fn detail(&self) -> Option<&str> {
        match self {
            SettingError::NotSupported { detail, .. } => Some(detail),
            SettingError::InvalidName(_) => Some(
                "Custom parameter names must be two or more simple identifiers separated by dots.",
            ),
            _ => None,
        }
    }
}

/// Parses `text` for the setting at `index`, checks it, and refuses what is not supported.
fn parse_and_check(
    index: SettingIndex,
    text: &str,
    current: &SettingValue,
) -> Result<SettingValue, SettingError> {
    let definition = &definitions()[index];
    let value = SettingValue::parse(definition, text)?;
    let value = checks::check(definition, value, current)?;
    if definition.support == Support::Inert && value != SettingValue::boot(definition) {
        return Err(SettingError::NotSupported {
            name: definition.name.to_owned(),
            value: text.to_owned(),
            detail: format!(
                "What this setting steers does not exist here; it can only be \"{}\".",
                SettingValue::boot(definition).show(definition)
            ),
        });
    }
    Ok(value)
}

/// The configuration files of a data directory. ALTER SYSTEM would write the second; what somebody has
/// put there counts.
const CONFIGURATION_FILES: [&str; 2] = ["postgresql.conf", "postgresql.auto.conf"];

/// The values that the server started with: defaults, then the configuration files, then `-c`.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    values: Vec<SettingValue>,
    sources: Vec<SettingSource>,
}

impl Default for ServerSettings {
    fn default() -> ServerSettings {
        ServerSettings {
            values: definitions().iter().map(SettingValue::boot).collect(),
            sources: vec![SettingSource::Default; definitions().len()],
        }
    }
}

impl ServerSettings {
    /// Defaults, overridden by the configuration files in `data_dir` if there are any, then by
    /// `overrides` (name, value) in order.
    ///
    /// # Errors
    /// An unknown name, a bad value, an unreadable file, or a `data_directory` other than `data_dir`.
    pub fn load(
        data_dir: &Path,
        overrides: &[(String, String)],
    ) -> Result<ServerSettings, SettingError> {
        let mut settings = ServerSettings::default();
        for name in CONFIGURATION_FILES {
            let file = Arc::new(data_dir.join(name));
            for ConfigurationLine { line, name, value } in read_configuration_file(&file)? {
                let file = Arc::clone(&file);
                let source = SettingSource::ConfigurationFile { file, line };
                settings.set_from(&name, &value, source)?;
            }
        }
        for (name, value) in overrides {
            settings.set_from(name, value, SettingSource::CommandLine)?;
        }
        settings.check_data_directory(data_dir)?;
        Ok(settings)
    }

    /// The files are where the program was told to look.
    fn check_data_directory(&self, data_dir: &Path) -> Result<(), SettingError> {
        let said = self.text("data_directory");
        let is_same = |said: &Path| match (said.canonicalize(), data_dir.canonicalize()) {
            (Ok(said), Ok(actual)) => said == actual,
            _ => said == data_dir,
        };
        if said.is_empty() || is_same(Path::new(said)) {
            return Ok(());
        }
        Err(SettingError::NotSupported {
            name: "data_directory".to_owned(),
            value: said.to_owned(),
            detail: format!(
                "The data directory is where the configuration file is, \"{}\".",
                data_dir.display()
            ),
        })
    }

    /// Sets `name` as a start-up option does.
    ///
    /// # Errors
    /// An unknown name, a bad value, or a setting that only reports a fact.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        self.set_from(name, text, SettingSource::CommandLine)
    }

    fn set_from(
        &mut self,
        name: &str,
        text: &str,
        source: SettingSource,
    ) -> Result<(), SettingError> {
        let index = find(name).ok_or_else(|| SettingError::Unrecognized(name.to_owned()))?;
        let definition = &definitions()[index];
        if definition.context == SettingContext::Internal {
            return Err(SettingError::Internal(definition.name.to_owned()));
        }
        self.values[index] = parse_and_check(index, text, &self.values[index])?;
        self.sources[index] = source;
        Ok(())
    }

    /// Records a fact of this cluster, unchecked.
    pub(crate) fn state(&mut self, name: &str, value: SettingValue) {
        if let Some(index) = find(name) {
            self.values[index] = value;
            self.sources[index] = SettingSource::Override;
        }
    }

    /// Where the value at `index` comes from.
    pub fn source(&self, index: SettingIndex) -> &SettingSource {
        &self.sources[index]
    }

    /// Records a default resolved from the machine, unchecked.
    pub fn resolve(&mut self, name: &str, value: SettingValue) {
        if let Some(index) = find(name) {
            self.values[index] = value;
        }
    }

    /// The value at `index`.
    pub fn get(&self, index: SettingIndex) -> &SettingValue {
        &self.values[index]
    }

    /// The integer called `name`, in its base unit; 0 for a name that is no integer setting.
    pub fn integer(&self, name: &str) -> i64 {
        match find(name).map(|index| &self.values[index]) {
            Some(SettingValue::Integer(number)) => *number,
            _ => 0,
        }
    }

    /// The number of the setting called `name`, which is of type `real`, in its base unit; 0 for a name
    /// that is none.
    pub fn real(&self, name: &str) -> f64 {
        match find(name).map(|index| &self.values[index]) {
            Some(SettingValue::Real(number)) => *number,
            _ => 0.0,
        }
    }

    /// The text of the setting called `name`; empty for a name that is no text setting.
    pub fn text(&self, name: &str) -> &str {
        match find(name).map(|index| &self.values[index]) {
            Some(SettingValue::Text(text)) => text,
            _ => "",
        }
    }

    /// The switch called `name`.
    pub fn switch(&self, name: &str) -> bool {
        matches!(
            find(name).map(|index| &self.values[index]),
            Some(SettingValue::Bool(true))
        )
    }

    /// Whether files of `kind` (`data`, `wal` or `wal_init`) are to be read and written directly.
    pub fn has_io_direct(&self, kind: &str) -> bool {
        self.text("io_direct").split(',').any(|word| word == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_up_settings_are_parsed_and_refused() {
        let mut settings = ServerSettings::default();
        settings.set("shared_buffers", "64MB").unwrap();
        assert_eq!(settings.integer("shared_buffers"), 8192);
        assert_eq!(settings.set("nope", "1").unwrap_err().sqlstate(), "42704");
        assert_eq!(
            settings.set("block_size", "1").unwrap_err().sqlstate(),
            "55P02"
        );
        for (name, text, shown) in [
            ("checkpoint_timeout", "2min", "2min"),
            ("checkpoint_completion_target", "0.25", "0.25"),
            ("checkpoint_flush_after", "1MB", "1MB"),
            ("checkpoint_io_concurrency", "64", "64"),
            ("bgwriter_delay", "10", "10ms"),
            ("bgwriter_lru_maxpages", "0", "0"),
            ("bgwriter_lru_multiplier", "10", "10"),
            ("bgwriter_flush_after", "0", "0"),
            ("backend_flush_after", "256", "2MB"),
            ("log_checkpoints", "off", "off"),
            ("wal_buffers", "1MB", "1MB"),
            ("max_wal_size", "2GB", "2GB"),
            ("min_wal_size", "32MB", "32MB"),
            ("wal_sync_method", "open_datasync", "open_datasync"),
            ("wal_writer_delay", "10", "10ms"),
            ("wal_writer_flush_after", "0", "0"),
            ("full_page_writes", "off", "off"),
            ("wal_compression", "lz4", "lz4"),
            ("wal_compression", "ZSTD", "zstd"),
            ("wal_compression", "on", "pglz"),
            ("wal_compression", "yes", "pglz"),
            ("wal_compression", "false", "off"),
            ("wal_compression", "pglz", "pglz"),
            ("wal_consistency_checking", "heap, Heap2", "heap, Heap2"),
            ("synchronous_commit", "0", "off"),
            ("synchronous_commit", "remote_apply", "remote_apply"),
            ("io_wal_concurrency", "256", "256"),
            ("io_wal_target_blocks", "1MB", "1MB"),
        ] {
            settings.set(name, text).unwrap();
            let index = find(name).unwrap();
            assert_eq!(
                settings.get(index).show(&definitions()[index]),
                shown,
                "{name}"
            );
        }
        for (name, text) in [
            ("checkpoint_timeout", "29s"),
            ("checkpoint_timeout", "2d"),
            ("checkpoint_completion_target", "1.1"),
            ("checkpoint_flush_after", "257"),
            ("bgwriter_delay", "9ms"),
            ("bgwriter_lru_multiplier", "-1"),
            ("wal_buffers", "-2"),
            ("max_wal_size", "1MB"),
            ("wal_writer_delay", "11s"),
            ("wal_compression", "gzip"),
            ("wal_consistency_checking", "heap,gin"),
            ("io_wal_concurrency", "257"),
        ] {
            assert_eq!(settings.set(name, text).unwrap_err().sqlstate(), "22023");
        }
        assert_eq!(settings.real("checkpoint_completion_target"), 0.25);
        // Inert: the default is accepted, anything else refused.
        settings.set("jit_above_cost", "100000").unwrap();
        settings.set("recovery_prefetch", "off").unwrap();
        settings.set("checkpoint_warning", "0").unwrap();
        for (name, text) in [
            ("wal_level", "logical"),
            ("wal_level", "minimal"),
            ("wal_sync_method", "open_sync"),
            ("wal_skip_threshold", "1MB"),
            ("fsync", "off"),
        ] {
            assert_eq!(settings.set(name, text).unwrap_err().sqlstate(), "0A000");
        }
    }

    #[test]
    fn files_come_before_options_and_the_second_file_behind_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let load = |overrides: &[(&str, &str)]| {
            let overrides: Vec<(String, String)> = overrides
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            ServerSettings::load(directory.path(), &overrides)
        };
        let [first, second] = CONFIGURATION_FILES.map(|name| directory.path().join(name));
        std::fs::write(
            &first,
            "# none\nwork_mem = 1MB\nport = 1\nlock_timeout = 1\n",
        )
        .unwrap();
        std::fs::write(&second, "port = 2\nlock_timeout = 2\n").unwrap();
        let settings = load(&[("lock_timeout", "3")]).unwrap();
        let source = |name: &str| settings.source(find(name).unwrap()).clone();
        let of_file = |file: &std::path::PathBuf, line| SettingSource::ConfigurationFile {
            file: Arc::new(file.clone()),
            line,
        };
        assert_eq!(settings.integer("work_mem"), 1024);
        assert_eq!(source("work_mem"), of_file(&first, 2));
        assert_eq!(settings.integer("port"), 2);
        assert_eq!(source("port"), of_file(&second, 1));
        assert_eq!(settings.integer("lock_timeout"), 3);
        assert_eq!(source("lock_timeout"), SettingSource::CommandLine);
        assert_eq!(source("io_workers"), SettingSource::Default);

        // Only what is true of it may be said of the directory.
        let path = directory.path().to_str().unwrap();
        load(&[("data_directory", path)]).unwrap();
        load(&[("data_directory", &format!("{path}/."))]).unwrap();
        let error = load(&[("data_directory", "/nowhere")]).unwrap_err();
        assert_eq!(error.sqlstate(), "0A000");
    }
}
