//! What PostgreSQL's programs say of the files that a kill, or a clean stop, has left.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

const SEGMENT_BYTES: &str = "Bytes per WAL segment:";

/// PostgreSQL's programs, in a directory.
pub struct Judge {
    bin: PathBuf,
}

/// What of pg_control is needed.
struct Control {
    state: String,
    check_point: String,
    redo: String,
    redo_segment: String,
    segment_bytes: u64,
}

impl Control {
    /// The segment with the checkpoint's record, of the same timeline as that with the redo point.
    fn check_point_segment(&self) -> Option<String> {
        let timeline = self.redo_segment.get(..8)?;
        let (high, low) = self.check_point.split_once('/')?;
        let [high, low] = [high, low].map(|half| u64::from_str_radix(half, 16).ok());
        let in_file = low?.checked_div(self.segment_bytes)?;
        Some(format!("{timeline}{:08X}{in_file:08X}", high?))
    }
}

/// The directory of PostgreSQL's programs that `tools/judge` has installed, in the source tree that this
/// was built from.
pub fn installed_judge() -> Option<PathBuf> {
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/judge");
    let output = Command::new(tool).arg("bin").output().ok()?;
    let bin = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(bin.trim()))
}

impl Judge {
    /// With the programs in `bin`.
    pub fn new(bin: &Path) -> Judge {
        Judge {
            bin: bin.to_owned(),
        }
    }

    /// Of a directory whose server was killed: pg_control is whole, and the log from its redo point up to
    /// its checkpoint.
    pub fn check_killed(&self, data_dir: &Path) -> Result<(), Failure> {
        let control = self.control(data_dir)?;
        if control.redo != control.check_point {
            let range = ["--start", &control.redo, "--end", &control.check_point];
            self.waldump(data_dir, &control, &range)?;
        }
        Ok(())
    }

    /// Of a directory whose server was stopped cleanly: all checksums are right, and the log ends with the
    /// checkpoint that pg_control points at.
    pub fn check_stopped(&self, data_dir: &Path) -> Result<(), Failure> {
        let control = self.control(data_dir)?;
        if control.state != "shut down" || control.redo != control.check_point {
            return Err(Failure::Foreign(format!(
                "pg_control after a clean stop: {}, checkpoint {}, redo {}",
                control.state, control.check_point, control.redo
            )));
        }
        let path = data_dir.to_string_lossy();
        self.said("pg_checksums", &["--check", &path], "Bad checksums:  0\n")?;
        let range = ["--start", &control.check_point, "--limit", "1"];
        let said = self.waldump(data_dir, &control, &range)?;
        match said.contains("CHECKPOINT_SHUTDOWN") {
            true => Ok(()),
            false => Err(Failure::Foreign(format!(
                "at the checkpoint {} the log has {said}",
                control.check_point
            ))),
        }
    }

    fn control(&self, data_dir: &Path) -> Result<Control, Failure> {
        let path = data_dir.to_string_lossy();
        let said = self.said("pg_controldata", &[&path], "checksum version:")?;
        if said.contains("WARNING") {
            return Err(Failure::Foreign(format!("pg_controldata: {said}")));
        }
        let strange = |name: &str| Failure::Foreign(format!("no {name:?} in {said}"));
        let value = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
                .ok_or_else(|| strange(name))
        };
        Ok(Control {
            state: value("Database cluster state:")?,
            check_point: value("Latest checkpoint location:")?,
            redo: value("Latest checkpoint's REDO location:")?,
            redo_segment: value("Latest checkpoint's REDO WAL file:")?,
            segment_bytes: value(SEGMENT_BYTES)?
                .parse()
                .map_err(|_| strange(SEGMENT_BYTES))?,
        })
    }

    /// pg_waldump of the segments from the redo point to the checkpoint; the first one's header tells it
    /// the size of segments.
    fn waldump(
        &self,
        data_dir: &Path,
        control: &Control,
        range: &[&str],
    ) -> Result<String, Failure> {
        let pg_wal = data_dir.join("pg_wal");
        let pg_wal = pg_wal.to_string_lossy();
        let path = ["--path", &pg_wal];
        let Some(last) = control.check_point_segment() else {
            let what = format!("pg_control's checkpoint is {}", control.check_point);
            return Err(Failure::Foreign(what));
        };
        let segments = [control.redo_segment.as_str(), last.as_str()];
        let arguments = [&path[..], range, &segments].concat();
        self.said("pg_waldump", &arguments, "rmgr: ")
    }

    /// Runs one that has to succeed, and say `expected` among other things.
    fn said(
        &self,
        program: &'static str,
        arguments: &[&str],
        expected: &str,
    ) -> Result<String, Failure> {
        let output = Command::new(self.bin.join(program))
            .args(arguments)
            .env("LC_ALL", "C")
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.success() && errors.is_empty() && said.contains(expected) {
            return Ok(said);
        }
        Err(Failure::Judge {
            program,
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            said: format!("{}: {said}{errors}", output.status),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_by_where_they_are() {
        let control = Control {
            state: String::new(),
            check_point: "2/3598DD0".to_owned(),
            redo: "2/34ADA90".to_owned(),
            redo_segment: "000000010000000200000034".to_owned(),
            segment_bytes: 1 << 20,
        };
        let segment = control.check_point_segment();
        assert_eq!(segment.as_deref(), Some("000000010000000200000035"));
    }
}
