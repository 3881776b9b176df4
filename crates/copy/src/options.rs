//! COPY's options: read from the statement's list and checked against each other, in
//! PostgreSQL's order and words (copy.c, `ProcessCopyOptions`).

use crate::CopyError;
use crate::encoding::{EncodingName, encoding_name};
use crate::option_value::{self, ColumnList, OptionValue};

/// The three formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CopyFormat {
    /// Tab-separated with backslash escapes.
    #[default]
    Text,
    /// Comma-separated with quotes.
    Csv,
    /// Length-prefixed binary forms.
    Binary,
}

/// HEADER's choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// No header line.
    #[default]
    None,
    /// A header line: skipped on input, written on output.
    True,
    /// A header line that must name the columns (input only).
    Match,
}

/// ON_ERROR's choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The first bad value stops the COPY.
    #[default]
    Stop,
    /// A row with a value that its type refuses is skipped.
    Ignore,
}

/// LOG_VERBOSITY's choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogVerbosity {
    /// No notices.
    Silent,
    /// One notice with the number of skipped rows.
    #[default]
    Default,
    /// One notice more for each skipped row.
    Verbose,
}

/// COPY's options, complete and consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// FORMAT
    pub format: CopyFormat,
    /// DELIMITER: one ASCII byte.
    pub delimiter: u8,
    /// NULL: the text that stands for null.
    pub null: String,
    /// DEFAULT: the text that stands for a column's default (input only).
    pub default: Option<String>,
    /// HEADER
    pub header: Header,
    /// QUOTE: one ASCII byte (csv only).
    pub quote: u8,
    /// ESCAPE: one ASCII byte (csv only).
    pub escape: u8,
    /// FORCE_QUOTE (output of csv only).
    pub force_quote: ColumnList,
    /// FORCE_NOT_NULL (input of csv only).
    pub force_not_null: ColumnList,
    /// FORCE_NULL (input of csv only).
    pub force_null: ColumnList,
    /// FREEZE: the caller checks that the table allows it.
    pub freeze: bool,
    /// ON_ERROR
    pub on_error: OnError,
    /// LOG_VERBOSITY
    pub log_verbosity: LogVerbosity,
    /// REJECT_LIMIT: how many rows ON_ERROR ignore may skip.
    pub reject_limit: Option<u64>,
}

impl CopyOptions {
    /// The defaults of `format`.
    pub fn new(format: CopyFormat) -> Self {
        let csv = format == CopyFormat::Csv;
        Self {
            format,
            delimiter: if csv { b',' } else { b'\t' },
            null: if csv { String::new() } else { "\\N".to_owned() },
            default: None,
            header: Header::None,
            quote: b'"',
            escape: b'"',
            force_quote: ColumnList::None,
            force_not_null: ColumnList::None,
            force_null: ColumnList::None,
            freeze: false,
            on_error: OnError::Stop,
            log_verbosity: LogVerbosity::Default,
            reject_limit: None,
        }
    }

    /// Reads a statement's list of options, names in lower case. `is_from` tells COPY FROM
    /// from COPY TO.
    pub fn from_list(
        list: &[(String, Option<OptionValue>)],
        is_from: bool,
    ) -> Result<Self, CopyError> {
        let mut given = Given::default();
        for (index, (name, value)) in (0..).zip(list) {
            given.read(index, name, value.as_ref(), is_from)?;
        }
        given.check(is_from)
    }
}

/// The options of the list before defaults and checks.
#[derive(Default)]
struct Given {
    format: Option<CopyFormat>,
    freeze: Option<bool>,
    delimiter: Option<String>,
    null: Option<String>,
    default: Option<String>,
    header: Option<Header>,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<ColumnList>,
    force_not_null: Option<ColumnList>,
    force_null: Option<ColumnList>,
    encoding: Option<()>,
    on_error: Option<OnError>,
    log_verbosity: Option<LogVerbosity>,
    reject_limit: Option<u64>,
}

/// Stores an option's value once.
fn set<T>(
    slot: &mut Option<T>,
    index: u32,
    value: impl FnOnce() -> Result<T, CopyError>,
) -> Result<(), CopyError> {
    if slot.is_some() {
        return Err(CopyError::new("42601", "conflicting or redundant options").at_option(index));
    }
    *slot = Some(value()?);
    Ok(())
}

impl Given {
    fn read(
        &mut self,
        index: u32,
        name: &str,
        value: Option<&OptionValue>,
        is_from: bool,
    ) -> Result<(), CopyError> {
        let text = || option_value::string(name, value);
        let columns = || option_value::columns(name, value).map_err(|e| e.at_option(index));
        match name {
            // PostgreSQL reads the word before it looks for a second FORMAT, but after for
            // the others; only which of two errors comes first depends on it.
            "format" => {
                let word = text()?;
                set(&mut self.format, index, || {
                    format_word(&word).map_err(|e| e.at_option(index))
                })
            }
            "freeze" => set(&mut self.freeze, index, || {
                option_value::boolean(name, value)
            }),
            "delimiter" => set(&mut self.delimiter, index, text),
            "null" => set(&mut self.null, index, text),
            "default" => set(&mut self.default, index, text),
            "header" => set(&mut self.header, index, || {
                header_choice(name, value, is_from)
            }),
            "quote" => set(&mut self.quote, index, text),
            "escape" => set(&mut self.escape, index, text),
            "force_quote" => set(&mut self.force_quote, index, columns),
            "force_not_null" => set(&mut self.force_not_null, index, columns),
            "force_null" => set(&mut self.force_null, index, columns),
            "encoding" => set(&mut self.encoding, index, || {
                let encoding = text()?;
                match encoding_name(&encoding) {
                    EncodingName::Utf8 => Ok(()),
                    EncodingName::Other => Err(CopyError::new(
                        "0A000",
                        format!("COPY encoding \"{encoding}\" is not supported"),
                    )
                    .with_hint("Convert the data to UTF8.")
                    .at_option(index)),
                    EncodingName::Unknown => Err(CopyError::new(
                        "22023",
                        format!("argument to option \"{name}\" must be a valid encoding name"),
                    )
                    .at_option(index)),
                }
            }),
            "on_error" => set(&mut self.on_error, index, || {
                on_error_choice(&text()?, is_from).map_err(|e| e.at_option(index))
            }),
            "log_verbosity" => set(&mut self.log_verbosity, index, || {
                log_verbosity_choice(&text()?).map_err(|e| e.at_option(index))
            }),
            "reject_limit" => set(&mut self.reject_limit, index, || {
                reject_limit_choice(name, value)
            }),
            _ => Err(
                CopyError::new("42601", format!("option \"{name}\" not recognized"))
                    .at_option(index),
            ),
        }
    }

    /// Fills in the defaults and refuses what does not fit together.
    fn check(self, is_from: bool) -> Result<CopyOptions, CopyError> {
        let mut options = CopyOptions::new(self.format.unwrap_or_default());
        let csv = options.format == CopyFormat::Csv;
        if options.format == CopyFormat::Binary {
            let texts = [
                ("DELIMITER", &self.delimiter),
                ("NULL", &self.null),
                ("DEFAULT", &self.default),
            ];
            for (name, value) in texts {
                if value.is_some() {
                    return Err(CopyError::new("42601", not_in_binary(name)));
                }
            }
        }

        let delimiter = self
            .delimiter
            .as_deref()
            .unwrap_or(if csv { "," } else { "\t" });
        options.delimiter = single_byte(delimiter, "delimiter")?;
        if let Some(null) = self.null {
            options.null = null;
        }
        if matches!(options.delimiter, b'\r' | b'\n') {
            return Err(invalid(
                "COPY delimiter cannot be newline or carriage return",
            ));
        }
        let has_newline = |text: &str| text.contains(['\r', '\n']);
        if has_newline(&options.null) {
            return Err(invalid(
                "COPY null representation cannot use newline or carriage return",
            ));
        }
        if self.default.as_deref().is_some_and(has_newline) {
            return Err(invalid(
                "COPY default representation cannot use newline or carriage return",
            ));
        }
        // Data bytes equal to the delimiter are written with a backslash before them, and
        // these would then mean something else.
        if !csv && matches!(options.delimiter, b'\\' | b'.' | b'a'..=b'z' | b'0'..=b'9') {
            return Err(invalid(format!("COPY delimiter cannot be \"{delimiter}\"")));
        }

        options.header = self.header.unwrap_or_default();
        if options.format == CopyFormat::Binary && options.header != Header::None {
            return Err(unsupported(not_in_binary("HEADER")));
        }

        if !csv && self.quote.is_some() {
            return Err(unsupported(csv_only("QUOTE")));
        }
        if let Some(quote) = &self.quote {
            options.quote = single_byte(quote, "quote")?;
        }
        if csv && options.delimiter == options.quote {
            return Err(invalid("COPY delimiter and quote must be different"));
        }
        if !csv && self.escape.is_some() {
            return Err(unsupported(csv_only("ESCAPE")));
        }
        options.escape = match &self.escape {
            Some(escape) => single_byte(escape, "escape")?,
            None => options.quote,
        };

        options.force_quote = self.force_quote.unwrap_or_default();
        if options.force_quote.is_given() {
            if !csv {
                return Err(unsupported(csv_only("FORCE_QUOTE")));
            }
            if is_from {
                return Err(unsupported(
                    "COPY FORCE_QUOTE cannot be used with COPY FROM",
                ));
            }
        }
        options.force_not_null = self.force_not_null.unwrap_or_default();
        options.force_null = self.force_null.unwrap_or_default();
        let lists = [
            ("FORCE_NOT_NULL", &options.force_not_null),
            ("FORCE_NULL", &options.force_null),
        ];
        for (name, list) in lists {
            if list.is_given() && !csv {
                return Err(unsupported(csv_only(name)));
            }
            if list.is_given() && !is_from {
                return Err(invalid(not_in_copy_to(name)));
            }
        }

        let has_delimiter = |text: &str| text.as_bytes().contains(&options.delimiter);
        let has_quote = |text: &str| csv && text.as_bytes().contains(&options.quote);
        if has_delimiter(&options.null) {
            return Err(invalid(
                "COPY delimiter character must not appear in the NULL specification",
            ));
        }
        if has_quote(&options.null) {
            return Err(invalid(
                "CSV quote character must not appear in the NULL specification",
            ));
        }
        options.freeze = self.freeze.unwrap_or_default();
        if options.freeze && !is_from {
            return Err(invalid(not_in_copy_to("FREEZE")));
        }
        if let Some(default) = self.default {
            if !is_from {
                return Err(unsupported(not_in_copy_to("DEFAULT")));
            }
            if has_delimiter(&default) {
                return Err(unsupported(
                    "COPY delimiter character must not appear in the DEFAULT specification",
                ));
            }
            if has_quote(&default) {
                return Err(unsupported(
                    "CSV quote character must not appear in the DEFAULT specification",
                ));
            }
            if default == options.null {
                return Err(unsupported(
                    "NULL specification and DEFAULT specification cannot be the same",
                ));
            }
            options.default = Some(default);
        }

        options.on_error = self.on_error.unwrap_or_default();
        options.log_verbosity = self.log_verbosity.unwrap_or_default();
        options.reject_limit = self.reject_limit;
        if options.format == CopyFormat::Binary && options.on_error != OnError::Stop {
            return Err(CopyError::new(
                "42601",
                "only ON_ERROR STOP is allowed in BINARY mode",
            ));
        }
        if options.reject_limit.is_some() && options.on_error == OnError::Stop {
            return Err(invalid(
                "COPY REJECT_LIMIT requires ON_ERROR to be set to IGNORE",
            ));
        }
        Ok(options)
    }
}

fn invalid(message: impl Into<String>) -> CopyError {
    CopyError::new("22023", message)
}

fn unsupported(message: impl Into<String>) -> CopyError {
    CopyError::new("0A000", message)
}

fn not_in_binary(option: &str) -> String {
    format!("cannot specify {option} in BINARY mode")
}

fn not_in_copy_to(option: &str) -> String {
    format!("COPY {option} cannot be used with COPY TO")
}

fn csv_only(option: &str) -> String {
    format!("COPY {option} requires CSV mode")
}

fn single_byte(text: &str, what: &str) -> Result<u8, CopyError> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(unsupported(format!(
            "COPY {what} must be a single one-byte character"
        ))),
    }
}

fn format_word(word: &str) -> Result<CopyFormat, CopyError> {
    match word {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => Ok(CopyFormat::Binary),
        _ => Err(invalid(format!("COPY format \"{word}\" not recognized"))),
    }
}

fn header_choice(
    name: &str,
    value: Option<&OptionValue>,
    is_from: bool,
) -> Result<Header, CopyError> {
    match option_value::truth(value, name)? {
        Some(true) => return Ok(Header::True),
        Some(false) => return Ok(Header::None),
        None => {}
    }
    let word = option_value::string(name, value)?;
    if !word.eq_ignore_ascii_case("match") {
        return Err(CopyError::new(
            "42601",
            format!("{name} requires a Boolean value or \"match\""),
        ));
    }
    if !is_from {
        return Err(unsupported(format!(
            "cannot use \"{word}\" with HEADER in COPY TO"
        )));
    }
    Ok(Header::Match)
}

fn on_error_choice(word: &str, is_from: bool) -> Result<OnError, CopyError> {
    if !is_from {
        Err(invalid(not_in_copy_to("ON_ERROR")))
    } else if word.eq_ignore_ascii_case("stop") {
        Ok(OnError::Stop)
    } else if word.eq_ignore_ascii_case("ignore") {
        Ok(OnError::Ignore)
    } else {
        Err(invalid(format!("COPY ON_ERROR \"{word}\" not recognized")))
    }
}

fn log_verbosity_choice(word: &str) -> Result<LogVerbosity, CopyError> {
    if word.eq_ignore_ascii_case("silent") {
        Ok(LogVerbosity::Silent)
    } else if word.eq_ignore_ascii_case("default") {
        Ok(LogVerbosity::Default)
    } else if word.eq_ignore_ascii_case("verbose") {
        Ok(LogVerbosity::Verbose)
    } else {
        Err(invalid(format!(
            "COPY LOG_VERBOSITY \"{word}\" not recognized"
        )))
    }
}

fn reject_limit_choice(name: &str, value: Option<&OptionValue>) -> Result<u64, CopyError> {
    let limit = option_value::int64(name, value)?;
    match u64::try_from(limit) {
        Ok(positive) if positive > 0 => Ok(positive),
        _ => Err(invalid(format!(
            "REJECT_LIMIT ({limit}) must be greater than zero"
        ))),
    }
}
