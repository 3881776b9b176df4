//! The protocol as clients see it, over a scripted session. The messages expected of the raw
//! client are those that PostgreSQL 18 sent to the same input, less the fields that name its
//! source code.

#![allow(clippy::unwrap_used)]

mod clients;
mod copying;
mod lifecycle;
mod raw;
mod script;
mod wire_errors;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use trunkline_server::{Listener, Server, ServerConfig};

use script::{Script, World};

/// A running server.
struct Fixture {
    address: SocketAddr,
    world: Arc<World>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Fixture {
    async fn new() -> Fixture {
        Fixture::with(ServerConfig {
            max_connections: 10,
            ..config()
        })
        .await
    }

    async fn with(config: ServerConfig) -> Fixture {
        let world = Arc::new(World::default());
        let listener = Listener::bind(config).await.unwrap();
        let server = Server::new(listener, Script::new(Arc::clone(&world)));
        let address = server.addresses()[0];
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Fixture {
            address,
            world,
            stop,
            task,
        }
    }

    fn committed(&self) -> Vec<String> {
        self.world.committed.lock().unwrap().clone()
    }

    /// The first load that ended.
    async fn first_load(&self) -> Result<String, trunkline_sql::error::SqlError> {
        let mut loads = self.world.loads.subscribe();
        let ended = loads.wait_for(|loads| !loads.is_empty()).await.unwrap();
        ended[0].clone()
    }
}

fn config() -> ServerConfig {
    ServerConfig {
        port: 0,
        startup_timeout: Duration::from_secs(60),
        ..ServerConfig::default()
    }
}
