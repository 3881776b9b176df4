//! Listens, starts a task a connection, and stops them all in the end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use trunkline_sql::error::SqlError;

use crate::connection::Connection;
use crate::error::{Failure, ServerError};
use crate::registry::{RegisterError, Registration, Registry};
use crate::session::{Session, SessionFactory};
use crate::startup::{Request, StartupPacket, read_request};
use crate::wire::Wire;

/// How long to wait when the system has no descriptor for a new connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Where and how to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// A loopback address, or a name of nothing but such.
    pub host: String,
    /// 0 lets the system choose.
    pub port: u16,
    /// `max_connections`: sessions at once. Twice as many sockets may be open, as PostgreSQL
    /// allows; those beyond are closed unheard.
    pub max_connections: usize,
    /// `authentication_timeout`: a client that has not started by then is let go.
    pub startup_timeout: Duration,
}

impl Default for ServerConfig {
    /// PostgreSQL's defaults.
    fn default() -> ServerConfig {
        ServerConfig {
            host: "127.0.0.1".to_owned(),
            port: 5432,
            max_connections: 100,
            startup_timeout: Duration::from_secs(60),
        }
    }
}

/// The sockets of a server to be. Clients that connect wait until there is one.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    max_connections: usize,
    startup_timeout: Duration,
}

/// A server that listens.
pub struct Server<F> {
    listeners: Vec<TcpListener>,
    shared: Arc<Shared<F>>,
}

/// What all connections share.
struct Shared<F> {
    factory: F,
    registry: Arc<Registry>,
    sessions: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    startup_timeout: Duration,
    is_stopping: watch::Sender<bool>,
}

impl Listener {
    /// Listens on every address of the host.
    ///
    /// # Errors
    /// An unknown host, one that is not loopback, or a port in use.
    pub async fn bind(config: ServerConfig) -> Result<Listener, ServerError> {
        let ServerConfig {
            host,
            port,
            max_connections,
            startup_timeout,
        } = config;
        let addresses: Vec<SocketAddr> = lookup_host((host.as_str(), port))
            .await
            .map_err(|source| ServerError::UnknownHost {
                host: host.clone(),
                source,
            })?
            .collect();
        if let Some(&address) = addresses.iter().find(|address| !address.ip().is_loopback()) {
            return Err(ServerError::NotLoopback { address });
        }
        let mut sockets = Vec::new();
        for address in addresses {
            match TcpListener::bind(address).await {
                Ok(socket) => sockets.push(socket),
                Err(source) => return Err(ServerError::Bind { address, source }),
            }
        }
        if sockets.is_empty() {
            return Err(ServerError::NoAddress { host });
        }
        Ok(Listener {
            sockets,
            max_connections,
            startup_timeout,
        })
    }
}

impl<F: SessionFactory> Server<F> {
    /// A server of sessions from `factory`. Clients that connect wait until
    /// [`run`](Server::run).
    pub fn new(listener: Listener, factory: F) -> Server<F> {
        let Listener {
            sockets,
            max_connections,
            startup_timeout,
        } = listener;
        let shared = Shared {
            factory,
            registry: Arc::new(Registry::default()),
            sessions: Arc::new(Semaphore::new(max_connections)),
            sockets: Arc::new(Semaphore::new(max_connections.saturating_mul(2).max(2))),
            startup_timeout,
            is_stopping: watch::Sender::new(false),
        };
        Server {
            listeners: sockets,
            shared: Arc::new(shared),
        }
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Serves until `stop` resolves, then stops fast: running statements are cancelled, every
    /// client is told (57P01). Returns when the last connection is gone and its transaction rolled
    /// back.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Server { listeners, shared } = self;
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accepts = select_all(listeners.iter().map(|listener| Box::pin(listener.accept())));
            tokio::select! {
                () = &mut stop => break,
                Some(ended) = connections.join_next() => log_panic(ended),
                (accepted, ..) = accepts => match accepted {
                    Ok((stream, peer)) => {
                        let Ok(permit) = Arc::clone(&shared.sockets).try_acquire_owned() else {
                            tracing::info!(%peer, "too many connections at once");
                            continue;
                        };
                        connections.spawn(serve(Arc::clone(&shared), stream, permit));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "could not accept new connection");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                },
            }
        }
        drop(listeners);
        shared.is_stopping.send_replace(true);
        shared.registry.stop();
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task panicked");
    }
}

/// Serves one connection, from its first byte to its last. The permit is for its socket.
async fn serve<F: SessionFactory>(
    shared: Arc<Shared<F>>,
    stream: TcpStream,
    _socket: OwnedSemaphorePermit,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    let mut wire = Wire::new(stream);
    // Boxed: an idle connection does not carry its startup.
    let started = Box::pin(start(&shared, &mut wire)).await;
    match started {
        Ok(Some(Started {
            session,
            registration,
            _slot: slot,
        })) => {
            Connection::new(wire, session, registration).run().await;
            drop(slot);
        }
        Ok(None) | Err(Failure::Lost) => {}
        Err(Failure::Fatal(error) | Failure::Statement(error)) => {
            tracing::info!("{error}");
            if wire
                .put_error(&SqlError {
                    is_fatal: true,
                    ..error
                })
                .is_ok()
            {
                wire.close().await;
            }
        }
    }
}

/// A connection that may ask its first query.
struct Started<S> {
    session: S,
    registration: Registration,
    /// One of `max_connections`.
    _slot: OwnedSemaphorePermit,
}

/// Brings a connection up; None if it was a cancel request.
async fn start<F: SessionFactory>(
    shared: &Shared<F>,
    wire: &mut Wire,
) -> Result<Option<Started<F::Session>>, Failure> {
    let mut stopping = shared.is_stopping.subscribe();
    let request = tokio::select! {
        _ = stopping.wait_for(|is_stopping| *is_stopping) => return Err(shutting_down().into()),
        request = tokio::time::timeout(shared.startup_timeout, read_request(wire)) => request,
    };
    match request {
        Ok(Ok(Request::Start(packet))) => start_session(shared, wire, packet).await.map(Some),
        Ok(Ok(Request::Cancel { pid, key })) => {
            shared.registry.cancel(pid, &key);
            Ok(None)
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => {
            tracing::info!("a client did not start in time");
            Err(Failure::Lost)
        }
    }
}

async fn start_session<F: SessionFactory>(
    shared: &Shared<F>,
    wire: &mut Wire,
    packet: StartupPacket,
) -> Result<Started<F::Session>, Failure> {
    if let Some((version, unsupported)) = packet.negotiation() {
        wire.put_negotiation(version, unsupported)?;
    }
    let slot = Arc::clone(&shared.sessions)
        .try_acquire_owned()
        .map_err(|_| SqlError::new("53300", "sorry, too many clients already"))?;
    wire.put_authentication_ok()?;
    let has_long_key = packet.has_long_key();
    let parameters = packet.parameters(&shared.factory)?;
    let session = shared.factory.start(parameters).await?;
    let registration = shared
        .registry
        .register(session.backend_pid(), session.cancel_token(), has_long_key)
        .map_err(|error| match error {
            RegisterError::Stopping => shutting_down(),
            RegisterError::NoRandomness => {
                SqlError::internal("could not generate random cancel key")
            }
        })?;
    for (name, value) in session.parameter_statuses() {
        wire.put_parameter_status(name, value)?;
    }
    wire.put_backend_key(registration.pid(), registration.key())?;
    Ok(Started {
        session,
        registration,
        _slot: slot,
    })
}

fn shutting_down() -> SqlError {
    SqlError::new("57P03", "the database system is shutting down")
}
