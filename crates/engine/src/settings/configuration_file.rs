//! `postgresql.conf`: `name = value` lines, `#` comments, quoted values.
//!
//! The syntax is that of PostgreSQL's `utils/misc/guc-file.l`, without include directives.

use std::io::ErrorKind;
use std::path::Path;

use super::SettingError;

/// One line's setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigurationLine {
    /// One-based.
    pub line: usize,
    /// The setting's name, as it is written.
    pub name: String,
    /// Its value, without quotes.
    pub value: String,
}

/// Reads the file's settings in order; a file that does not exist has none.
///
/// # Errors
/// The file cannot be read, or a line does not parse.
pub fn read_configuration_file(file: &Path) -> Result<Vec<ConfigurationLine>, SettingError> {
    match std::fs::read_to_string(file) {
        Ok(text) => parse(&text, &file.display().to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(SettingError::FileUnreadable {
            file: file.display().to_string(),
            reason: error.to_string(),
        }),
    }
}

fn parse(text: &str, file: &str) -> Result<Vec<ConfigurationLine>, SettingError> {
    let mut settings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let syntax_error = |near: &str| SettingError::FileSyntax {
            file: file.to_owned(),
            line: at + 1,
            near: if near.is_empty() {
                "end of line".into()
            } else {
                format!("token \"{near}\"")
            },
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name_end = line
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$')))
            .unwrap_or(line.len());
        let (name, rest) = line.split_at(name_end);
        if name.is_empty() {
            return Err(syntax_error(line));
        }
        let rest = rest.trim_start();
        let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        let (value, rest) = if let Some(quoted) = rest.strip_prefix('\'') {
            parse_quoted(quoted).ok_or_else(|| syntax_error(rest))?
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || c == '#')
                .unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        let rest = rest.trim_start();
        if !(rest.is_empty() || rest.starts_with('#')) {
            return Err(syntax_error(rest));
        }
        if value.is_empty() && !line.contains('\'') {
            return Err(syntax_error(""));
        }
        if ["include", "include_dir", "include_if_exists"].contains(&name) {
            return Err(SettingError::NotSupported {
                name: name.to_owned(),
                value,
                detail: "Configuration files cannot include others.".to_owned(),
            });
        }
        settings.push(ConfigurationLine {
            line: at + 1,
            name: name.to_owned(),
            value,
        });
    }
    Ok(settings)
}

/// Parses up to the closing quote: `''` and backslash escapes stand for characters.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' if matches!(chars.peek(), Some((_, '\''))) => {
                chars.next();
                value.push('\'');
            }
            '\'' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_parse_as_postgresql_reads_them() {
        let text = "# comment\n\nshared_buffers = 8GB  # inline\nwork_mem '64MB'\n\
                    application_name = 'it''s'\nport=5433\n";
        let settings = parse(text, "f").unwrap();
        let expected = [
            ("shared_buffers", "8GB"),
            ("work_mem", "64MB"),
            ("application_name", "it's"),
            ("port", "5433"),
        ];
        let found: Vec<(&str, &str)> = settings
            .iter()
            .map(|line| (line.name.as_str(), line.value.as_str()))
            .collect();
        assert_eq!(found, expected);
        let lines: Vec<usize> = settings.iter().map(|line| line.line).collect();
        assert_eq!(lines, [3, 4, 5, 6]);
    }

    #[test]
    fn other_files_are_not_included() {
        for name in ["include", "include_dir", "include_if_exists"] {
            let error = parse(&format!("{name} 'x.conf'"), "f").unwrap_err();
            assert_eq!(error.sqlstate(), "0A000");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn bad_lines_are_named() {
        for bad in ["port = 1 2", "port =", "= 3", "a = 'open"] {
            let error = parse(&format!("\n{bad}\n"), "f").unwrap_err();
            assert!(error.to_string().contains("line 2"), "{bad}: {error}");
        }
    }
}
