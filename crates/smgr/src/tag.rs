//! How an I/O names a block of a relation fork in its target tag.

use trunkline_aio::{TargetId, TargetTag};
use trunkline_pgformat::{BlockNumber, ForkNumber, Oid, RelFileLocator};

/// The tag of an I/O that starts at `block`: words of tablespace and database, file number and fork,
/// block, and one unused.
pub fn relation_tag(
    kind: TargetId,
    rel: RelFileLocator,
    fork: ForkNumber,
    block: BlockNumber,
) -> TargetTag {
    TargetTag {
        kind,
        words: [
            u64::from(rel.spc_oid.0) << 32 | u64::from(rel.db_oid.0),
            u64::from(rel.rel_number) << 8 | fork as u64,
            u64::from(block),
            0,
        ],
    }
}

/// What [`relation_tag`] was made of.
pub fn decode_relation_tag(tag: &TargetTag) -> (RelFileLocator, ForkNumber, BlockNumber) {
    let [place, file, block, _] = tag.words;
    let rel = RelFileLocator {
        spc_oid: Oid((place >> 32) as u32),
        db_oid: Oid(place as u32),
        rel_number: (file >> 8) as u32,
    };
    let fork = match file as u8 {
        1 => ForkNumber::Fsm,
        2 => ForkNumber::Vm,
        3 => ForkNumber::Init,
        _ => ForkNumber::Main,
    };
    (rel, fork, block as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_round_trip() {
        let rel = RelFileLocator {
            spc_oid: Oid(1663),
            db_oid: Oid(u32::MAX),
            rel_number: u32::MAX,
        };
        for fork in ForkNumber::ALL {
            let tag = relation_tag(TargetId::Smgr, rel, fork, u32::MAX - 1);
            assert_eq!(decode_relation_tag(&tag), (rel, fork, u32::MAX - 1));
        }
    }
}
