//! How an I/O names a block of a relation fork in its target tag.

use std::fmt;

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

/// Describes an I/O on the `blocks` blocks from the one in `tag` on, in the words of PostgreSQL's
/// `smgr_aio_describe_identity`.
pub fn describe_blocks(tag: &TargetTag, blocks: u64, out: &mut dyn fmt::Write) -> fmt::Result {
    let (rel, fork, first) = decode_relation_tag(tag);
    let path = rel.path(fork);
    match blocks {
        0 => write!(out, "file \"{path}\""),
        1 => write!(out, "block {first} in file \"{path}\""),
        _ => {
            let last = u64::from(first) + blocks - 1;
            write!(out, "blocks {first}..{last} in file \"{path}\"")
        }
    }
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

    #[test]
    fn blocks_are_described_by_their_number() {
        let rel = RelFileLocator {
            spc_oid: Oid(1663),
            db_oid: Oid(5),
            rel_number: 16384,
        };
        let tag = relation_tag(TargetId::Smgr, rel, ForkNumber::Vm, 7);
        for (blocks, description) in [
            (0, "file \"base/5/16384_vm\""),
            (1, "block 7 in file \"base/5/16384_vm\""),
            (3, "blocks 7..9 in file \"base/5/16384_vm\""),
        ] {
            let mut out = String::new();
            describe_blocks(&tag, blocks, &mut out).unwrap();
            assert_eq!(out, description);
        }
    }
}
