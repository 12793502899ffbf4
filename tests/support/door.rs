//! A way to the database on which the answer to a COMMIT gets lost.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use spacall::core::ids::UserId;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::TestDatabase;

/// A door to the database that loses the answer to one commit.
pub struct Door {
    dir: PathBuf,
    lose: Arc<Lose>,
}

struct Lose {
    /// Of the transaction that says this: as it names its actor, say.
    said: Mutex<Option<String>>,
    /// The commit itself comes through only after this.
    late: Option<Notify>,
}

static DOOR: AtomicU32 = AtomicU32::new(0);

impl Door {
    /// With how to come in by it. `late`: the commit itself waits until it is let through.
    pub fn open(database: &TestDatabase, late: bool) -> (Self, PgConnectOptions) {
        let options = database.options();
        let real: Arc<Path> = options.get_socket().expect("a unix socket").join(".s.PGSQL.5432").into();
        // On the short side: unix sockets have short paths.
        let nth = DOOR.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("spacall-lost-{}-{nth}", std::process::id()));
        std::fs::create_dir(&dir).expect("a directory");
        let listener = UnixListener::bind(dir.join(".s.PGSQL.5432")).expect("a door");
        let lose = Arc::new(Lose { said: Mutex::default(), late: late.then(Notify::new) });
        let losing = Arc::clone(&lose);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let (real, lose) = (Arc::clone(&real), Arc::clone(&losing));
                tokio::spawn(async move {
                    let to = UnixStream::connect(&*real).await.expect("the database");
                    pass(from, to, &lose).await;
                });
            }
        });
        let options = options.socket(&dir).port(5_432);
        (Self { dir, lose }, options)
    }

    pub fn lose_the_next_commit_of(&self, user: UserId) {
        self.lose_the_commit_after(format!("spacall.actor_id = '{user}'"));
    }

    /// Of the connection that says this.
    pub fn lose_the_commit_after(&self, said: String) {
        *self.lose.said.lock().expect("not poisoned") = Some(said);
    }

    pub fn let_the_late_one_through(&self) {
        self.lose.late.as_ref().expect("a late one").notify_one();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).expect("removed");
    }
}

/// Until the commit that is to be lost: then the client's side breaks off.
async fn pass(mut from: UnixStream, mut to: UnixStream, lose: &Lose) {
    let (mut said, mut his) = (vec![0; 65_536], false);
    loop {
        let mut answer = [0; 8_192];
        tokio::select! {
            read = from.read(&mut said) => {
                let Ok(read @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&said[..read]).into_owned();
                let wanted = lose.said.lock().expect("not poisoned").clone();
                his |= wanted.as_ref().is_some_and(|wanted| text.contains(wanted));
                if his && wanted.is_some() && text.contains("COMMIT") {
                    *lose.said.lock().expect("not poisoned") = None;
                    if let Some(late) = &lose.late {
                        from.shutdown().await.expect("broken off");
                        late.notified().await;
                    }
                    to.write_all(&said[..read]).await.expect("written");
                    to.read_exact(&mut answer[..1]).await.expect("committed");
                    return;
                }
                to.write_all(&said[..read]).await.expect("written");
            }
            read = to.read(&mut answer) => {
                let Ok(read @ 1..) = read else { return };
                if from.write_all(&answer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
