//! Where a line of text or csv input ends: newline styles, the end-of-copy marker, quotes
//! (copyfromparse.c, `CopyReadLineText`).

use memchr::{memchr2, memchr3};

use crate::{CopyError, CopyFormat, CopyOptions};

/// How the data ends its lines. The first line decides; all others must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Undecided,
    Newline,
    CarriageReturn,
    Both,
}

/// What a look at the input found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A line of `len` bytes without its end; the next one begins at `next`. `special` tells
    /// whether it has a backslash (text) or a quote (csv).
    Line {
        len: usize,
        next: usize,
        special: bool,
    },
    /// The end-of-copy marker `\.`.
    EndOfCopy,
    /// The line goes on beyond the input at hand.
    Incomplete,
}

/// The quote and escape bytes of csv.
#[derive(Debug, Clone, Copy)]
struct Quoting {
    quote: u8,
    /// None if it is the quote, which then is simply a toggle.
    escape: Option<u8>,
}

/// Finds the ends of lines in input that comes in pieces. What it has seen of an incomplete
/// line is not looked at again.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    quoting: Option<Quoting>,
    line_end: LineEnd,
    /// How much of the current line has been looked at.
    scanned: usize,
    special: bool,
    in_quote: bool,
    last_was_escape: bool,
}

impl LineSplitter {
    pub fn new(options: &CopyOptions) -> Self {
        let quoting = (options.format == CopyFormat::Csv).then(|| Quoting {
            quote: options.quote,
            escape: (options.escape != options.quote).then_some(options.escape),
        });
        Self {
            quoting,
            line_end: LineEnd::Undecided,
            scanned: 0,
            special: false,
            in_quote: false,
            last_was_escape: false,
        }
    }

    /// Looks for the end of the line that begins `input`. After `Incomplete` the next call's
    /// input must begin with the same line. `at_end`: no more input will come. Newlines
    /// inside a quoted field add to `line_number`, as PostgreSQL counts them.
    pub fn next_line(
        &mut self,
        input: &[u8],
        at_end: bool,
        line_number: &mut u64,
    ) -> Result<Found, CopyError> {
        let found = match self.quoting {
            None => self.scan_text(input, at_end)?,
            Some(quoting) => self.scan_csv(quoting, input, at_end, line_number)?,
        };
        if found != Found::Incomplete {
            self.scanned = 0;
            self.special = false;
            self.in_quote = false;
            self.last_was_escape = false;
        }
        Ok(found)
    }

    fn scan_text(&mut self, input: &[u8], at_end: bool) -> Result<Found, CopyError> {
        while let Some(offset) = memchr3(b'\n', b'\r', b'\\', &input[self.scanned..]) {
            let at = self.scanned + offset;
            match input[at] {
                b'\n' => return self.newline(at),
                b'\r' => match self.carriage_return(input, at, at_end)? {
                    Some(line) => return Ok(line),
                    None => return Ok(self.incomplete(at)),
                },
                _ => {
                    self.special = true;
                    match input.get(at + 1) {
                        Some(b'.') => match self.end_of_copy(input, at, at_end)? {
                            Some(end) => return Ok(end),
                            None => return Ok(self.incomplete(at)),
                        },
                        // Whatever follows a backslash is data, a newline too.
                        Some(_) => self.scanned = at + 2,
                        None if at_end => break,
                        None => return Ok(self.incomplete(at)),
                    }
                }
            }
        }
        Ok(self.out_of_input(input, at_end))
    }

    fn scan_csv(
        &mut self,
        Quoting { quote, escape }: Quoting,
        input: &[u8],
        at_end: bool,
        line_number: &mut u64,
    ) -> Result<Found, CopyError> {
        loop {
            let rest = &input[self.scanned..];
            let counted = if self.line_end == LineEnd::Newline {
                b'\n'
            } else {
                b'\r'
            };
            let offset = match (self.in_quote, escape) {
                (false, _) => memchr3(quote, b'\n', b'\r', rest),
                (true, None) => memchr2(quote, counted, rest),
                (true, Some(escape)) => memchr3(quote, escape, counted, rest),
            };
            let Some(offset) = offset else {
                self.last_was_escape &= rest.is_empty();
                return Ok(self.out_of_input(input, at_end));
            };
            let at = self.scanned + offset;
            let byte = input[at];
            // The quote or escape may itself be a carriage return: look ahead before the
            // state changes.
            if byte == b'\r' && !self.in_quote && at + 1 == input.len() && !at_end {
                return Ok(self.incomplete(at));
            }
            self.last_was_escape &= offset == 0;
            if self.in_quote && Some(byte) == escape {
                self.last_was_escape = !self.last_was_escape;
            }
            if byte == quote && !self.last_was_escape {
                self.in_quote = !self.in_quote;
                self.special = true;
            }
            if Some(byte) != escape {
                self.last_was_escape = false;
            }
            if self.in_quote {
                if byte == counted {
                    *line_number += 1;
                }
            } else if byte == b'\r' {
                return match self.carriage_return(input, at, at_end)? {
                    Some(line) => Ok(line),
                    None => Ok(self.incomplete(at)),
                };
            } else if byte == b'\n' {
                return self.newline(at);
            }
            self.scanned = at + 1;
        }
    }

    fn incomplete(&mut self, scanned: usize) -> Found {
        self.scanned = scanned;
        Found::Incomplete
    }

    fn out_of_input(&mut self, input: &[u8], at_end: bool) -> Found {
        let len = input.len();
        if at_end {
            Found::Line {
                len,
                next: len,
                special: self.special,
            }
        } else {
            self.incomplete(len)
        }
    }

    fn newline(&mut self, at: usize) -> Result<Found, CopyError> {
        if matches!(self.line_end, LineEnd::CarriageReturn | LineEnd::Both) {
            return Err(self.stray("newline", "\\n"));
        }
        self.line_end = LineEnd::Newline;
        Ok(Found::Line {
            len: at,
            next: at + 1,
            special: self.special,
        })
    }

    /// None: the byte after it is needed.
    fn carriage_return(
        &mut self,
        input: &[u8],
        at: usize,
        at_end: bool,
    ) -> Result<Option<Found>, CopyError> {
        let mut next = at + 1;
        match self.line_end {
            LineEnd::Newline => return Err(self.stray("carriage return", "\\r")),
            LineEnd::CarriageReturn => {}
            LineEnd::Undecided | LineEnd::Both => match input.get(at + 1) {
                None if !at_end => return Ok(None),
                Some(b'\n') => {
                    next += 1;
                    self.line_end = LineEnd::Both;
                }
                _ if self.line_end == LineEnd::Both => {
                    return Err(self.stray("carriage return", "\\r"));
                }
                _ => self.line_end = LineEnd::CarriageReturn,
            },
        }
        Ok(Some(Found::Line {
            len: at,
            next,
            special: self.special,
        }))
    }

    /// Looks at what surrounds a `\.` at `at`. None: more input is needed.
    fn end_of_copy(
        &self,
        input: &[u8],
        at: usize,
        at_end: bool,
    ) -> Result<Option<Found>, CopyError> {
        let mut position = at + 2;
        // At the end of the input any byte that is no line end will do.
        let byte_at = |position: usize| match input.get(position) {
            None if !at_end => None,
            byte => Some(byte.copied().unwrap_or(0)),
        };
        if self.line_end == LineEnd::Both {
            match byte_at(position) {
                None => return Ok(None),
                Some(b'\r') => position += 1,
                Some(b'\n') => return Err(marker_style()),
                Some(_) => return Err(marker_not_alone()),
            }
        }
        let Some(byte) = byte_at(position) else {
            return Ok(None);
        };
        let expected = match self.line_end {
            LineEnd::Undecided => byte,
            LineEnd::Newline | LineEnd::Both => b'\n',
            LineEnd::CarriageReturn => b'\r',
        };
        if byte != b'\r' && byte != b'\n' {
            Err(marker_not_alone())
        } else if byte != expected {
            Err(marker_style())
        } else if at > 0 {
            Err(marker_not_alone())
        } else {
            Ok(Some(Found::EndOfCopy))
        }
    }

    fn stray(&self, what: &str, escape: &str) -> CopyError {
        if self.quoting.is_some() {
            CopyError::bad_format(format!("unquoted {what} found in data"))
                .with_hint(format!("Use quoted CSV field to represent {what}."))
        } else {
            CopyError::bad_format(format!("literal {what} found in data"))
                .with_hint(format!("Use \"{escape}\" to represent {what}."))
        }
    }
}

fn marker_style() -> CopyError {
    CopyError::bad_format("end-of-copy marker does not match previous newline style")
}

fn marker_not_alone() -> CopyError {
    CopyError::bad_format("end-of-copy marker is not alone on its line")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_looked_at_once() {
        let mut splitter = LineSplitter::new(&CopyOptions::new(CopyFormat::Csv));
        let mut line_number = 1;
        let mut next = |input: &[u8]| {
            let found = splitter.next_line(input, false, &mut line_number).unwrap();
            (found, splitter.scanned)
        };
        assert_eq!(next(b"a,\"b"), (Found::Incomplete, 4));
        assert_eq!(next(b"a,\"b\n\""), (Found::Incomplete, 6));
        let line = Found::Line {
            len: 6,
            next: 7,
            special: true,
        };
        assert_eq!(next(b"a,\"b\n\"\nc"), (line, 0));
        assert_eq!(
            next(b"c\n"),
            (
                Found::Line {
                    len: 1,
                    next: 2,
                    special: false
                },
                0
            )
        );
    }

    #[test]
    fn newlines_in_quotes_are_counted_in_the_style_of_the_data() {
        let mut splitter = LineSplitter::new(&CopyOptions::new(CopyFormat::Csv));
        let mut line_number = 1;
        splitter
            .next_line(b"\"\n\n\"\n", false, &mut line_number)
            .unwrap();
        assert_eq!(
            line_number, 1,
            "a first line has no style yet, so only \\r counts"
        );
        splitter
            .next_line(b"\"\n\n\"\n", false, &mut line_number)
            .unwrap();
        assert_eq!(line_number, 3);
    }
}
