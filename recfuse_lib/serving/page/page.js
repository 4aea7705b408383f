"use strict";
// Everything that comes from the service is put into the page as text, never as markup.

const byId = (id) => document.getElementById(id);
const history = []; // [{item_id, title, rating}] of an invented person
const answers = { liked: [], disliked: [], skipped: [] };   // ids of what was asked about, by what was said of it
let invented = "";  // the id under which an invented person's feedback is kept
let keyRequired = false;
let dimensions = [];
let asked = 0;      // an answer that a later question has overtaken is not shown
let released = Promise.resolve();

// A list that is drawn again between press and release would swallow the click.
addEventListener("pointerdown", () => {
  released = new Promise((done) => {
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => setTimeout(done), { once: true });
  });
});

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

async function call(path, body) {
  const key = keyRequired ? { "X-API-Key": byId("key").value } : {};
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json", ...key },
    body: JSON.stringify(body),
  };
  const answer = await fetch(path, options);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.detail || `the service answered ${answer.status}`);
  return content;
}

const say = (text) => { byId("status").textContent = text; };
const percent = (share) => `${Math.round(100 * share)} %`;
const ANSWERS = [["liked", "Like", 5], ["disliked", "Not for me", 2], ["skipped", "Don't know", null]];   // and its stars
const OFFERED = 3, ENOUGH = 10;   // questions at once, and in all
const SHORT = 60;   // characters of an attribute that a card has room for
const NAME = /^\p{L}[\p{L}\d' -]{1,30}$/u;   // a label or title that a wish can say without quotes or brackets
const MINUTES = [[/hour/i, 60], [/_ms|millis/i, 1 / 60000], [/second|_sec/i, 1 / 60], [/./, 1]];   // of a length, by its name

function facts(item) {
  const named = Object.entries(item.attributes).map(([name, value]) => {
    const words = name.replaceAll("_", " ");
    if (Array.isArray(value)) return value.join(", ");
    return typeof value === "number" && !/year/i.test(name) ? `${words} ${value.toLocaleString("en")}` : `${value}`;
  });
  const stars = item.predicted_rating == null ? [] : [`${item.predicted_rating.toFixed(1)} stars expected`];
  return [...named.filter((text) => text && text.length <= SHORT), ...stars].join(" · ");
}

function showChips(list, items, label, act) {
  list.replaceChildren(...items.map((item) => {
    const row = document.createElement("li");
    const button = element("button", `${label} ${item.title}`.trim(), { type: "button" });
    button.addEventListener("click", () => act(item));
    row.append(button);
    return row;
  }));
}

function showHistory() {
  showChips(byId("history"), history, "✕ remove", (item) => {
    history.splice(history.indexOf(item), 1);
    for (const [kind] of ANSWERS) answers[kind] = answers[kind].filter((id) => id !== item.item_id);
    showHistory();
    recommend();
    ask();
  });
}

// What was added by hand is an answer, too: nobody is asked about it. Whom the service knows by name is asked nothing.
async function ask(place = -1) {
  const said = new URLSearchParams({ k: OFFERED });
  for (const [kind] of ANSWERS) for (const id of answers[kind]) said.append(kind, id);
  const asked = Object.values(answers).flat();
  for (const { item_id } of history) if (!asked.includes(item_id)) said.append("liked", item_id);
  try {
    const { items } = asked.length < ENOUGH && !byId("person").value.trim() ? await call(`/questions?${said}`) : { items: [] };
    byId("asked").replaceChildren(...items.map(question));
    byId("questions").hidden = !items.length;
    if (place < 0) return;
    const next = byId("asked").children[Math.min(place, items.length - 1)];
    (next ? next.querySelector("button") : byId("title")).focus();
  } catch (error) { say(`No question can be asked: ${error.message}`); }
}

function question(item) {
  const row = document.createElement("li");
  const buttons = element("div", "", { class: "buttons" });
  for (const [kind, label, rating] of ANSWERS) {
    const button = element("button", label, { type: "button", "aria-label": `${label}: ${item.title}` });
    button.addEventListener("click", () => answer(item, kind, rating, row));
    buttons.append(button);
  }
  row.append(element("p", item.title), element("p", item.reason, { class: "help" }), buttons);
  return row;
}

async function answer(item, kind, rating, row) {
  const place = [...byId("asked").children].indexOf(row);
  answers[kind].push(item.item_id);
  if (rating !== null) {
    history.push({ ...item, rating, title: kind === "liked" ? item.title : `${item.title} (not for me)` });
    showHistory();
    recommend();
  } else say(`You do not know ${item.title}.`);
  await ask(place);
}

async function find() {
  const title = byId("title").value.trim();
  if (!title) { byId("title").focus(); return; }
  try {
    const { items } = await call(`/items?k=5&title=${encodeURIComponent(title)}`);
    byId("title-help").textContent = items.length ? `${items.length} titles found. Add some to the history.` : "No title has these words.";
    showChips(byId("found"), items, "+ add", (item) => {
      if (!history.some((past) => past.item_id === item.item_id)) history.push({ ...item, rating: 5 });
      byId("found").replaceChildren();
      byId("title").value = "";
      byId("title").focus();
      showHistory();
      recommend();
      ask();
    });
  } catch (error) { say(error.message); }
}

function who() {
  const person = byId("person").value.trim();
  return person || invented;
}

function limits() {
  const wanted = { categories: [byId("category").value].filter(Boolean), at_least: {}, at_most: {} };
  for (const input of byId("limits").querySelectorAll("input")) {
    if (input.value !== "") wanted[input.dataset.side][input.dataset.name] = Number(input.value);
  }
  return wanted;
}

function offerLimits(numbers) {
  const rows = Object.entries(numbers).slice(0, 3).map(([name, [least, most]]) => {
    const row = element("div", "", { class: "row" });
    for (const [side, word, bound] of [["at_least", "from", least], ["at_most", "to", most]]) {
      const label = element("label", `${name.replaceAll("_", " ")} ${word}`);
      const input = element("input", "", { type: "number", step: "any", placeholder: `${bound}` });
      Object.assign(input.dataset, { side, name });
      input.addEventListener("change", recommend);
      label.append(input);
      row.append(label);
    }
    return row;
  });
  byId("limits").replaceChildren(...rows);
  byId("limits-box").hidden = !rows.length;
}

// Each follows from what the catalogue has, so that some items meet it and others do not.
function exampleWishes({ categories, numbers }, items) {
  const wishes = [];
  const liked = items.find((item) => NAME.test(item.title));
  if (liked) wishes.push(`something like ${liked.title}`);
  const [kind, other] = categories.filter((name) => NAME.test(name));
  if (other) wishes.push(`${kind}, no ${other}`);
  for (const [name, [least, most]] of Object.entries(numbers)) {
    const middle = (least + most) / 2;
    if (/year$/i.test(name) && least > 1799 && most < 2100 && most > least) {
      wishes.push(`after ${Math.max(least, 10 * Math.floor((least + 3 * most) / 40))}`);
    } else if (/runtime|running.?time|duration|length|minutes/i.test(name)) {
      const unit = MINUTES.find(([word]) => word.test(name))[1];
      if (least * unit < 120 && most * unit > 120) wishes.push("longer than two hours");
      else if (most > least && middle * unit >= 2 && middle * unit < 1000) wishes.push(`under ${Math.ceil(middle * unit)} minutes`);
    } else if (/price|cost|salary|wage/i.test(name) && Math.floor(middle) > least && (middle < 1800 || middle >= 2100)) {
      wishes.push(`under ${Math.floor(middle)}`);
    }
  }
  return wishes.filter((wish, place) => wishes.findIndex((one) => one.split(" ")[0] === wish.split(" ")[0]) === place);
}

function showExamples(wishes) {
  byId("examples-help").hidden = !wishes.length;
  showChips(byId("examples"), wishes.map((title) => ({ title })), "", ({ title }) => {
    byId("wish").value = title;
    recommend();
  });
}

async function recommend() {
  const mine = ++asked;
  say("Looking …");
  const body = {
    k: 10,
    wish: byId("wish").value.trim(),
    wish_weight: Number(byId("weight").value) / 100,
    history: history.map(({ item_id, rating }) => ({ item_id, rating })),
  };
  if (who()) body.user_id = who();
  body.constraints = limits();
  try {
    const answer = await call("/recommend", body);
    await released;
    if (mine === asked) show(answer);
    return answer.items;
  } catch (error) { if (mine === asked) say(`That did not work: ${error.message}`); }
  return [];
}

function show(answer) {
  byId("version").textContent = answer.version;
  const [read] = answer.understood.split("; note: ");   // the notes follow in a list
  const understood = read ? ` Understood: ${read}.` : "";
  say(`${answer.items.length} recommendations.${understood}`);
  const missing = answer.fallbacks.filter((one) => who() || !one.startsWith("unknown person"));
  const isNew = !who() && !history.length && !byId("wish").value.trim();
  const invitation = isNew ? ["New here? Name a title or a wish, or answer a question."] : [];
  byId("notes").replaceChildren(...[...missing, ...answer.notes, ...invitation].map((note) => element("li", note)));
  byId("list").replaceChildren(...answer.items.map((item) => card(item, answer.answer_id)));
}

function card(item, answer) {
  const made = document.createElement("li");
  Object.assign(made.dataset, { item: item.item_id, answer });
  made.classList.toggle("exploration", item.exploration);
  made.append(element("h3", item.title + (item.new ? " · new" : "")));
  if (facts(item)) made.append(element("p", facts(item), { class: "facts" }));
  const bar = element("div", "", { class: "bar", role: "img" });
  const spoken = [];
  for (const name of dimensions) {
    const share = item.shares[name] || 0;
    if (share < 0.005) continue;
    const part = element("span", "", { class: `share ${name}`, title: `${name} ${percent(share)}` });
    part.style.width = `${100 * share}%`;
    bar.append(part);
    spoken.push(`${name} ${percent(share)}`);
  }
  bar.setAttribute("aria-label", `Shares: ${spoken.join(", ") || "none"}`);
  made.append(bar, element("p", item.reason, { class: "reason" }));
  const buttons = element("div", "", { class: "buttons" });
  for (const [kind, label] of [["liked", "Like"], ["dismissed", "Dismiss"]]) {
    const button = element("button", label, { type: "button", "aria-label": `${label} ${item.title}` });
    button.addEventListener("click", () => feedback(item, kind, made));
    buttons.append(button);
  }
  made.append(buttons);
  return made;
}

async function feedback(item, kind, where) {
  if (!who()) invented = `page-${crypto.getRandomValues(new Uint32Array(3)).join("-")}`;
  const event = {
    key: `${who()}:${item.item_id}:${kind}:${Date.now()}`.slice(-200),
    user_id: who(), item_id: item.item_id, kind, timestamp: Math.floor(Date.now() / 1000), answer_id: where.dataset.answer,
  };
  const place = [...byId("list").children].indexOf(where);
  try {
    await call("/events", { events: [event] });
    await recommend();
    say(`${kind === "liked" ? "Liked" : "Dismissed"} ${item.title}. The list is new.`);
    const next = byId("list").children[Math.min(place, byId("list").children.length - 1)];
    (next ? next.querySelector("button") : byId("list")).focus();
  } catch (error) { say(`That was not stored: ${error.message}`); }
}

async function start() {
  try {
    const about = await call("/about");
    ({ dimensions, key_required: keyRequired } = about);
    byId("version").textContent = about.version;
    byId("size").textContent = `${about.n_items.toLocaleString("en")} items, ${about.n_users.toLocaleString("en")} people`;
    byId("people").replaceChildren(...about.example_people.map((id) => element("option", "", { value: id })));
    byId("category-box").hidden = !about.categories.length;
    byId("category").append(...about.categories.map((name) => element("option", name, { value: name })));
    byId("key-box").hidden = !keyRequired;
    byId("wish").disabled = byId("weight").disabled = !about.reads_words;
    byId("who").open = byId("what").open = matchMedia("(min-width: 50rem)").matches;
    offerLimits(about.numbers);
    byId("legend").replaceChildren(...dimensions.map((name) => {
      const entry = element("span", "");
      entry.append(element("i", "", { class: `share ${name}` }), name);
      return entry;
    }));
    const items = await recommend();
    showExamples(about.reads_words ? exampleWishes(about, items) : []);
    await ask();
  } catch (error) { say(`The service does not answer: ${error.message}`); }
}

byId("ask").addEventListener("submit", (event) => { event.preventDefault(); recommend(); });
byId("find").addEventListener("click", find);
byId("title").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); find(); } });
byId("weight").addEventListener("input", () => { byId("weight-shown").textContent = `${byId("weight").value} %`; });
byId("weight").addEventListener("change", recommend);
byId("category").addEventListener("change", recommend);
byId("person").addEventListener("change", () => { recommend(); ask(); });
start();
