//! The live map in a real browser, where there is one: that it runs, under its own policy, and says what is so.

use std::path::PathBuf;
use std::process::Stdio;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::*;
use crate::support::http::PATIENCE;

/// Chromium and what is built on it.
fn installed() -> Option<PathBuf> {
    let named = std::env::var_os("SPACALL_BROWSER").map(PathBuf::from);
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name))).find(|at| at.is_file());
    let on_mac = PathBuf::from("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome");
    named.or(in_path).or_else(|| Some(on_mac).filter(|at| at.is_file()))
}

/// A tab of a browser of its own, driven by the DevTools protocol.
struct Tab {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Value,
    next_id: u64,
    /// What went wrong in the page: exceptions, and whatever its policy has stopped.
    wrong: Vec<String>,
    _browser: Child,
    profile: PathBuf,
}

impl Drop for Tab {
    fn drop(&mut self) {
        // It may still be written to: then the system's own cleaning of temporary files takes it.
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

impl Tab {
    async fn open(browser: &PathBuf) -> Self {
        let profile = std::env::temp_dir().join(format!("spacall-browser-{}", uuid::Uuid::new_v4()));
        let mut child = Command::new(browser)
            // Only this service's own pages are opened in it; as root it has no sandbox.
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--remote-debugging-port=0", "--window-size=1200,800"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the browser starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await.expect("a line") {
                if let Some((_, url)) = line.split_once("DevTools listening on ") {
                    return url.trim().to_owned();
                }
            }
            panic!("the browser ended before it listened");
        };
        let url = tokio::time::timeout(PATIENCE, listening).await.expect("the browser says where it listens");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("a websocket");
        let mut tab = Self { socket, session: Value::Null, next_id: 0, wrong: Vec::new(), _browser: child, profile };
        let target = tab.call("Target.createTarget", json!({"url": "about:blank"})).await["targetId"].clone();
        let attached = tab.call("Target.attachToTarget", json!({"targetId": target, "flatten": true})).await;
        tab.session = attached["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        tab
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params).await;
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let mut message = json!({"id": self.next_id, "method": method, "params": params});
        if self.session.is_string() {
            message["sessionId"] = self.session.clone();
        }
        self.socket.send(Message::text(message.to_string())).await.expect("the browser listens");
        let answer = async {
            loop {
                let message = self.socket.next().await.expect("an open socket").expect("a message");
                let message: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
                self.note(&message);
                if message["id"] == self.next_id {
                    return message;
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{method} is answered"))
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.wrong.push(params["exceptionDetails"].to_string()),
            // A refused request is told as one, too; those are part of the story.
            Some("Log.entryAdded") if params["entry"]["source"] != "network" && params["entry"]["level"] == "error" => {
                self.wrong.push(params["entry"].to_string());
            }
            _ => {}
        }
    }

    /// The value of an expression in the page; null if it fails, as it may while one page makes room for another.
    async fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", params).await;
        answer["result"]["result"]["value"].clone()
    }

    /// Asks again until the expression is true.
    async fn until(&mut self, expression: &str) {
        let deadline = spacall::clock::monotonic() + PATIENCE;
        while self.eval(expression).await != true {
            if spacall::clock::monotonic() > deadline {
                let text = self.eval("document.body.innerText").await;
                panic!("never: {expression}\nthe page says: {text}\nwrong: {:?}", self.wrong);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

const COUNT: &str = "[...document.querySelectorAll('#people b, #bookings b')].map(b => b.textContent).join()";

#[tokio::test(flavor = "multi_thread")]
async fn the_map_runs_in_a_browser_under_its_own_policy_and_says_when_it_is_old() {
    let Some(browser) = installed() else {
        eprintln!("skipped: the live map in a browser (there is no Chromium; SPACALL_BROWSER may name one)");
        return;
    };
    let server = Server::start().await;
    let luz = therapist_at(&server, "Luz", 300.0).await;
    therapist_at(&server, "Tala", 900.0).await;
    let (admin, customer) = (people::admin(server.pool()).await, people::customer(server.pool()).await);
    let mut tab = Tab::open(&browser).await;

    tab.call("Page.navigate", json!({"url": format!("{}/ops", server.base)})).await;
    tab.until("document.querySelector('#token') !== null").await;
    let log_in = |token: &str| {
        format!(
            "document.querySelector('#token').value = {}; document.querySelector('form').requestSubmit()",
            json!(token)
        )
    };
    tab.eval(&log_in("1|wrong")).await;
    tab.until("document.querySelector('#why')?.textContent.includes('not good') ?? false").await;
    tab.eval(&log_in(&admin.token)).await;
    tab.until("document.body.dataset.freshness === 'live'").await;
    assert_eq!(tab.eval("document.cookie").await, "", "no script can read the token");
    assert_eq!(tab.eval("location.pathname + location.search").await, "/ops");

    // Idle, offered, en route, booked, stale, off duty, barred; waiting, under way.
    tab.until(&format!("{COUNT} === '2,0,0,0,0,0,0,0,0'")).await;
    let mut phone = app(&server, &luz).await;
    let booking = book(&server, &customer, wanted()).await;
    phone.expect("offer").await;
    tab.until(&format!("{COUNT} === '1,1,0,0,0,0,0,1,0'")).await;

    // Something is drawn, and by its own colour.
    let teal = "(() => { const c = document.querySelector('#map'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 0; i < d.length; i += 4) if (d[i] < 60 && d[i+1] > 120 && d[i+2] > 100 && d[i+2] < 190) n += 1; return n > 20; })()";
    tab.until(teal).await;

    // Search by keyboard leads to who is found; a booking tells why he was asked.
    let find = |text: &str| {
        format!("(() => {{ const f = document.querySelector('#find'); f.focus(); f.value = {}; f.dispatchEvent(new Event('input'));
            document.querySelector('#search').requestSubmit(); return true; }})()", json!(text))
    };
    tab.eval(&find("luz")).await;
    tab.until("document.querySelector('#panel').innerText.includes('Luz') && document.querySelector('#panel').innerText.includes('Asked')").await;
    assert_eq!(tab.eval("location.hash").await, format!("#therapist={}", luz.provider_uuid));
    tab.eval(&find(uuid(&booking))).await;
    tab.until("document.querySelector('#panel').innerText.includes('OFFERS (1)')").await;
    tab.eval("document.querySelector('#audit').click()").await;
    tab.until("document.querySelector('#audited').innerText.includes('2 therapists compared')").await;
    tab.eval("document.querySelector('#heat input[value=supply]').click()").await;
    tab.until("document.querySelector('#heat-scale').textContent.startsWith('At most 1 in a cell')").await;

    tab.eval("document.querySelector('form[action=\"/ops/logout\"]').requestSubmit()").await;
    tab.until("document.querySelector('#token') !== null").await;
    tab.eval(&log_in(&admin.token)).await;
    tab.until("document.body.dataset.freshness === 'live'").await;

    // Nothing is fresh that is not.
    let _database = server.stop().await;
    tab.until("document.body.dataset.freshness === 'lost'").await;
    tab.until("document.querySelector('#alarm').innerText.includes('Not live. The service cannot be reached. What is shown is of')").await;
    assert!(tab.wrong.is_empty(), "{:#?}", tab.wrong);
}
