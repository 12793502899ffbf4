//! The phones' way to the service: a TCP proxy on a fixed address, whose connections can be cut or go silent.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// What can happen to the connections that were opened since the last time it happened.
#[derive(Clone, Default)]
struct Fate {
    cut: CancellationToken,
    silence: CancellationToken,
}

#[derive(Clone)]
pub(super) struct Line {
    /// `127.0.0.1:…`, for good.
    pub(super) address: String,
    state: Arc<Mutex<(Fate, Option<String>)>>,
}

impl Line {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let line = Self { address, state: Arc::default() };
        let state = Arc::clone(&line.state);
        tokio::spawn(async move {
            while let Ok((phone, _)) = listener.accept().await {
                let (fate, target) = state.lock().expect("not poisoned").clone();
                if let Some(target) = target {
                    tokio::spawn(carry(phone, target, fate));
                }
            }
        });
        line
    }

    /// Where the service is now; connections that are open stay.
    pub(super) fn leads_to(&self, address: Option<&str>) {
        self.state.lock().expect("not poisoned").1 = address.map(str::to_owned);
    }

    /// Resets every connection.
    pub(super) fn cut(&self) {
        self.renew().cut.cancel();
    }

    /// Leaves every connection open, and carries nothing on it any more.
    pub(super) fn fall_silent(&self) {
        self.renew().silence.cancel();
    }

    fn renew(&self) -> Fate {
        std::mem::take(&mut self.state.lock().expect("not poisoned").0)
    }
}

async fn carry(mut phone: TcpStream, target: String, fate: Fate) {
    let Ok(mut service) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ended = tokio::io::copy_bidirectional(&mut phone, &mut service) => return,
        () = fate.cut.cancelled() => {
            // A reset, not a goodbye.
            let _ = (phone.set_zero_linger(), service.set_zero_linger());
            return;
        }
        () = fate.silence.cancelled() => {}
    }
    // Open for as long as the test lives; what either side does is not noticed by the other.
    std::future::pending::<()>().await;
    drop((phone, service));
}
