//! What real servers on loopback are asked, and what is made of their answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};

use super::{
    super::{Config, Request as Fetch, testing::*},
    *,
};
use crate::domain::DoubtReason;

const NOW: Want = Want { length: false, max_age: Duration::ZERO };
const SIZED: Want = Want { length: true, max_age: Duration::ZERO };
const REUSE: Want = Want { length: false, max_age: Duration::from_secs(3600) };

fn prober() -> Prober {
    prober_with(config())
}

fn prober_with(config: Config) -> Prober {
    Prober::new(outbound(config, Arc::default()))
}

fn answered(probe: Probe) -> Answer {
    match probe {
        Probe::Answered(answer) => answer,
        failed @ Probe::Failed { .. } => panic!("{failed:?}"),
    }
}

fn failed(probe: Probe) -> DoubtReason {
    match probe {
        Probe::Failed { reason, .. } => reason,
        answered @ Probe::Answered(_) => panic!("{answered:?}"),
    }
}

#[tokio::test]
async fn an_asset_is_seen_by_one_head_with_type_and_size() {
    let server = Server::start(|_| async {
        answer(200, &[("content-type", "Image/PNG; x=y"), ("content-length", "1234")], "")
    })
    .await;
    let answer = answered(prober().probe(&server.url("/a.png"), SIZED).await);
    assert_eq!((answer.status, answer.length), (200, Some(1234)));
    assert_eq!(answer.content_type.as_deref(), Some("image/png"));
    assert_eq!(server.lines(), ["HEAD /a.png"]);
}

#[tokio::test]
async fn what_a_head_does_not_find_or_may_not_ask_a_get_decides() {
    for head in [403, 404, 405, 500, 501] {
        for get in [206, 404] {
            let server = Server::start(move |asked| async move {
                if asked.method == Method::HEAD {
                    return answer(head, &[], "");
                }
                assert_eq!(asked.headers["range"], "bytes=0-0");
                answer(get, &[("content-range", "bytes 0-0/77"), ("content-type", "a/b")], "x")
            })
            .await;
            let answer = answered(prober().probe(&server.url("/"), NOW).await);
            assert_eq!(answer.status, get, "after {head}");
            assert_eq!(answer.length, Some(if get == 206 { 77 } else { 1 }));
            assert_eq!(server.lines(), ["HEAD /", "GET /"], "after {head}");
        }
    }
}

#[tokio::test]
async fn a_busy_or_broken_host_is_not_asked_twice() {
    for status in [429, 502, 503, 504] {
        let server = Server::start(move |_| async move { answer(status, &[], "") }).await;
        assert_eq!(answered(prober().probe(&server.url("/"), SIZED).await).status, status);
        assert_eq!(server.lines(), ["HEAD /"]);
    }
}

#[tokio::test]
async fn a_size_that_a_head_does_not_tell_is_asked_for_only_where_it_is_wanted() {
    let server = Server::start(|asked| async move {
        if asked.method == Method::GET {
            return answer(206, &[("content-range", "bytes 0-0/9")], "x");
        }
        answer(200, &[], endless(vec![b'x'], Duration::ZERO))
    })
    .await;
    let prober = prober();
    assert_eq!(answered(prober.probe(&server.url("/"), NOW).await).length, None);
    assert_eq!(server.lines(), ["HEAD /"]);
    assert_eq!(answered(prober.probe(&server.url("/"), SIZED).await).length, Some(9));
    assert_eq!(server.lines(), ["HEAD /", "HEAD /", "GET /"]);
}

#[tokio::test]
async fn a_get_whose_body_never_ends_is_an_answer_all_the_same() {
    let server = Server::start(|asked| async move {
        match asked.method {
            Method::HEAD => answer(405, &[], ""),
            _ if asked.path == "/ranged" => {
                let headers = [("content-range", "bytes 0-0/9")];
                answer(206, &headers, endless(vec![b'x'; 512], Duration::ZERO))
            }
            _ => answer(200, &[], endless(vec![b'x'; 512], Duration::ZERO)),
        }
    })
    .await;
    let prober = prober();
    assert_eq!(answered(prober.probe(&server.url("/ranged"), NOW).await).status, 206);
    assert_eq!(answered(prober.probe(&server.url("/whole"), NOW).await).status, 200);
}

#[tokio::test]
async fn a_hanging_host_fails_at_the_deadline_and_a_busy_queue_says_so() {
    let server = Server::start(|_| std::future::pending()).await;
    let config = Config {
        probe_deadline: Duration::from_millis(300),
        queue_timeout: Duration::from_millis(100),
        per_host: 1,
        ..config()
    };
    let prober = prober_with(config);
    let (first, second) = (server.url("/1"), server.url("/2"));
    let (first, second) = tokio::join!(prober.probe(&first, NOW), prober.probe(&second, NOW));
    assert_eq!(failed(first), DoubtReason::DeadlineExceeded);
    assert_eq!(failed(second), DoubtReason::Busy);
    assert_eq!(server.lines(), ["HEAD /1"]);
}

#[tokio::test]
async fn a_queue_between_a_head_and_its_get_is_no_silence_of_the_host() {
    let queued = Arc::new(Notify::new());
    let heard = Arc::clone(&queued);
    let server = Server::start(move |asked| {
        let heard = Arc::clone(&heard);
        async move {
            if asked.path == "/hangs" {
                std::future::pending::<()>().await;
            }
            heard.notified().await;
            answer(403, &[], "")
        }
    })
    .await;
    let config = Config { probe_deadline: Duration::from_secs(1), per_host: 1, ..config() };
    let client = outbound(config, Arc::default());
    let prober = Prober::new(Arc::clone(&client));
    let (asset, hangs) = (server.url("/a"), server.url("/hangs"));
    let other = Fetch::get(&hangs, 10, Duration::from_secs(20)).unwrap();
    let probe = tokio::select! {
        biased;
        probe = prober.probe(&asset, NOW) => probe,
        (answer, ()) = async { tokio::join!(client.fetch(other), async { queued.notify_one() }) } => {
            panic!("{answer:?}")
        }
    };
    assert_eq!(failed(probe), DoubtReason::Busy);
    assert_eq!(server.lines(), ["HEAD /a", "GET /hangs"]);
    assert!(client.heard().iter().all(|heard| heard.answered), "{:?}", client.heard());
}

#[tokio::test]
async fn redirects_are_followed_and_judged_at_every_hop() {
    let server = Server::start(|asked| async move {
        match asked.path.as_str() {
            "/moved" => answer(301, &[("location", "/here")], ""),
            "/here" => answer(200, &[], ""),
            "/loop" => answer(302, &[("location", "/loop")], ""),
            _ => answer(302, &[("location", "http://169.254.169.254/latest")], ""),
        }
    })
    .await;
    let prober = prober();
    assert_eq!(answered(prober.probe(&server.url("/moved"), NOW).await).status, 200);
    assert_eq!(failed(prober.probe(&server.url("/loop"), NOW).await), DoubtReason::HttpUnclear);
    assert_eq!(failed(prober.probe(&server.url("/evil"), NOW).await), DoubtReason::AddressRefused);
}

#[tokio::test]
async fn an_unchanged_asset_is_confirmed_by_its_etag_and_seen_as_before() {
    let server = Server::start(|asked| async move {
        let headers = [
            ("etag", "\"v1\""),
            ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
            ("content-type", "image/png"),
            ("content-length", "5"),
        ];
        let known = asked.headers.get("if-none-match").is_some_and(|etag| etag == "\"v1\"");
        if known { answer(304, &[], "") } else { answer(200, &headers, "") }
    })
    .await;
    let prober = prober();
    let first = answered(prober.probe(&server.url("/"), SIZED).await);
    let second = answered(prober.probe(&server.url("/"), SIZED).await);
    assert_eq!((first.status, first.length), (200, Some(5)));
    assert_eq!(first, second);
    let asked = server.asked();
    assert_eq!(server.lines(), ["HEAD /", "HEAD /"]);
    assert!(!asked[0].headers.contains_key("if-none-match"));
    assert_eq!(asked[1].headers["if-none-match"], "\"v1\"");
    assert_eq!(asked[1].headers["if-modified-since"], "Wed, 21 Oct 2015 07:28:00 GMT");
}

#[tokio::test]
async fn what_was_seen_before_a_host_failed_may_still_be_confirmed_after() {
    let failing = Arc::new(AtomicUsize::new(0));
    let state = Arc::clone(&failing);
    let server = Server::start(move |asked| {
        let failing = state.load(Ordering::SeqCst) == 1;
        async move {
            match asked.headers.contains_key("if-none-match") {
                _ if failing => answer(503, &[], ""),
                true => answer(304, &[], ""),
                false => answer(200, &[("etag", "\"v1\""), ("content-length", "5")], ""),
            }
        }
    })
    .await;
    let prober = prober();
    let mut seen = Vec::new();
    for failing_now in [0, 1, 0] {
        failing.store(failing_now, Ordering::SeqCst);
        let answer = answered(prober.probe(&server.url("/"), NOW).await);
        seen.push((answer.status, answer.length));
    }
    assert_eq!(seen, [(200, Some(5)), (503, Some(0)), (200, Some(5))]);
    assert_eq!(server.asked()[2].headers["if-none-match"], "\"v1\"");
}

#[tokio::test]
async fn a_good_answer_cannot_ask_to_be_believed_for_longer() {
    let server = Server::start(|_| async { answer(200, &[("retry-after", "600")], "") }).await;
    let prober = prober();
    for _ in 0..2 {
        prober.probe(&server.url("/"), NOW).await;
    }
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn a_304_that_confirms_nothing_is_told_as_it_is() {
    let server = Server::start(|_| async { answer(304, &[], "") }).await;
    assert_eq!(answered(prober().probe(&server.url("/"), NOW).await).status, 304);
}

#[tokio::test]
async fn an_older_look_is_reused_where_that_will_do_and_failures_are_too() {
    let server = Server::start(|_| async { answer(200, &[], "") }).await;
    let prober = prober();
    for _ in 0..3 {
        prober.probe(&server.url("/"), REUSE).await;
    }
    assert_eq!(server.lines().len(), 1);
    prober.probe(&server.url("/"), NOW).await;
    assert_eq!(server.lines().len(), 2);
    let refused = "http://10.0.0.1/";
    assert_eq!(failed(prober.probe(refused, REUSE).await), DoubtReason::AddressRefused);
    assert_eq!(failed(prober.probe(refused, REUSE).await), DoubtReason::AddressRefused);
}

#[tokio::test]
async fn a_host_that_asks_to_wait_is_left_alone() {
    let server = Server::start(|_| async { answer(429, &[("retry-after", "600")], "") }).await;
    let prober = prober();
    let first = answered(prober.probe(&server.url("/"), NOW).await);
    let second = answered(prober.probe(&server.url("/"), NOW).await);
    assert_eq!((first.status, first.retry_after), (429, Some(Span::secs(600))));
    assert!(second.retry_after.is_some_and(|wait| wait <= Span::secs(600) && wait > Span::ZERO));
    assert_eq!(server.lines(), ["HEAD /"]);
    prober.probe(&server.url("/other"), NOW).await;
    assert_eq!(server.lines().len(), 2, "another URL of the host is still asked for");
}

#[tokio::test]
async fn all_who_ask_for_one_url_share_one_look() {
    let go = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go);
    let server = Server::start(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            answer(200, &[], "")
        }
    })
    .await;
    let prober = prober();
    let url = server.url("/");
    let all = futures::future::join_all((0..50).map(|_| prober.probe(&url, NOW)));
    let release = async {
        while server.lines().is_empty() {
            tokio::task::yield_now().await;
        }
        go.add_permits(50);
    };
    let (all, ()) = tokio::join!(all, release);
    assert!(all.into_iter().all(|probe| answered(probe).status == 200));
    assert_eq!(server.lines(), ["HEAD /"]);
}

#[tokio::test]
async fn a_look_goes_on_when_the_one_who_started_it_gives_up() {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let server = Server::start(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            answer(200, &[], "")
        }
    })
    .await;
    let prober = prober();
    let url = server.url("/");
    let first = tokio::spawn({
        let (prober, url) = (prober.clone(), url.clone());
        async move { prober.probe(&url, NOW).await }
    });
    while server.lines().is_empty() {
        tokio::task::yield_now().await;
    }
    let second = tokio::spawn({
        let (prober, url) = (prober.clone(), url.clone());
        async move { prober.probe(&url, NOW).await }
    });
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    go.notify_one();
    assert_eq!(answered(second.await.unwrap()).status, 200);
    assert_eq!(server.lines(), ["HEAD /"]);
}

#[tokio::test]
async fn a_host_never_gets_more_than_four_requests_at_once() {
    let (now, most, arrived) = (AtomicUsize::new(0), AtomicUsize::new(0), Semaphore::new(0));
    let state = Arc::new((now, most, arrived));
    let seen = Arc::clone(&state);
    let server = Server::start(move |_| {
        let state = Arc::clone(&seen);
        async move {
            let (now, most, arrived) = &*state;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Each waits for four to have come, so a lower limit would hang and a higher one show.
            arrived.add_permits(1);
            let all = arrived.acquire_many(4).await.unwrap();
            drop(all);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            answer(200, &[], "")
        }
    })
    .await;
    let prober = prober();
    let urls: Vec<_> = (0..40).map(|i| server.url(&format!("/{i}"))).collect();
    futures::future::join_all(urls.iter().map(|url| prober.probe(url, NOW))).await;
    assert_eq!(server.lines().len(), 40);
    assert_eq!(state.1.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn what_is_remembered_stays_within_its_bound() {
    let server = Server::start(|_| async { answer(200, &[("etag", "\"x\"")], "") }).await;
    let prober = prober_with(Config { remember_bytes: 10_000, ..config() });
    for i in 0..200 {
        prober.probe(&server.url(&format!("/{i}")), NOW).await;
    }
    prober.seen.run_pending_tasks();
    assert!(prober.seen.weighted_size() <= 10_000 && prober.seen.entry_count() > 0);
    assert!(prober.under_way.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_thousand_assets_of_a_server_that_is_gone_cost_it_a_few_looks() {
    let names = Names::new(&[]);
    let prober = Prober::new(outbound(config(), Arc::clone(&names)));
    let urls: Vec<String> = (0..1_000).map(|nth| format!("http://gone.test/{nth}.png")).collect();
    let looks = urls.iter().map(|url| prober.probe(url, NOW));
    for probe in futures::future::join_all(looks).await {
        let Probe::Failed { reason, host, .. } = probe else { panic!("{probe:?}") };
        assert_eq!((reason, host.as_deref()), (DoubtReason::DnsFailed, Some("gone.test")));
    }
    // Those that were under way when the fifth had failed come on top.
    assert!(names.lookups("gone.test") < 10, "{}", names.lookups("gone.test"));
}
