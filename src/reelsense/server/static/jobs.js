"use strict";

const element = (id) => document.getElementById(id);
const form = element("form");
const GLANCE = 1024 * 1024; // of the file is sent for a preview
const RECENT = "reelsense.jobs";
const MOST = 20; // are remembered
let file;

function tell(problem) {
  element("problem").textContent = problem;
  element("problem").hidden = problem === "";
}

function refusal(status, problem) {
  if (status === 401) return "You are no longer signed in. Sign in again: load this page anew.";
  return problem?.errors?.[0].detail ?? problem?.detail ?? `The server did not understand (${status}).`;
}

function cell(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

function choose(column) {
  const place = [...element("preview").querySelectorAll("th input")].findIndex((input) => input.checked);
  for (const row of element("preview").querySelectorAll("tr")) {
    [...row.cells].forEach((each, n) => each.classList.toggle("chosen", n === place));
  }
  element("send").textContent = file.name.toLowerCase().endsWith(".txt") ? "Score it" : `Score \u201c${column}\u201d`;
}

function header(column, suggested) {
  const made = document.createElement("th");
  made.scope = "col";
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name: "preview-column", value: column, checked: column === suggested });
  input.addEventListener("change", () => choose(column));
  label.append(input, column);
  made.append(label);
  return made;
}

async function glance() {
  const taken = file;
  const query = new URLSearchParams({ name: file.name, cut: file.size > GLANCE });
  const answer = await fetch(`${form.dataset.preview}?${query}`, { method: "POST", body: file.slice(0, GLANCE) });
  if (!answer.ok) throw new Error(refusal(answer.status, await answer.json().catch(() => null)));
  const { columns, rows, suggested, undecoded } = await answer.json();
  if (file !== taken) return; // another one was chosen meanwhile
  const head = document.createElement("tr");
  head.append(...columns.map((column) => header(column, suggested)));
  element("preview").querySelector("thead").replaceChildren(head);
  element("preview").querySelector("tbody").replaceChildren(...rows.map((row) => {
    const made = document.createElement("tr");
    made.append(...row.map((value) => cell("td", value)));
    return made;
  }));
  choose(suggested);
  element("undecoded").hidden = undecoded === 0;
  element("preview").hidden = false;
  element("glance").textContent = columns.length > 1 ? "Which column holds the reviews?" : "Is this it?";
  element("send").focus();
}

// Said before anything is sent; empty: the server takes it. Rounded up, as the limit is down.
function tooLarge({ name, size }) {
  if (size <= Number(form.dataset.most)) return "";
  const megabytes = Math.ceil(size / 104857.6) / 10;
  return `${name} is ${megabytes} MB; this server takes up to ${form.dataset.size}. Split it, or use reelsense predict --input.`;
}

async function take(chosen) {
  if (!chosen || !element("sending").hidden) return;
  file = chosen;
  tell(tooLarge(chosen));
  element("preview").hidden = true;
  if (!element("problem").hidden) return;
  try {
    await glance();
  } catch (error) {
    if (file !== chosen) return;
    tell(error instanceof TypeError ? "The server cannot be reached." : error.message);
  }
}

// XMLHttpRequest, because fetch does not tell how much is sent.
function send() {
  const column = element("preview").querySelector("th input:checked").value;
  const query = new URLSearchParams({ name: file.name, column });
  const risk = element("risk")?.value;
  if (risk) query.set("risk", risk);
  const request = new XMLHttpRequest();
  request.open("POST", `${form.dataset.send}?${query}`);
  request.responseType = "json";
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    element("bar").value = loaded / total;
    element("sent").textContent = loaded < total ? `${Math.floor((100 * loaded) / total)} %` : "all of it; it is being read";
  });
  request.addEventListener("load", () => {
    if (request.status === 202) {
      remember([request.response.id, ...remembered()]);
      location.assign(form.dataset.job + request.response.id);
    } else {
      fail(refusal(request.status, request.response));
    }
  });
  request.addEventListener("error", () => fail("The server cannot be reached."));
  element("send").disabled = element("other").disabled = true;
  element("sending").hidden = false;
  request.send(file);
}

function fail(problem) {
  element("send").disabled = element("other").disabled = false;
  element("sending").hidden = true;
  tell(problem);
}

// The ids alone: what a file is called is none of the business of who sits here next.
function remembered() {
  try {
    return JSON.parse(localStorage.getItem(RECENT) ?? "[]").filter((each) => typeof each === "string");
  } catch {
    return []; // somebody else's, or none are allowed
  }
}

function remember(ids) {
  try {
    localStorage.setItem(RECENT, JSON.stringify(ids.slice(0, MOST)));
  } catch { /* then the link alone is the way back */ }
}

// The server says which of them there are still; the others are forgotten.
async function list() {
  const asked = remembered();
  if (asked.length === 0) return;
  const answer = await fetch(`${form.dataset.recent}?${new URLSearchParams(asked.map((id) => ["id", id]))}`);
  if (!answer.ok) return;
  const items = element("recent").querySelector("ul");
  items.innerHTML = await answer.text();
  const found = [...items.children].map((each) => each.dataset.id);
  remember(remembered().filter((id) => found.includes(id) || !asked.includes(id)));
  element("recent").hidden = found.length === 0;
}

function forget() {
  remember([]);
  element("recent").hidden = true;
}

element("file").addEventListener("change", () => take(element("file").files[0]));
element("file").addEventListener("click", () => { element("file").value = ""; }); // the same once more
element("send").addEventListener("click", send);
element("forget").addEventListener("click", forget);
element("other").addEventListener("click", () => element("file").click());
form.addEventListener("submit", (event) => event.preventDefault());
for (const name of ["dragover", "dragleave", "drop"]) {
  element("drop").addEventListener(name, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") take(event.dataTransfer.files[0]);
  });
}
list().catch(() => {}); // a server that cannot be reached is told of when a file is chosen
