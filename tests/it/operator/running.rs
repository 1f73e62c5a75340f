//! The life of the stand-in: it installs what it needs, answers, and works on one namespace until it is dropped.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::knobs::{Admission, Knobs};
use super::shared::{Crds, runtime};
use super::work::Work;
use super::{admission, installed};

/// A running stand-in. Dropping it ends it, and takes away what it installed.
pub(crate) struct Operator {
    knobs: Arc<Mutex<Knobs>>,
    end: CancellationToken,
    thread: Option<JoinHandle<()>>,
    _crds: Crds,
}

impl Operator {
    /// Starts one for a namespace that exists; `crds` is the folder with those of all ages.
    pub(crate) fn start(namespace: &str, crds: &Path, knobs: Knobs) -> Self {
        // Whoever finds no admission must not find that of another.
        let crds = Crds::of(knobs.age, knobs.admission == Admission::Absent, crds);
        let at_start = knobs.clone();
        let knobs = Arc::new(Mutex::new(knobs));
        let end = CancellationToken::new();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (token, shared, namespace) = (end.clone(), Arc::clone(&knobs), namespace.to_owned());
        let thread = std::thread::spawn(move || {
            runtime().block_on(async move {
                let client = Client::try_default().await.unwrap();
                let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let server = tokio::spawn(admission::serve(listener, Arc::clone(&shared)));
                installed::admit(&client, &namespace, port, &at_start).await;
                ready.send(()).unwrap();
                let work = Work::new(client.clone(), namespace.clone(), shared);
                tokio::select! {
                    () = token.cancelled() => {}
                    () = work.run() => {}
                }
                installed::uninstall(&client, &namespace, at_start.age).await;
                server.abort();
            });
        });
        is_ready.recv_timeout(Duration::from_secs(60)).unwrap();
        Self { knobs, end, thread: Some(thread), _crds: crds }
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
