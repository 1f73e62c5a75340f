//! The life of the stand-in: it installs what it needs, answers, and works on one namespace until it is dropped.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::knobs::Knobs;
use super::work::Work;
use super::{admission, installed};

/// CRDs are the cluster's: one stand-in at a time.
static ONE: Mutex<()> = Mutex::new(());

/// A running stand-in. Dropping it ends it, and takes away what it installed.
pub(crate) struct Operator {
    knobs: Arc<Mutex<Knobs>>,
    end: CancellationToken,
    thread: Option<JoinHandle<()>>,
    _one: MutexGuard<'static, ()>,
}

/// There is no stand-in, nor a CRD of one, as long as this is held.
pub(crate) fn absent() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Operator {
    /// Starts one for a namespace that exists; `crds` is the folder with those of all ages.
    pub(crate) fn start(namespace: &str, crds: &Path, knobs: Knobs) -> Self {
        let one = absent();
        let at_start = knobs.clone();
        let knobs = Arc::new(Mutex::new(knobs));
        let end = CancellationToken::new();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let crds = installed::files(at_start.age).map(|file| std::fs::read_to_string(crds.join(file)).unwrap());
        let (token, shared, namespace) = (end.clone(), Arc::clone(&knobs), namespace.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let client = Client::try_default().await.unwrap();
                let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let server = tokio::spawn(admission::serve(listener, Arc::clone(&shared)));
                let made = installed::install(&client, &crds, at_start.age, port).await;
                installed::admit(&client, &namespace, port, &at_start).await;
                ready.send(()).unwrap();
                let work = Work::new(client.clone(), namespace.clone(), shared);
                tokio::select! {
                    () = token.cancelled() => {}
                    () = work.run() => {}
                }
                installed::uninstall(&client, &namespace, &made, at_start.age).await;
                server.abort();
            });
        });
        is_ready.recv_timeout(Duration::from_secs(60)).unwrap();
        Self { knobs, end, thread: Some(thread), _one: one }
    }

    /// Turns knobs while it runs.
    pub(crate) fn turn(&self, turn: impl FnOnce(&mut Knobs)) {
        turn(&mut self.knobs.lock().unwrap());
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            let _ended = thread.join();
        }
    }
}
