//! Looking at the configuration again while the system runs (SIGHUP, `pg_reload_conf()`).
//!
//! Every setting of the server is read at its start only. So nothing changes: what would is told, as
//! PostgreSQL tells it of settings that it reads at its start only (`pg_settings.pending_restart`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ServerSettings, SettingError, SettingIndex, definitions};

/// What the configuration was when the system started, and what has changed since.
#[derive(Debug)]
pub struct Configuration {
    data_dir: PathBuf,
    overrides: Vec<(String, String)>,
    at_start: ServerSettings,
    pending_restart: Mutex<BTreeSet<SettingIndex>>,
}

impl Configuration {
    /// That which `settings` were loaded from, before anything was resolved.
    pub(crate) fn new(
        data_dir: &Path,
        overrides: &[(String, String)],
        settings: &ServerSettings,
    ) -> Configuration {
        Configuration {
            data_dir: data_dir.to_owned(),
            overrides: overrides.to_vec(),
            at_start: settings.clone(),
            pending_restart: Mutex::new(BTreeSet::new()),
        }
    }

    /// Reads the files again: the settings, by name, that are other than at the start.
    ///
    /// # Errors
    /// A start would be refused with these files. What was known stays.
    pub fn reload(&self) -> Result<Vec<&'static str>, SettingError> {
        let now = ServerSettings::load(&self.data_dir, &self.overrides)?;
        let changed: BTreeSet<SettingIndex> = (0..definitions().len())
            .filter(|&index| now.get(index) != self.at_start.get(index))
            .collect();
        let names = changed.iter().map(|&index| definitions()[index].name);
        let names = names.collect();
        *self.pending() = changed;
        Ok(names)
    }

    /// Whether a restart would change the setting at `index`, as far as was seen.
    pub fn is_pending_restart(&self, index: SettingIndex) -> bool {
        self.pending().contains(&index)
    }

    fn pending(&self) -> MutexGuard<'_, BTreeSet<SettingIndex>> {
        self.pending_restart
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;

    #[test]
    fn what_has_changed_waits_for_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("postgresql.conf");
        let overrides = [("lock_timeout".to_owned(), "7".to_owned())];
        std::fs::write(&file, "work_mem = 1MB\n").unwrap();
        let settings = ServerSettings::load(directory.path(), &overrides).unwrap();
        let configuration = Configuration::new(directory.path(), &overrides, &settings);
        let pending = |name: &str| configuration.is_pending_restart(find(name).unwrap());
        assert_eq!(configuration.reload(), Ok(vec![]));

        let text = "work_mem = 2MB\nlock_timeout = 8\nbgwriter_delay = 20ms\n";
        std::fs::write(&file, text).unwrap();
        assert_eq!(
            configuration.reload(),
            Ok(vec!["bgwriter_delay", "work_mem"])
        );
        assert!(pending("work_mem") && !pending("lock_timeout"));
        std::fs::write(&file, "nonsense = 1\n").unwrap();
        assert!(configuration.reload().is_err());
        assert!(pending("work_mem"));
        std::fs::write(&file, "work_mem = 1024\n").unwrap();
        assert_eq!(configuration.reload(), Ok(vec![]));
        assert!(!pending("work_mem"));
    }
}
