//! Rows as psql's aligned format shows them (`print_aligned_text` in psql's `print.c`, border 1).
//!
//! Columns are as wide as their widest cell. A result that is too large to be held is printed in
//! portions: the first decides the widths, later ones may widen a column.

use std::io::{self, Write};

use super::cell_text::{CellLine, cell_lines};

/// The side that a column's cells stand at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

impl Alignment {
    /// psql's choice for a type (`column_type_alignment` in print.c): int8, int2, int4, oid, xid,
    /// cid, float4, float8, money, numeric and xid8 stand right.
    pub fn of_type(type_oid: u32) -> Alignment {
        match type_oid {
            20 | 21 | 23 | 26 | 28 | 29 | 700 | 701 | 790 | 1700 | 5069 => Alignment::Right,
            _ => Alignment::Left,
        }
    }
}

/// A column's heading.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Where its cells stand.
    pub alignment: Alignment,
}

/// How many bytes of cells are held to find the columns' widths.
const PORTION_BYTES: usize = 16 << 20;

/// What a cell costs beside its text.
const CELL_OVERHEAD_BYTES: usize = 32;

/// A result that is being printed.
pub struct AlignedTable {
    headings: Vec<Vec<CellLine>>,
    alignments: Vec<Alignment>,
    widths: Vec<usize>,
    /// The cells of the portion, row by row. NULL is empty.
    cells: Vec<String>,
    /// Rows of the portion; cells do not tell when there are no columns.
    held_rows: usize,
    held_bytes: usize,
    has_printed_heading: bool,
    rows: u64,
}

impl AlignedTable {
    /// An empty result.
    pub fn new(columns: Vec<Column>) -> AlignedTable {
        let headings: Vec<_> = columns
            .iter()
            .map(|column| cell_lines(&column.name))
            .collect();
        AlignedTable {
            widths: headings.iter().map(|lines| width_of(lines)).collect(),
            headings,
            alignments: columns.iter().map(|column| column.alignment).collect(),
            cells: Vec::new(),
            held_rows: 0,
            held_bytes: 0,
            has_printed_heading: false,
            rows: 0,
        }
    }

    /// Adds a cell to the row that is being filled.
    pub fn push_cell(&mut self, text: String) {
        self.held_bytes += text.len() + CELL_OVERHEAD_BYTES;
        self.cells.push(text);
    }

    /// The row is complete.
    ///
    /// # Panics
    /// If it has not as many cells as there are columns.
    pub fn end_row(&mut self) {
        self.held_rows += 1;
        self.rows += 1;
        assert_eq!(
            self.cells.len(),
            self.held_rows * self.widths.len(),
            "cells and columns differ in number"
        );
    }

    /// How many rows it has had.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether so much is held that it should be printed.
    pub fn is_portion_full(&self) -> bool {
        self.held_bytes >= PORTION_BYTES
    }

    /// Prints what is held.
    ///
    /// # Errors
    /// `out`'s.
    pub fn print_portion(&mut self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.widths.len();
        for (index, cell) in self.cells.iter().enumerate() {
            let width = &mut self.widths[index % columns];
            *width = (*width).max(cell_width(cell));
        }
        if !self.has_printed_heading {
            self.has_printed_heading = true;
            self.print_heading(out)?;
        }
        let mut lines = Vec::with_capacity(columns);
        let printed_rows = if columns == 0 { 0 } else { self.held_rows };
        for row in 0..printed_rows {
            lines.clear();
            lines.extend(
                self.cells[row * columns..(row + 1) * columns]
                    .iter()
                    .map(|cell| cell_lines(cell)),
            );
            self.print_row(&lines, out)?;
        }
        self.cells.clear();
        self.held_rows = 0;
        self.held_bytes = 0;
        Ok(())
    }

    /// Prints the rest and the number of rows.
    ///
    /// # Errors
    /// `out`'s.
    pub fn finish(mut self, out: &mut impl Write) -> io::Result<()> {
        self.print_portion(out)?;
        match self.rows {
            1 => writeln!(out, "(1 row)\n"),
            rows => writeln!(out, "({rows} rows)\n"),
        }
    }

    fn print_heading(&self, out: &mut impl Write) -> io::Result<()> {
        let height = self.headings.iter().map(Vec::len).max().unwrap_or(0);
        for number in 0..height {
            for (column, lines) in self.headings.iter().enumerate() {
                out.write_all(b" ")?;
                match lines.get(number) {
                    Some(line) => {
                        let space = self.widths[column] - line.width;
                        pad(out, space / 2)?;
                        out.write_all(line.text.as_bytes())?;
                        pad(out, space.div_ceil(2))?;
                    }
                    None => pad(out, self.widths[column])?,
                }
                let continues = number + 1 < lines.len();
                out.write_all(if continues { b"+" } else { b" " })?;
                if column + 1 < self.headings.len() {
                    out.write_all(b"|")?;
                }
            }
            out.write_all(b"\n")?;
        }
        out.write_all(b"-")?;
        for (column, &width) in self.widths.iter().enumerate() {
            if column > 0 {
                out.write_all(b"-+-")?;
            }
            (0..width).try_for_each(|_| out.write_all(b"-"))?;
        }
        out.write_all(b"-\n")
    }

    fn print_row(&self, cells: &[Vec<CellLine>], out: &mut impl Write) -> io::Result<()> {
        let height = cells.iter().map(Vec::len).max().unwrap_or(1);
        let last = cells.len().saturating_sub(1);
        for number in 0..height {
            for (column, lines) in cells.iter().enumerate() {
                let width = self.widths[column];
                let continues = number + 1 < lines.len();
                // Nothing follows the last column but a line-feed mark.
                let is_padded = column < last || continues;
                out.write_all(b" ")?;
                match (lines.get(number), self.alignments[column]) {
                    (Some(line), Alignment::Right) => {
                        pad(out, width - line.width)?;
                        out.write_all(line.text.as_bytes())?;
                    }
                    (Some(line), Alignment::Left) => {
                        out.write_all(line.text.as_bytes())?;
                        if is_padded {
                            pad(out, width - line.width)?;
                        }
                    }
                    (None, _) if is_padded => pad(out, width)?,
                    (None, _) => {}
                }
                if continues {
                    out.write_all(b"+")?;
                } else if column < last {
                    out.write_all(b" ")?;
                }
                if column < last {
                    out.write_all(b"|")?;
                }
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

fn width_of(lines: &[CellLine]) -> usize {
    lines.iter().map(|line| line.width).max().unwrap_or(0)
}

fn cell_width(cell: &str) -> usize {
    if cell.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        cell.len()
    } else {
        width_of(&cell_lines(cell))
    }
}

fn pad(out: &mut impl Write, width: usize) -> io::Result<()> {
    write!(out, "{:width$}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(columns: &[(&str, u32)], rows: &[&[&str]]) -> String {
        let mut table = AlignedTable::new(
            columns
                .iter()
                .map(|&(name, type_oid)| Column {
                    name: name.to_owned(),
                    alignment: Alignment::of_type(type_oid),
                })
                .collect(),
        );
        for row in rows {
            for cell in *row {
                table.push_cell((*cell).to_owned());
            }
            table.end_row();
        }
        let mut out = Vec::new();
        table.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    // The expected texts are psql 15's own.

    #[test]
    fn numbers_stand_right_and_headings_in_the_middle() {
        assert_eq!(
            print(
                &[("a", 23), ("name", 25), ("longer heading", 1700)],
                &[&["1", "x", "1.50"], &["1000", "", ""]]
            ),
            "  a   | name | longer heading \n\
             ------+------+----------------\n\
             \u{20}   1 | x    |           1.50\n\
             \u{20}1000 |      |               \n\
             (2 rows)\n\n"
        );
    }

    #[test]
    fn the_last_text_column_is_not_padded() {
        assert_eq!(
            print(&[("heading", 25)], &[&["x"]]),
            " heading \n---------\n x\n(1 row)\n\n"
        );
        assert_eq!(print(&[("h", 25)], &[]), " h \n---\n(0 rows)\n\n");
    }

    #[test]
    fn line_feeds_are_marked() {
        assert_eq!(
            print(&[("a\nbcd", 25), ("n", 23)], &[&["one\ntwo\nx", "5"]]),
            "  a +| n \n bcd |   \n-----+---\n one+| 5\n two+| \n x   | \n(1 row)\n\n"
        );
    }

    #[test]
    fn a_result_without_columns_has_rows() {
        assert_eq!(print(&[], &[&[]]), "--\n(1 row)\n\n");
    }

    #[test]
    fn portions_keep_their_widths() {
        let mut table = AlignedTable::new(vec![Column {
            name: "a".to_owned(),
            alignment: Alignment::Right,
        }]);
        let mut out = Vec::new();
        for cell in ["100", "1"] {
            table.push_cell(cell.to_owned());
            table.end_row();
            table.print_portion(&mut out).unwrap();
        }
        table.finish(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "  a  \n-----\n 100\n   1\n(2 rows)\n\n"
        );
    }
}
