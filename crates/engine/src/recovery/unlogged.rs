//! Unlogged tables after a crash (PostgreSQL's `storage/file/reinit.c`): what their files hold is not
//! in the log, and may be anything. A table whose files have an init fork is unlogged: its other forks
//! are removed before redo, and made as copies of the init fork after it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use trunkline_aio::{IoContext, Storage, read_file, write_file_durably};

use super::RecoveryError;
use crate::data_directory::DATABASE_OID;

const INIT_SUFFIX: &str = "_init";

fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("base").join(DATABASE_OID.0.to_string())
}

fn names(storage: &dyn Storage, directory: &Path) -> Result<Vec<String>, RecoveryError> {
    let entries = storage
        .list(directory)
        .map_err(RecoveryError::file("list", directory))?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| entry.name.into_string().ok())
        .collect())
}

/// The numbers of the files that have an init fork.
fn unlogged_numbers(names: &[String]) -> BTreeSet<u32> {
    names
        .iter()
        .filter_map(|name| name.strip_suffix(INIT_SUFFIX)?.parse().ok())
        .collect()
}

/// The number of a relation's file, and whether it is of the init fork.
fn number_of(name: &str) -> Option<(u32, bool)> {
    let (fork, segment) = name
        .split_once('.')
        .map_or((name, None), |(fork, segment)| (fork, Some(segment)));
    if segment.is_some_and(|segment| segment.parse::<u32>().is_err()) {
        return None;
    }
    let (number, fork) = fork.split_once('_').unwrap_or((fork, ""));
    if !["", "fsm", "vm", "init"].contains(&fork) {
        return None;
    }
    Some((number.parse().ok()?, fork == "init"))
}

/// Removes what redo does not know, all forks but the init fork.
pub(super) fn remove_files(storage: &dyn Storage, data_dir: &Path) -> Result<(), RecoveryError> {
    let directory = directory(data_dir);
    let names = names(storage, &directory)?;
    let unlogged = unlogged_numbers(&names);
    for name in &names {
        if let Some((number, false)) = number_of(name)
            && unlogged.contains(&number)
        {
            let path = directory.join(name);
            storage
                .unlink(&path)
                .map_err(RecoveryError::file("remove", &path))?;
        }
    }
    Ok(())
}

/// Makes their main forks, durably. Of a table here the init fork is empty.
pub(super) fn make_anew(
    storage: &dyn Storage,
    data_dir: &Path,
    io: &mut IoContext,
) -> Result<(), RecoveryError> {
    // Of a table whose init fork redo has made, the others may still be there.
    remove_files(storage, data_dir)?;
    let directory = directory(data_dir);
    for number in unlogged_numbers(&names(storage, &directory)?) {
        let init = directory.join(format!("{number}{INIT_SUFFIX}"));
        let bytes = read_file(storage, io, &init).map_err(RecoveryError::file("read", &init))?;
        let main = directory.join(number.to_string());
        write_file_durably(storage, io, &main, &bytes)
            .map_err(RecoveryError::file("write", &main))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_postgresqls() {
        for (name, number) in [
            ("16384", Some((16384, false))),
            ("16384.1", Some((16384, false))),
            ("16384_vm", Some((16384, false))),
            ("16384_fsm.2", Some((16384, false))),
            ("16384_init", Some((16384, true))),
            ("pg_filenode.map", None),
            ("PG_VERSION", None),
            ("t3_16384", None),
            ("16384.tmp", None),
        ] {
            assert_eq!(number_of(name), number, "{name}");
        }
    }
}
