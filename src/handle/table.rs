//! The table behind the keys.

use std::any::{Any, TypeId};
use std::sync::Arc;

use super::key::{Key, MAX_SLOTS};
use crate::error::refused;

/// What a key stands for.
pub type Shared = Arc<dyn Any + Send + Sync>;

/// What is wrong with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// The object was released (a second release is this too).
    #[error("stale handle: the object has been released")]
    Stale,
    /// No such key was ever given out here.
    #[error("forged handle: it was never given out")]
    Forged,
    /// The object is of another type.
    #[error("wrong type of host object: expected {expected}")]
    WrongType {
        /// The type that was asked for.
        expected: &'static str,
    },
    /// It belongs to another interpreter.
    #[error("handle of another owner: it belongs to interpreter {owner}")]
    WrongOwner {
        /// The interpreter that gave it out.
        owner: u32,
    },
    /// Every slot is in use, or retired.
    #[error("no free handle: {MAX_SLOTS} slots are in use or retired")]
    Full,
}

impl HandleError {
    /// By which C, and scripts, know it.
    pub fn code(&self) -> &'static str {
        match self {
            HandleError::Stale => refused::STALE,
            HandleError::Forged => refused::FORGED,
            HandleError::WrongType { .. } => refused::WRONG_KIND,
            HandleError::WrongOwner { .. } => refused::WRONG_OWNER,
            HandleError::Full => "too_many_handles",
        }
    }
}

/// One interpreter's handles.
#[derive(Debug)]
pub struct Table {
    owner: u32,
    /// The generation of a slot's first object: each incarnation has its own, so that keys of an earlier one are stale.
    first: u32,
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// The object's type, here so that a look-up needs no call through its vtable; of the last one while the slot is free.
    type_id: TypeId,
    object: Option<Shared>,
}

impl Table {
    /// An empty table of `owner`, whose slots begin with the generation `first`.
    pub fn new(owner: u32, first: u32) -> Table {
        Table { owner, first, slots: Vec::new(), free: Vec::new(), live: 0 }
    }

    /// Gives an object a key.
    pub fn insert(&mut self, object: Shared) -> Result<Key, HandleError> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() == MAX_SLOTS => return Err(HandleError::Full),
            None => {
                self.slots.push(Slot { generation: self.first, type_id: TypeId::of::<()>(), object: None });
                (self.slots.len() - 1) as u32
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.type_id = Any::type_id(&*object);
        slot.object = Some(object);
        self.live += 1;
        Ok(Key::new(self.owner, index, slot.generation))
    }

    #[inline]
    fn check(&self, key: Key) -> Result<usize, HandleError> {
        if key.owner() != self.owner {
            return Err(HandleError::WrongOwner { owner: key.owner() });
        }
        let Some(slot) = self.slots.get(key.index()) else { return Err(HandleError::Forged) };
        if slot.generation == key.generation() && slot.object.is_some() {
            return Ok(key.index());
        }
        // Generations grow: a smaller one was given out, by this incarnation or an earlier one; a larger one never was.
        if key.generation() < slot.generation || (key.generation() == slot.generation && self.retired(slot)) {
            Err(HandleError::Stale)
        } else {
            Err(HandleError::Forged)
        }
    }

    fn retired(&self, slot: &Slot) -> bool {
        slot.generation == u32::MAX && slot.object.is_none()
    }

    /// The object behind a key.
    #[inline]
    pub fn get_any(&self, key: Key) -> Result<&Shared, HandleError> {
        let index = self.check(key)?;
        self.slots[index].object.as_ref().ok_or(HandleError::Stale)
    }

    /// The object behind a key, which must be a `T`.
    #[cfg(test)]
    pub fn get<T: Any>(&self, key: Key) -> Result<&T, HandleError> {
        let wrong = HandleError::WrongType { expected: std::any::type_name::<T>() };
        self.get_any(key)?.downcast_ref().ok_or(wrong)
    }

    /// The object behind a key if it is a `T`: what [`Table::get`] finds, without saying why not.
    #[inline]
    pub fn find<T: Any>(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index())?;
        if slot.generation != key.generation() || key.owner() != self.owner || slot.type_id != TypeId::of::<T>() {
            return None;
        }
        let object: *const (dyn Any + Send + Sync) = &**slot.object.as_ref()?;
        // SAFETY: `insert` took the type from this very object.
        Some(unsafe { &*object.cast::<T>() })
    }

    /// The first key from slot `from` on whose object is wanted.
    pub fn next(&self, from: usize, wanted: impl Fn(&Shared) -> bool) -> Option<Key> {
        let found = self.slots.iter().enumerate().skip(from);
        let mut found = found.filter(|(_, slot)| slot.object.as_ref().is_some_and(&wanted));
        found.next().map(|(index, slot)| Key::new(self.owner, index as u32, slot.generation))
    }

    /// Takes the object out: its key is stale from now on.
    pub fn remove(&mut self, key: Key) -> Result<Shared, HandleError> {
        let index = self.check(key)?;
        let slot = &mut self.slots[index];
        let object = slot.object.take().ok_or(HandleError::Stale)?;
        self.live -= 1;
        // A slot whose generations are used up is retired: it is never free again.
        if slot.generation < u32::MAX {
            slot.generation += 1;
            self.free.push(index as u32);
        }
        Ok(object)
    }

    /// Objects in the table.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Slots in the table, free ones included.
    #[cfg(test)]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// What is still there: keys, for the report at shutdown.
    pub fn leaks(&self) -> Vec<Key> {
        let live = self.slots.iter().enumerate().filter(|(_, slot)| slot.object.is_some());
        live.map(|(index, slot)| Key::new(self.owner, index as u32, slot.generation)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn the_four_errors_are_four() {
        let mut table = Table::new(3, 7);
        let key = table.insert(Arc::new(1_i32)).expect("room");
        assert_eq!(table.get::<i32>(key), Ok(&1));
        assert!(matches!(table.get::<String>(key), Err(HandleError::WrongType { .. })));
        assert_eq!(table.get::<i32>(Key::new(4, 0, 7)), Err(HandleError::WrongOwner { owner: 4 }));
        assert_eq!(table.get::<i32>(Key::new(3, 1, 7)), Err(HandleError::Forged));
        assert_eq!(table.get::<i32>(Key::new(3, 0, 8)), Err(HandleError::Forged));
        assert_eq!(table.get::<i32>(Key::new(3, 0, 6)), Err(HandleError::Stale), "an earlier incarnation's");
        assert_eq!((table.find::<i32>(key), table.find::<String>(key)), (Some(&1), None));
        assert_eq!((table.find::<i32>(Key::new(4, 0, 7)), table.find::<i32>(Key::new(3, 1, 7))), (None, None));
        table.remove(key).expect("live");
        assert_eq!(table.find::<i32>(key), None);
        assert_eq!(table.get::<i32>(key), Err(HandleError::Stale));
        assert_eq!(table.remove(key).err(), Some(HandleError::Stale), "released twice");
    }

    #[test]
    fn a_slot_is_retired_when_its_generations_are_used_up() {
        let mut table = Table::new(0, u32::MAX - 1);
        let first = table.insert(Arc::new(())).expect("room");
        table.remove(first).expect("live");
        let last = table.insert(Arc::new(())).expect("room");
        assert_eq!((last.index(), last.generation()), (0, u32::MAX));
        table.remove(last).expect("live");
        assert_eq!(table.get::<()>(last), Err(HandleError::Stale));
        assert_eq!(table.insert(Arc::new(())).expect("room").index(), 1);
    }

    #[test]
    fn a_million_cycles_leave_the_table_as_it_was() {
        let mut table = Table::new(0, 1);
        for i in 0..1_000_000_u32 {
            let key = table.insert(Arc::new(i)).expect("room");
            assert_eq!(table.get::<u32>(key), Ok(&i));
            table.remove(key).expect("live");
        }
        assert_eq!((table.len(), table.slots()), (0, 1));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Insert(u64),
        Get(usize),
        Remove(usize),
        Forge(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            any::<u64>().prop_map(Op::Insert),
            any::<usize>().prop_map(Op::Get),
            any::<usize>().prop_map(Op::Remove),
            any::<u64>().prop_map(Op::Forge),
        ]
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(ops in proptest::collection::vec(op(), 1..300)) {
            let mut table = Table::new(5, 9);
            let mut model: HashMap<u64, u64> = HashMap::new();
            let mut given: Vec<Key> = Vec::new();
            for op in ops {
                match op {
                    Op::Insert(value) => {
                        let key = table.insert(Arc::new(value)).expect("room");
                        prop_assert!(model.insert(key.into(), value).is_none(), "a key was given out twice");
                        given.push(key);
                    }
                    Op::Get(pick) if !given.is_empty() => {
                        let key = given[pick % given.len()];
                        let expected = model.get(&key.into()).ok_or(HandleError::Stale);
                        prop_assert_eq!(table.get::<u64>(key), expected);
                    }
                    Op::Remove(pick) if !given.is_empty() => {
                        let key = given[pick % given.len()];
                        let removed = table.remove(key).map(|object| *object.downcast_ref::<u64>().expect("a u64"));
                        prop_assert_eq!(removed, model.remove(&key.into()).ok_or(HandleError::Stale));
                    }
                    Op::Forge(bits) => {
                        let key = Key::from(bits);
                        let seen = given.contains(&key);
                        match table.get_any(key) {
                            Ok(_) => prop_assert!(model.contains_key(&bits)),
                            Err(HandleError::WrongOwner { owner }) => prop_assert!(owner != 5),
                            Err(HandleError::Forged) => prop_assert!(!seen),
                            Err(error) => prop_assert_eq!(error, HandleError::Stale),
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), model.len());
            }
            prop_assert_eq!(table.leaks().len(), model.len());
        }
    }
}
