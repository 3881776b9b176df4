//! COPY data between a statement and a file, a pipe, the script or the terminal.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use bytes::{Bytes, BytesMut};
use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{CopyIn, CopyOut, Format};

use super::copy_command::{CopyCommand, CopyFile};
use super::input::{ChunkReader, LineReader, Terminal, Typed, is_end_of_copy_data};
use super::progress::Progress;
use super::script::{Input, Script, Shell, Stop, system_message};
use super::statement::Failure;

/// Where the data of a statement comes from or goes to.
pub enum CopyEnds {
    /// Between the script's lines; to standard output.
    Script,
    /// From the program's standard input.
    Stdin,
    /// From a file, of a known size if it is a plain one.
    FromFile {
        /// Its data.
        chunks: ChunkReader,
        /// Its size.
        total_bytes: Option<u64>,
    },
    /// To a file.
    ToFile(BufWriter<File>),
}

impl CopyEnds {
    /// Those of a plain COPY.
    pub fn script() -> CopyEnds {
        CopyEnds::Script
    }

    /// How much data is to come, if that is known.
    pub fn total_bytes(&self) -> Option<u64> {
        match self {
            CopyEnds::FromFile { total_bytes, .. } => *total_bytes,
            _ => None,
        }
    }

    /// Opens what a `\copy` names.
    fn open(command: &CopyCommand) -> io::Result<CopyEnds> {
        let path = match &command.file {
            CopyFile::Script => return Ok(CopyEnds::Script),
            CopyFile::Standard => return Ok(CopyEnds::Stdin),
            CopyFile::Path(path) => path,
        };
        let is_directory = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir());
        if is_directory {
            return Err(io::Error::other("cannot copy from/to a directory"));
        }
        if command.is_from {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            Ok(CopyEnds::FromFile {
                total_bytes: metadata.is_file().then_some(metadata.len()),
                chunks: ChunkReader::new(file)?,
            })
        } else {
            Ok(CopyEnds::ToFile(BufWriter::new(File::create(path)?)))
        }
    }

    /// Sends the data; the command tag comes back.
    ///
    /// # Errors
    /// The load failed, or the data could not be read.
    pub async fn send(
        &mut self,
        copy: CopyIn,
        progress: &Progress,
        shell: &mut Shell,
        script: &mut Script,
    ) -> Result<String, Failure> {
        let is_stdin = matches!(self, CopyEnds::Stdin);
        let source = match (self, &mut script.input) {
            (CopyEnds::FromFile { chunks, .. }, _) => Source::Chunks(chunks),
            (_, Input::Terminal(terminal)) => {
                progress.end();
                return send_typed(copy, terminal).await;
            }
            (CopyEnds::Script, Input::File(lines)) | (_, Input::Stdin(lines)) => {
                Source::Lines(lines)
            }
            (_, Input::File(_) | Input::Command) => {
                Source::Lines(shell.stdin().map_err(unreadable)?)
            }
        };
        let lines_before = script.line;
        let (result, lines) = send_all(copy, source, progress).await;
        if !is_stdin {
            script.line = lines_before + lines;
        }
        result
    }

    /// Takes the data; the command tag comes back if it is to be shown.
    ///
    /// # Errors
    /// The statement failed, or the data could not be written.
    pub async fn receive(
        &mut self,
        mut copy: CopyOut,
        progress: &Progress,
    ) -> Result<Option<String>, Failure> {
        let CopyEnds::ToFile(file) = self else {
            // The tag would stand among the data.
            progress.end();
            let mut out = BufWriter::new(io::stdout());
            write_all(&mut copy, &mut out, progress, Failure::Output).await?;
            return Ok(None);
        };
        let unwritable = |error: io::Error| {
            Failure::File(format!(
                "could not write COPY data: {}",
                system_message(&error)
            ))
        };
        write_all(&mut copy, file, progress, unwritable).await?;
        Ok(copy.tag().map(str::to_owned))
    }
}

enum Source<'a> {
    Chunks(&'a mut ChunkReader),
    Lines(&'a mut LineReader),
}

impl Source<'_> {
    /// The next data, how many lines it took, and whether that was all.
    async fn next(&mut self, format: Format) -> io::Result<(Bytes, usize, bool)> {
        match self {
            Source::Lines(lines) if format == Format::Text => {
                let data = lines.next_copy_data().await?;
                Ok((data.bytes, data.lines, data.is_end))
            }
            // Binary data has no lines: it goes on to the end of the input.
            Source::Lines(lines) => {
                let line = lines.next().await?;
                Ok((line.clone().unwrap_or_default(), 0, line.is_none()))
            }
            Source::Chunks(chunks) => {
                let chunk = chunks.next().await?;
                Ok((chunk.clone().unwrap_or_default(), 0, chunk.is_none()))
            }
        }
    }
}

/// Sends everything of `source`, and counts its lines.
async fn send_all(
    mut copy: CopyIn,
    mut source: Source<'_>,
    progress: &Progress,
) -> (Result<String, Failure>, usize) {
    let mut lines = 0;
    let format = copy.format();
    loop {
        let read = tokio::select! {
            read = source.next(format) => read,
            // A cancel, say, while the source is silent.
            error = copy.failed() => return (Err(error.into()), lines),
        };
        match read {
            Ok((bytes, taken, is_end)) => {
                lines += taken;
                let len = bytes.len() as u64;
                if len > 0
                    && let Err(error) = copy.write(bytes).await
                {
                    return (Err(error.into()), lines);
                }
                progress.add_copied_bytes(len);
                if is_end {
                    return (copy.finish().await.map_err(Failure::from), lines);
                }
            }
            Err(error) => {
                let message = format!("could not read COPY data: {}", system_message(&error));
                return (Err(copy.fail_by_client(&message).await.into()), lines);
            }
        }
    }
}

/// Sends what is typed, to its end even if the load fails before: what is typed as data must not
/// run as statements.
async fn send_typed(mut copy: CopyIn, terminal: &mut Terminal) -> Result<String, Failure> {
    if copy.format() == Format::Binary {
        let error = copy.fail_by_client("binary data cannot be typed").await;
        return Err(error.into());
    }
    writeln!(
        io::stdout(),
        "Enter data to be copied followed by a newline.\n\
         End with a backslash and a period on a line by itself, or an EOF signal."
    )
    .map_err(Failure::Output)?;
    let mut failed: Option<SqlError> = None;
    loop {
        match terminal.read(">> ").await {
            Ok(Typed::Line(line)) if is_end_of_copy_data(line.as_bytes()) => break,
            Ok(Typed::Line(line)) => {
                let mut bytes = BytesMut::from(line.as_bytes());
                bytes.extend_from_slice(b"\n");
                if failed.is_none() {
                    failed = copy.write(bytes.freeze()).await.err();
                }
            }
            Ok(Typed::End) => break,
            Ok(Typed::Interrupted) => {
                return Err(copy.fail_by_client("canceled by user").await.into());
            }
            Err(error) => return Err(unreadable(error)),
        }
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(copy.finish().await?),
    }
}

async fn write_all(
    copy: &mut CopyOut,
    out: &mut impl Write,
    progress: &Progress,
    unwritable: impl Fn(io::Error) -> Failure,
) -> Result<(), Failure> {
    while let Some(rows) = copy.next().await {
        let rows = rows?;
        for row in rows.rows() {
            out.write_all(row).map_err(&unwritable)?;
        }
        progress.add_copied_bytes(rows.len_bytes() as u64);
    }
    out.flush().map_err(&unwritable)
}

fn unreadable(error: io::Error) -> Failure {
    Failure::File(format!(
        "could not read COPY data: {}",
        system_message(&error)
    ))
}

impl Shell {
    /// Runs a `\copy`.
    ///
    /// # Errors
    /// It failed, which was told, or the shell is to end.
    pub async fn run_copy_command(
        &mut self,
        command: &CopyCommand,
        script: &mut Script,
    ) -> Result<(), Stop> {
        match CopyEnds::open(command) {
            Ok(mut ends) => {
                self.run_query_with(&command.statement, script, &mut ends)
                    .await
            }
            Err(error) => {
                let path = match &command.file {
                    CopyFile::Path(path) => path,
                    CopyFile::Script | CopyFile::Standard => "\\copy",
                };
                self.tell(script, &format!("{path}: {}\n", system_message(&error)));
                Err(Stop::Failed)
            }
        }
    }
}
