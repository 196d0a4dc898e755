//! What real servers on loopback see and what comes back from them.

use std::{io::Write as _, sync::Arc};

use axum::body::Body;

use super::{
    super::{
        Config,
        testing::{Names, Server, answer, config, endless, outbound},
    },
    *,
};
use crate::domain::DoubtReason;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);
/// Enough for an answer on a busy machine.
const SOME: Duration = Duration::from_secs(1);

fn client() -> Arc<Outbound> {
    outbound(config(), Arc::default())
}

async fn get(client: &Outbound, url: &str) -> Result<Response, OutboundError> {
    client.fetch(Request::get(url, 1 << 20, LONG).unwrap()).await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_answer_comes_whole_and_decompressed_with_the_headers_that_matter() {
    let server = Server::start(|_| async {
        let headers = [
            ("content-type", "Application/JSON; charset=utf-8"),
            ("content-encoding", "gzip"),
            ("etag", "\"1\""),
            ("retry-after", "7"),
        ];
        answer(503, &headers, gzip(b"{}"))
    })
    .await;
    let response = get(&client(), &server.url("/a?b=c#d")).await.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (503, b"{}".as_slice()));
    assert_eq!(response.content_type.as_deref(), Some("application/json"));
    assert_eq!(response.etag.as_deref(), Some("\"1\""));
    assert_eq!(response.retry_after, Some(Span::secs(7)));
    assert_eq!(server.lines(), ["GET /a?b=c"]);
}

#[tokio::test]
async fn a_post_is_sent_once_with_its_body_and_headers_and_no_cookie_or_referer() {
    let server = Server::start(|_| async { answer(200, &[("set-cookie", "a=b")], "") }).await;
    let client = client();
    for _ in 0..2 {
        let request = Request::post(&server.url("/hook"), "{}", 10, LONG).unwrap();
        let request = request.header("Content-Type", "application/json").unwrap();
        let request = request.secret_header("X-Token", "canary").unwrap();
        client.fetch(request).await.unwrap();
    }
    assert_eq!(server.lines(), ["POST /hook", "POST /hook"]);
    let headers = &server.asked()[1].headers;
    assert_eq!(
        (&headers["content-length"], &headers["x-token"]),
        (&"2".parse().unwrap(), &"canary".parse().unwrap())
    );
    assert!(headers["user-agent"].to_str().unwrap().starts_with("kintsugi/"));
    assert!(!headers.contains_key("cookie") && !headers.contains_key("referer"), "{headers:?}");
}

/// Runs another test in a process whose environment names a proxy that nobody runs.
#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let other = "an_answer_comes_whole_and_decompressed_with_the_headers_that_matter";
    let test = format!("outbound::fetch::tests::{other}");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, "http://127.0.0.1:9");
    }
    let output = child.args(["--exact", &test]).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_cut_at_the_deadline() {
    let server = Server::start(|_| std::future::pending()).await;
    let request = Request::get(&server.url("/"), 10, SHORT).unwrap();
    let client = client();
    let error = client.fetch(request).await.unwrap_err();
    assert_eq!(error.reason(), DoubtReason::DeadlineExceeded);
    assert!(client.heard().iter().all(|heard| !heard.answered) && client.heard().len() == 1);
}

#[tokio::test]
async fn who_gives_up_in_the_queue_here_has_heard_nothing_of_the_host() {
    let server = Server::start(|_| std::future::pending()).await;
    let url = server.url("/");
    let client = client();
    let host = parse(&url).unwrap();
    let mut slots = Vec::new();
    for _ in 0..client.config.per_host {
        slots.push(client.slot(&host).await.unwrap());
    }
    let (get, post) = (|| Request::get(&url, 10, SHORT), || Request::post(&url, "", 10, SHORT));
    for error in [
        client.fetch(get().unwrap()).await.unwrap_err(),
        client.fetch(post().unwrap()).await.unwrap_err(),
        client.tell(post().unwrap()).await.unwrap_err(),
    ] {
        assert_eq!((error.reason(), error.silent_host()), (DoubtReason::Busy, None), "{error}");
    }
    assert!(client.heard().is_empty(), "{:?}", client.heard());
    assert!(server.lines().is_empty());
    drop(slots);
}

#[tokio::test]
async fn a_queue_behind_a_redirect_is_nobodys_silence_but_a_post_that_has_left_stays_unanswered() {
    let names = Names::new(&[("a.test", &[&["127.0.0.1"]]), ("b.test", &[&["127.0.0.1"]])]);
    let server = Server::start(|asked| async move {
        let port = asked.headers["host"].to_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        answer(303, &[("location", &format!("http://b.test:{port}/"))], "")
    })
    .await;
    let client = outbound(Config { per_host: 1, ..config() }, names);
    let slot = client.slot(&parse("http://b.test/").unwrap()).await.unwrap();
    let url = format!("http://a.test:{}/", server.address.port());
    let error = client.fetch(Request::get(&url, 10, SOME).unwrap()).await.unwrap_err();
    assert_eq!((error.reason(), error.silent_host()), (DoubtReason::Busy, None));
    // It may have done what it does: nobody may take it for one that was never sent.
    let error = client.fetch(Request::post(&url, "", 10, SOME).unwrap()).await.unwrap_err();
    assert_eq!(error.reason(), DoubtReason::DeadlineExceeded);
    let heard: Vec<_> = client.heard().into_iter().map(|h| (h.host, h.answered)).collect();
    assert_eq!(heard, [("a.test".to_owned(), true)]);
    drop(slot);
}

#[tokio::test]
async fn a_redirect_within_one_host_does_not_go_back_to_the_end_of_its_queue() {
    let queued = Arc::new(tokio::sync::Notify::new());
    let heard = Arc::clone(&queued);
    let server = Server::start(move |asked| {
        let heard = Arc::clone(&heard);
        async move {
            match asked.path.as_str() {
                "/from" => {
                    heard.notified().await;
                    answer(302, &[("location", "/to")], "")
                }
                "/to" => answer(200, &[], "here"),
                _ => std::future::pending().await,
            }
        }
    })
    .await;
    let client = outbound(Config { per_host: 1, ..config() }, Arc::default());
    let (from, hangs) = (server.url("/from"), server.url("/hangs"));
    let response = tokio::select! {
        biased;
        response = get(&client, &from) => response.unwrap(),
        (answer, ()) = async { tokio::join!(get(&client, &hangs), async { queued.notify_one() }) } => {
            panic!("{answer:?}")
        }
    };
    assert_eq!(response.body, b"here");
    assert_eq!(server.lines(), ["GET /from", "GET /to"]);
}

#[tokio::test]
async fn a_body_that_drips_is_cut_at_the_deadline() {
    let server =
        Server::start(|_| async { answer(200, &[], endless(vec![b'x'], SHORT / 10)) }).await;
    let request = Request::get(&server.url("/"), 1 << 20, SOME).unwrap();
    let client = client();
    let error = client.fetch(request).await.unwrap_err();
    assert_eq!(error.reason(), DoubtReason::DeadlineExceeded);
    assert_eq!(server.lines(), ["GET /"]);
    assert!(client.heard().iter().all(|heard| heard.answered) && client.heard().len() == 1);
}

#[tokio::test]
async fn an_endless_body_is_cut_at_its_size() {
    let server =
        Server::start(|_| async { answer(200, &[], endless(vec![b'x'; 8192], Duration::ZERO)) })
            .await;
    let error = get(&client(), &server.url("/")).await.unwrap_err();
    assert_eq!(error.reason(), DoubtReason::ResponseTooLarge);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_read() {
    // The body never comes, so only the header can end this.
    let server = Server::start(|_| async {
        let body = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        answer(200, &[("content-length", "10737418240")], body)
    })
    .await;
    let error = get(&client(), &server.url("/")).await.unwrap_err();
    assert_eq!(error.reason(), DoubtReason::ResponseTooLarge);
}

#[tokio::test]
async fn a_gzip_bomb_is_cut_at_its_decompressed_size() {
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 1 << 20, "the wire form is within the cap");
    let server = Server::start(move |_| {
        let bomb = bomb.clone();
        async move { answer(200, &[("content-encoding", "gzip")], bomb) }
    })
    .await;
    let error = get(&client(), &server.url("/")).await.unwrap_err();
    assert_eq!(error.reason(), DoubtReason::ResponseTooLarge);
}

#[tokio::test]
async fn a_body_of_exactly_the_cap_is_let_through() {
    let server = Server::start(|_| async { answer(200, &[], "12345") }).await;
    for (cap, fits) in [(5, true), (4, false)] {
        let request = Request::get(&server.url("/"), cap, LONG).unwrap();
        assert_eq!(client().fetch(request).await.is_ok(), fits, "{cap}");
    }
}

#[tokio::test]
async fn redirects_are_followed_up_to_the_limit_and_a_loop_is_unclear() {
    let server = Server::start(|asked| async move {
        match asked.path.trim_start_matches('/').parse::<u32>() {
            Ok(0) => answer(200, &[], "here"),
            Ok(n) => answer(302, &[("location", &format!("/{}", n - 1))], ""),
            Err(_) => answer(307, &[("location", &asked.path)], ""),
        }
    })
    .await;
    let response = get(&client(), &server.url("/5")).await.unwrap();
    assert_eq!((response.body.as_slice(), response.final_url.path()), (b"here".as_slice(), "/0"));
    for path in ["/6", "/loop"] {
        let error = get(&client(), &server.url(path)).await.unwrap_err();
        assert_eq!(error.reason(), DoubtReason::HttpUnclear, "{path}");
    }
    assert_eq!(server.lines().len(), 6 + 6 + 6);
}

#[tokio::test]
async fn a_redirect_to_a_refused_address_is_not_followed() {
    // 127.0.0.2 has a server, so that only the guard stands between.
    let inside =
        Server::start_at([127, 0, 0, 2].into(), 0, |_| async { answer(200, &[], "secret") }).await;
    let names = Names::new(&[("inside.test", &[&["127.0.0.2"]])]);
    let port = inside.address.port();
    for target in [
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://[::ffff:169.254.169.254]/".to_owned(),
        format!("http://127.0.0.2:{port}/"),
        format!("http://2130706434:{port}/"),
        format!("http://inside.test:{port}/"),
        format!("//inside.test:{port}/"),
    ] {
        let location = target.clone();
        let server = Server::start(move |_| {
            let location = location.clone();
            async move { answer(302, &[("location", &location)], "") }
        })
        .await;
        let client = outbound(config(), Arc::clone(&names));
        let error = get(&client, &server.url("/")).await.unwrap_err();
        assert_eq!(error.reason(), DoubtReason::AddressRefused, "{target}");
        assert_eq!(server.lines().len(), 1);
    }
    assert!(inside.lines().is_empty());
}

#[tokio::test]
async fn secret_headers_stay_at_their_origin_even_when_a_redirect_leads_back() {
    let names = Names::new(&[("a.test", &[&["127.0.0.1"]]), ("b.test", &[&["127.0.0.1"]])]);
    let server = Server::start(|asked| async move {
        let port = asked.headers["host"].to_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        match asked.path.as_str() {
            "/1" => answer(307, &[("location", "/2")], ""),
            "/2" => answer(307, &[("location", &format!("http://b.test:{port}/3"))], ""),
            "/3" => answer(307, &[("location", &format!("http://a.test:{port}/4"))], ""),
            _ => answer(200, &[], ""),
        }
    })
    .await;
    let url = format!("http://a.test:{}/1", server.address.port());
    let request = Request::get(&url, 10, LONG).unwrap();
    let request = request.secret_header("X-Token", "canary").unwrap();
    let request = request.header("Authorization", "Bearer canary").unwrap();
    let request = request.header("X-Open", "yes").unwrap();
    assert!(!format!("{request:?}").contains("X-Token: canary"));
    outbound(config(), names).fetch(request).await.unwrap();
    let sent: Vec<_> = server
        .asked()
        .iter()
        .map(|asked| {
            ["x-token", "authorization", "x-open"].map(|name| asked.headers.contains_key(name))
        })
        .collect();
    assert_eq!(sent, [[true; 3], [true; 3], [false, false, true], [false, false, true]]);
}

#[tokio::test]
async fn a_name_that_changes_its_address_connects_only_where_it_was_checked() {
    let inside =
        Server::start_at([127, 0, 0, 2].into(), 0, |_| async { answer(200, &[], "secret") }).await;
    let port = inside.address.port();
    let public = Server::start_at([127, 0, 0, 1].into(), port, |_| async {
        answer(200, &[("connection", "close")], "public")
    })
    .await;
    let names = Names::new(&[
        ("rebind.test", &[&["127.0.0.1"], &["127.0.0.2"]]),
        ("both.test", &[&["127.0.0.1", "127.0.0.2"]]),
    ]);
    let client = outbound(config(), Arc::clone(&names));
    let url = format!("http://rebind.test:{port}/");
    assert_eq!(get(&client, &url).await.unwrap().body, b"public");
    assert_eq!(names.lookups("rebind.test"), 1, "what was checked is what was connected to");
    let error = get(&client, &url).await.unwrap_err();
    assert_eq!(error.reason(), DoubtReason::AddressRefused);
    let error = get(&client, &format!("http://both.test:{port}/")).await.unwrap_err();
    assert_eq!(error.reason(), DoubtReason::AddressRefused, "one bad address refuses the name");
    assert_eq!((public.lines().len(), inside.lines().len()), (1, 0));
}

#[tokio::test]
async fn localhost_in_every_spelling_is_refused_by_its_address() {
    let strict = || Config { allow_cidrs: Vec::new(), ..config() };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let system = Outbound::new(strict()).unwrap();
    // Not every system resolves these two.
    let names = Names::new(&[("localhost.", &[&["127.0.0.1"]]), ("a.localhost", &[&["::1"]])]);
    let mapped = outbound(strict(), names);
    for (client, host) in [
        (&system, "localhost"),
        (&system, "LOCALHOST"),
        (&system, "127.1"),
        (&system, "0x7f.1"),
        (&system, "[::1]"),
        (&system, "0"),
        (&*mapped, "localhost."),
        (&*mapped, "a.localhost"),
    ] {
        let error = get(client, &format!("http://{host}:9/")).await.unwrap_err();
        assert_eq!(error.reason(), DoubtReason::AddressRefused, "{host}: {error}");
    }
}

#[tokio::test]
async fn what_is_not_plain_https_is_refused_before_anything_is_sent() {
    let client = outbound(Config { allow_http: false, ..config() }, Arc::default());
    for (url, reason) in [
        ("http://127.0.0.1/", DoubtReason::AddressRefused),
        ("ftp://127.0.0.1/", DoubtReason::RuleInvalid),
        ("file:///etc/passwd", DoubtReason::RuleInvalid),
        ("https://user:canary@127.0.0.1/", DoubtReason::RuleInvalid),
        ("https://user@127.0.0.1/", DoubtReason::RuleInvalid),
    ] {
        let error = get(&client, url).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{url}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    assert!(Request::get("/relative", 1, LONG).is_err());
}

#[tokio::test]
async fn failures_to_connect_are_told_apart() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = Server::start(|_| async { answer(200, &[], "") }).await;
    let client = client();
    for (url, expected) in [
        (format!("http://{closed}/"), "accepts no connection"),
        (format!("https://{}/", plain.address), "no valid TLS"),
        ("http://gone.test/".to_owned(), "does not resolve"),
    ] {
        let error = get(&client, &url).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_service_is_reached_at_its_addresses_and_cannot_lead_out_of_the_cluster() {
    let server = Server::start(|asked| async move {
        match asked.path.as_str() {
            "/in" => answer(302, &[("location", "/here")], ""),
            "/out" => answer(302, &[("location", "http://b.test/")], ""),
            _ => answer(200, &[], "here"),
        }
    })
    .await;
    let names = Names::new(&[("b.test", &[&["127.0.0.1"]])]);
    // Loopback stands for the Service's address, so it is on the allow-list here.
    let client = outbound(Config { allow_http: false, ..config() }, Arc::clone(&names));
    let fetch = |path: &str, address: &str| {
        let url = format!("http://catalog.shop.svc:{}{path}", server.address.port());
        let request = Request::get(&url, 10, LONG).unwrap();
        let request = request.to_service(vec![address.parse().unwrap()], "catalog.shop.svc");
        let request = request.unwrap();
        client.fetch(request)
    };
    assert_eq!(fetch("/in", "127.0.0.1").await.unwrap().body, b"here");
    assert_eq!(fetch("/out", "127.0.0.1").await.unwrap_err().reason(), DoubtReason::AddressRefused);
    assert_eq!(fetch("/in", "127.0.0.2").await.unwrap_err().reason(), DoubtReason::AddressRefused);
    assert_eq!(names.lookups("catalog.shop.svc") + names.lookups("b.test"), 0);
}

#[test]
fn a_redirect_changes_the_method_as_browsers_do_and_never_carries_a_post_away() {
    let hop = |method: Method| Hop::new(method, parse("https://a.example/x").unwrap());
    for (method, status, location, expected) in [
        (Method::GET, 302, "/y", Some(Method::GET)),
        (Method::HEAD, 303, "/y", Some(Method::HEAD)),
        (Method::POST, 303, "/y", Some(Method::GET)),
        (Method::POST, 302, "https://b.example/", Some(Method::GET)),
        (Method::POST, 307, "/y", Some(Method::POST)),
        (Method::POST, 308, "https://b.example/", None),
        (Method::GET, 302, "http://a.example/", None),
        (Method::GET, 302, "ftp://a.example/", None),
        (Method::GET, 302, "javascript:alert(1)", None),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let next = hop(method.clone()).redirected(status, location).map(|hop| hop.method);
        assert_eq!(next.ok(), expected, "{method} {status} {location}");
    }
}

#[test]
fn headers_that_frame_or_route_a_request_may_not_be_set_and_secrets_are_not_shown() {
    let request = || Request::get("https://a.example/canary?canary", 1, LONG).unwrap();
    for name in ["Host", "content-length", "Transfer-Encoding", "Proxy-Authorization", "bad name"] {
        assert!(request().secret_header(name, "canary").is_err(), "{name}");
    }
    let shown = format!("{:?}", request().secret_header("X-Token", "canary").unwrap());
    assert!(shown.contains("x-token") && !shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn when_the_first_host_is_reached_again_the_others_are_not_left_alone_any_more() {
    let server = Server::start(|_| async { answer(200, &[], "") }).await;
    let client = client();
    let gone = parse("http://gone.test/").unwrap();
    let unreached = Err::<(), _>(OutboundError::Connect("http://gone.test".to_owned()));
    while client.quiet.admit(&gone).is_ok() {
        client.quiet.note(&gone, &unreached);
    }
    for host in ["http://gone.test/", "http://other.test/"] {
        client.reach.note(&parse(host).unwrap(), &unreached);
    }
    get(&client, &server.url("/")).await.unwrap();
    assert_eq!(client.quiet.admit(&gone), Ok(()), "it was us");
    while client.quiet.admit(&gone).is_ok() {
        client.quiet.note(&gone, &unreached);
    }
    get(&client, &server.url("/")).await.unwrap();
    assert_eq!(client.quiet.admit(&gone), unreached, "it is that host, since another is reached");
}
