//! What fibers are called, also where their interpreter does not answer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The fibers of an interpreter whose calls have labels. A call without one costs nothing here.
#[derive(Debug, Default)]
pub struct Roster(Mutex<HashMap<u64, Listed>>);

/// A fiber in the roster.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its call's label, or what a worker has in hand.
    pub label: String,
    /// When its call began.
    pub begun: Instant,
}

impl Roster {
    /// A fiber begins.
    pub fn enter(&self, id: u64, label: &str, begun: Instant) {
        self.lock().insert(id, Listed { label: label.into(), begun });
    }

    /// What it does now has another name.
    pub fn rename(&self, id: u64, label: String) {
        if let Some(listed) = self.lock().get_mut(&id) {
            listed.label = label;
        }
    }

    /// What it is called now, if it has a label.
    pub fn label(&self, id: u64) -> Option<String> {
        self.lock().get(&id).map(|listed| listed.label.clone())
    }

    /// It has ended.
    pub fn leave(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// The incarnation is gone, and its fibers with it.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// All of them, by id.
    pub fn list(&self) -> Vec<(u64, Listed)> {
        self.lock().iter().map(|(id, listed)| (*id, listed.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Listed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
