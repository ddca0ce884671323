//! Windows by SSRC.

use super::SSRCS_MAX;
use super::window::Window;

/// At most [`SSRCS_MAX`] windows, sorted by SSRC. Packets come in runs of one SSRC, so the last hit is tried first.
#[derive(Default)]
pub(super) struct SsrcTable {
    entries: Vec<(u32, Window)>,
    last: usize,
}

/// Where an SSRC is, or would be.
#[derive(Clone, Copy)]
pub(super) enum Slot {
    Known(usize),
    Free(usize),
    Full,
}

impl SsrcTable {
    pub(super) fn find(&mut self, ssrc: u32) -> Slot {
        if self.entries.get(self.last).is_some_and(|(known, _)| *known == ssrc) {
            return Slot::Known(self.last);
        }
        match self.entries.binary_search_by_key(&ssrc, |(known, _)| *known) {
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
            Slot::Known(at) => self.entries.get(at).map(|(_, window)| window),
            Slot::Free(_) | Slot::Full => None,
        }
    }

    /// Remembers `index` at a slot just found for `ssrc`; a free one is taken.
    pub(super) fn accept(&mut self, slot: Slot, ssrc: u32, index: u64) {
        let at = match slot {
            Slot::Known(at) => at,
            Slot::Free(at) => {
                self.entries.insert(at, (ssrc, Window::default()));
                self.last = at;
                at
            }
            Slot::Full => return,
        };
        self.entries[at].1.accept(index);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
