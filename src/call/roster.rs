//! What is known of fibers where their interpreter does not answer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The fibers of an interpreter whose calls have labels, for when it does not answer. A call without one costs nothing here.
#[derive(Debug, Default)]
pub struct Roster(Mutex<HashMap<u64, Listed>>);

/// A fiber in the roster.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its call's label.
    pub label: String,
    /// When its call began.
    pub begun: Instant,
}

impl Roster {
    /// A fiber begins.
    pub fn enter(&self, id: u64, label: &str, begun: Instant) {
        self.lock().insert(id, Listed { label: label.into(), begun });
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
