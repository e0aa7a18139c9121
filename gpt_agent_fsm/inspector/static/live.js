// Keeps a page up to date: when threads have changed, it fetches their parts of the page and replaces these parts.
// All pages work without it.
"use strict";
(() => {
  const REFRESH = 30_000; // milliseconds between two updates of the ages
  const main = document.getElementById("main");
  const announcer = document.getElementById("announcer");
  const link = document.getElementById("link");
  const changed = new Set();
  const others = new Set();
  let stream = null;
  let busy = false;

  const parse = async (answer) => new DOMParser().parseFromString(await answer.text(), "text/html");
  const partOf = (name) => main.querySelector(`[data-part="${CSS.escape(name)}"]`);

  function tell(state) {
    link.hidden = false;
    link.textContent = state;
  }

  // Replaces the parts of the page that differ. Open details stay open, and the focus stays where it was.
  function show(fresh) {
    const open = [...main.querySelectorAll("details[open]")].map((each) => each.id);
    const focused = document.activeElement;
    const news = [];
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const old = partOf(part.dataset.part);
      const written = part.outerHTML;
      if (!old || written === (old.written ?? old.outerHTML)) continue;
      if (old.dataset.state !== part.dataset.state) {
        news.push(`${part.dataset.name}: ${part.dataset.state}`);
        part.classList.add("fresh");
      }
      old.replaceWith(part);
      part.written = written;
    }
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focused?.id && !focused.isConnected) document.getElementById(focused.id)?.focus();
    if (news.length) announcer.textContent = news.length > 3 ? `${news.length} threads have changed` : news.join(", ");
  }

  // Returns the address of the changed parts; null if no changed thread is on this page.
  function address() {
    if (main.dataset.refresh) return main.dataset.refresh;
    const query = new URLSearchParams();
    for (const id of changed) {
      if (partOf(id)) query.append("id", id);
      else others.add(id);
    }
    return query.size ? `${main.dataset.rows}?${query}` : null;
  }

  function showOthers() {
    const note = document.getElementById("others");
    if (!note || !others.size) return;
    note.hidden = false;
    note.firstElementChild.textContent =
      others.size === 1 ? "Another thread has changed." : `${others.size.toLocaleString("en")} other threads have changed.`;
  }

  async function update() {
    if (busy || document.hidden || !changed.size) return;
    busy = true;
    let pause = 1;
    const url = address();
    changed.clear();
    showOthers();
    try {
      if (url) {
        const answer = await fetch(url);
        // The server asks for a longer pause if the answer was expensive.
        pause = Number(answer.headers.get("Inspector-Pause")) || 1;
        if (answer.ok) show(await parse(answer));
      }
    } catch {
      tell("not connected"); // the stream connects again by itself, and then everything is updated
    }
    setTimeout(() => {
      busy = false;
      update();
    }, 1000 * pause);
  }

  function updateAll() {
    if (main.dataset.refresh) changed.add("");
    for (const row of main.querySelectorAll("tr[data-part]")) changed.add(row.dataset.part);
    update();
  }

  // A page that nobody sees costs nothing.
  function watch() {
    stream?.close();
    stream = null;
    if (document.hidden) return;
    stream = new EventSource(main.dataset.events);
    stream.addEventListener("open", () => {
      tell("live");
      updateAll();
    });
    stream.addEventListener("error", () => {
      tell("not connected");
      // After a connection that broke off, the browser connects again by itself, but not after an HTTP error.
      if (stream?.readyState === EventSource.CLOSED) setTimeout(watch, 5000);
    });
    stream.addEventListener("changed", (event) => {
      for (const id of JSON.parse(event.data).threads) changed.add(id);
      update();
    });
  }

  // Presses a button without leaving the page, so that the token need not be typed again.
  async function press(event) {
    const form = event.target;
    if (form.method !== "post" || !event.submitter) return;
    event.preventDefault();
    try {
      const body = new URLSearchParams(new FormData(form, event.submitter));
      show(await parse(await fetch(event.submitter.formAction, { method: "post", body })));
      announcer.textContent = partOf("message").textContent.trim();
    } catch {
      announcer.textContent = "The server does not answer.";
      tell("not connected");
    }
  }

  document.addEventListener("submit", press);
  if (main.dataset.events) {
    document.addEventListener("visibilitychange", watch);
    setInterval(updateAll, REFRESH);
    watch();
  }
})();
