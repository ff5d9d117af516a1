"use strict";

const element = (id) => document.getElementById(id);
const progress = element("progress");
const rows = element("rows");
const filter = element("filter");
const EVERY = 1000; // milliseconds
let latest = new AbortController();

async function part(address, signal) {
  const answer = await fetch(address, { signal });
  // Deleted by now, or signed out: the page itself says which.
  if (answer.status === 404 || answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(answer.status);
  return answer.text();
}

const stated = () => element("state").querySelector("strong").textContent;

const isOpen = () => element("state").dataset.open === "1";

// The table stays as it is while somebody reads in it.
const isRead = () => rows.contains(document.activeElement) || rows.querySelector("details[open]") !== null;

// Every second how far it is, until its end; the table now and then.
let looks = 0;
async function watch() {
  let wait = EVERY;
  try {
    const done = element("state").dataset.done;
    const html = await part(progress.dataset.from);
    const held = progress.contains(document.activeElement) ? document.activeElement.textContent : null;
    const before = stated();
    progress.innerHTML = html;
    // Not at each look: who listens wants to hear that it is done, not every row.
    if (stated() !== before) element("told").textContent = element("state").querySelector(".state").textContent;
    if (held) [...progress.querySelectorAll("a, button")].find((each) => each.textContent === held)?.focus();
    looks += 1;
    const isDue = looks % 5 === 0 || !isOpen() || rows.querySelector(".pages") === null;
    if (element("state").dataset.done !== done && isDue && (!isRead() || !isOpen())) await show(location.search, { quiet: true });
  } catch {
    wait = 5 * EVERY; // a server that is being started anew comes back
  }
  if (isOpen()) setTimeout(watch, wait);
}

async function show(query, { quiet = false } = {}) {
  latest.abort();
  latest = new AbortController();
  const { signal } = latest;
  try {
    const html = await part(rows.dataset.from + query, signal);
    rows.innerHTML = html;
    if (!quiet) history.replaceState(null, "", location.pathname + query);
  } catch (error) {
    if (!signal.aborted && !quiet) location.search = query;
  }
}

function asked() {
  const wanted = [...new FormData(filter)].filter(([name, value]) => value !== "" && !(name === "sort" && value === "n"));
  const query = new URLSearchParams(wanted).toString();
  return query ? `?${query}` : "";
}

filter.addEventListener("submit", (event) => {
  event.preventDefault();
  show(asked());
});
filter.addEventListener("change", () => show(asked()));

let typed;
filter.elements.search.addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => show(asked()), 250);
});

// Links that sort and turn pages.
rows.addEventListener("click", async (event) => {
  const link = event.target.closest("th a, .pages a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const wanted = new URL(link.href).searchParams;
  for (const name of ["sort", "descending"]) {
    filter.elements[name].value = wanted.get(name) ?? (name === "sort" ? "n" : "");
  }
  await show(new URL(link.href).search);
  rows.querySelector(".scroll").focus({ preventScroll: true });
  if (link.rel) element("answers").scrollIntoView();
});

if (isOpen()) setTimeout(watch, EVERY);
