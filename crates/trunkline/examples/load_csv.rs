//! Loads a CSV file of temperatures into a data directory of its own, and asks how many there are.
//!
//! ```text
//! cargo run --release -p trunkline --example load_csv -- DATA_DIRECTORY FILE.csv
//! ```
//!
//! The file's columns are those of [`TABLE`]; its first line has their names.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use trunkline::arrow::array::AsArray;
use trunkline::arrow::datatypes::{Decimal128Type, Int64Type};
use trunkline::{Database, Session, Settings, SqlError};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS temperature (
    station text NOT NULL, taken_at timestamptz NOT NULL, celsius numeric(5,2))";

/// So much of the file is in memory at once; the load takes it in pieces of any size.
const CHUNK_BYTES: usize = 1 << 18;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [data_dir, csv] = arguments.as_slice() else {
        eprintln!("usage: load_csv DATA_DIRECTORY FILE.csv");
        return ExitCode::FAILURE;
    };
    match run(data_dir, csv) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load_csv: {error}");
            // What the engine refuses has PostgreSQL's codes and fields.
            if let Some(error) = error.downcast_ref::<SqlError>() {
                eprintln!("SQLSTATE: {}", error.sqlstate);
                for (label, field) in [
                    ("DETAIL", &error.detail),
                    ("HINT", &error.hint),
                    ("CONTEXT", &error.context),
                ] {
                    if let Some(field) = field {
                        eprintln!("{label}: {field}");
                    }
                }
            }
            ExitCode::FAILURE
        }
    }
}

fn run(data_dir: &Path, csv: &Path) -> Result<(), Box<dyn Error>> {
    let file = File::open(csv).map_err(|error| format!("{}: {error}", csv.display()))?;
    // Opening and closing block, so they are outside of async code. Any executor will do; the engine
    // has threads of its own.
    let database = Database::open(data_dir, Settings::new().set("shared_buffers", "64MB"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let result = runtime.block_on(async {
        let mut session = database.session()?;
        let loaded = load(&mut session, file).await?;
        println!("{loaded} rows loaded");
        summarise(&mut session).await
    });
    // Also after an error: the data directory is left as a clean stop leaves it.
    database.close()?;
    result
}

/// All of the file's rows, or none.
async fn load(session: &mut Session, mut file: File) -> Result<u64, Box<dyn Error>> {
    session.execute(TABLE).await?;
    let mut load = session
        .copy_in("COPY temperature FROM STDIN (FORMAT csv, HEADER match)")
        .await?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok(load.finish().await?);
        }
        load.write(chunk[..length].to_vec()).await?;
    }
}

/// Arrow's arrays, a batch at a time.
async fn summarise(session: &mut Session) -> Result<(), Box<dyn Error>> {
    let mut rows = session
        .query(
            "SELECT station, count(*), max(celsius)::numeric(5,2) \
             FROM temperature GROUP BY station ORDER BY station",
        )
        .await?;
    while let Some(batch) = rows.next().await? {
        let stations = batch.column(0).as_string::<i32>();
        let counts = batch.column(1).as_primitive::<Int64Type>();
        let highest = batch.column(2).as_primitive::<Decimal128Type>();
        for row in 0..batch.num_rows() {
            let (station, count) = (stations.value(row), counts.value(row));
            let highest = highest.value_as_string(row);
            println!("{station}: {count} measured, at most {highest} degrees");
        }
    }
    Ok(())
}
