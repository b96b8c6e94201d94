//! Waits for file locks on a thread, so that signals are served meanwhile.

use std::fs::File;
use std::io;
use std::path::Path;

use tokio::task::spawn_blocking;

/// Takes the exclusive lock on `path`, which is made if needed. Dropping the
/// file releases it; so does the end of the process.
pub(crate) async fn exclusive(path: &Path) -> io::Result<File> {
    let path = path.to_owned();
    on_thread(move || {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.lock()?;
        Ok(file)
    })
    .await
}

/// Waits until nobody holds the exclusive lock on `path`.
pub(crate) async fn shared(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    on_thread(move || File::open(path)?.lock_shared()).await
}

/// Whether nobody holds the exclusive lock on `path` now.
pub(crate) fn is_free(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => file.try_lock_shared().is_ok(),
        Err(_) => true,
    }
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
