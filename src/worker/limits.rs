//! When each fiber has to be looked at: its deadline, or the end of a cancel's grace.
//!
//! A dense array by fiber index. Setting and clearing are a store; finding what is due is a scan, made only when the earliest
//! known time has come: most calls end long before their deadline, and cost nothing more than the store.

use std::time::Instant;

/// See the module.
#[derive(Default)]
pub struct Limits {
    at: Vec<Option<Instant>>,
    /// No limit is earlier than this; the fiber it belonged to may have ended.
    earliest: Option<Instant>,
}

impl Limits {
    /// Sets or clears a fiber's limit.
    #[inline]
    pub fn set(&mut self, index: u32, when: Option<Instant>) {
        let index = index as usize;
        if when == self.at.get(index).copied().flatten() {
            return;
        }
        if index >= self.at.len() {
            self.at.resize(index + 1, None);
        }
        self.at[index] = when;
        if let Some(when) = when
            && self.earliest.is_none_or(|earliest| when < earliest)
        {
            self.earliest = Some(when);
        }
    }

    /// A lower bound of all limits.
    #[inline]
    pub fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    /// The fibers whose limit has passed; each is cleared.
    pub fn due(&mut self, now: Instant) -> Vec<u32> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let mut due = Vec::new();
        let mut earliest = None;
        for (index, at) in self.at.iter_mut().enumerate() {
            match *at {
                Some(when) if when <= now => {
                    *at = None;
                    due.push(u32::try_from(index).expect("an index of a fiber"));
                }
                Some(when) if earliest.is_none_or(|e| when < e) => earliest = Some(when),
                _ => {}
            }
        }
        self.earliest = earliest;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn due_limits_come_once_and_the_rest_stays() {
        let now = Instant::now();
        let mut limits = Limits::default();
        limits.set(3, Some(now + Duration::from_secs(1)));
        limits.set(1, Some(now + Duration::from_secs(2)));
        limits.set(2, Some(now + Duration::from_secs(1)));
        limits.set(2, None);
        assert!(limits.due(now).is_empty());
        assert_eq!(limits.due(now + Duration::from_millis(1500)), [3]);
        assert_eq!(limits.earliest(), Some(now + Duration::from_secs(2)));
        assert_eq!(limits.due(now + Duration::from_secs(3)), [1]);
        assert_eq!(limits.earliest(), None);
    }
}
