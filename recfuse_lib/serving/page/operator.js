"use strict";
// Everything that comes from the service is put into the page as text, never as markup.

const byId = (id) => document.getElementById(id);
const say = (text) => { byId("status").textContent = text; };
const percent = (share) => share == null ? "–" : `${(100 * share).toFixed(1)} %`;
const points = (share) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(1)}`;
const count = (number) => number.toLocaleString("en");
const moment = (seconds) => new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " ");
const KEY = "recfuse key";
const NOW = "As it is now.";

async function call(body, address = "/decisions") {
  const options = { headers: { "X-API-Key": sessionStorage.getItem(KEY) || "" } };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  if (body) options.headers["Content-Type"] = "application/json";
  const answer = await fetch(address, options);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.detail || `the service answered ${answer.status}`);
  return content;
}

function fill(name, rows) {
  const table = byId(name);
  table.hidden = !rows.length;
  table.tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    for (const [place, cell] of cells.entries()) {
      const made = document.createElement(place ? "td" : "th");
      if (!place) made.scope = "row";
      made.textContent = cell;
      made.className = table.tHead.rows[0].cells[place].className;
      row.append(made);
    }
    return row;
  }));
}

function showTrial(trial) {
  const figures = trial ? trial.figures : { versions: [] };
  fill("trial", figures.versions.map((one) => [one.version, count(one.people), count(one.answers), percent(one.positive)]));
  if (!trial) { byId("verdict").textContent = "No trial is under way."; return; }
  const began = `Since ${moment(trial.timestamp)} UTC, ${percent(figures.share)} of the people are answered from ${trial.version}.`;
  if (!figures.difference) { byId("verdict").textContent = `${began} Both have not answered yet.`; return; }
  const [lead, low, high] = figures.difference;
  const verdict = figures.better ? `${trial.version} is better.` : low > 0 ? "There are too few people to say that it is better."
    : high < 0 ? `${trial.version} is worse.` : "No difference is shown.";
  byId("verdict").textContent = `${began} Lead of ${trial.version}: ${points(lead)} percentage points, 95 % interval ${points(low)} to ${points(high)}. ${verdict}`;
}

function showDrift(decisions) {
  const newest = decisions.findLast((one) => one.figures.drift);
  if (!newest) return;
  byId("drift-when").textContent = `${moment(newest.timestamp)} UTC`;
  const { drift, chance, alarms } = newest.figures;
  fill("drift", Object.entries(drift).map(([name, value]) => [
    name.replaceAll("_", " "), value.toFixed(3), chance[name] == null ? "–" : chance[name].toFixed(3), alarms.includes(name) ? "alarm" : "no",
  ]));
}

// The lines of Prometheus: name{label="value",…} number
function* measured(text) {
  for (const [, name, labels, value] of text.matchAll(/^(\w+)\{(.*)\} (\S+)$/gm)) {
    yield { name, value: Number(value), ...Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, label]) => [key, label])) };
  }
}

async function showLoad() {
  const routes = new Map();
  for (const one of measured(await (await fetch("/metrics")).text())) {
    if (!/^recfuse_request/.test(one.name)) continue;
    if (!routes.has(one.route)) routes.set(one.route, { errors: 0, buckets: [] });
    const route = routes.get(one.route);
    if (one.name === "recfuse_requests_total" && /^[45]/.test(one.status)) route.errors += one.value;
    if (one.name === "recfuse_request_seconds_count") route.count = one.value;
    if (one.name === "recfuse_request_seconds_sum") route.sum = one.value;
    if (one.name === "recfuse_request_seconds_bucket") route.buckets.push([Number(one.le.replace("+Inf", "Infinity")), one.value]);
  }
  const busiest = [...routes].filter(([, route]) => route.count).sort(([, a], [, b]) => b.count - a.count);
  fill("load", busiest.map(([name, { count: answers, errors, sum, buckets }]) => {
    const within = buckets.find(([, held]) => held >= 0.95 * answers)[0];
    return [name, count(answers), count(errors), `${(1000 * sum / answers).toFixed(1)} ms`, Number.isFinite(within) ? `${count(1000 * within)} ms` : "over 5 s"];
  }));
}

function show(state) {
  byId("serves").textContent = state.serves.join(", ") || "nothing";
  byId("versions").replaceChildren(...state.versions.map((version) => {
    const row = document.createElement("li");
    const role = version === state.champion ? ", serves" : state.trial && version === state.trial.version ? ", on trial" : "";
    row.textContent = version + role;
    return row;
  }));
  const chosen = byId("version").value;
  byId("version").replaceChildren(...state.versions.map((version) => new Option(version)));
  const likely = state.trial ? state.trial.version : state.versions.findLast((version) => version !== state.champion);
  byId("version").value = state.versions.includes(chosen) ? chosen : likely || state.champion;
  byId("back").textContent = state.trial ? "End the trial" : "Roll back";
  byId("decide").hidden = false;
  showTrial(state.trial);
  showDrift(state.decisions);
  fill("decisions", state.decisions.toReversed().map((one) => [moment(one.timestamp), one.action, one.version, one.champion || "–", one.reason]));
}

function element(kind, text, more) {
  const made = Object.assign(document.createElement(kind), more);
  made.textContent = text;
  return made;
}

function showReviews({ waiting, decided }) {
  byId("review-none").hidden = waiting.length > 0;
  byId("review").replaceChildren(...waiting.map((one) => {
    const { title = one.item_id, ...more } = one.attributes;
    const row = document.createElement("li");
    const said = Object.entries(more).map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(", ") : value}`);
    const buttons = element("div", "", { className: "buttons" });
    for (const [action, name] of [["approve", "Approve"], ["reject", "Reject"]]) {
      const button = element("button", name, { type: "button", onclick: () => decideOn(one.item_id, title, action) });
      button.setAttribute("aria-label", `${name} ${title}`);
      buttons.append(button);
    }
    const stands = one.action === "hold" ? "Held: no list has it." : "Reported: lists still have it.";
    row.append(element("h3", title), element("p", said.join(" · ")), element("p", `${stands} ${one.reason}`, { className: "help" }), buttons);
    return row;
  }));
  fill("reviewed", decided.map((one) => [one.attributes.title || one.item_id, one.action, moment(one.timestamp), one.reason]));
}

async function decideOn(item, title, action) {
  try {
    await call({ action, reason: byId("reason").value.trim() || "decided on the operator's page" }, `/review/${encodeURIComponent(item)}`);
    await refresh(`Decided: ${action} ${title}.`);
    (byId("review").querySelector("button") || byId("review-title")).focus();
  } catch (error) { say(`That did not work: ${error.message}`); }
}

async function refresh(said) {
  try {
    show(await call());
    showReviews(await call(null, "/review"));
    await showLoad();
    say(said);
  } catch (error) {
    byId("decide").hidden = true;
    say(`That did not work: ${error.message}`);
  }
}

byId("open").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, byId("key").value);
  byId("key").value = "";
  refresh(NOW);
});
byId("share").addEventListener("input", () => { byId("share-shown").textContent = `${byId("share").value} %`; });
byId("decide").addEventListener("submit", async (event) => {
  event.preventDefault();
  const action = event.submitter.value;
  const [version, share] = [byId("version").value, Number(byId("share").value) / 100];
  if (!confirm(`${event.submitter.textContent}${action === "roll-back" ? "" : `: ${version}`}?`)) return;
  try {
    const decision = await call({ action, version, share, reason: byId("reason").value.trim() || "asked for" });
    byId("reason").value = "";
    await refresh(`Decided: ${decision.action} ${decision.version}.`);
  } catch (error) { say(`That did not work: ${error.message}`); }
});
async function start() {
  try {
    byId("open").hidden = !(await (await fetch("/about")).json()).key_required;
  } catch (error) { say(`The service does not answer: ${error.message}`); }
  if (byId("open").hidden || sessionStorage.getItem(KEY)) refresh(NOW);
  else say("The key shows what is here.");
}
start();
