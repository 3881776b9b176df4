//! Lines to statements and backslash commands, and what becomes of a failure.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use trunkline_engine::Database;
use trunkline_sql::SqlSession;
use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::TransactionStatus;
use trunkline_sql::statement::complete_statement_len;

use crate::program_error::without_error_number;

use super::input::{ChunkReader, LineReader, Terminal, Typed};
use super::message::error_text;
use super::meta_command::{HELP, MetaCommand, parse_meta_command};
use super::signals::{EndSignal, Ending};

/// Files that include each other end somewhere.
const INCLUDE_DEPTH_MAX: usize = 64;

/// Why the shell does not go on with a script. What failed has been told.
#[derive(Debug)]
pub enum Stop {
    /// `\q`.
    Quit,
    /// A statement or command failed.
    Failed,
    /// The session is over.
    SessionEnded,
    /// A signal.
    Signal(EndSignal),
    /// Results cannot be written.
    Output(io::Error),
}

/// Where lines come from.
pub enum Input {
    /// The terminal.
    Terminal(Terminal),
    /// The program's standard input.
    Stdin(LineReader),
    /// A file.
    File(LineReader),
    /// A `-c`: it has no further lines, but standard input has its COPY data.
    Command,
}

/// Statements, and where they come from.
pub struct Script {
    /// The lines' source.
    pub input: Input,
    /// What errors call it; None for the terminal and for plain standard input.
    name: Option<String>,
    /// The number of the line that was read last.
    pub line: usize,
    depth: usize,
}

impl Script {
    fn new(input: Input, name: Option<String>) -> Script {
        Script {
            input,
            name,
            line: 0,
            depth: 0,
        }
    }

    /// What is typed.
    pub fn terminal(terminal: Terminal) -> Script {
        Script::new(Input::Terminal(terminal), None)
    }

    /// The program's standard input.
    pub fn stdin(lines: LineReader, name: Option<String>) -> Script {
        Script::new(Input::Stdin(lines), name)
    }

    fn is_interactive(&self) -> bool {
        matches!(self.input, Input::Terminal(_))
    }

    /// What psql puts before a message about a file's line.
    pub fn message_prefix(&self) -> String {
        match &self.name {
            Some(name) => format!("trunkline:{name}:{}: ", self.line),
            None => String::new(),
        }
    }
}

/// The shell's state.
pub struct Shell {
    /// For progress.
    pub database: Arc<Database>,
    /// What runs statements.
    pub session: SqlSession,
    /// Whether a signal ends the shell.
    pub ending: Ending,
    /// Whether statements' times are told.
    pub timing: bool,
    /// Standard input, from when it is first read on.
    stdin: Option<LineReader>,
}

impl Shell {
    /// A shell of its own session.
    pub fn new(database: Arc<Database>, session: SqlSession, ending: Ending) -> Shell {
        Shell {
            database,
            session,
            ending,
            timing: false,
            stdin: None,
        }
    }

    /// Standard input's lines.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn stdin(&mut self) -> io::Result<&mut LineReader> {
        let lines = match self.stdin.take() {
            Some(lines) => lines,
            None => LineReader::new(ChunkReader::new(io::stdin())?),
        };
        Ok(self.stdin.insert(lines))
    }

    /// Runs a `-c`: a backslash command, or a string of statements that is one transaction.
    ///
    /// # Errors
    /// It failed, or the shell is to end.
    pub async fn run_command(&mut self, text: &str) -> Result<(), Stop> {
        let mut script = Script::new(Input::Command, None);
        if text.trim_start().starts_with('\\') {
            self.run_meta_command(text, &mut script).await
        } else {
            self.run_query(text, &mut script).await
        }
    }

    /// Runs a file's statements; `-` is standard input.
    ///
    /// # Errors
    /// One failed, or the shell is to end.
    pub async fn run_file(&mut self, path: &Path) -> Result<(), Stop> {
        let is_stdin = path.as_os_str() == "-";
        let opened = if is_stdin {
            ChunkReader::new(io::stdin())
        } else {
            open_file(path).and_then(ChunkReader::new)
        };
        match opened {
            Ok(chunks) if is_stdin => {
                let name = Some("<stdin>".to_owned());
                self.run(&mut Script::stdin(LineReader::new(chunks), name))
                    .await
            }
            Ok(chunks) => {
                let input = Input::File(LineReader::new(chunks));
                self.run(&mut Script::new(input, Some(path.display().to_string())))
                    .await
            }
            Err(error) => {
                complain(&format!(
                    "trunkline: error: {}: {}\n",
                    path.display(),
                    system_message(&error)
                ));
                Err(Stop::Failed)
            }
        }
    }

    /// Runs a script to its end.
    ///
    /// # Errors
    /// A statement of a script that is not typed failed, or the shell is to end.
    pub async fn run(&mut self, script: &mut Script) -> Result<(), Stop> {
        let mut buffer = String::new();
        loop {
            let Some(line) = self.next_line(script, &mut buffer).await? else {
                break;
            };
            if !buffer.is_empty() || !line.trim_start().starts_with('\\') {
                buffer.push_str(&line);
                // Only a semicolon can complete a statement; looking at all of a long one after
                // each of its lines would take forever.
                if !line.contains(';') {
                    if buffer.trim().is_empty() {
                        buffer.clear();
                    }
                    continue;
                }
                self.run_complete_statements(&mut buffer, script).await?;
                if !buffer.starts_with('\\') {
                    continue;
                }
            }
            let command = if buffer.is_empty() {
                line
            } else {
                std::mem::take(&mut buffer)
            };
            let result = self.run_meta_command(&command, script).await;
            self.go_on_after(result, script)?;
        }
        if script.is_interactive() {
            return say("\\q\n");
        }
        if !buffer.trim().is_empty() {
            let result = self.run_query(buffer.trim(), script).await;
            self.go_on_after(result, script)?;
        }
        Ok(())
    }

    /// Runs the complete statements at the buffer's beginning. What is left begins with neither
    /// white space nor a complete statement.
    async fn run_complete_statements(
        &mut self,
        buffer: &mut String,
        script: &mut Script,
    ) -> Result<(), Stop> {
        loop {
            let rest = buffer.trim_start();
            let start = buffer.len() - rest.len();
            // After a statement, a command may stand in the same line.
            let end = match complete_statement_len(rest) {
                Some(len) if !rest.starts_with('\\') => start + len,
                _ => {
                    buffer.drain(..start);
                    return Ok(());
                }
            };
            let statement = buffer[start..end].to_owned();
            buffer.drain(..end);
            if let Input::Terminal(terminal) = &script.input {
                terminal.remember(&statement);
            }
            let result = self.run_query(&statement, script).await;
            self.go_on_after(result, script)?;
        }
    }

    /// A failure ends a script, but not a conversation.
    fn go_on_after(&self, result: Result<(), Stop>, script: &Script) -> Result<(), Stop> {
        match result {
            Err(Stop::Failed) if script.is_interactive() => Ok(()),
            result => result,
        }
    }

    /// The next line with its line feed; None at the script's end.
    async fn next_line(
        &mut self,
        script: &mut Script,
        buffer: &mut String,
    ) -> Result<Option<String>, Stop> {
        loop {
            if let Some(signal) = self.ending.requested() {
                return Err(Stop::Signal(signal));
            }
            let prompt = match script.input {
                Input::Terminal(_) => prompt(self.session.transaction_status(), buffer),
                _ => String::new(),
            };
            let read = tokio::select! {
                line = read_line(&mut script.input, &prompt) => line,
                signal = self.ending.wait() => return Err(Stop::Signal(signal)),
            };
            script.line += 1;
            let line = match read {
                Ok(Line::Text(line)) => line,
                Ok(Line::End) => return Ok(None),
                Ok(Line::Abandoned) => {
                    buffer.clear();
                    continue;
                }
                Err(error) => {
                    self.tell(
                        script,
                        &format!("could not read: {}\n", system_message(&error)),
                    );
                    return Err(Stop::Failed);
                }
            };
            match String::from_utf8(line.into()) {
                Ok(line) => return Ok(Some(line)),
                Err(error) => {
                    let error =
                        invalid_encoding(error.as_bytes(), error.utf8_error().valid_up_to());
                    self.tell(script, &error_text(&error, ""));
                    return Err(Stop::Failed);
                }
            }
        }
    }

    /// Prints a message about the script.
    pub fn tell(&self, script: &Script, message: &str) {
        complain(&format!("{}{message}", script.message_prefix()));
    }

    async fn run_meta_command(&mut self, line: &str, script: &mut Script) -> Result<(), Stop> {
        match parse_meta_command(line) {
            Ok(MetaCommand::Copy(command)) => self.run_copy_command(&command, script).await,
            Ok(MetaCommand::Include { path }) => Box::pin(self.include(&path, script)).await,
            Ok(MetaCommand::Timing { on }) => {
                self.timing = on.unwrap_or(!self.timing);
                say(&format!(
                    "Timing is {}.\n",
                    if self.timing { "on" } else { "off" }
                ))
            }
            Ok(MetaCommand::Help) => say(HELP),
            Ok(MetaCommand::Quit) => Err(Stop::Quit),
            Err(message) => {
                self.tell(script, &format!("{message}\n"));
                if message.starts_with("invalid command") && script.is_interactive() {
                    complain("Try \\? for help.\n");
                }
                Err(Stop::Failed)
            }
        }
    }

    async fn include(&mut self, path: &str, script: &mut Script) -> Result<(), Stop> {
        if script.depth == INCLUDE_DEPTH_MAX {
            self.tell(
                script,
                &format!("{path}: files include each other too deeply\n"),
            );
            return Err(Stop::Failed);
        }
        let lines = open_file(Path::new(path))
            .and_then(ChunkReader::new)
            .map(LineReader::new);
        match lines {
            Ok(lines) => {
                let mut included = Script {
                    depth: script.depth + 1,
                    ..Script::new(Input::File(lines), Some(path.to_owned()))
                };
                // As in psql, \q ends the file, not the program.
                match self.run(&mut included).await {
                    Err(Stop::Quit) => Ok(()),
                    result => result,
                }
            }
            Err(error) => {
                self.tell(script, &format!("{path}: {}\n", system_message(&error)));
                Err(Stop::Failed)
            }
        }
    }
}

/// Writes to standard output.
///
/// # Errors
/// [`Stop::Output`].
pub fn say(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Stop::Output)
}

/// Writes to standard error. If nobody is there to read it, nobody needs it.
fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

enum Line {
    Text(Bytes),
    /// Ctrl-C: what was typed so far is not meant.
    Abandoned,
    End,
}

async fn read_line(input: &mut Input, prompt: &str) -> io::Result<Line> {
    match input {
        Input::Terminal(terminal) => Ok(match terminal.read(prompt).await? {
            Typed::Line(mut line) => {
                line.push('\n');
                Line::Text(Bytes::from(line))
            }
            Typed::Interrupted => Line::Abandoned,
            Typed::End => Line::End,
        }),
        Input::Stdin(lines) | Input::File(lines) => {
            Ok(lines.next().await?.map_or(Line::End, Line::Text))
        }
        Input::Command => Ok(Line::End),
    }
}

/// psql's default prompts, `%/%R%x%# `.
fn prompt(status: TransactionStatus, buffer: &str) -> String {
    let transaction = match status {
        TransactionStatus::Idle => "",
        TransactionStatus::InBlock => "*",
        TransactionStatus::Failed => "!",
    };
    let state = if buffer.is_empty() {
        '='
    } else {
        open_construct(buffer)
    };
    format!("{}{state}{transaction}> ", super::DATABASE)
}

/// What an unfinished statement is in the middle of: whatever would let a semicolon end it.
fn open_construct(buffer: &str) -> char {
    let would_end =
        |closing: &str| complete_statement_len(&format!("{buffer}{closing};")).is_some();
    [
        ("", '-'),
        ("'", '\''),
        ("\"", '"'),
        ("*/", '*'),
        ("$$", '$'),
    ]
    .into_iter()
    .find(|(closing, _)| would_end(closing))
    .map_or('(', |(_, shown)| shown)
}

fn open_file(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    Ok(file)
}

/// The system's words for an error.
pub fn system_message(error: &io::Error) -> String {
    without_error_number(&error.to_string())
}

/// `report_invalid_encoding` in mbutils.c: the bytes of the character that is none.
fn invalid_encoding(bytes: &[u8], at: usize) -> SqlError {
    let len = match bytes[at] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    let shown: Vec<String> = bytes[at..]
        .iter()
        .take(len)
        .map(|byte| format!("0x{byte:02x}"))
        .collect();
    SqlError::new(
        "22021",
        format!(
            "invalid byte sequence for encoding \"UTF8\": {}",
            shown.join(" ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_tell_what_is_open() {
        assert_eq!(prompt(TransactionStatus::Idle, ""), "postgres=> ");
        assert_eq!(prompt(TransactionStatus::InBlock, ""), "postgres=*> ");
        assert_eq!(
            prompt(TransactionStatus::Failed, "SELECT\n"),
            "postgres-!> "
        );
        assert_eq!(open_construct("SELECT 'a"), '\'');
        assert_eq!(open_construct("SELECT \"a"), '"');
        assert_eq!(open_construct("SELECT ((1)"), '(');
        assert_eq!(open_construct("SELECT /* a"), '*');
        assert_eq!(open_construct("SELECT $$ a"), '$');
    }

    #[test]
    fn bad_bytes_are_shown_as_one_character() {
        assert_eq!(
            invalid_encoding(b"a\xe2\x28\xa1b", 1).message,
            "invalid byte sequence for encoding \"UTF8\": 0xe2 0x28 0xa1"
        );
        assert_eq!(
            invalid_encoding(b"\xff", 0).message,
            "invalid byte sequence for encoding \"UTF8\": 0xff"
        );
    }
}
