//! A thread that goes away and comes back, and others that look into its books meanwhile: the books are a cell that loom lets one
//! thread touch at a time, and a thread that was given up touches them no more.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::presence::Presence;

struct Tenure {
    presence: Presence,
    books: UnsafeCell<usize>,
}

// SAFETY: what is tested: loom panics where two threads are in the cell at once, or without order.
unsafe impl Sync for Tenure {}

impl Tenure {
    fn write(&self) {
        // SAFETY: as above.
        self.books.with_mut(|books| unsafe { *books += 1 });
    }

    /// What whoever asks does.
    fn ask(&self, give_up: bool) -> bool {
        let Some(absence) = self.presence.absence() else { return false };
        self.presence
            .meanwhile(absence, || {
                self.write();
                ((), give_up)
            })
            .is_some()
    }
}

/// The thread goes away so often, while each of the others asks once.
fn model(absences: usize, give_up: &'static [bool]) {
    let mut model = loom::model::Builder::new();
    // Three threads: what goes wrong does so within a few switches at the wrong moment.
    model.preemption_bound = Some(3);
    model.check(move || {
        let tenure = Arc::new(Tenure { presence: Presence::new(), books: UnsafeCell::new(0) });
        let ask = |give_up: &bool| {
            let (tenure, give_up) = (tenure.clone(), *give_up);
            thread::spawn(move || tenure.ask(give_up) && give_up)
        };
        let asking: Vec<_> = give_up.iter().map(ask).collect();
        let mut here = true;
        for _ in 0..absences {
            tenure.write();
            tenure.presence.leave(1);
            here = tenure.presence.back();
            if !here {
                break;
            }
        }
        if here {
            tenure.write();
        }
        let given_up = asking.into_iter().fold(false, |any, one| any | one.join().expect("no panic"));
        assert_eq!(here, !given_up, "it knows");
    });
}

#[test]
fn the_books_are_one_threads_at_a_time() {
    model(2, &[false]);
    model(1, &[false, false]);
}

#[test]
fn who_is_given_up_touches_nothing_any_more() {
    model(2, &[true]);
    model(1, &[true, false]);
}

#[test]
fn it_is_given_up_once() {
    model(1, &[true, true]);
}
