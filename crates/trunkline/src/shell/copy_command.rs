//! `\copy`'s line: which statement it becomes, and whose data it moves (`parse_slash_copy` in
//! psql's copy.c).

/// The near end of a `\copy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyFile {
    /// A file, relative to the working directory.
    Path(String),
    /// Where the statements come from (FROM), or where results go (TO).
    Script,
    /// The program's own standard input or output.
    Standard,
}

/// A `\copy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyCommand {
    /// FROM, else TO.
    pub is_from: bool,
    /// The near end.
    pub file: CopyFile,
    /// `COPY ... FROM STDIN ...` or `COPY ... TO STDOUT ...`.
    pub statement: String,
}

/// Reads what follows `\copy`. The error is what psql would say.
///
/// # Errors
/// A line that is none.
pub fn parse_copy_command(arguments: &str) -> Result<CopyCommand, String> {
    let mut words = Words { rest: arguments };
    let mut subject = String::from("COPY");
    let mut word = words.next()?;
    if word.eq_ignore_ascii_case("binary") {
        subject.push_str(" BINARY");
        word = words.next()?;
    }
    // The table or query and the columns, up to FROM or TO outside parentheses.
    let mut depth = 0_usize;
    loop {
        match word {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        subject.push(' ');
        subject.push_str(word);
        // A query's own FROM is inside its parentheses.
        word = words.next()?;
        let is_direction = word.eq_ignore_ascii_case("from") || word.eq_ignore_ascii_case("to");
        if depth == 0 && is_direction {
            break;
        }
    }
    let is_from = word.eq_ignore_ascii_case("from");
    let target = words.next()?;
    if target.eq_ignore_ascii_case("program") {
        return Err("\\copy: PROGRAM is not supported".to_owned());
    }
    let file = match target.to_ascii_lowercase().as_str() {
        "stdin" | "stdout" => CopyFile::Script,
        "pstdin" | "pstdout" => CopyFile::Standard,
        _ => match target.strip_prefix('\'') {
            Some(quoted) => CopyFile::Path(
                quoted
                    .strip_suffix('\'')
                    .ok_or("unterminated quoted string")?
                    .replace("''", "'"),
            ),
            // psql takes a file's name up to white space or a semicolon.
            None => CopyFile::Path(format!("{target}{}", words.take_until_space())),
        },
    };
    let direction = if is_from { "FROM STDIN" } else { "TO STDOUT" };
    let options = words.rest.trim().trim_end_matches(';').trim_end();
    let mut statement = format!("{subject} {direction}");
    if !options.is_empty() {
        statement.push(' ');
        statement.push_str(options);
    }
    Ok(CopyCommand {
        is_from,
        file,
        statement,
    })
}

/// Words, quoted strings and single punctuation marks.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<&'a str, String> {
        let text = self.rest.trim_start();
        let first = text
            .chars()
            .next()
            .ok_or("\\copy: parse error at end of line")?;
        let len = match first {
            '\'' | '"' => {
                quoted_len(text, first).ok_or_else(|| "unterminated quoted string".to_owned())?
            }
            '(' | ')' | ',' | ';' => 1,
            _ => text
                .find(|c: char| c.is_whitespace() || "(),;'".contains(c))
                .unwrap_or(text.len()),
        };
        let (word, rest) = text.split_at(len);
        self.rest = rest;
        Ok(word)
    }

    fn take_until_space(&mut self) -> &'a str {
        let len = self
            .rest
            .find(|c: char| c.is_whitespace() || c == ';')
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }
}

/// The length of the quoted string that `text` begins with; a doubled quote stands for one.
fn quoted_len(text: &str, quote: char) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text[at..].find(quote)? + 1;
        match text[at..].strip_prefix(quote) {
            Some(_) => at += 1,
            None => return Some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(is_from: bool, file: CopyFile, statement: &str) -> Result<CopyCommand, String> {
        Ok(CopyCommand {
            is_from,
            file,
            statement: statement.to_owned(),
        })
    }

    #[test]
    fn files_tables_and_queries() {
        assert_eq!(
            parse_copy_command("lineitem FROM 'line''item.csv' (FORMAT csv, HEADER)"),
            command(
                true,
                CopyFile::Path("line'item.csv".to_owned()),
                "COPY lineitem FROM STDIN (FORMAT csv, HEADER)"
            )
        );
        assert_eq!(
            parse_copy_command("public.t (a, \"from\") from /tmp/a(1).bin with (format binary);"),
            command(
                true,
                CopyFile::Path("/tmp/a(1).bin".to_owned()),
                "COPY public.t ( a , \"from\" ) FROM STDIN with (format binary)"
            )
        );
        assert_eq!(
            parse_copy_command("(select ')', a from t where b in (1, 2)) to stdout csv"),
            command(
                false,
                CopyFile::Script,
                "COPY ( select ')' , a from t where b in ( 1 , 2 ) ) TO STDOUT csv"
            )
        );
        assert_eq!(
            parse_copy_command("t from pstdin"),
            command(true, CopyFile::Standard, "COPY t FROM STDIN")
        );
    }

    #[test]
    fn errors_are_psqls() {
        assert_eq!(
            parse_copy_command("t"),
            Err("\\copy: parse error at end of line".to_owned())
        );
        assert_eq!(
            parse_copy_command("t from 'x"),
            Err("unterminated quoted string".to_owned())
        );
        assert_eq!(
            parse_copy_command("t from program 'x'"),
            Err("\\copy: PROGRAM is not supported".to_owned())
        );
    }
}
