"use strict";

const element = (id) => document.getElementById(id);
const form = element("form");
const PREVIEW_BYTES = 1024 * 1024;
const RECENT = "reelsense.jobs"; // key in localStorage
const MAX_RECENT = 20;
let file;

function showProblem(problem) {
  element("problem").textContent = problem;
  element("problem").hidden = problem === "";
}

function errorText(status, problem) {
  if (status === 401) return "Your session has ended. Reload the page and sign in again.";
  return problem?.errors?.[0].detail ?? problem?.detail ?? `The server sent an unexpected response (${status}).`;
}

function create(tag, text = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  return node;
}

function selectColumn(column) {
  const index = [...element("preview").querySelectorAll("th input")].findIndex((input) => input.checked);
  for (const row of element("preview").querySelectorAll("tr")) {
    [...row.cells].forEach((cell, n) => cell.classList.toggle("chosen", n === index));
  }
  element("send").textContent = file.name.toLowerCase().endsWith(".txt") ? "Analyse file" : `Analyse column \u201c${column}\u201d`;
}

function header(column, suggested) {
  const node = create("th");
  node.scope = "col";
  const label = create("label");
  const input = create("input");
  Object.assign(input, { type: "radio", name: "preview-column", value: column, checked: column === suggested });
  input.addEventListener("change", () => selectColumn(column));
  label.append(input, column);
  node.append(label);
  return node;
}

async function preview() {
  const previewed = file;
  const bytes = file.name.toLowerCase().endsWith(".xlsx") ? file.size : PREVIEW_BYTES; // a part of it cannot be read
  const query = new URLSearchParams({ name: file.name, cut: file.size > bytes });
  const response = await fetch(`${form.dataset.preview}?${query}`, { method: "POST", body: file.slice(0, bytes) });
  if (!response.ok) throw new Error(errorText(response.status, await response.json().catch(() => null)));
  const { columns, rows, suggested, undecoded, dialect, warning } = await response.json();
  if (file !== previewed) return; // the user has selected another file meanwhile
  const head = create("tr");
  head.append(...columns.map((column) => header(column, suggested)));
  element("preview").querySelector("thead").replaceChildren(head);
  element("preview").querySelector("tbody").replaceChildren(...rows.map((row) => {
    const node = create("tr");
    node.append(...row.map((value) => create("td", value)));
    return node;
  }));
  selectColumn(suggested);
  element("undecoded").hidden = undecoded === 0;
  const detected = [dialect, warning].filter(Boolean).join("; ");
  element("dialect").textContent = detected.charAt(0).toUpperCase() + detected.slice(1);
  element("preview").hidden = false;
  element("preview-title").textContent = columns.length > 1 ? element("preview-title").dataset.question : "Preview";
  element("send").focus();
}

// Return why the file is too large, or "". The size is rounded up because the limit is rounded down.
function tooLarge({ name, size }) {
  if (size <= Number(form.dataset.maxSize)) return "";
  const megabytes = Math.ceil(size / 104857.6) / 10;
  return `${name} is ${megabytes} MB; the limit of this server is ${form.dataset.maxSizeText}. Split the file, or use reelsense predict --input.`;
}

async function select(selected) {
  if (!selected || !element("sending").hidden) return;
  file = selected;
  showProblem(tooLarge(selected));
  element("preview").hidden = true;
  if (!element("problem").hidden) return;
  try {
    await preview();
  } catch (error) {
    if (file !== selected) return;
    showProblem(error instanceof TypeError ? "Cannot reach the server." : error.message);
  }
}

// XMLHttpRequest, because fetch does not report upload progress.
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
    element("sent").textContent = loaded < total ? `${Math.floor((100 * loaded) / total)} %` : "upload complete; reading the file";
  });
  request.addEventListener("load", () => {
    if (request.status === 202) {
      remember([request.response.id, ...remembered()]);
      location.assign(form.dataset.job + request.response.id);
    } else {
      fail(errorText(request.status, request.response));
    }
  });
  request.addEventListener("error", () => fail("Cannot reach the server."));
  element("send").disabled = element("other").disabled = true;
  element("sending").hidden = false;
  request.send(file);
}

function fail(problem) {
  element("send").disabled = element("other").disabled = false;
  element("sending").hidden = true;
  showProblem(problem);
}

// Only ids are stored: the next person at this browser should not see the names of the files.
function remembered() {
  try {
    return JSON.parse(localStorage.getItem(RECENT) ?? "[]").filter((id) => typeof id === "string");
  } catch {
    return []; // damaged, or storage is disabled
  }
}

function remember(ids) {
  try {
    localStorage.setItem(RECENT, JSON.stringify(ids.slice(0, MAX_RECENT)));
  } catch { /* storage is disabled: only the link leads back */ }
}

// The server returns the jobs that still exist; the others are removed from the list.
async function list() {
  const ids = remembered();
  if (ids.length === 0) return;
  const response = await fetch(`${form.dataset.recent}?${new URLSearchParams(ids.map((id) => ["id", id]))}`);
  if (!response.ok) return;
  const items = element("recent").querySelector("ul");
  items.innerHTML = await response.text();
  const existing = [...items.children].map((item) => item.dataset.id);
  remember(remembered().filter((id) => existing.includes(id) || !ids.includes(id)));
  element("recent").hidden = existing.length === 0;
}

function clearRecent() {
  remember([]);
  element("recent").hidden = true;
}

element("file").addEventListener("change", () => select(element("file").files[0]));
element("file").addEventListener("click", () => { element("file").value = ""; }); // so that the same file can be selected again
element("send").addEventListener("click", send);
element("forget").addEventListener("click", clearRecent);
element("other").addEventListener("click", () => element("file").click());
form.addEventListener("submit", (event) => event.preventDefault());
for (const name of ["dragover", "dragleave", "drop"]) {
  element("drop").addEventListener(name, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") select(event.dataTransfer.files[0]);
  });
}
list().catch(() => {}); // an unreachable server is reported when a file is selected
