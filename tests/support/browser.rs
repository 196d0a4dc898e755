//! A browser, as somebody sits in front of it: Debian's Chromium, driven by `WebDriver` (a W3C standard).
//!
//! Own code, because the library for it turns on another order of keys in `serde_json`, which would then
//! be tested in place of the one that users run.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use super::{PATIENCE, desk::Visitor, npm};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A name of this machine that does not say so to the browser.
pub const NAME: &str = "kintsugi.example";
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP kintsugi.example 127.0.0.1",
];
/// Widths of a desk and of a phone.
pub const WIDTHS: [(&str, u32); 2] = [("desktop", 1280), ("phone", 375)];
pub const SCHEMES: [&str; 2] = ["light", "dark"];

/// The audit's own script.
static AXE: LazyLock<String> = LazyLock::new(|| {
    let script = npm::installed("axe").join("node_modules/axe-core/axe.min.js");
    fs::read_to_string(script).unwrap()
});

/// A browser with one open page.
pub struct Browser {
    client: reqwest::Client,
    session: String,
    url: String,
    process: Child,
    /// What the browser keeps while it runs.
    _folder: TempDir,
}

impl Browser {
    /// One in which `visitor` has logged in.
    pub async fn of(visitor: &Visitor) -> Self {
        let browser = Self::at(&visitor.url).await;
        browser.log_in(visitor).await;
        browser.until("document.getElementById('main')").await;
        browser
    }

    /// Shows the token.
    pub async fn log_in(&self, visitor: &Visitor) {
        self.open("/").await;
        self.fill("#token", &visitor.token).await;
        self.click("css selector", "form button").await;
    }

    /// One whose pages are at `url`; [`NAME`] is this machine, too.
    pub async fn at(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (process, port) = chromedriver(folder.path());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let session = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { client, session, url: url.to_owned(), process, _folder: folder };
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": ARGUMENTS},
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        }}});
        let made = browser.ask("", wanted).await.unwrap();
        browser.session = format!("{}/{}", browser.session, made["sessionId"].as_str().unwrap());
        browser
    }

    /// One command of `WebDriver`, or what is wrong with it.
    async fn ask(&self, path: &str, body: Value) -> Result<Value, Value> {
        let request = self.client.post(format!("{}{path}", self.session)).json(&body);
        let answer = tokio::time::timeout(PATIENCE, request.send()).await;
        let mut answer: Value =
            answer.expect("an answer of the driver").unwrap().json().await.unwrap();
        let value = answer["value"].take();
        if value["error"].is_string() { Err(value) } else { Ok(value) }
    }

    /// A command to the browser itself (Chrome `DevTools` Protocol).
    pub async fn command(&self, method: &str, parameters: Value) -> Value {
        let command = json!({"cmd": method, "params": parameters});
        self.ask("/goog/cdp/execute", command).await.unwrap()
    }

    pub async fn open(&self, path: &str) {
        self.ask("/url", json!({"url": format!("{}{path}", self.url)})).await.unwrap();
    }

    /// Opens another tab and shows it; the one before is hidden from then on.
    pub async fn tab(&self) -> String {
        let made = self.ask("/window/new", json!({"type": "tab"})).await.unwrap();
        let tab = made["handle"].as_str().unwrap().to_owned();
        self.show(&tab).await;
        tab
    }

    /// Shows this tab, and hides the one before.
    pub async fn show(&self, tab: &str) {
        self.ask("/window", json!({"handle": tab})).await.unwrap();
    }

    /// What `script` returns in the page.
    pub async fn run(&self, script: &str) -> Value {
        self.ask("/execute/sync", json!({"script": script, "args": []})).await.unwrap()
    }

    /// Waits until `script` returns true in the page.
    pub async fn until(&self, script: &str) {
        let script = format!("return !!({script})");
        let asking = async {
            while self.run(&script).await != true {
                // There is nothing to watch that would tell when to look again.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let is_so = tokio::time::timeout(PATIENCE, asking).await.is_ok();
        assert!(is_so, "{script} is not so in:\n{}", self.text().await);
    }

    /// The text that is there to read.
    pub async fn text(&self) -> String {
        self.run("return document.body.innerText").await.as_str().unwrap().to_owned()
    }

    /// Follows the first link whose text is `text`.
    pub async fn follow(&self, text: &str) {
        self.click("link text", text).await;
    }

    pub async fn click(&self, using: &str, value: &str) {
        self.touch(using, value, "click", json!({})).await;
    }

    async fn touch(&self, using: &str, value: &str, command: &str, body: Value) {
        loop {
            let element = self.element(using, value).await;
            match self.ask(&format!("{element}/{command}"), body.clone()).await {
                Ok(_) => return,
                // The page was brought up to date in between.
                Err(error) if error["error"] == "stale element reference" => {}
                Err(error) => panic!("{value}: {error}"),
            }
        }
    }

    /// Types `text` into the field.
    pub async fn fill(&self, css: &str, text: &str) {
        self.touch("css selector", css, "value", json!({"text": text})).await;
    }

    async fn element(&self, using: &str, value: &str) -> String {
        let found = self.ask("/element", json!({"using": using, "value": value})).await.unwrap();
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        format!("/element/{id}")
    }

    /// Presses one key, by its code point in `WebDriver`.
    pub async fn press(&self, key: &str) {
        let presses = json!([{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]);
        let actions = json!({"actions": [{"type": "key", "id": "keys", "actions": presses}]});
        self.ask("/actions", actions).await.unwrap();
    }

    /// Does a dialog that a script has opened wait to be answered?
    pub async fn has_dialog(&self) -> bool {
        self.ask("/alert/dismiss", json!({})).await.is_ok()
    }

    /// From now on the page is so wide, and in that scheme.
    pub async fn looks(&self, width: u32, scheme: &str) {
        let size =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.command("Emulation.setDeviceMetricsOverride", size).await;
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.command("Emulation.setEmulatedMedia", media).await;
    }

    /// Keeps a picture of the whole page in `target/browser`.
    pub async fn picture(&self, name: &str) {
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        let taken = self.command("Page.captureScreenshot", whole).await;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser");
        fs::create_dir_all(&folder).unwrap();
        let bytes = STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    /// What an automated audit finds wrong with the page: WCAG 2.2 A and AA, and good practice.
    pub async fn audit(&self) -> Vec<String> {
        self.run(&AXE).await;
        let audit = "const done = arguments[0];
            axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})
               .then(found => done({checked: found.passes.length, wrong: found.violations.map(one =>
                   one.id + ': ' + one.help + ' at ' + one.nodes.map(node => node.html).join(' '))}))";
        let script = json!({"script": audit, "args": []});
        let found = self.ask("/execute/async", script).await.unwrap();
        assert!(found["checked"].as_u64().unwrap() > 10, "audited nothing: {found}");
        let wrong = found["wrong"].as_array().unwrap().iter();
        wrong.map(|one| one.as_str().unwrap().to_owned()).collect()
    }

    /// Is anything cut off at the right?
    pub async fn is_too_wide(&self) -> bool {
        self.run("return document.documentElement.scrollWidth > window.innerWidth").await == true
    }

    /// What the browser has complained about, such as what the page's policy forbids.
    pub async fn complaints(&self) -> Vec<String> {
        self.log("browser").await
    }

    async fn log(&self, name: &str) -> Vec<String> {
        let entries = self.ask("/se/log", json!({"type": name})).await.unwrap();
        let messages = entries.as_array().unwrap().iter().map(|entry| &entry["message"]);
        messages.map(|message| message.as_str().unwrap().to_owned()).collect()
    }

    /// What was asked for since this was called last.
    pub async fn requests(&self) -> Vec<String> {
        let entries = self.log("performance").await;
        let messages = entries.iter().map(|entry| serde_json::from_str::<Value>(entry).unwrap());
        let sent = messages.filter_map(|mut entry| {
            let mut message = entry["message"].take();
            (message["method"] == "Network.requestWillBeSent")
                .then(|| message["params"]["request"]["url"].take())
        });
        sent.map(|url| url.as_str().unwrap().to_owned()).collect()
    }

    /// Where requests went to that were not for the operator.
    pub async fn strangers(&self) -> Vec<String> {
        let mut all = self.requests().await;
        assert!(!all.is_empty(), "no request is in the log");
        all.retain(|url| !url.starts_with(&self.url) && !url.starts_with("data:"));
        all
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser is in the driver's process group: both are ended, whatever the test came to.
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.process.wait();
    }
}

/// A driver on a port of its own, as a process group. It looks for a port that is free in IPv6 and
/// ends if something else has it in IPv4: then another one is started.
fn chromedriver(folder: &Path) -> (Child, u16) {
    let started = (0..20).find_map(|_| {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromedriver: run `make test`, which installs it");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let Some(port) = port else {
            let _ = process.kill();
            let _ = process.wait();
            return None;
        };
        // It must not come to wait for somebody to read what it says.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Some((process, port))
    });
    started.expect("a driver that has a port")
}
