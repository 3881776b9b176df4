//! A log on a disk whose writes and syncs the test holds and lets go.

use std::sync::Arc;

use trunkline_aio::Aio;
use trunkline_harness::Gate;
use trunkline_wal::WalConfig;

use crate::support::{Cluster, config, over};

pub struct Gated {
    pub gate: Arc<Gate>,
    pub cluster: Cluster,
    _directory: tempfile::TempDir,
}

/// With its writes held, and segments made ahead.
pub fn gated(change: impl FnOnce(&mut WalConfig)) -> Gated {
    let directory = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let aio: Arc<Aio> = over(Arc::clone(&gate) as _);
    let mut config = config(directory.path());
    change(&mut config);
    let mut cluster = Cluster::on_disk(&aio, config);
    cluster.wal.make_segments_ahead(&mut cluster.io).unwrap();
    gate.close();
    Gated {
        gate,
        cluster,
        _directory: directory,
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.gate.open();
    }
}
