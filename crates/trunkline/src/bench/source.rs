//! The file that the benchmarks load: PostgreSQL's binary COPY format, rows of about 100 bytes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The table that the file's rows are for.
pub const COLUMNS: &str = "(a int, b bigint, c text, d timestamptz)";

/// A file of rows.
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
}

impl Source {
    /// Writes `rows` rows to `path`. The same number gives the same bytes.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(path: &Path, rows: u64) -> io::Result<Source> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        file.write_all(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0")?;
        // A linear congruential generator (Knuth's MMIX constants): values without a pattern that
        // anything here could profit from.
        let mut state: u64 = 1;
        let mut row = Vec::with_capacity(128);
        for number in 0..rows {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            row.clear();
            row.extend_from_slice(&4_i16.to_be_bytes());
            field(&mut row, &(number as i32).to_be_bytes());
            field(&mut row, &(state as i64).to_be_bytes());
            field(
                &mut row,
                format!("row {number:010} of the benchmark, {state:020}").as_bytes(),
            );
            let microseconds = 800_000_000_000_000 + (state % 1_000_000_000_000) as i64;
            field(&mut row, &microseconds.to_be_bytes());
            file.write_all(&row)?;
        }
        file.write_all(&(-1_i16).to_be_bytes())?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let bytes = file.metadata()?.len();
        Ok(Source {
            path: path.to_owned(),
            rows,
            bytes,
        })
    }
}

fn field(row: &mut Vec<u8>, value: &[u8]) {
    row.extend_from_slice(&(value.len() as i32).to_be_bytes());
    row.extend_from_slice(value);
}
