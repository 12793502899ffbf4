//! The database's queue of new connections is full: whoever connects waits for a place, and not for ever.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spacall::store::{self, StoreError};
use sqlx::postgres::PgConnectOptions;
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use crate::support::empty_database;

/// Its queue is one connection long, or two: the system decides.
fn narrow_door(dir: &Path) -> UnixListener {
    let socket = UnixSocket::new_stream().expect("a socket");
    socket.bind(dir.join(".s.PGSQL.5432")).expect("bound");
    socket.listen(1).expect("listening")
}

/// Until there is no place; they keep their places until they are dropped.
async fn fill(dir: &Path) -> Vec<UnixStream> {
    let mut waiting = Vec::new();
    loop {
        match UnixStream::connect(dir.join(".s.PGSQL.5432")).await {
            Ok(one) => waiting.push(one),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
                return waiting;
            }
        }
    }
}

/// Lets everybody through to the real one.
async fn open(door: UnixListener, real: Arc<Path>) {
    while let Ok((mut from, _)) = door.accept().await {
        let real = Arc::clone(&real);
        tokio::spawn(async move {
            let mut to = UnixStream::connect(&*real).await.expect("the database");
            copy_bidirectional(&mut from, &mut to).await
        });
    }
}

#[tokio::test]
async fn who_finds_no_database_is_told_what_is_in_the_way() {
    let nobody = PgConnectOptions::new().host("127.0.0.1").port(1).username("nobody").database("none");
    let refused = store::connect(nobody, 2).await.expect_err("nobody listens there");
    assert!(refused.is_unavailable() && refused.to_string().contains("refused"), "{refused}");
}

#[tokio::test]
async fn who_connects_while_the_queue_is_full_waits_for_a_place_and_not_for_ever() {
    let db = empty_database().await;
    let options: PgConnectOptions = db.options();
    let real: Arc<Path> = options.get_socket().expect("a unix socket").join(".s.PGSQL.5432").into();
    // On the short side: unix sockets have short paths.
    let dir = std::env::temp_dir().join(format!("spacall-door-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("a directory");
    let door = narrow_door(&dir);
    let options = options.socket(&dir).port(5_432);

    let crowd = fill(&dir).await;
    let refused = store::connect(options.clone(), 2).await.expect_err("nobody opens");
    assert!(matches!(refused, StoreError::QueueFull), "{refused}");
    assert!(refused.is_unavailable());
    assert_eq!(refused.to_string(), "database: its queue of new connections is full");

    // Turned away once and again, it gets in when the door opens.
    let mut connecting = Box::pin(store::connect(options, 2));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut connecting).await;
    assert!(early.is_err(), "there was no place: {early:?}");
    let opening = tokio::spawn(open(door, real));
    let pool = connecting.await.expect("a place");
    // The migrations come on a connection of their own, as everybody else does.
    store::migrate(&pool).await.expect("migrated");
    drop(crowd);
    opening.abort();
    std::fs::remove_dir_all(&dir).expect("removed");
}
