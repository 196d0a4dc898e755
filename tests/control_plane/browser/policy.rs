//! What becomes of a script or an image that somebody has brought into a page: by its policy nothing does.

use std::{io::ErrorKind, net::TcpListener, time::Duration};

use serde_json::json;

use super::{World, world};
use crate::support::PATIENCE;

/// What a hole in a page would let somebody do; what is forbidden, and what was done, is in `seen`.
const SMUGGLED: &str = "
    window.seen = [];
    const see = what => window.seen.push(what);
    document.addEventListener('securitypolicyviolation', event => see(event.effectiveDirective));
    const script = document.createElement('script');
    script.textContent = \"window.seen.push('script ran')\";
    document.body.append(script);
    const button = document.createElement('button');
    button.setAttribute('onclick', \"window.seen.push('handler ran')\");
    document.body.append(button);
    button.click();
    const style = document.createElement('div');
    style.innerHTML = '<p style=\"position: fixed\">over all of it</p>';
    document.body.append(style);
    const image = new Image();
    image.onerror = () => see('no image');
    image.src = 'http://ELSEWHERE/image.png';
    fetch('http://ELSEWHERE/fetch').catch(() => see('no answer'));";

/// Has somebody connected since it was asked last?
fn was_asked(elsewhere: &TcpListener) -> bool {
    match elsewhere.accept() {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn what_somebody_brings_into_a_page_neither_runs_nor_reaches_another_server() {
    let World { browser, operator: _operator, .. } = world("policy").await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let smuggled = SMUGGLED.replace("ELSEWHERE", &elsewhere.local_addr().unwrap().to_string());
    for page in ["/", "/contracts", "/login"] {
        browser.open(page).await;
        browser.run(&smuggled).await;
        browser.until("seen.includes('no image') && seen.includes('no answer')").await;
        let all = "script-src-elem script-src-attr style-src-attr img-src connect-src";
        let all = format!("'{all}'.split(' ').every(name => seen.includes(name))");
        browser.until(&all).await;
        let ran = browser.run("return seen.filter(what => what.endsWith(' ran'))").await;
        assert_eq!(ran, json!([]), "{page}");
        assert!(!was_asked(&elsewhere), "{page}");
    }

    // It is the policy that forbids it, and nothing else.
    browser.command("Page.setBypassCSP", json!({"enabled": true})).await;
    browser.open("/").await;
    browser.run(&smuggled).await;
    browser.until("seen.includes('script ran') && seen.includes('handler ran')").await;
    let asked = async {
        while !was_asked(&elsewhere) {
            // A listener of the standard library has nothing to wait for.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("somebody else is asked");
}
