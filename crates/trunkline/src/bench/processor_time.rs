//! Processor time of a server's processes (`/proc/*/stat`).

use super::peer::Connection;

/// A server's processes.
#[derive(Clone, Copy, Debug)]
pub enum Processes {
    /// One with threads.
    One(u32),
    /// A parent, its children, and what its children that have ended used.
    Family(u32),
}

const TICKS_PER_SECOND: f64 = 100.0;

/// A process's parent and times in ticks: its own, and that of children that were waited for.
fn stat(pid: u32) -> Option<(u32, f64, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields are counted after the name, which stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let parent = fields.get(1)?.parse().ok()?;
    Some((parent, number(11)? + number(12)?, number(13)? + number(14)?))
}

/// Seconds that they have used so far.
pub fn seconds(processes: &Processes) -> f64 {
    let ticks = match *processes {
        Processes::One(pid) => stat(pid).map_or(f64::NAN, |(_, own, _)| own),
        Processes::Family(pid) => {
            let (own, ended) = stat(pid).map_or((f64::NAN, 0.0), |(_, own, ended)| (own, ended));
            own + ended + children(pid)
        }
    };
    ticks / TICKS_PER_SECOND
}

fn children(parent: u32) -> f64 {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return f64::NAN;
    };
    entries
        .flatten()
        .filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?))
        .filter(|(of, _, _)| *of == parent)
        .map(|(_, own, _)| own)
        .sum()
}

/// The processes of the PostgreSQL that this is connected to, if they run here.
pub async fn postgres_processes(peer: &Connection) -> Option<Processes> {
    let backend = peer.text("SELECT pg_backend_pid()").await.ok()?;
    let (postmaster, _, _) = stat(backend.parse().ok()?)?;
    Some(Processes::Family(postmaster))
}
