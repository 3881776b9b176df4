//! Where a setting's value comes from (`pg_settings.source`).

use std::path::PathBuf;
use std::sync::Arc;

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettingSource {
    /// Nothing has set it.
    Default,
    /// A line of a configuration file.
    ConfigurationFile {
        /// The file.
        file: Arc<PathBuf>,
        /// One-based.
        line: usize,
    },
    /// An option of the program, or of who embeds the engine.
    CommandLine,
    /// It is a fact that nothing else can be true beside.
    Override,
    /// The connection's start.
    Client,
    /// SET.
    Session,
}

impl SettingSource {
    /// PostgreSQL's word for it (`GucSource_Names` in `utils/misc/guc_tables.c`).
    pub fn name(&self) -> &'static str {
        match self {
            SettingSource::Default => "default",
            SettingSource::ConfigurationFile { .. } => "configuration file",
            SettingSource::CommandLine => "command line",
            SettingSource::Override => "override",
            SettingSource::Client => "client",
            SettingSource::Session => "session",
        }
    }
}
