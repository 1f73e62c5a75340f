//! A port of this machine carried to a pod, as long as the value lives.
//!
//! For questions and for fetching files; as a load path it is slow and says so in every result. Each connection to the
//! local port is one of the API server's; when one breaks the next simply starts anew, and [`Forward::cuts`] counts it: a
//! measurement through it must not be used if the number has grown.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::contract::TargetError;
use super::client::Cluster;
use super::fault::chain;

/// Limit for opening one forwarded connection: an upgrade has none of its own.
const OPEN: Duration = Duration::from_secs(15);

/// A local port that leads to a pod.
pub(super) struct Forward {
    address: SocketAddr,
    shared: Arc<Shared>,
    _end: DropGuard,
}

#[derive(Default)]
struct Shared {
    cuts: AtomicU64,
    last: Mutex<Option<String>>,
}

impl Shared {
    fn cut(&self, why: String) {
        self.cuts.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut last) = self.last.lock() {
            *last = Some(why);
        }
    }
}

impl Forward {
    /// Listens on a free local port. The pod is reached at the first connection.
    ///
    /// # Errors
    /// When no local port can be had.
    pub(super) async fn open(cluster: &Cluster, pod: &str, port: u16) -> Result<Self, TargetError> {
        Self::open_in(cluster, cluster.namespace(), pod, port).await
    }

    /// The same to a pod of another namespace.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn open_in(cluster: &Cluster, namespace: &str, pod: &str, port: u16) -> Result<Self, TargetError> {
        let failed = |error: std::io::Error| TargetError::new(format!("no local port to forward to {pod}: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let end = CancellationToken::new();
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        tokio::spawn(serve(listener, pods, pod.to_owned(), port, Arc::clone(&shared), end.clone()));
        Ok(Self { address, shared, _end: end.drop_guard() })
    }

    /// `http://127.0.0.1:PORT`
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections that broke or could not be opened.
    pub(super) fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// Why the newest of them did.
    pub(super) fn last_cut(&self) -> Option<String> {
        self.shared.last.lock().ok().and_then(|last| last.clone())
    }
}

async fn serve(
    listener: TcpListener,
    pods: Api<Pod>,
    pod: String,
    port: u16,
    shared: Arc<Shared>,
    end: CancellationToken,
) {
    // Dropped with this future: connections end with the forward.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((local, _)) => {
                    let (pods, pod, shared) = (pods.clone(), pod.clone(), Arc::clone(&shared));
                    connections.spawn(async move {
                        if let Err(why) = carry(local, &pods, &pod, port).await {
                            shared.cut(why);
                        }
                    });
                }
                // Out of file descriptors, for instance: a client sees a refused connection and we go on.
                Err(error) => shared.cut(format!("the local port could not be accepted: {error}")),
            },
        }
    }
}

/// One connection from its start to its end.
async fn carry(mut local: TcpStream, pods: &Api<Pod>, pod: &str, port: u16) -> Result<(), String> {
    // Small frames are what is carried: waiting to fill packets would be measured.
    local.set_nodelay(true).map_err(|error| error.to_string())?;
    let opened = tokio::time::timeout(OPEN, pods.portforward(pod, &[port])).await;
    let mut forwarder = opened
        .map_err(|_| format!("pod {pod} could not be reached within {} s", OPEN.as_secs()))?
        .map_err(|error| format!("pod {pod} cannot be reached: {}", chain(&error)))?;
    let mut remote = forwarder.take_stream(port).ok_or_else(|| format!("pod {pod} has no port {port}"))?;
    let error = forwarder.take_error(port);
    let copied = copy_bidirectional(&mut local, &mut remote).await;
    drop(remote);
    // An abrupt end looks like a clean one to the copy: only the task behind the stream knows.
    if let Some(error) = error
        && let Some(said) = error.await
    {
        return Err(format!("port {port} of pod {pod}: {said}"));
    }
    forwarder.join().await.map_err(|error| format!("the connection to pod {pod} broke: {}", chain(&error)))?;
    // The local side may go away whenever it likes.
    drop(copied);
    Ok(())
}
