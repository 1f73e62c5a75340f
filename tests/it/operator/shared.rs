//! CRDs are the cluster's own: stand-ins of one age share them, and whoever needs others, or none, waits.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use kube::Client;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use super::knobs::{Age, Knobs};
use super::{admission, installed};

/// What the cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    /// CRDs of this age; `None`: none at all.
    age: Option<Age>,
    /// Nobody else may need them meanwhile.
    alone: bool,
}

struct Had {
    what: Wanted,
    users: usize,
    installed: Vec<String>,
}

static HAD: Mutex<Had> = Mutex::new(Had { what: Wanted { age: None, alone: false }, users: 0, installed: Vec::new() });
static GIVEN_BACK: Condvar = Condvar::new();

/// A use of them, for as long as the value lives. The last one takes them away.
pub(crate) struct Crds(());

/// There is no CRD of Dynamo's in the cluster, but those that the holder makes, as long as this is held.
pub(crate) fn absent() -> Crds {
    drop(had(Wanted { age: None, alone: true }));
    Crds(())
}

impl Crds {
    /// Those of this age; `folder` has the files.
    pub(super) fn of(age: Age, alone: bool, folder: &Path) -> Self {
        let mut had = had(Wanted { age: Some(age), alone });
        if had.users == 1 {
            let files = installed::files(age).map(|file| std::fs::read_to_string(folder.join(file)).unwrap());
            let port = converter();
            had.installed = runtime().block_on(async {
                let client = Client::try_default().await.unwrap();
                installed::install(&client, &files, age, port).await
            });
        }
        Self(())
    }
}

/// Waits until the cluster can have what is wanted, and counts one more user of it.
fn had(wanted: Wanted) -> MutexGuard<'static, Had> {
    let shared = |had: &Had| had.users == 0 || (had.what == wanted && !wanted.alone);
    let had = HAD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut had = GIVEN_BACK.wait_while(had, |had| !shared(had)).unwrap_or_else(PoisonError::into_inner);
    had.what = wanted;
    had.users += 1;
    had
}

impl Drop for Crds {
    fn drop(&mut self) {
        let mut had = HAD.lock().unwrap_or_else(PoisonError::into_inner);
        had.users -= 1;
        if had.users == 0 {
            let installed = std::mem::take(&mut had.installed);
            runtime().block_on(async {
                let client = Client::try_default().await.unwrap();
                installed::remove(&client, &installed).await;
            });
        }
        GIVEN_BACK.notify_all();
    }
}

/// The port at which the API server has objects converted, whoever's they are.
fn converter() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            runtime().block_on(async move {
                let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
                tell.send(listener.local_addr().unwrap().port()).unwrap();
                admission::serve(listener, std::sync::Arc::new(Mutex::new(Knobs::default()))).await;
            });
        });
        told.recv().unwrap()
    })
}

pub(super) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
