// Asks for the newest picture, draws it, asks again. The overlay is coloured here, so each viewer has its own.
"use strict";

const $ = (id) => document.getElementById(id);
const frame = $("frame"), labels = $("labels"), opacity = $("opacity");
const scratch = new OffscreenCanvas(1, 1);
const IGNORE = 255, PAUSE = 1000, LATE = 2000; // milliseconds
const KNOWN = new Set(["number", "size", "shares", "unlabelled", "frames_per_second", "source", "model", "device",
  "frames", "read", "dropped", "gaps", "milliseconds", "p99", "age"]); // others are the caller's own
let model = null, last = null, number = 0, cameAt = 0;
const hidden = new Set(), rows = [];

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function table() { // label → RGBA, as the little-endian words of ImageData
  const words = new Uint32Array(256);
  model.palette.forEach(([r, g, b], label) => {
    if (!hidden.has(label)) words[label] = (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  });
  words[IGNORE] = 0;
  return words;
}

function colour() { // the last labels, by the classes that are switched on
  if (!last) return;
  const { width, height } = last;
  if (labels.width !== width || labels.height !== height) { labels.width = width; labels.height = height; }
  const words = table(), picture = new ImageData(width, height), out = new Uint32Array(picture.data.buffer);
  for (let i = 0; i < out.length; i++) out[i] = words[last.data[4 * i]];
  labels.getContext("2d").putImageData(picture, 0, 0);
}

function settings() { // of the still, and of the slider
  labels.style.opacity = opacity.value / 100;
  $("percent").textContent = `${opacity.value} %`;
  $("still").href = `/still.png?opacity=${opacity.value / 100}&hidden=${[...hidden].join(",")}`;
}

function legend() {
  const list = $("legend");
  list.replaceChildren();
  rows.length = 0;
  model.classes.forEach((name, label) => {
    const row = document.createElement("li"), line = document.createElement("label");
    const box = document.createElement("input"), swatch = document.createElement("span");
    const text = document.createElement("span"), share = document.createElement("span");
    box.type = "checkbox";
    box.checked = !hidden.has(label);
    box.addEventListener("change", () => { box.checked ? hidden.delete(label) : hidden.add(label); colour(); settings(); });
    swatch.className = "swatch";
    swatch.style.background = `rgb(${model.palette[label].join(",")})`;
    text.textContent = name;
    share.className = "share";
    line.append(box, swatch, text, share);
    row.append(line);
    list.append(row);
    rows.push({ row, box, share });
  });
}

function switchAll(on) {
  rows.forEach(({ box }, label) => { box.checked = on; on ? hidden.delete(label) : hidden.add(label); });
  colour();
  settings();
}

const ms = (value) => value === null || value === undefined ? "–" : `${value.toFixed(value < 100 ? 1 : 0)} ms`;

function tell(facts) {
  const numbers = {
    "frames/s": facts.frames_per_second.toFixed(1),
    "one frame": ms(facts.milliseconds),
    "p99": ms(facts.p99),
    "age": ms(facts.age),
    "dropped": facts.read ? `${facts.dropped} of ${facts.read}` : "–",
    "gaps": `${facts.gaps ?? 0}`,
  };
  for (const [name, value] of Object.entries(facts)) if (!KNOWN.has(name)) numbers[name] = `${value}`;
  $("numbers").replaceChildren(...Object.entries(numbers).map(([name, value]) => {
    const pair = document.createElement("div"), term = document.createElement("dt"), said = document.createElement("dd");
    term.textContent = name;
    said.textContent = value;
    pair.append(term, said);
    return pair;
  }));
  facts.shares.forEach((share, label) => {
    const { row, share: place } = rows[label];
    place.textContent = share >= 0.0005 ? `${(share * 100).toFixed(1)} %` : "";
    row.classList.toggle("absent", share < 0.0005);
  });
  $("source").textContent = facts.source ?? "fastscnn";
  document.title = `${facts.source ?? ""} – fastscnn`;
  const [height, width] = facts.size;
  $("model").textContent = `${facts.model ?? ""} · ${model.head} ${model.resolution} · ${model.class_set}` +
    `${model.trained ? "" : " · random weights"} · ${facts.device ?? ""} · camera ${height}x${width}`;
}

async function draw(form) {
  const facts = JSON.parse(await form.get("facts").text());
  const exact = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const [picture, map] = await Promise.all([createImageBitmap(form.get("frame")), createImageBitmap(form.get("labels"), exact)]);
  if (frame.width !== picture.width || frame.height !== picture.height) { frame.width = picture.width; frame.height = picture.height; }
  frame.getContext("2d").drawImage(picture, 0, 0);
  scratch.width = map.width;
  scratch.height = map.height;
  const context = scratch.getContext("2d", { willReadFrequently: true });
  context.drawImage(map, 0, 0);
  last = context.getImageData(0, 0, map.width, map.height);
  colour();
  tell(facts);
  number = facts.number;
  cameAt = performance.now();
  picture.close();
  map.close();
}

function state(text, late) {
  $("state").textContent = text;
  $("state").classList.toggle("late", late);
}

setInterval(() => {
  const seconds = (performance.now() - cameAt) / 1000;
  if (number && seconds * 1000 > LATE) state(`no new picture for ${seconds.toFixed(0)} s`, true);
}, 500);

async function run() {
  while (true) {
    try {
      if (!model) {
        const answer = await fetch("/model");
        if (answer.status === 204) { state("waiting for the first frame …", true); await sleep(PAUSE / 2); continue; }
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        model = await answer.json();
        hidden.clear();
        legend();
        settings();
      }
      const answer = await fetch(`/picture?after=${number}`);
      if (answer.status === 200) {
        await draw(await answer.formData());
        state("live", false);
      } else if (answer.status !== 204) {
        throw new Error(`status ${answer.status}`);
      }
    } catch (error) {
      state("the robot does not answer; trying again …", true);
      model = null; // it may come back with another one
      number = 0;
      await sleep(PAUSE);
    }
  }
}

opacity.addEventListener("input", settings);
$("all").addEventListener("click", () => switchAll(true));
$("none").addEventListener("click", () => switchAll(false));
run();
