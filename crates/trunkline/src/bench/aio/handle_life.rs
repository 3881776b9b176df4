//! What a handle's life costs: a no-op from acquiring its handle to taking it back.
//!
//! With method `sync` it completes inside the core, without a call of the kernel.

use std::time::Instant;

use trunkline_aio::{Aio, AioConfig, AioError, IoContext, MethodKind, WaitRef};

use super::super::sample::median_of;
use crate::program_error::ProgramError;

const NOPS: usize = 100_000;
const BATCHES: [usize; 2] = [1, 32];

/// Measures and prints, for `sync` and for each of the methods.
///
/// # Errors
/// A method does not work here.
pub fn run(methods: &[MethodKind], repetitions: u32) -> Result<(), ProgramError> {
    let failed = |error: AioError| ProgramError::new(error.to_string());
    let inside = [MethodKind::Sync];
    let others = methods.iter().filter(|&&method| method != MethodKind::Sync);
    for &method in inside.iter().chain(others) {
        let aio = Aio::start(AioConfig {
            method: Some(method),
            max_issuers: 1,
            ..AioConfig::default()
        })
        .map_err(failed)?;
        let mut io = aio.issuer(0).map_err(failed)?;
        print!("{:<9} a no-op handle's life:", method.name());
        for batch in BATCHES {
            let mut runs = Vec::new();
            for _ in 0..repetitions {
                runs.push(nanoseconds_each(&mut io, batch).map_err(failed)?);
            }
            print!("  {:>6.0} ns in batches of {batch}", median_of(runs));
        }
        println!();
    }
    Ok(())
}

fn nanoseconds_each(io: &mut IoContext, batch: usize) -> Result<f64, AioError> {
    let rounds = NOPS / batch;
    let began = Instant::now();
    for _ in 0..rounds {
        let mut last = WaitRef::NONE;
        for _ in 0..batch {
            last = io.acquire()?.start_nop();
        }
        io.wait(last);
        io.wait_all();
    }
    Ok(began.elapsed().as_nanos() as f64 / (rounds * batch) as f64)
}
