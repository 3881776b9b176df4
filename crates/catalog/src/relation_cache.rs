//! What sessions share of the catalogs in memory: relations and names as they are committed.
//!
//! An entry is read from the heap outside the lock, so what it was read from may be history by the
//! time it is entered. The version tells: a reader takes it *before* its snapshot, and an entry is
//! refused if the version has changed since. Whoever changes catalog rows bumps the version *after*
//! its commit. So an entry that is accepted was read from a snapshot that no later commit has
//! outdated, or will be removed by that commit's invalidation.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_pgformat::Oid;

use crate::relation::RelationDesc;

/// Entries of one generation: a map holds at most twice as many.
const GENERATION_ENTRIES: usize = 2048;

/// A map that forgets what was not used for long: when the young generation is full, it becomes the
/// old one, and what is left of the old one goes. A use makes an entry young.
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    limit: usize,
}

impl<K: Eq + Hash, V: Clone> Generations<K, V> {
    fn new(limit: usize) -> Self {
        Generations {
            young: HashMap::new(),
            old: HashMap::new(),
            limit,
        }
    }

    fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.limit && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) {
        self.young.retain(|key, value| keep(key, value));
        self.old.retain(|key, value| keep(key, value));
    }
}

/// The OIDs and names of all namespaces.
pub(crate) type Namespaces = Arc<[(Oid, String)]>;

struct Entries {
    version: u64,
    relations: Generations<Oid, Arc<RelationDesc>>,
    /// By namespace, then name; `None` says that there is no such relation.
    names: HashMap<Oid, Generations<String, Option<Oid>>>,
    namespaces: Option<Namespaces>,
}

/// The shared cache. Its lock is a leaf: nothing is waited for under it.
pub(crate) struct RelationCache {
    entries: Mutex<Entries>,
    generation_entries: usize,
}

impl RelationCache {
    pub fn new() -> RelationCache {
        RelationCache::with_limit(GENERATION_ENTRIES)
    }

    fn with_limit(generation_entries: usize) -> RelationCache {
        RelationCache {
            entries: Mutex::new(Entries {
                version: 0,
                relations: Generations::new(generation_entries),
                names: HashMap::new(),
                namespaces: None,
            }),
            generation_entries,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Maps of whole entries: nothing is half changed when a holder panics.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn version(&self) -> u64 {
        self.lock().version
    }

    pub fn relation(&self, oid: Oid) -> Option<Arc<RelationDesc>> {
        self.lock().relations.get(&oid)
    }

    /// The outer `None`: not known.
    pub fn relation_oid(&self, namespace: Oid, name: &str) -> Option<Option<Oid>> {
        self.lock().names.get_mut(&namespace)?.get(name)
    }

    pub fn namespaces(&self) -> Option<Namespaces> {
        self.lock().namespaces.clone()
    }

    /// Enters what was read by a snapshot taken after `version` was.
    pub fn enter_relation(&self, version: u64, relation: &Arc<RelationDesc>) {
        let mut entries = self.lock();
        if entries.version == version {
            entries.relations.insert(relation.oid, Arc::clone(relation));
        }
    }

    /// As [`RelationCache::enter_relation`].
    pub fn enter_relation_oid(&self, version: u64, namespace: Oid, name: &str, oid: Option<Oid>) {
        let mut entries = self.lock();
        if entries.version == version {
            entries
                .names
                .entry(namespace)
                .or_insert_with(|| Generations::new(self.generation_entries))
                .insert(name.to_owned(), oid);
        }
    }

    /// As [`RelationCache::enter_relation`].
    pub fn enter_namespaces(&self, version: u64, namespaces: &Namespaces) {
        let mut entries = self.lock();
        if entries.version == version {
            entries.namespaces = Some(Arc::clone(namespaces));
        }
    }

    /// Forgets what a transaction, ended by now, may have changed: these relations, and every name
    /// that is remembered as free.
    pub fn invalidate(&self, relations: &[Oid]) {
        let mut entries = self.lock();
        entries.version += 1;
        entries.relations.retain(|oid, _| !relations.contains(oid));
        for names in entries.names.values_mut() {
            names.retain(|_, oid| oid.is_some_and(|oid| !relations.contains(&oid)));
        }
        entries.namespaces = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system_table::{system_table, system_tables};

    const A: Oid = Oid(1);

    fn relation(oid: Oid) -> Arc<RelationDesc> {
        let table = system_table(oid).unwrap();
        Arc::new(RelationDesc::of_system_table(table, Oid(5), |oid| Some(oid.0)).unwrap())
    }

    #[test]
    fn what_was_read_before_an_invalidation_is_refused_after_it() {
        let cache = RelationCache::new();
        let pg_class = relation(crate::oids::PG_CLASS);
        let read_at = cache.version();
        cache.invalidate(&[Oid(7)]);
        cache.enter_relation(read_at, &pg_class);
        cache.enter_relation_oid(read_at, A, "t", Some(Oid(7)));
        cache.enter_namespaces(read_at, &Arc::from([(A, "a".to_owned())]));
        assert!(cache.relation(pg_class.oid).is_none());
        assert!(cache.relation_oid(A, "t").is_none());
        assert!(cache.namespaces().is_none());

        cache.enter_relation(cache.version(), &pg_class);
        assert!(cache.relation(pg_class.oid).is_some());
    }

    #[test]
    fn an_invalidation_forgets_its_relations_and_free_names() {
        let cache = RelationCache::new();
        let version = cache.version();
        let (class, database) = (
            relation(crate::oids::PG_CLASS),
            relation(crate::oids::PG_DATABASE),
        );
        cache.enter_relation(version, &class);
        cache.enter_relation(version, &database);
        cache.enter_relation_oid(version, A, "class", Some(class.oid));
        cache.enter_relation_oid(version, A, "database", Some(database.oid));
        cache.enter_relation_oid(version, A, "none", None);
        assert_eq!(cache.relation_oid(A, "none"), Some(None));

        cache.invalidate(&[class.oid]);
        assert!(cache.relation(class.oid).is_none());
        assert!(cache.relation(database.oid).is_some());
        assert_eq!(cache.relation_oid(A, "class"), None);
        assert_eq!(cache.relation_oid(A, "none"), None);
        assert_eq!(cache.relation_oid(A, "database"), Some(Some(database.oid)));
        assert_eq!(cache.version(), version + 1);
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let cache = RelationCache::with_limit(4);
        let used = relation(crate::oids::PG_CLASS);
        cache.enter_relation(0, &used);
        for (nth, table) in system_tables().iter().enumerate() {
            cache.enter_relation(0, &relation(table.oid));
            cache.enter_relation_oid(0, A, table.name, Some(table.oid));
            assert!(cache.relation(used.oid).is_some(), "after {nth} others");
        }
        let entries = cache.lock();
        let relations = &entries.relations;
        assert!(relations.young.len() <= 4 && relations.old.len() <= 4);
        assert!(entries.names[&A].young.len() + entries.names[&A].old.len() <= 8);
        assert!(relations.young.len() + relations.old.len() >= 4);
    }
}
