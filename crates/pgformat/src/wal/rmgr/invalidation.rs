//! Messages that tell caches what is no longer true (`storage/sinval.h`), in records of several
//! resource managers.

use super::text;
use crate::ids::Oid;
use crate::wal::cursor::Cursor;

/// Bytes of a message (`sizeof(SharedInvalidationMessage)`).
pub const INVALIDATION_MESSAGE_SIZE: usize = 16;

const CATALOG_ID: i8 = -1;
const RELCACHE_ID: i8 = -2;
const SMGR_ID: i8 = -3;
const RELMAP_ID: i8 = -4;
const SNAPSHOT_ID: i8 = -5;
const RELSYNC_ID: i8 = -6;

/// A message (`SharedInvalidationMessage`): what kind, a database and a number whose meaning
/// depends on the kind. All bytes are kept, padding too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InvalidationMessage(pub [u8; INVALIDATION_MESSAGE_SIZE]);

impl InvalidationMessage {
    /// A row of the catalog cache `cache` with hash `hash` (`SharedInvalCatcacheMsg`). A negative
    /// number is no cache's.
    pub fn catcache(cache: u8, database: Oid, hash: u32) -> InvalidationMessage {
        debug_assert!(cache <= i8::MAX as u8);
        InvalidationMessage::new(cache as i8, database, hash)
    }

    /// A whole catalog (`SharedInvalCatalogMsg`).
    pub fn catalog(database: Oid, catalog: Oid) -> InvalidationMessage {
        InvalidationMessage::new(CATALOG_ID, database, catalog.0)
    }

    /// A relation's descriptor (`SharedInvalRelcacheMsg`).
    pub fn relcache(database: Oid, relation: Oid) -> InvalidationMessage {
        InvalidationMessage::new(RELCACHE_ID, database, relation.0)
    }

    /// Snapshots of a catalog (`SharedInvalSnapshotMsg`).
    pub fn snapshot(database: Oid, relation: Oid) -> InvalidationMessage {
        InvalidationMessage::new(SNAPSHOT_ID, database, relation.0)
    }

    fn new(id: i8, database: Oid, number: u32) -> InvalidationMessage {
        let mut bytes = [0; INVALIDATION_MESSAGE_SIZE];
        bytes[0] = id as u8;
        bytes[4..8].copy_from_slice(&database.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&number.to_le_bytes());
        InvalidationMessage(bytes)
    }

    /// A catalog cache's number, or the kind, which is negative.
    pub const fn id(&self) -> i8 {
        self.0[0] as i8
    }

    /// The database; invalid for what is shared. Not for a message about files.
    pub const fn database(&self) -> Oid {
        Oid(self.word(4))
    }

    /// The catalog, relation or hash. Not for a message about files.
    pub const fn number(&self) -> u32 {
        self.word(8)
    }

    const fn word(&self, at: usize) -> u32 {
        let bytes = &self.0;
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    pub(super) fn take(cursor: &mut Cursor<'_>) -> Option<InvalidationMessage> {
        cursor.array().map(InvalidationMessage)
    }

    fn describe(&self) -> String {
        let (id, number) = (self.id(), self.number());
        match id {
            0.. => format!("catcache {id}"),
            CATALOG_ID => format!("catalog {number}"),
            RELCACHE_ID => format!("relcache {number}"),
            SMGR_ID => "smgr".to_owned(),
            RELMAP_ID => format!("relmap db {}", self.database()),
            SNAPSHOT_ID => format!("snapshot {number}"),
            RELSYNC_ID => format!("relsync {number}"),
            _ => format!("unrecognized id {id}"),
        }
    }
}

/// Adds a count and the messages.
pub(super) fn push_messages(messages: &[InvalidationMessage], data: &mut Vec<u8>) {
    data.extend_from_slice(&(messages.len() as i32).to_le_bytes());
    for message in messages {
        data.extend_from_slice(&message.0);
    }
}

/// `standby_desc_invalidations`. `init_file` is the database and tablespace whose relcache init
/// file is no longer true, if it is not.
pub(super) fn describe(messages: &[InvalidationMessage], init_file: Option<(Oid, Oid)>) -> String {
    if messages.is_empty() {
        return String::new();
    }
    let mut description = String::new();
    if let Some((database, tablespace)) = init_file {
        description += &format!("; relcache init file inval dbid {database} tsid {tablespace}");
    }
    description += "; inval msgs:";
    description += &text::spaced(messages.iter().map(InvalidationMessage::describe));
    description
}
