"use strict";

const SHOWN = 5; // classes a head
const part = (id) => document.getElementById(id);
let about = { name: "", labels: {}, inputs: [] };
let latest = 0; // the number of the newest photo: answers to older ones are dropped

function say(text, isError) {
  part("status").textContent = text;
  part("status").className = isError ? "error" : "";
}

async function asked(url, options) {
  const reply = await fetch(url, options);
  const body = await reply.json().catch(() => ({ error: reply.statusText }));
  if (!reply.ok) throw new Error(body.error || `error ${reply.status}`);
  return body;
}

function base64(buffer) {
  const bytes = new Uint8Array(buffer);
  let text = "";
  for (let k = 0; k < bytes.length; k += 0x8000) text += String.fromCharCode(...bytes.subarray(k, k + 0x8000));
  return btoa(text);
}

function element(tag, options = {}, ...children) {
  const made = Object.assign(document.createElement(tag), options);
  made.append(...children);
  return made;
}

function bars(names, probabilities) {
  const best = probabilities.map((p, k) => [p, names[k] ?? String(k)]).sort((a, b) => b[0] - a[0]).slice(0, SHOWN);
  return element("ol", {}, ...best.map(([p, name]) => {
    const bar = element("span", { className: "bar" });
    bar.style.width = `${100 * p}%`;
    return element("li", {}, element("span", { textContent: name }), element("span", { className: "track" }, bar),
      element("span", { textContent: `${(100 * p).toFixed(1)} %` }));
  }));
}

function shown(prediction) {
  // a signature with one output gives it without its key
  const said = typeof prediction === "object" && !Array.isArray(prediction) ? prediction : { value: prediction };
  const sections = [];
  for (const [key, value] of Object.entries(said)) {
    if (key.endsWith("/probabilities")) {
      const head = key.slice(0, -"/probabilities".length);
      sections.push(element("h2", { textContent: `${head}: ${said[`${head}/label`] || "unreadable"}` }),
        bars(about.labels[head] || [], value));
    } else if (!key.includes("/")) {
      const numbers = [value].flat(9).map((v) => (typeof v === "number" ? v.toPrecision(4) : v));
      sections.push(element("h2", { textContent: key }), element("p", { textContent: numbers.join(", ") }));
    }
  }
  return sections;
}

async function tried(file) {
  const number = ++latest;
  part("answers").replaceChildren();
  const photo = part("photo");
  if (photo.src) URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(file);
  photo.alt = file.name;
  photo.hidden = false;
  part("hint").textContent = file.name;
  say("Looking …");
  try {
    const row = { image_bytes: { b64: base64(await file.arrayBuffer()) } };
    const body = await asked(`/v1/models/${about.name}:predict`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ instances: [row] }) });
    if (number !== latest) return;
    const [prediction] = body.predictions;
    const unreadable = Object.entries(prediction).some(([key, value]) => key.endsWith("/probability") && value === 0);
    say(unreadable ? "The model can't read this file as a photo." : "", unreadable);
    if (!unreadable) part("answers").replaceChildren(...shown(prediction));
  } catch (error) {
    if (number === latest) say(error.message, true);
  }
}

const drop = part("drop");
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
drop.addEventListener("drop", (event) => { if (event.dataTransfer.files.length) tried(event.dataTransfer.files[0]); });
part("file").addEventListener("change", (event) => { if (event.target.files.length) tried(event.target.files[0]); });

asked("/about").then((said) => {
  about = said;
  part("name").textContent = about.name;
  document.title = `Try ${about.name}`;
  if (!about.inputs.includes("image_bytes")) {
    drop.hidden = true;
    say(`This model takes ${about.inputs.join(", ")}, not photos: ask it at /v1/models/${about.name}:predict.`);
  }
}).catch((error) => say(error.message, true));
