//! What a settings file that was read again changes in a process that runs.

use crate::key::{self, Mark};
use crate::load::Loaded;

/// What became of the keys that differ.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Reload {
    /// In force from now on.
    pub taken: Vec<&'static str>,
    /// Kept as they were; they wait for a restart.
    pub waiting: Vec<&'static str>,
}

impl Loaded {
    /// Takes over from `fresh` what can change while running, and keeps the rest.
    pub fn take_over(&mut self, fresh: &Self) -> Reload {
        let mut reload = Reload::default();
        for key in key::all() {
            if (key.same)(&self.settings, &fresh.settings) {
                continue;
            }
            if key.is(Mark::Live) {
                (key.take)(&mut self.settings, &fresh.settings);
                reload.taken.push(key.name);
            } else {
                reload.waiting.push(key.name);
            }
        }
        reload
    }
}
