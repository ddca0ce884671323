//! Windows by SSRC.

use super::SSRCS_MAX;
use super::window::Window;

/// At most [`SSRCS_MAX`] windows, sorted by SSRC. Packets come in runs of one SSRC, so the last hit is tried first.
#[derive(Default)]
pub(super) struct SsrcTable {
    entries: Vec<Entry>,
    last: usize,
    /// Counts what was accepted, so that entries can be told apart by age.
    accepted: u64,
    /// SSRCs whose window was given up, sorted; at most [`RETIRED_MAX`].
    retired: Vec<u32>,
}

struct Entry {
    ssrc: u32,
    /// What [`SsrcTable::accepted`] was when it was used last.
    used: u64,
    window: Window,
}

/// Where an SSRC is, or would be.
#[derive(Clone, Copy)]
pub(super) enum Slot {
    Known(usize),
    Free(usize),
    Full,
}

/// SSRCs without a window that are remembered: 256 kB at most.
const RETIRED_MAX: usize = 65_536;

impl SsrcTable {
    pub(super) fn find(&mut self, ssrc: u32) -> Slot {
        if self.entries.get(self.last).is_some_and(|entry| entry.ssrc == ssrc) {
            return Slot::Known(self.last);
        }
        match self.entries.binary_search_by_key(&ssrc, |entry| entry.ssrc) {
            Ok(at) => {
                self.last = at;
                Slot::Known(at)
            }
            Err(_) if self.entries.len() >= SSRCS_MAX => Slot::Full,
            Err(at) => Slot::Free(at),
        }
    }

    /// The window at a slot; an empty one when the slot is free.
    pub(super) fn window(&self, slot: Slot) -> Option<&Window> {
        match slot {
            Slot::Known(at) => self.entries.get(at).map(|entry| &entry.window),
            Slot::Free(_) | Slot::Full => None,
        }
    }

    /// Remembers `index` at a slot just found for `ssrc`; a free one is taken.
    pub(super) fn accept(&mut self, slot: Slot, ssrc: u32, index: u64) {
        let at = match slot {
            Slot::Known(at) => at,
            Slot::Free(at) => {
                let window = Window::default();
                self.entries.insert(at, Entry { ssrc, used: 0, window });
                self.last = at;
                at
            }
            Slot::Full => return,
        };
        self.accepted += 1;
        self.entries[at].used = self.accepted;
        self.entries[at].window.accept(index);
    }

    /// Whether the window of an SSRC was given up.
    pub(super) fn is_retired(&self, ssrc: u32) -> bool {
        self.retired.binary_search(&ssrc).is_ok()
    }

    /// Gives up the window that was not used for longest, and remembers whose it was. Gives whether there is room now.
    pub(super) fn retire_oldest(&mut self) -> bool {
        if self.retired.len() >= RETIRED_MAX {
            return false;
        }
        let oldest = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.used);
        let Some((at, ssrc)) = oldest.map(|(at, entry)| (at, entry.ssrc)) else {
            return true;
        };
        self.entries.remove(at);
        if let Err(at) = self.retired.binary_search(&ssrc) {
            self.retired.insert(at, ssrc);
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_as_many_are_retired_as_are_remembered_nothing_is_given_up() {
        let mut table = SsrcTable {
            retired: (0..RETIRED_MAX as u32 - 1).collect(),
            ..SsrcTable::default()
        };
        for (ssrc, gives_way) in [(u32::MAX, true), (u32::MAX - 1, false)] {
            let slot = table.find(ssrc);
            table.accept(slot, ssrc, 1);
            assert_eq!(table.retire_oldest(), gives_way);
            assert_eq!(table.is_retired(ssrc), gives_way);
        }
        assert_eq!(table.len(), 1);
    }
}
