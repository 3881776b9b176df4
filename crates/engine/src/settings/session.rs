//! A session's own values over the server's, with PostgreSQL's transactional behaviour: what a
//! transaction SET is undone by its ROLLBACK, and SET LOCAL ends with the transaction either way.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use super::{
    ServerSettings, SettingContext, SettingError, SettingIndex, SettingSource, SettingValue,
    definitions, find, parse_and_check,
};

/// Where a name's value is kept: a defined setting, or one that a user made up (`my.thing`).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Key {
    Defined(SettingIndex),
    Custom(String),
}

/// The settings that describe the running transaction, each with the one that new transactions take
/// its value from. Their values never outlive the transaction.
static OF_TRANSACTION: LazyLock<Vec<(SettingIndex, SettingIndex)>> = LazyLock::new(|| {
    let names = [
        "transaction_deferrable",
        "transaction_isolation",
        "transaction_read_only",
    ];
    names
        .into_iter()
        .filter_map(|name| Some((find(name)?, find(&format!("default_{name}"))?)))
        .collect()
});

fn is_of_transaction(key: &Key) -> bool {
    matches!(key, Key::Defined(index) if OF_TRANSACTION.iter().any(|(of, _)| of == index))
}

fn refuse_reset(key: &Key, index: SettingIndex) -> Result<(), SettingError> {
    if is_of_transaction(key) {
        let name = definitions()[index].name.to_owned();
        return Err(SettingError::CannotBeReset(name));
    }
    Ok(())
}

/// `valid_custom_variable_name` in PostgreSQL's `utils/misc/guc.c`.
fn is_simple_identifier(part: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    part.starts_with(begins)
        && part
            .chars()
            .all(|c| begins(c) || c.is_ascii_digit() || c == '$')
}

/// A setting that a user made up is there from its first mention on, and empty.
fn reset_custom(key: &Key) -> Option<SettingValue> {
    matches!(key, Key::Custom(_)).then(|| SettingValue::Text(String::new()))
}

/// What a transaction must put back.
#[derive(Debug)]
struct Undo {
    key: Key,
    /// The value before; none when the server's held.
    previous: Option<SettingValue>,
    /// SET LOCAL: put back at COMMIT too.
    local: bool,
}

/// A session's settings.
#[derive(Debug)]
pub struct SessionSettings {
    server: Arc<ServerSettings>,
    own: HashMap<Key, SettingValue>,
    version: u64,
    undo: Vec<Undo>,
    /// Values from the connection's start, which RESET goes back to.
    at_start: HashMap<Key, SettingValue>,
    /// The running transaction has taken its first snapshot.
    has_queried: bool,
}

impl SessionSettings {
    /// The settings of a new session of `user`: `options` are the start-up packet's.
    ///
    /// # Errors
    /// An option with an unknown name or a bad value.
    pub fn new(
        server: Arc<ServerSettings>,
        user: &str,
        options: &[(String, String)],
    ) -> Result<SessionSettings, SettingError> {
        let mut settings = SessionSettings {
            server,
            own: HashMap::new(),
            version: 0,
            undo: Vec::new(),
            at_start: HashMap::new(),
            has_queried: false,
        };
        if let Some(index) = find("session_authorization") {
            let user = SettingValue::Text(user.to_owned());
            settings.own.insert(Key::Defined(index), user);
        }
        for (name, text) in options {
            let (key, value) = settings.parse(name, text, true)?;
            settings.own.insert(key, value);
        }
        settings.at_start = settings.own.clone();
        Ok(settings)
    }

    fn key(name: &str) -> Result<Key, SettingError> {
        match find(name) {
            Some(index) => Ok(Key::Defined(index)),
            None if name.contains('.') => match name.split('.').all(is_simple_identifier) {
                true => Ok(Key::Custom(name.to_ascii_lowercase())),
                false => Err(SettingError::InvalidName(name.to_owned())),
            },
            None => Err(SettingError::Unrecognized(name.to_owned())),
        }
    }

    fn parse(
        &self,
        name: &str,
        text: &str,
        at_start: bool,
    ) -> Result<(Key, SettingValue), SettingError> {
        let key = Self::key(name)?;
        let Key::Defined(index) = key else {
            return Ok((key, SettingValue::Text(text.to_owned())));
        };
        let definition = &definitions()[index];
        let name = || definition.name.to_owned();
        match definition.context {
            SettingContext::Internal => return Err(SettingError::Internal(name())),
            SettingContext::Postmaster => return Err(SettingError::NeedsRestart(name())),
            SettingContext::Sighup => return Err(SettingError::NotNow(name())),
            SettingContext::SuperuserBackend | SettingContext::Backend if !at_start => {
                return Err(SettingError::AfterStart(name()));
            }
            _ => {}
        }
        if definition.name == "role" && text == self.text("session_authorization") {
            return Ok((key, SettingValue::Text(text.to_owned())));
        }
        let mut value = parse_and_check(index, text, self.get(index))?;
        // PostgreSQL clamps the one limit by the other without a word; so do we.
        if definition.name == "io_combine_limit"
            && let SettingValue::Integer(blocks) = &mut value
        {
            *blocks = (*blocks).min(self.server.integer("io_max_combine_limit"));
        }
        Ok((key, value))
    }

    /// Changes with every change of a value: what was derived at the same version still holds.
    pub fn version(&self) -> u64 {
        self.version
    }

    fn put(&mut self, key: Key, value: Option<SettingValue>, local: bool, in_block: bool) {
        self.version += 1;
        let previous = match value {
            Some(value) => self.own.insert(key.clone(), value),
            None => self.own.remove(&key),
        };
        if in_block || local {
            self.undo.push(Undo {
                key,
                previous,
                local,
            });
        }
    }

    /// `SET [LOCAL] name = text`. `in_transaction`: a ROLLBACK may still undo it.
    ///
    /// # Errors
    /// An unknown name, a bad value, or a setting that a session may not change.
    pub fn set(
        &mut self,
        name: &str,
        text: &str,
        local: bool,
        in_transaction: bool,
    ) -> Result<(), SettingError> {
        let (key, value) = self.parse(name, text, false)?;
        let is_of_transaction = is_of_transaction(&key);
        if is_of_transaction && let Key::Defined(index) = key {
            self.check_of_transaction(index, &value)?;
        }
        self.put(key, Some(value), local || is_of_transaction, in_transaction);
        Ok(())
    }

    /// What may still change of the running transaction (`check_transaction_read_only` and
    /// `check_transaction_deferrable` in PostgreSQL's `commands/variable.c`).
    fn check_of_transaction(
        &self,
        index: SettingIndex,
        value: &SettingValue,
    ) -> Result<(), SettingError> {
        if !self.has_queried {
            return Ok(());
        }
        match definitions()[index].name {
            "transaction_read_only"
                if self.get(index) == &SettingValue::Bool(true)
                    && value == &SettingValue::Bool(false) =>
            {
                Err(SettingError::AfterQuery(
                    "transaction read-write mode must be set",
                ))
            }
            "transaction_isolation" if self.get(index) != value => Err(SettingError::AfterQuery(
                "SET TRANSACTION ISOLATION LEVEL must be called",
            )),
            "transaction_deferrable" => Err(SettingError::AfterQuery(
                "SET TRANSACTION [NOT] DEFERRABLE must be called",
            )),
            _ => Ok(()),
        }
    }

    /// A transaction begins: it is as the defaults are now, whatever becomes of them.
    pub(crate) fn begin_transaction(&mut self) {
        self.has_queried = false;
        for (of_transaction, default) in OF_TRANSACTION.iter() {
            let value = self.get(*default);
            if value != self.get(*of_transaction) {
                let value = value.clone();
                self.put(Key::Defined(*of_transaction), Some(value), true, true);
            }
        }
    }

    /// The running transaction takes a snapshot: from now on some of what it is cannot change.
    pub(crate) fn note_query(&mut self) {
        self.has_queried = true;
    }

    /// `RESET name`, or `SET name TO DEFAULT`.
    ///
    /// # Errors
    /// An unknown name, or a setting that a session may not change.
    pub fn reset(&mut self, name: &str, in_transaction: bool) -> Result<(), SettingError> {
        let key = Self::key(name)?;
        if let Key::Defined(index) = key {
            refuse_reset(&key, index)?;
            // Only what may be set may be reset.
            let shown = self.server.get(index).plain();
            if definitions()[index].context < SettingContext::Superuser {
                self.parse(name, &shown, false)?;
            }
        }
        let value = self.at_start.get(&key).cloned();
        let value = value.or_else(|| reset_custom(&key));
        self.put(key, value, false, in_transaction);
        Ok(())
    }

    /// The value that RESET would give `name`, as SET takes it.
    ///
    /// # Errors
    /// An unknown name.
    pub fn reset_value(&self, name: &str) -> Result<String, SettingError> {
        let key = Self::key(name)?;
        if let Key::Defined(index) = key {
            refuse_reset(&key, index)?;
        }
        let value = match &key {
            Key::Defined(index) => Some(
                self.at_start
                    .get(&key)
                    .unwrap_or_else(|| self.server.get(*index)),
            ),
            Key::Custom(_) => self.at_start.get(&key),
        };
        Ok(value.map(SettingValue::plain).unwrap_or_default())
    }

    /// `RESET ALL`.
    pub fn reset_all(&mut self, in_transaction: bool) {
        let keys: Vec<Key> = self.own.keys().cloned().collect();
        for key in keys.into_iter().filter(|key| !is_of_transaction(key)) {
            let value = self.at_start.get(&key).cloned();
            let value = value.or_else(|| reset_custom(&key));
            self.put(key, value, false, in_transaction);
        }
    }

    /// The transaction ended: puts back what must not outlive it.
    pub fn end_transaction(&mut self, committed: bool) {
        // What SET says after SET LOCAL outlives the transaction.
        let mut kept = HashSet::new();
        while let Some(undo) = self.undo.pop() {
            if committed && (!undo.local || kept.contains(&undo.key)) {
                kept.insert(undo.key);
                continue;
            }
            self.version += 1;
            match undo.previous.or_else(|| reset_custom(&undo.key)) {
                Some(value) => self.own.insert(undo.key, value),
                None => self.own.remove(&undo.key),
            };
        }
    }

    fn value(&self, key: &Key) -> Option<&SettingValue> {
        self.own.get(key).or(match key {
            Key::Defined(index) => Some(self.server.get(*index)),
            Key::Custom(_) => None,
        })
    }

    /// The value of `name` as `SHOW` prints it, with the name as PostgreSQL spells it.
    ///
    /// # Errors
    /// An unknown name.
    pub fn show(&self, name: &str) -> Result<(String, String), SettingError> {
        let key = Self::key(name)?;
        let value = self
            .value(&key)
            .ok_or_else(|| SettingError::Unrecognized(name.to_owned()))?;
        Ok(match key {
            Key::Defined(index) => {
                let definition = &definitions()[index];
                (definition.name.to_owned(), value.show(definition))
            }
            Key::Custom(name) => (name, value.plain()),
        })
    }

    /// The value at `index` now.
    pub fn get(&self, index: SettingIndex) -> &SettingValue {
        self.own
            .get(&Key::Defined(index))
            .unwrap_or_else(|| self.server.get(index))
    }

    /// Where the value at `index` comes from.
    pub fn source(&self, index: SettingIndex) -> SettingSource {
        let key = Key::Defined(index);
        if is_of_transaction(&key) {
            return SettingSource::Override;
        }
        match (self.own.get(&key), self.at_start.get(&key)) {
            (None, _) => self.server.source(index).clone(),
            (Some(own), Some(at_start)) if own == at_start => SettingSource::Client,
            (Some(_), _) => SettingSource::Session,
        }
    }

    /// What RESET would make of the value at `index`.
    pub fn reset_setting(&self, index: SettingIndex) -> &SettingValue {
        self.at_start
            .get(&Key::Defined(index))
            .unwrap_or_else(|| self.server.get(index))
    }

    /// The integer called `name`, in its base unit.
    pub fn integer(&self, name: &str) -> i64 {
        match find(name).map(|index| self.get(index)) {
            Some(SettingValue::Integer(number)) => *number,
            _ => 0,
        }
    }

    /// The text of the setting called `name`.
    pub fn text(&self, name: &str) -> &str {
        match find(name).map(|index| self.get(index)) {
            Some(SettingValue::Text(text)) => text,
            _ => "",
        }
    }

    /// The switch called `name`.
    pub fn switch(&self, name: &str) -> bool {
        matches!(
            find(name).map(|index| self.get(index)),
            Some(SettingValue::Bool(true))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionSettings {
        SessionSettings::new(Arc::new(ServerSettings::default()), "ann", &[]).unwrap()
    }

    #[test]
    fn rollback_undoes_and_commit_keeps() {
        let mut settings = session();
        settings.set("work_mem", "8MB", false, true).unwrap();
        settings.end_transaction(false);
        assert_eq!(settings.show("work_mem").unwrap().1, "4MB");
        settings.set("work_mem", "8MB", false, true).unwrap();
        settings.end_transaction(true);
        assert_eq!(settings.show("work_mem").unwrap().1, "8MB");
        settings.set("work_mem", "16MB", true, true).unwrap();
        assert_eq!(
            settings.show("WORK_MEM").unwrap(),
            ("work_mem".into(), "16MB".into())
        );
        settings.end_transaction(true);
        assert_eq!(settings.show("work_mem").unwrap().1, "8MB");
        settings.reset("work_mem", false).unwrap();
        assert_eq!(settings.show("work_mem").unwrap().1, "4MB");
    }

    // As PostgreSQL 18 does.
    #[test]
    fn set_counts_also_behind_set_local() {
        let mut settings = session();
        let mut after = |committed, changes: &[(&str, bool)]| {
            settings.set("work_mem", "1MB", false, false).unwrap();
            for (value, local) in changes {
                settings.set("work_mem", value, *local, true).unwrap();
            }
            settings.end_transaction(committed);
            settings.show("work_mem").unwrap().1
        };
        assert_eq!(after(true, &[("9MB", true), ("8MB", false)]), "8MB");
        assert_eq!(after(true, &[("7MB", false), ("9MB", true)]), "7MB");
        let three = [("9MB", true), ("8MB", false), ("10MB", true)];
        assert_eq!(after(true, &three), "8MB");
        assert_eq!(after(false, &three), "1MB");
    }

    // As PostgreSQL 18 does.
    #[test]
    fn a_transaction_is_as_the_defaults_were_when_it_began() {
        let mut settings = session();
        let read_only = |settings: &SessionSettings| settings.switch("transaction_read_only");
        settings.begin_transaction();
        let default = "default_transaction_read_only";
        settings.set(default, "on", false, true).unwrap();
        assert!(!read_only(&settings));
        settings.end_transaction(true);

        settings.begin_transaction();
        assert!(read_only(&settings));
        settings
            .set("transaction_read_only", "off", false, true)
            .unwrap();
        settings.note_query();
        settings
            .set("transaction_read_only", "on", false, true)
            .unwrap();
        let error = settings.set("transaction_read_only", "off", false, true);
        let error = error.unwrap_err();
        assert_eq!(error.sqlstate(), "25001");
        assert_eq!(
            error.to_string(),
            "transaction read-write mode must be set before any query"
        );
        let error = settings.set("transaction_deferrable", "off", false, true);
        assert_eq!(
            error.unwrap_err().to_string(),
            "SET TRANSACTION [NOT] DEFERRABLE must be called before any query"
        );
        let isolation = "transaction_isolation";
        settings
            .set(isolation, "read committed", false, true)
            .unwrap();
        let error = settings.set(isolation, "read uncommitted", false, true);
        assert_eq!(
            error.unwrap_err().to_string(),
            "SET TRANSACTION ISOLATION LEVEL must be called before any query"
        );
        let error = settings.reset("transaction_read_only", true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "parameter \"transaction_read_only\" cannot be reset"
        );
        settings.reset_all(true);
        assert!(read_only(&settings), "RESET ALL leaves the transaction");
        settings.end_transaction(true);

        settings.begin_transaction();
        assert!(!read_only(&settings), "RESET ALL has reset the default");
        settings
            .set("transaction_read_only", "on", false, true)
            .unwrap();
        settings.end_transaction(true);
        assert!(!read_only(&settings), "it ended with its transaction");
    }

    #[test]
    fn a_session_changes_only_its_own() {
        let mut settings = session();
        let refused = |result: Result<(), SettingError>| result.unwrap_err().sqlstate();
        assert_eq!(
            refused(settings.set("shared_buffers", "1GB", false, false)),
            "55P02"
        );
        assert_eq!(refused(settings.set("nope", "1", false, false)), "42704");
        assert_eq!(
            refused(settings.set("client_encoding", "LATIN1", false, false)),
            "0A000"
        );
        settings.set("my.thing", "42", false, false).unwrap();
        assert_eq!(settings.show("my.thing").unwrap().1, "42");
        settings.reset_all(false);
        assert_eq!(settings.show("my.thing").unwrap().1, "");
        settings.set("my.other", "1", false, true).unwrap();
        settings.end_transaction(false);
        assert_eq!(settings.show("MY.OTHER").unwrap().1, "");
        settings.set("a.b$1.ä", "", false, false).unwrap();
        for name in ["a-b.c", "a.", ".a", "a..b", "a.1b", "a.$"] {
            assert_eq!(refused(settings.set(name, "1", false, false)), "42602");
        }
        settings.set("DateStyle", "ISO, MDY", false, false).unwrap();
    }

    #[test]
    fn the_only_role_is_the_session_s_own() {
        let mut settings = session();
        let mut set = |name, value| settings.set(name, value, false, false);
        set("role", "none").unwrap();
        set("role", "ann").unwrap();
        set("session_authorization", "ann").unwrap();
        for (name, value) in [("role", "bob"), ("session_authorization", "bob")] {
            assert_eq!(set(name, value).unwrap_err().sqlstate(), "0A000");
        }
        settings.reset_all(false);
        assert_eq!(settings.text("role"), "none");
        assert_eq!(settings.text("session_authorization"), "ann");
    }

    #[test]
    fn where_values_come_from() {
        let server = Arc::new(ServerSettings::default());
        let options = [("work_mem".to_owned(), "5MB".to_owned())];
        let mut settings = SessionSettings::new(server, "ann", &options).unwrap();
        let source = |settings: &SessionSettings, name: &str| {
            let index = find(name).unwrap();
            let reset = settings.reset_setting(index).plain();
            (settings.source(index).name(), reset)
        };
        let of_client = ("client", "5120".to_owned());
        assert_eq!(source(&settings, "work_mem"), of_client);
        settings.set("work_mem", "6MB", false, false).unwrap();
        settings.set("lock_timeout", "6", false, false).unwrap();
        assert_eq!(source(&settings, "work_mem"), ("session", "5120".into()));
        assert_eq!(source(&settings, "lock_timeout"), ("session", "0".into()));
        settings.reset_all(false);
        assert_eq!(source(&settings, "work_mem"), of_client);
        assert_eq!(source(&settings, "lock_timeout"), ("default", "0".into()));
        let isolation = source(&settings, "transaction_isolation");
        assert_eq!(isolation, ("override", "read committed".into()));
    }
}
