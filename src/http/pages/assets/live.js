// Keeps the page as of now: what has changed on the server is asked for again as the same page, and its
// <main> takes the place of this one. Without this script the page is as of when it was loaded.
(() => {
  "use strict";
  const EVENTS = ["healing_start", "healing_progress", "healing_complete", "healing_failed",
    "processing_delay", "resync"];
  const AT_MOST_EVERY = 1000, AGES_EVERY = 60000, POLLED_EVERY = 10000;
  const AGAIN_FIRST = 5000, AGAIN_LAST = 60000, PATIENCE = 35000;
  // Who looks at the same time does not ask at the same time.
  const SPREAD = 500;
  const sign = document.getElementById("live");
  const news = document.getElementById("news");
  if (!sign || !window.EventSource) return;

  // What is known of the stream ("off", "on", "lost" while it reconnects, "poll" where it is refused), why this
  // page is not as of now, and whether it waits for somebody who writes.
  let told = "off", trouble = "", waits = false;
  const WORDS = { on: "Live", poll: `Not live: every ${POLLED_EVERY / 1000} s`, lost: "Not live: reconnecting", off: "Paused" };
  const SHAPES = { on: "#good", poll: "#quiet", lost: "#warn", off: "#quiet" };
  const say = () => {
    const state = trouble ? "lost" : told;
    sign.dataset.live = state;
    sign.querySelector("use").setAttribute("href", SHAPES[state]);
    const words = trouble ? `Not live: ${trouble}` : WORDS[state];
    sign.querySelector(".says").textContent = words + (waits ? "; news waits for the form" : "");
  };

  // Somebody who writes, or is about to press a button, keeps what he looks at.
  const isInUse = (main) => {
    const active = document.activeElement;
    const changed = (field) => field.value !== field.defaultValue && field.type !== "hidden";
    return (main.contains(active) && active.closest("form")) ||
      [...main.querySelectorAll("input, textarea")].some(changed);
  };

  const path = (element, root) => {
    const steps = [];
    for (let at = element; at && at !== root; at = at.parentElement) {
      steps.unshift([...at.parentElement.children].indexOf(at));
    }
    return steps;
  };
  const follow = (steps, root) => steps.reduce((at, step) => at && at.children[step], root);

  const swap = (fresh) => {
    const main = document.getElementById("main");
    const active = main.contains(document.activeElement) ? document.activeElement : null;
    const key = active && (active.id || active.getAttribute("href"));
    const steps = active && path(active, main);
    const open = [...main.querySelectorAll("details[open]")].map((one) => path(one, main));
    main.replaceChildren(...fresh.childNodes);
    open.forEach((steps) => {
      const one = follow(steps, main);
      if (one && one.tagName === "DETAILS") one.open = true;
    });
    if (active) {
      const same = [...main.querySelectorAll("a, button, summary, [tabindex]")]
        .find((one) => key && (one.id || one.getAttribute("href")) === key);
      (same || follow(steps, main) || main).focus({ preventScroll: true });
    }
    if (fresh.dataset.news && fresh.dataset.news !== main.dataset.news) {
      main.dataset.news = fresh.dataset.news;
      news.textContent = fresh.dataset.news;
    }
  };

  // An answer that says why the page is not there any more takes its place as the page would: what somebody
  // may not see, or is not so, must not go on looking as of now.
  const REASONS = { 403: "you may no longer see this", 404: "this is gone", 429: "too much is asked for" };
  const shown = async (answer) => {
    const reason = answer.ok ? "" : REASONS[answer.status] || "no answer";
    const isFinal = answer.status === 403 || answer.status === 404;
    if (answer.ok || isFinal) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("main");
      waits = answer.ok && isInUse(document.getElementById("main"));
      if (waits) {
        news.textContent = "This page has changed; it is shown when the form is sent or left.";
      } else if (fresh) {
        swap(fresh);
      }
      if (isFinal && trouble !== reason) news.textContent = `Not live: ${reason}`;
    }
    return reason;
  };

  let stream = null, last = 0, timer = 0, due = 0, asking = false, asked = false, failures = 0;
  const refresh = async () => {
    timer = 0;
    if (asking) { asked = true; return; }
    asking = true;
    last = Date.now();
    if (told === "poll") listen();
    try {
      const answer = await fetch(location.href,
        { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (answer.redirected || answer.status === 401) { location.reload(); return; }
      trouble = await shown(answer);
    } catch (_) {
      trouble = "no answer";
    }
    if (trouble) waits = false;
    failures = trouble ? failures + 1 : 0;
    asking = false;
    if (document.hidden) return;
    say();
    if (asked && !failures) soon();
    asked = false;
    after(failures ? Math.min(AGAIN_LAST, AGAIN_FIRST * 2 ** (failures - 1))
      : told === "poll" ? POLLED_EVERY : AGES_EVERY);
  };
  // The earliest of what was planned stays.
  const after = (wait) => {
    if (timer && due <= Date.now() + wait) return;
    clearTimeout(timer);
    due = Date.now() + wait;
    timer = setTimeout(refresh, wait);
  };
  const soon = () => after(Math.max(0, last + AT_MOST_EVERY - Date.now()) + Math.random() * SPREAD);
  // What happens elsewhere is no reason to ask a server that does not answer more often.
  const happened = () => { if (!failures) soon(); };

  // Who may look into one namespace only may not be told of all.
  const only = () => new URLSearchParams(location.search).get("namespace") ||
    (location.pathname.match(/^\/namespaces\/([^/]+)\//) || [])[1];
  const listen = () => {
    if (stream || document.hidden) return;
    const at = only();
    const opened = stream = new EventSource("/api/v1/stream" + (at ? `?namespace=${encodeURIComponent(at)}` : ""));
    // What happened since this page was written was told before anybody listened.
    opened.onopen = () => { told = "on"; failures = 0; say(); soon(); };
    opened.onerror = () => {
      const before = told;
      told = "lost";
      if (opened.readyState === EventSource.CLOSED) {
        stream = null;
        told = "poll";
        if (before === "poll") after(POLLED_EVERY); else happened();
      }
      say();
    };
    EVENTS.forEach((name) => opened.addEventListener(name, happened));
  };

  // A browser has six connections for all tabs together: those that nobody sees leave them to the others.
  const rest = () => {
    if (stream) stream.close();
    stream = null;
    clearTimeout(timer);
    timer = 0;
    told = "off";
    say();
  };
  const wake = () => {
    if (document.hidden || stream) return;
    failures = 0;
    soon();
    listen();
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : wake()));
  window.addEventListener("pagehide", rest);
  // One that comes back out of the browser's history.
  window.addEventListener("pageshow", (event) => { if (event.persisted) wake(); });
  listen();
})();
