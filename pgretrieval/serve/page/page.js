// The page of `pgretrieval serve`. It calls the service's own interface (openapi.json) and nothing else. What is shown is what the
// address says, so an address can be shared and the back button works. Texts enter the document as text, never as HTML; the one
// exception is the heat map, which the service renders and escapes.

const MODES = { hybrid: "Hybrid", late: "Late", words: "Words", dense: "Dense" };
const MODE_HINTS = {
  hybrid: "Late interaction, words and dense vectors combined",
  late: "Late interaction: every word of the query finds its best word of the passage",
  words: "Words of the query, by BM25",
  dense: "One vector for each passage",
};
const PARTS = { late: "late", words: "words", dense: "dense", cross_encoder: "cross-encoder" };
const EXCERPT = 480; // characters of a longer text that a hit shows
const LEVELS = 3; // strengths of highlighting
const WORD = /[\p{L}\p{N}]/u;
const MARKER = /^[[<].*[\]>]$/; // a token of the model, not of the query
const TOKEN = "pgretrieval token"; // its name in sessionStorage

const one = (selector, inside = document) => inside.querySelector(selector);
const amount = (number) => number.toLocaleString("en");
const milliseconds = (spent) => `${spent < 10 ? spent.toFixed(1) : Math.round(spent)} ms`;
const decimal = (number, places) => number.toFixed(places).replace("-", "−");
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const plural = (number, noun) => `${amount(number)} ${noun}${number === 1 ? "" : "s"}`;

function size(bytes) {
  const power = bytes < 1e6 ? 1 : bytes < 1e9 ? 2 : 3;
  const number = bytes / 1000 ** power;
  return `${number.toFixed(number < 10 && power > 1 ? 1 : 0)} ${["kB", "MB", "GB"][power - 1]}`;
}

/** An element with attributes and children; a child that is a text becomes a text node. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// ---------------------------------------------------------------------------------------------------------------- the address

const EMPTY = { view: "", collection: "", query: "", mode: "", where: "", k: "", id: "" };

function readAddress() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(Object.keys(EMPTY).map((name) => [name, given.get(name) ?? ""]));
}

function addressOf(state) {
  const given = new URLSearchParams(Object.entries(state).filter(([, value]) => value !== ""));
  return given.size ? `?${given}` : location.pathname;
}

/** Show another state: a new entry of the history, unless the address stays the same. */
function go(changes, entry = {}) {
  const before = readAddress();
  const address = addressOf({ ...before, ...changes });
  if (address === addressOf(before)) found = null; // asked again
  else history.pushState(entry, "", address);
  show();
}

// ------------------------------------------------------------------------------------------------------------------- requests

class Failure extends Error {
  constructor(status, error, wait) {
    super(error.message);
    this.status = status;
    this.type = error.type;
    this.remedy = error.remedy;
    this.wait = wait;
  }

  get passing() {
    return [0, 429, 503].includes(this.status);
  }
}

/** Call the service. Returns JSON, or the text of an HTML fragment. Asks for the token when the service does. */
async function call(path, { body, html = false, signal } = {}) {
  for (;;) {
    const headers = { Accept: html ? "text/html" : "application/json" };
    const token = sessionStorage.getItem(TOKEN);
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body) headers["Content-Type"] = "application/json";
    const options = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal };
    const response = await fetch(path, options).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Failure(0, { message: "The service does not answer.", remedy: "See whether it still runs, then try again." });
    });
    if (response.ok) return html ? response.text() : response.json();
    const { error } = await response.json().catch(() => ({ error: { message: `The service answered ${response.status}.` } }));
    if (response.status !== 401) throw new Failure(response.status, error, Number(response.headers.get("Retry-After")) || null);
    // Another call may have asked for the token meanwhile.
    if (sessionStorage.getItem(TOKEN) === token && !(await askForToken(token ? error.message : ""))) {
      throw new Failure(401, { message: "The service needs a token.", remedy: "Reload the page to give one." });
    }
  }
}

let asking = null;

/** Ask for the token; several calls that fail together ask once. Resolves to false if the person declines. */
function askForToken(reason) {
  asking ??= new Promise((resolve) => {
    const dialog = one("#ask-token");
    one("#token-reason").textContent = reason;
    one("#token").value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "given";
      if (given) sessionStorage.setItem(TOKEN, one("#token").value.trim());
      asking = null;
      resolve(given);
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

const pathOf = (collection, action = "") => `v1/collections/${encodeURIComponent(collection)}${action}`;

/** A notice of a failure, with its remedy, and a button if trying again may help. */
function notice(failure, again) {
  const box = make("div", { class: "notice bad", role: "alert" }, make("p", {}, sentence(failure.message)));
  if (failure.remedy) box.append(make("p", { class: "quiet" }, sentence(failure.remedy)));
  if (failure.passing) {
    if (failure.wait) box.append(make("p", { class: "quiet" }, `Try again in ${plural(failure.wait, "second")}.`));
    const button = make("button", { type: "button" }, "Try again");
    button.addEventListener("click", again);
    box.append(button);
  }
  return box;
}

/** A long text without its middle. */
const shortened = (text) => (text.length > 100 ? `${text.slice(0, 60)} … ${text.slice(-20)}` : text);

function sentence(text) {
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}

// -------------------------------------------------------------------------------------------------------------------- one hit

/** The similarity of a hit's best token; the strength of highlighting is relative to the best of all hits. */
const bestOf = (hits) => Math.max(...hits.flatMap((hit) => hit.matches ?? []).map((match) => match.similarity), Number.MIN_VALUE);

/** Ranges of characters to mark, neighbours joined: a word of several tokens is one range. Offsets count from the title's start. */
function rangesOf(hit, best) {
  const characters = Array.from(hit.title ? `${hit.title} ${hit.text}` : hit.text);
  const ranges = [];
  const shown = (hit.matches ?? []).filter(({ query_token: asked, start, end, similarity }) => {
    const placed = start !== null && WORD.test(characters.slice(start, end).join("")); // function words often find a comma
    return placed && !MARKER.test(asked ?? "") && similarity > best / 2;
  });
  for (const match of shown.sort((one, other) => one.start - other.start)) {
    let last = ranges.at(-1);
    if (!last || match.start > last.end) {
      last = { start: match.start, end: match.end, strength: 0, words: new Set() };
      ranges.push(last);
    }
    last.end = Math.max(last.end, match.end);
    last.strength = Math.max(last.strength, (match.similarity / best) ** 2);
    if (match.query_token) last.words.add(match.query_token);
  }
  return [...ranges, ...(hit.words ?? []).map(([start, end]) => ({ start, end, strength: 1, words: new Set() }))];
}

/** Where the excerpt of a long text starts: around the strongest ranges. */
function excerptStart(length, ranges) {
  const within = (from) => ranges.filter(({ start, end }) => start >= from && end <= from + EXCERPT);
  const worth = (from) => within(from).reduce((sum, range) => sum + range.strength, 0);
  const starts = ranges.map((range) => Math.max(0, range.start - 40));
  const best = starts.reduce((chosen, from) => (worth(from) > worth(chosen) ? from : chosen), 0);
  return Math.min(best, length - EXCERPT);
}

/** Nodes of a text with its ranges marked. Offsets count characters, not UTF-16 units. */
function marked(text, ranges) {
  const characters = Array.from(text);
  const cut = characters.length > 1.25 * EXCERPT;
  const from = cut ? excerptStart(characters.length, ranges) : 0;
  const to = cut ? from + EXCERPT : characters.length;
  const piece = (start, end) => characters.slice(Math.max(start, from), Math.min(end, to)).join("");
  const nodes = [from > 0 ? "…" : ""];
  let done = from;
  for (const { start, end, strength, words } of ranges.filter((range) => range.end > from && range.start < to)) {
    const told = words.size ? `found for ${[...words].join(", ")}` : undefined;
    const level = Math.min(LEVELS, Math.ceil(((strength - 0.25) / 0.75) * LEVELS));
    nodes.push(piece(done, start), make("mark", { class: `level-${level}`, title: told }, piece(start, end)));
    done = end;
  }
  return [...nodes, piece(done, to), to < characters.length ? "…" : ""];
}

/** Title and text of a hit as nodes, with the words marked that its score comes from. */
function highlighted(hit, best) {
  const ranges = rangesOf(hit, best);
  const skipped = hit.title ? Array.from(hit.title).length + 1 : 0;
  const inTitle = ranges.filter((range) => range.start < skipped);
  const inText = ranges.filter((range) => range.end > skipped);
  const shifted = inText.map((range) => ({ ...range, start: range.start - skipped, end: range.end - skipped }));
  return { title: marked(hit.title || hit.id, inTitle), text: marked(hit.text, shifted) };
}

function facts(hit) {
  const shown = Object.entries({ ...(hit.title ? { id: hit.id } : {}), ...hit.metadata });
  if (!shown.length) return null;
  const pair = ([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return make("div", {}, make("dt", {}, name), make("dd", { title: text }, text));
  };
  return make("dl", { class: "facts" }, ...shown.map(pair));
}

/** A hit's score, and the parts that sum to it if there are several. */
function score(hit) {
  const parts = Object.entries(hit.components ?? {});
  const shown = parts.length > 1 ? parts : [];
  const part = ([name, value]) => make("span", { class: "part" }, `${PARTS[name] ?? name} ${decimal(value, 2)}`);
  return make("p", { class: "score" }, make("span", { class: "unseen" }, "score "), decimal(hit.score, 3), ...shown.map(part));
}

function hitItem(hit, best) {
  const { title, text } = highlighted(hit, best);
  const link = make("a", { href: addressOf({ ...readAddress(), id: hit.id }), dir: "auto", "aria-haspopup": "dialog" }, ...title);
  const item = make(
    "li",
    { class: "hit" },
    make("span", { class: "rank", "aria-hidden": "true" }, String(hit.rank)), // the list counts
    make("h2", {}, link),
    score(hit),
    make("div", { class: "body" }, make("p", { class: "text", dir: "auto" }, ...text), facts(hit)),
  );
  item.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || getSelection().toString()) return;
    event.preventDefault();
    link.focus({ preventScroll: true }); // the dialog gives the focus back to it
    go({ id: hit.id }, { opened: true });
  });
  return item;
}

/** Rows of names, bars and amounts; the longest bar is the largest number. */
function bars(numbers, shown) {
  const most = Math.max(...Object.values(numbers).map(Math.abs), Number.MIN_VALUE);
  const row = ([name, number]) => {
    const filled = make("i");
    filled.style.setProperty("--share", String(Math.abs(number) / most));
    return [
      make("span", { class: "name" }, name),
      make("span", { class: "bar" }, filled),
      make("span", { class: "amount" }, shown(number)),
    ];
  };
  return make("div", { class: "bars" }, ...Object.entries(numbers).flatMap(row));
}

// ----------------------------------------------------------------------------------------------------------------- the search

let collections = null; // their names
const told = new Map(); // what the service tells of a collection, by name
let found = null; // the search on show: its key, what was asked, and the answer

async function tell(name, signal) {
  if (!told.has(name)) told.set(name, await call(pathOf(name), { signal }));
  return told.get(name);
}

function fillCollections(select, chosen) {
  const names = collections.includes(chosen) ? collections : [chosen, ...collections];
  select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  select.value = chosen;
}

function fillForm(state) {
  fillCollections(one("#collection"), state.collection);
  one("#query").value = state.query;
  one("#where").value = state.where;
  one("#k").value = state.k || "10";
}

function fillModes(state, modes) {
  const shown = [...document.querySelectorAll("#modes input")].map((input) => input.value);
  if (shown.join() !== modes.join()) one("#modes").replaceChildren(...modes.map(modeChoice)); // else the focus stays where it is
  const chosen = modes.includes(state.mode) ? state.mode : modes[0];
  for (const input of document.querySelectorAll("#modes input")) input.checked = input.value === chosen;
}

function modeChoice(mode) {
  const input = make("input", { type: "radio", name: "mode", value: mode });
  return make("label", { title: MODE_HINTS[mode] }, input, make("span", {}, MODES[mode]));
}

function complain(field, message) {
  one(`#${field}-error`).textContent = message;
  one(`#${field}`).setAttribute("aria-invalid", String(message !== ""));
}

/** The filter as the interface takes it: an object, or a text, which is a jsonpath predicate. */
function readFilter(text) {
  if (!text) return undefined;
  return text.startsWith("{") ? JSON.parse(text) : text;
}

/** The body of a search, or null if a field is wrong, which is then said beside it. */
function readRequest(state) {
  const request = { query: state.query, k: Number(state.k || "10"), mode: one("#modes input:checked")?.value };
  if (!Number.isInteger(request.k) || request.k < 1 || request.k > 100) complain("k", "1 to 100");
  try {
    request.where = readFilter(state.where);
  } catch (error) {
    complain("where", `This is no JSON: ${error.message}.`);
  }
  return one("#search [aria-invalid=true]") ? null : request;
}

/** Say how a search ended or goes on, without what an earlier one complained of. */
function settle(said) {
  complain("where", "");
  complain("k", "");
  one("#failure").replaceChildren();
  one("#status").textContent = said;
  one("#hits").removeAttribute("aria-busy");
}

function clearResults() {
  found = null;
  one("#status").textContent = "";
  one("#hits").removeAttribute("aria-busy");
  one("#hits").replaceChildren();
  one("#stages").hidden = true;
  one("#missing").hidden = true;
}

async function search(state, signal) {
  const key = JSON.stringify([state.collection, state.query, state.mode, state.where, state.k]);
  if (found?.key === key) return settle(found.said); // a later search may have been given up
  fillForm(state);
  settle(state.query ? "Searching …" : "");
  one("#hits").setAttribute("aria-busy", "true");
  try {
    const stats = await tell(state.collection, signal);
    fillModes(state, stats.modes);
    if (!state.query) {
      clearResults();
      one("#status").textContent = `${plural(stats.passages, "passage")} in ${stats.name}`;
      return;
    }
    const request = readRequest(state);
    if (!request) return clearResults();
    const answer = await call(pathOf(state.collection, "/search"), { body: { ...request, matches: true }, signal });
    found = { key, request, ...answer, said: summary(answer, state) };
    showHits(found);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    clearResults();
    if (error.status === 400 && state.where && error.type !== "InputError") {
      complain("where", `${sentence(error.message)} ${sentence(error.remedy)}`);
    } else {
      one("#failure").replaceChildren(notice(error, show));
    }
  }
}

function summary({ hits, milliseconds: spent }, { where }) {
  const total = Object.values(spent).reduce((sum, each) => sum + each, 0);
  if (hits.length) return `${plural(hits.length, "hit")} in ${milliseconds(total)}`;
  return where ? "No passage that the filter admits is found." : "No passage is found.";
}

function showHits({ hits, milliseconds: spent, said }) {
  settle(said);
  const best = bestOf(hits);
  one("#hits").replaceChildren(...hits.map((hit) => hitItem(hit, best)));
  one("#stages").hidden = false;
  one("#stages .bars").replaceWith(bars(spent, milliseconds));
  one("#missing").hidden = false;
}

// ----------------------------------------------------------------------------------------------------------- why this passage

/** What a hit's score consists of, and what its search took. */
function spent(hit) {
  const part = (heading, numbers, shown) => make("div", {}, make("h3", {}, heading), bars(numbers, shown));
  const times = part("Milliseconds of the search", found.milliseconds, milliseconds);
  if (Object.keys(hit?.components ?? {}).length < 2) return make("div", { class: "spent" }, times);
  const parts = part(`Parts of the score ${decimal(hit.score, 3)}`, hit.components, (number) => decimal(number, 2));
  return make("div", { class: "spent" }, parts, times);
}

async function explain(state, signal) {
  const body = one("#passage-body");
  const hit = found.hits.find((each) => each.id === state.id);
  one("#passage-title").replaceChildren(...(hit ? highlighted(hit, bestOf(found.hits)).title : [state.id]));
  body.replaceChildren(make("p", { class: "quiet" }, "Reading …"));
  if (!one("#passage").open) one("#passage").showModal();
  try {
    const request = { ...found.request, id: state.id };
    const fragment = await call(pathOf(state.collection, "/explain"), { body: request, html: true, signal });
    const rendered = new DOMParser().parseFromString(fragment, "text/html");
    body.replaceChildren(spent(hit), ...rendered.body.childNodes);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    body.replaceChildren(notice(error, show));
  }
}

// ---------------------------------------------------------------------------------------------------------- a collection's page

const SETTINGS = {
  dim: "Dimensions",
  bits: "Bits of a residual",
  scorer: "Scorer",
  rerank: "Reranked by",
  generator: "Candidates from",
  vectors_per_passage: "Vectors of a passage",
  language: "Language of words",
  dense: "Dense vectors",
  preset: "Preset",
};

function pairs(name, entries) {
  const pair = ([label, value]) => make("div", {}, make("dt", {}, label), make("dd", {}, value));
  return make("dl", { class: name }, ...entries.map(pair));
}

function section(title, ...content) {
  return make("section", {}, make("h2", {}, title), ...content);
}

function table(headings, rows) {
  const head = make("tr", {}, ...headings.map((each) => make("th", { scope: "col" }, each)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((each) => make("td", {}, each))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

const said = (text, kind = "quiet") => make("p", { class: kind }, text);

function drift(stats) {
  if (!stats.built) return [said("There is no index yet: searches compare the query with all passages.")];
  if (stats.quantization_error === null) return [said("It was not measured.")];
  const error = stats.added_quantization_error === null ? "" : `, with an error of ${percent(stats.added_quantization_error)}`;
  const number = stats.added_passages ? plural(stats.added_passages, "passage") : "No passages";
  return [
    stats.rebuild_pays ? said("A rebuild pays: the codes fit new passages less.", "wrong") : said("The codes fit.", "good"),
    said(`Error of the codes when they were trained: ${percent(stats.quantization_error)}. ${number} added since${error}.`),
  ];
}

function queue(stats) {
  if (!stats.attached) return [said("The collection is not attached to a table.")];
  if (stats.queued === null) return [said(`Attached to ${stats.attached}. The service may not see the queue.`)];
  const counts = `Attached to ${stats.attached}: ${plural(stats.queued, "change")} queued, ${amount(stats.parked)} parked.`;
  const keys = stats.parked_keys.map(({ key, error }) => [shortened(key), error ?? ""]);
  return [make("p", {}, counts), keys.length ? table(["Parked key", "Error"], keys) : null];
}

function settings(stats) {
  const known = Object.entries(SETTINGS).filter(([name]) => (stats[name] ?? null) !== null);
  const encoder = Object.values(stats.encoder ?? {}).filter((part) => typeof part === "string");
  const shown = known.map(([name, label]) => [label, String(stats[name])]);
  return pairs("settings", encoder.length ? [["Encoder", encoder.join(" ")], ...shown] : shown);
}

function checker(name) {
  const button = make("button", { type: "button" }, "Check");
  const result = make("div", { role: "status" }, said("It reads the whole collection and changes nothing."));
  button.addEventListener("click", async () => {
    button.disabled = true;
    result.replaceChildren(said("Checking …"));
    try {
      const { violations } = await call(pathOf(name, "/check"));
      const rows = violations.map((each) => [each.rule, each.id ?? "", each.detail, amount(each.total)]);
      const sound = said("No violations.", "good");
      result.replaceChildren(rows.length ? table(["Rule", "Passage or part", "What is wrong", "Number"], rows) : sound);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      result.replaceChildren(notice(error, () => button.click()));
    } finally {
      button.disabled = false;
    }
  });
  return [button, result];
}

async function showCollection(state, signal) {
  const about = one("#about");
  fillCollections(one("#collection-choice"), state.collection);
  one("#collection-name").textContent = state.collection;
  about.replaceChildren(said("Reading …"));
  told.delete(state.collection); // the counts change
  try {
    const stats = await tell(state.collection, signal);
    const sizes = Object.entries(stats.bytes).filter(([, bytes]) => bytes > 0).sort(([, one], [, other]) => other - one);
    about.replaceChildren(
      pairs("figures", [
        [stats.passages === 1 ? "passage" : "passages", amount(stats.passages)],
        ["tokens", amount(stats.tokens)],
        ["tokens a passage", (stats.tokens / Math.max(stats.passages, 1)).toFixed(1)],
        ["in Postgres", size(sizes.reduce((sum, [, bytes]) => sum + bytes, 0))],
      ]),
      section("Sizes of tables with their indexes", bars(Object.fromEntries(sizes), size)),
      section("Drift", ...drift(stats)),
      section("Queue", ...queue(stats)),
      section("Settings", settings(stats)),
      section("Consistency", ...checker(state.collection)),
    );
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    about.replaceChildren(notice(error, show));
  }
}

// ------------------------------------------------------------------------------------------------------------------- together

let running = null; // aborts what an earlier state still asks for

/** Show what the address says. */
async function show() {
  running?.abort();
  running = new AbortController();
  try {
    await showState(readAddress(), running.signal);
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}

async function showState(state, signal) {
  const about = state.view === "collection";
  one("#search-view").hidden = about;
  one("#collection-view").hidden = !about;
  one(about ? "#to-collection" : "#to-search").setAttribute("aria-current", "page");
  one(about ? "#to-search" : "#to-collection").removeAttribute("aria-current");
  if (about && one("#passage").open) one("#passage").close();
  try {
    collections ??= (await call("v1/collections", { signal })).collections;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    one(about ? "#about" : "#failure").replaceChildren(notice(error, show));
    return;
  }
  if (!collections.length) {
    const none = "There are no collections yet. Make one: pgretrieval index NAME FILE";
    one(about ? "#about" : "#failure").replaceChildren(said(none, "notice"));
    return;
  }
  state.collection ||= collections[0];
  one("#to-search").href = addressOf({ ...EMPTY, collection: state.collection });
  one("#to-collection").href = addressOf({ ...EMPTY, collection: state.collection, view: "collection" });
  document.title = `${(!about && state.query) || state.collection} · pgretrieval`;
  if (about) {
    await showCollection(state, signal);
    return;
  }
  await search(state, signal);
  if (state.id && found) await explain(state, signal);
  else if (one("#passage").open) one("#passage").close();
}

function submitSearch() {
  go({
    view: "",
    id: "",
    collection: one("#collection").value,
    query: one("#query").value.trim(),
    mode: one("#modes input:checked")?.value ?? "",
    where: one("#where").value.trim(),
    k: one("#k").value === "10" ? "" : one("#k").value,
  });
}

one("#search").addEventListener("submit", (event) => {
  event.preventDefault();
  submitSearch();
});
one("#search").addEventListener("change", (event) => {
  if (event.target.matches("select, [type=radio]")) submitSearch(); // a choice applies at once, a text on Enter
});
one("#missing").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = one("#missing-id").value.trim();
  if (id) go({ id }, { opened: true });
});
one("#collection-choice").addEventListener("change", (event) => {
  go({ ...EMPTY, view: "collection", collection: event.target.value });
});
one("#passage").addEventListener("close", () => {
  if (!readAddress().id) return;
  if (history.state?.opened) history.back();
  else go({ id: "" });
});
one("#passage .close").addEventListener("click", () => one("#passage").close());
one("#passage").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) event.currentTarget.close(); // a click beside it
});
one("#token-cancel").addEventListener("click", () => one("#ask-token").close());
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-link]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const given = new URL(link.href).searchParams;
  go(Object.fromEntries(Object.keys(EMPTY).map((name) => [name, given.get(name) ?? ""])));
  one(given.has("view") ? "#collection-name" : "#query").focus();
});
addEventListener("popstate", show);
show();
if (!readAddress().query && !readAddress().view) one("#query").focus();
