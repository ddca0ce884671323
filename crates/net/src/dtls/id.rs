//! Ids of associations.

use voex_base::{SocketId, WorkerId};

/// Marks the ids of associations; the rest is worker, generation and slot. Ids of streams have the bit above, and those that
/// are counted never come here.
const ASSOCIATION: u64 = 1 << 62;
const MARKS: u64 = 3 << 62;
const WORKER_SHIFT: u32 = 54;
const SLOT_BITS: u32 = 20;
const GENERATION_MASK: u64 = (1 << (WORKER_SHIFT - SLOT_BITS)) - 1;

/// Makes the id of the association in a slot; `generation` counts the associations of a worker.
pub(super) fn association_id(worker: WorkerId, generation: u64, slot: usize) -> SocketId {
    let generation = (generation & GENERATION_MASK) << SLOT_BITS;
    SocketId(ASSOCIATION | u64::from(worker.0) << WORKER_SHIFT | generation | slot as u64)
}

/// Gives the slot of an association.
pub(super) fn slot_of(id: SocketId) -> Option<usize> {
    is_association(id).then_some((id.0 & ((1 << SLOT_BITS) - 1)) as usize)
}

/// Tells whether an id is that of an association.
#[inline]
pub(crate) fn is_association(id: SocketId) -> bool {
    id.0 & MARKS == ASSOCIATION
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::is_stream;

    #[test]
    fn an_id_gives_back_its_slot_and_is_of_one_kind() {
        let id = association_id(WorkerId(255), u64::MAX, 77);
        assert_eq!(slot_of(id), Some(77));
        assert!(is_association(id) && !is_stream(id.0));
        assert!(!is_association(SocketId(12)) && !is_association(SocketId(3 << 62)));
    }
}
