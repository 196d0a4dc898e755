// Keeps the page as of now: what has changed on the server is asked for again as the same page, and its
// <main> takes the place of this one. Without this script the page is as of when it was loaded.
(() => {
  "use strict";
  const EVENTS = ["healing_start", "healing_progress", "healing_complete", "healing_failed",
    "processing_delay", "resync"];
  const AT_MOST_EVERY = 1000, AGES_EVERY = 60000, AGAIN_AFTER = 10000;
  // Who looks at the same time does not ask at the same time.
  const SPREAD = 500;
  const sign = document.getElementById("live");
  const news = document.getElementById("news");
  if (!sign || !window.EventSource) return;

  const say = (state, words) => {
    sign.dataset.live = state;
    sign.querySelector("use").setAttribute("href", { on: "#good", off: "#quiet", lost: "#warn" }[state]);
    sign.querySelector(".says").textContent = words;
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

  let last = 0, timer = 0, asking = false, asked = false;
  const refresh = async () => {
    timer = 0;
    if (asking) { asked = true; return; }
    asking = true;
    last = Date.now();
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", cache: "no-store" });
      if (answer.redirected || answer.status === 401) { location.reload(); return; }
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = document.getElementById("main");
      if (isInUse(main)) {
        news.textContent = "This page has changed; it is shown when the form is sent or left.";
        say("on", "Live; news waits for the form");
      } else {
        swap(page.getElementById("main"));
        say("on", "Live");
      }
    } catch (_) {
      say("lost", "Not live: no answer");
    } finally {
      asking = false;
      if (asked) { asked = false; soon(); }
    }
  };
  const soon = () => {
    if (!timer) timer = setTimeout(refresh, Math.max(0, last + AT_MOST_EVERY - Date.now()) + Math.random() * SPREAD);
  };

  const listen = () => {
    const stream = new EventSource("/api/v1/stream");
    // What happened since this page was written was told before anybody listened.
    stream.onopen = () => { say("on", "Live"); soon(); };
    stream.onerror = () => {
      say("lost", "Not live: reconnecting");
      if (stream.readyState === EventSource.CLOSED) setTimeout(() => { soon(); listen(); }, AGAIN_AFTER);
    };
    EVENTS.forEach((name) => stream.addEventListener(name, soon));
  };
  listen();
  setInterval(() => { if (sign.dataset.live === "on" && !document.hidden) soon(); }, AGES_EVERY);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && last) soon(); });
})();
