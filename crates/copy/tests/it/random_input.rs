//! Rows written and read again, and arbitrary bytes.

use proptest::prelude::*;
use trunkline_copy::{
    CopyColumn, CopyDecoder, CopyEncoder, CopyError, CopyFormat, CopyOptions, CopySubject,
};
use trunkline_types::{ColumnType, oids};

use crate::rows::{Cell, RowCollector};

/// A small generator of numbers (splitmix64), so that chunk sizes are the same in each run.
pub struct Generator(u64);

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

fn subject() -> CopySubject {
    let column = |name: &str, oid| CopyColumn {
        name: name.to_owned(),
        ty: ColumnType::new(oid, -1).unwrap(),
        has_default: false,
    };
    let columns = vec![
        column("a", oids::INT4),
        column("b", oids::TEXT),
        column("c", oids::TEXT),
    ];
    CopySubject::whole("t", columns)
}

fn decode(
    options: &CopyOptions,
    data: &[u8],
    chunk_bytes: usize,
) -> Result<Vec<Vec<Cell>>, CopyError> {
    let mut decoder = CopyDecoder::new(&subject(), options, Default::default())?;
    let mut sink = RowCollector::default();
    for chunk in data.chunks(chunk_bytes) {
        decoder.push(chunk, &mut sink)?;
    }
    decoder.finish(&mut sink)?;
    Ok(sink.rows)
}

fn cells() -> impl Strategy<Value = Vec<Cell>> {
    let text = || {
        proptest::option::of(prop_oneof![
            "[ -~\\t\\n\\r]{0,12}",
            "(\\\\N|\\\\\\.|\"|'|,|\\n|\\r|\\t|é|\\\\){0,6}",
        ])
        .prop_map(|text| text.map(String::into_bytes))
    };
    let number = proptest::option::of(any::<i32>())
        .prop_map(|number| number.map(|number| number.to_le_bytes().to_vec()));
    (number, text(), text()).prop_map(|(a, b, c)| vec![a, b, c])
}

fn options() -> impl Strategy<Value = CopyOptions> {
    let text = (
        prop::sample::select(b"\t|,;A\x01".to_vec()),
        prop::sample::select(vec!["\\N", "", "NULL"]),
    )
        .prop_map(|(delimiter, null)| CopyOptions {
            delimiter,
            null: null.to_owned(),
            ..CopyOptions::new(CopyFormat::Text)
        });
    let csv = (
        prop::sample::select(b",;\ta".to_vec()),
        prop::sample::select(b"\"'".to_vec()),
        prop::sample::select(b"\"'\\".to_vec()),
        prop::sample::select(vec!["", "NULL", "\\N"]),
    )
        .prop_map(|(delimiter, quote, escape, null)| CopyOptions {
            delimiter,
            quote,
            escape,
            null: null.to_owned(),
            ..CopyOptions::new(CopyFormat::Csv)
        });
    prop_oneof![text, csv, Just(CopyOptions::new(CopyFormat::Binary))]
}

/// Text that equals the null string comes back as null from the text format, as it does
/// from PostgreSQL's.
fn is_ambiguous(options: &CopyOptions, rows: &[Vec<Cell>]) -> bool {
    options.format == CopyFormat::Text
        && rows
            .iter()
            .flatten()
            .flatten()
            .any(|cell| cell == options.null.as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(
        options in options(),
        rows in prop::collection::vec(cells(), 0..6),
        chunk_bytes in 1_usize..40,
    ) {
        prop_assume!(!is_ambiguous(&options, &rows));
        let encoder = CopyEncoder::new(&subject(), &options, Default::default()).unwrap();
        let mut data = Vec::new();
        encoder.header(&mut data);
        for row in &rows {
            let row: Vec<Option<&[u8]>> = row.iter().map(Option::as_deref).collect();
            encoder.row(&row, &mut data).unwrap();
        }
        encoder.trailer(&mut data);
        prop_assert_eq!(decode(&options, &data, chunk_bytes), Ok(rows));
    }

    /// Any bytes give the same answer however they are cut.
    #[test]
    fn chunks_do_not_matter(
        options in options(),
        data in prop::collection::vec(
            prop_oneof![
                8 => prop::sample::select(vec![
                    "1", "\t", ",", "\"", "'", "\\", "\n", "\r", ".", "N", "a", "|", ";", "\0", "é", "€",
                    "1,x,y", "2\tx\ty", "\r\n", "\\.\r",
                ])
                .prop_map(|piece| piece.as_bytes().to_vec()),
                1 => any::<u8>().prop_map(|byte| vec![byte]),
            ],
            0..40,
        ),
        signed in any::<bool>(),
        chunk_bytes in 1_usize..20,
    ) {
        let mut input = Vec::new();
        if signed && options.format == CopyFormat::Binary {
            CopyEncoder::new(&subject(), &options, Default::default()).unwrap().header(&mut input);
            input.extend_from_slice(&[0, 3, 0, 0, 0, 4, 0, 0, 0, 7]);
        }
        input.extend_from_slice(&data.concat());
        let whole = decode(&options, &input, usize::MAX);
        prop_assert_eq!(decode(&options, &input, 1), whole.clone());
        prop_assert_eq!(decode(&options, &input, chunk_bytes), whole);
    }
}
