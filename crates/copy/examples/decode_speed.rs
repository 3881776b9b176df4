//! Measures decoding into heap tuples: `cargo run --release -p trunkline-copy --example
//! decode_speed`. Prints nanoseconds per row of four columns (int, bigint, text, timestamptz) and
//! MB/s, the best of several runs, for each format.

use std::time::Instant;

use trunkline_copy::{
    CopyColumn, CopyDecoder, CopyEncoder, CopyError, CopyFormat, CopyNotice, CopyOptions,
    CopySubject, RowSink,
};
use trunkline_types::{Attribute, ColumnType, TupleDesc, TupleFormer, TypeError, oids};

const ROWS: usize = 1_000_000;
const CHUNK_BYTES: usize = 1 << 18;
const RUNS: usize = 5;

/// Forms each row's heap tuple and forgets it.
struct Former {
    desc: TupleDesc,
    former: TupleFormer,
    tuple_bytes: usize,
}

impl RowSink for Former {
    fn begin_row(&mut self) {
        self.former.begin(&self.desc);
    }

    fn null(&mut self) {
        self.former.push_null();
    }

    fn default_value(&mut self) -> Result<(), CopyError> {
        Err(CopyError::new("XX000", "no column has a default"))
    }

    fn value<F>(&mut self, write: F) -> Result<(), TypeError>
    where
        F: FnOnce(&mut Vec<u8>) -> Result<(), TypeError>,
    {
        self.former.push_with(write)
    }

    fn end_row(&mut self) -> Result<(), CopyError> {
        let tuple = self.former.finish().map_err(TypeError::from)?;
        self.tuple_bytes += std::hint::black_box(tuple).len();
        Ok(())
    }

    fn notice(&mut self, notice: CopyNotice) {
        eprintln!("{}", notice.message);
    }
}

fn main() -> Result<(), CopyError> {
    let shape = [
        ("a", oids::INT4),
        ("b", oids::INT8),
        ("c", oids::TEXT),
        ("d", oids::TIMESTAMPTZ),
    ];
    let mut columns = Vec::new();
    let mut attributes = Vec::new();
    for (name, oid) in shape {
        let ty = ColumnType::new(oid, -1)?;
        columns.push(CopyColumn {
            name: name.to_owned(),
            ty,
            has_default: false,
        });
        attributes.push(Attribute::new(name, oid, -1)?);
    }
    let subject = CopySubject::whole("t", columns);
    for format in [CopyFormat::Binary, CopyFormat::Text, CopyFormat::Csv] {
        let options = CopyOptions::new(format);
        let encoder = CopyEncoder::new(&subject, &options, Default::default())?;
        let mut data = Vec::new();
        encoder.header(&mut data);
        for row in 0..ROWS {
            let a = (row as i32).to_le_bytes();
            let b = (row as i64 * 1_000_003).to_le_bytes();
            let c = format!("row number {row} of the table");
            let d = (row as i64).to_le_bytes();
            let values = [Some(&a[..]), Some(&b), Some(c.as_bytes()), Some(&d)];
            encoder.row(&values, &mut data)?;
        }
        encoder.trailer(&mut data);
        let mut best_secs = f64::INFINITY;
        let mut sink = Former {
            desc: TupleDesc::new(attributes.clone()),
            former: TupleFormer::new(),
            tuple_bytes: 0,
        };
        for _ in 0..RUNS {
            let start = Instant::now();
            let mut decoder = CopyDecoder::new(&subject, &options, Default::default())?;
            for chunk in data.chunks(CHUNK_BYTES) {
                decoder.push(chunk, &mut sink)?;
            }
            decoder.finish(&mut sink)?;
            best_secs = best_secs.min(start.elapsed().as_secs_f64());
        }
        println!(
            "{format:?}: {:.1} ns/row, {:.0} MB/s ({} bytes of tuples a run)",
            best_secs * 1e9 / ROWS as f64,
            data.len() as f64 / best_secs / 1e6,
            sink.tuple_bytes / RUNS,
        );
    }
    Ok(())
}
