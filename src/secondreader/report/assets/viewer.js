"use strict";
// The exam page's viewer: hanging, window/level at full depth, zoom to full resolution, overlays.
// No dependency, no network. State lives in `views`; every change ends in `draw(view)`.

const data = JSON.parse(document.getElementById("exam-data").textContent);
const state = { overlay: true, all: false, heat: false, invert: false, active: 0, finding: -1 };
const views = [];
const KINDS = {
  microcalcification: "circle", calcification_cluster: "box", mass: "box",
  architectural_distortion: "box", asymmetry: "box", suspicious_region: "box",
};

function bytesOf(id) {
  const text = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// uint16 pictures are stored as differences along rows, all low bytes before all high bytes.
async function picture16(id, rows, cols) {
  const raw = await inflate(bytesOf(id));
  const count = rows * cols;
  const values = new Uint16Array(count);
  for (let r = 0, i = 0; r < rows; r++) {
    let value = 0;
    for (let c = 0; c < cols; c++, i++) {
      value = (value + raw[i] + 256 * raw[count + i]) & 65535;
      values[i] = value;
    }
  }
  return values;
}

async function picture8(id) {
  return inflate(bytesOf(id));
}

function render(view) {
  const low = view.level - view.width / 2;
  const table = new Uint8ClampedArray(65536);
  const top = view.info.top;
  for (let v = 0; v <= top; v++) {
    const grey = (255 * (v - low)) / view.width;
    table[v] = state.invert ? 255 - Math.min(Math.max(grey, 0), 255) : grey;
  }
  for (const part of view.parts) paint(part, table);
}

function paint(part, table) {
  const image = part.image;
  const words = new Uint32Array(image.data.buffer);
  for (let i = 0; i < words.length; i++) {
    const grey = table[part.values[i]];
    words[i] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  part.canvas.getContext("2d").putImageData(image, 0, 0);
}

function makePart(values, info) {
  const canvas = document.createElement("canvas");
  canvas.width = info.cols;
  canvas.height = info.rows;
  return { values, canvas, image: canvas.getContext("2d").createImageData(info.cols, info.rows),
    row0: info.row0, col0: info.col0, scale: info.scale };
}

function makeHeat(values, info) {
  const canvas = document.createElement("canvas");
  canvas.width = info.cols;
  canvas.height = info.rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(info.cols, info.rows);
  for (let i = 0; i < values.length; i++) {
    const v = values[i] / 255;
    image.data[4 * i] = 255;
    image.data[4 * i + 1] = Math.round(255 * Math.min(1, Math.max(0, 1.6 * v - 0.4)));
    image.data[4 * i + 2] = Math.round(255 * Math.max(0, 2 * v - 1.4));
    image.data[4 * i + 3] = Math.round(190 * Math.sqrt(v));
  }
  context.putImageData(image, 0, 0);
  return { canvas, info };
}

const largest = (view) => Math.min(view.canvas.width / view.info.cols, view.canvas.height / view.info.rows);

// Source positions to the canvas: x = ox + k * col, mirrored where the display is. Both breasts of
// one view are shown in one scale, so that they can be compared, where their pixel sizes are known.
function fit(view) {
  const { rows, cols, align, mm } = view.info;
  const box = view.canvas;
  const alone = document.body.classList.contains("single") || !mm || !view.info.view;
  const mates = alone ? [] : views.filter((other) => other.info.mm && other.info.view === view.info.view);
  view.k = Math.min(largest(view), ...mates.map((other) => (largest(other) * mm) / other.info.mm));
  const free = box.width - view.k * cols;
  view.ox = align === "right" ? free : align === "left" ? 0 : free / 2;
  view.oy = (box.height - view.k * rows) / 2;
}

function toCanvas(view, row, col) {
  const c = view.info.mirror ? view.info.cols - 1 - col : col;
  return [view.ox + view.k * (c + 0.5), view.oy + view.k * (row + 0.5)];
}

function drawPart(view, part) {
  const context = view.canvas.getContext("2d");
  const { cols } = view.info;
  const wide = view.k * part.scale;
  context.save();
  // The part's outer corner lies half a source pixel before its first source pixel's centre.
  const left = part.col0;
  if (view.info.mirror) {
    context.translate(view.ox + view.k * (cols - left), view.oy + view.k * part.row0);
    context.scale(-wide, wide);
  } else {
    context.translate(view.ox + view.k * left, view.oy + view.k * part.row0);
    context.scale(wide, wide);
  }
  context.imageSmoothingEnabled = wide < 3;
  context.drawImage(part.canvas, 0, 0);
  context.restore();
}

function draw(view) {
  const context = view.canvas.getContext("2d");
  context.fillStyle = state.invert ? "#fff" : "#000";
  context.fillRect(0, 0, view.canvas.width, view.canvas.height);
  for (const part of view.parts) drawPart(view, part);
  if (state.heat) for (const heat of view.heats) drawHeat(view, heat, context);
  if (state.overlay) {
    for (const mark of view.info.marks) if (mark.finding || state.all) drawMark(view, mark, context);
  }
  const digits = view.width < 0.05 * view.info.top ? 4 : 2;
  const share = (value) => (value / view.info.top).toFixed(digits);
  const text = `W ${share(view.width)} L ${share(view.level)}`;
  view.figure.querySelector(".wl").textContent = `${text}  ×${(view.k / view.ratio).toFixed(2)}`;
}

function drawHeat(view, heat, context) {
  context.save();
  const info = heat.info;
  drawPart(view, { canvas: heat.canvas, row0: info.row0, col0: info.col0, scale: info.scale });
  context.restore();
}

function drawMark(view, mark, context) {
  const ratio = view.ratio;
  const chosen = mark.number === state.finding;
  const linked = state.finding >= 0 && !chosen && mark.link !== null && mark.link === linkOf(state.finding);
  context.lineWidth = (chosen || linked ? 3 : 1.5) * ratio;
  context.strokeStyle = chosen ? "#ffffff" : linked ? "#7fd4ff" : mark.finding ? "#ffd23f" : "#8aa0b4";
  context.setLineDash(mark.finding ? [] : [4 * ratio, 3 * ratio]);
  const [y0, x0, y1, x1] = mark.box;
  const a = toCanvas(view, y0 - 0.5, x0 - 0.5), b = toCanvas(view, y1 + 0.5, x1 + 0.5);
  const pad = 3 * ratio;
  const x = Math.min(a[0], b[0]) - pad, y = Math.min(a[1], b[1]) - pad;
  const w = Math.abs(b[0] - a[0]) + 2 * pad, h = Math.abs(b[1] - a[1]) + 2 * pad;
  context.beginPath();
  if (KINDS[mark.kind] === "circle") {
    context.arc(x + w / 2, y + h / 2, Math.max(w, h) / 2, 0, 2 * Math.PI);
  } else {
    context.rect(x, y, w, h);
  }
  context.stroke();
  context.setLineDash([]);
  const seen = x + w > 0 && y + h > 0 && x < view.canvas.width && y < view.canvas.height;
  if (mark.number > 0 && seen) {
    context.font = `${13 * ratio}px system-ui, sans-serif`;
    context.fillStyle = context.strokeStyle;
    context.strokeStyle = "rgba(0, 0, 0, 0.8)";
    context.lineWidth = 3 * ratio;
    const label = String(mark.number);
    const at = labelPlace(view, context.measureText(label).width, x, y, w);
    context.lineJoin = "round";
    context.strokeText(label, ...at);
    context.fillText(label, ...at);
  }
}

// Where a mark's number is written: at its right, else at its left, inside the canvas.
function labelPlace(view, wide, x, y, w) {
  const gap = 3 * view.ratio, line = 12 * view.ratio;
  const right = x + w + gap;
  const left = right + wide + gap > view.canvas.width ? x - gap - wide : right;
  return [Math.max(left, gap), Math.min(Math.max(y + line - view.ratio, line), view.canvas.height - gap)];
}

function linkOf(number) {
  for (const view of views) for (const m of view.info.marks) if (m.number === number) return m.link;
  return null;
}

function redraw(repaint) {
  for (const view of views) {
    if (repaint) render(view);
    draw(view);
  }
  for (const name of ["overlay", "all", "heat", "invert"]) {
    document.getElementById(`toggle-${name}`).setAttribute("aria-pressed", String(state[name]));
  }
}

function resize() {
  for (const view of views) {
    const ratio = window.devicePixelRatio || 1;
    const box = view.canvas.parentElement.getBoundingClientRect();
    view.ratio = ratio;
    view.canvas.width = Math.max(Math.round(box.width * ratio), 16);
    view.canvas.height = Math.max(Math.round(box.height * ratio), 16);
  }
  for (const view of views) {
    fit(view);
    draw(view);
  }
}

function activate(index) {
  state.active = Math.min(Math.max(index, 0), views.length - 1);
  views.forEach((view, i) => view.figure.classList.toggle("active", i === state.active));
  if (views.length) views[state.active].canvas.focus({ preventScroll: true });
}

function zoom(view, factor, x, y) {
  const k = Math.min(Math.max(view.k * factor, 0.02), 40);
  view.ox = x - ((x - view.ox) * k) / view.k;
  view.oy = y - ((y - view.oy) * k) / view.k;
  view.k = k;
  draw(view);
}

function show(number) {
  for (const view of views) {
    const mark = view.info.marks.find((m) => m.number === number);
    if (!mark) continue;
    state.finding = number;
    activate(views.indexOf(view));
    // One source pixel on one screen pixel: full resolution.
    view.k = view.ratio;
    const at = toCanvas(view, mark.center[0], mark.center[1]);
    view.ox += view.canvas.width / 2 - at[0];
    view.oy += view.canvas.height / 2 - at[1];
    break;
  }
  for (const row of document.querySelectorAll("[data-finding]")) {
    row.classList.toggle("chosen", Number(row.dataset.finding) === number);
  }
  redraw(false);
}

function reset() {
  state.finding = -1;
  state.invert = false;
  for (const view of views) {
    view.width = view.info.top;
    view.level = view.info.top / 2;
    fit(view);
  }
  document.querySelectorAll(".chosen").forEach((row) => row.classList.remove("chosen"));
  redraw(true);
}

// Steps are shares of the window, so that a narrow one can be set as finely as a wide one; the
// narrowest is one grey value.
function windowBy(wide, level) {
  const view = views[state.active];
  const top = view.info.top;
  view.level = Math.min(Math.max(view.level + level * view.width, -top), 2 * top);
  view.width = Math.min(Math.max(view.width * Math.exp(wide), 1), 4 * top);
  render(view);
  draw(view);
}

function step(direction) {
  const numbers = views.flatMap((view) => view.info.marks.map((m) => m.number)).filter((n) => n > 0);
  if (!numbers.length) return;
  numbers.sort((a, b) => a - b);
  const at = numbers.indexOf(state.finding);
  show(numbers[(at + direction + (at < 0 && direction < 0 ? 1 : 0) + numbers.length) % numbers.length]);
}

function maximise() {
  document.body.classList.toggle("single");
  resize();
}

function keyed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !views.length) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const view = views[state.active];
  const cx = view.canvas.width / 2, cy = view.canvas.height / 2, far = 60 * view.ratio;
  const pan = (x, y) => { view.ox += x; view.oy += y; draw(view); };
  const keys = {
    "+": () => zoom(view, 1.25, cx, cy), "=": () => zoom(view, 1.25, cx, cy),
    "-": () => zoom(view, 0.8, cx, cy), ArrowLeft: () => pan(far, 0), ArrowRight: () => pan(-far, 0),
    ArrowUp: () => pan(0, far), ArrowDown: () => pan(0, -far),
    i: () => { state.invert = !state.invert; redraw(true); },
    o: () => { state.overlay = !state.overlay; redraw(false); },
    a: () => { state.all = !state.all; redraw(false); },
    h: () => { state.heat = !state.heat; redraw(false); },
    n: () => step(1), p: () => step(-1), f: () => { fit(view); draw(view); }, r: reset, m: maximise,
    "[": () => windowBy(-0.1, 0), "]": () => windowBy(0.1, 0),
    ",": () => windowBy(0, -0.03), ".": () => windowBy(0, 0.03),
    "?": () => toggleHelp(), Escape: () => document.getElementById("help").close(),
  };
  if (/^[1-9]$/.test(event.key)) activate(Number(event.key) - 1);
  else if (keys[event.key]) keys[event.key]();
  else return;
  event.preventDefault();
}

function toggleHelp() {
  const help = document.getElementById("help");
  if (help.open) help.close();
  else help.showModal();
}

function pointer(view, index) {
  const canvas = view.canvas;
  let last = null, moved = false;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * view.ratio, (event.clientY - box.top) * view.ratio];
  };
  canvas.addEventListener("pointerdown", (event) => {
    activate(index);
    last = [event.clientX, event.clientY];
    moved = false;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const dx = event.clientX - last[0], dy = event.clientY - last[1];
    if (Math.abs(dx) + Math.abs(dy) > 2) moved = true;
    if (!moved) return;
    last = [event.clientX, event.clientY];
    if (event.shiftKey || event.buttons & 4) {
      view.ox += dx * view.ratio;
      view.oy += dy * view.ratio;
      draw(view);
    } else {
      windowBy(dx / 120, dy / 300);
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (last && !moved) pick(view, at(event));
    last = null;
  });
  canvas.addEventListener("pointercancel", () => { last = null; });
  canvas.addEventListener("dblclick", maximise);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("focus", () => { state.active = index; activateOnly(index); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [x, y] = at(event);
    zoom(view, event.deltaY < 0 ? 1.15 : 1 / 1.15, x, y);
  }, { passive: false });
}

function activateOnly(index) {
  views.forEach((view, i) => view.figure.classList.toggle("active", i === index));
}

function pick(view, [x, y]) {
  let best = null, nearest = Infinity;
  for (const mark of view.info.marks) {
    if (mark.number <= 0 || !state.overlay) continue;
    const [mx, my] = toCanvas(view, mark.center[0], mark.center[1]);
    const half = (view.k * Math.max(mark.box[2] - mark.box[0], mark.box[3] - mark.box[1])) / 2;
    const distance = Math.hypot(mx - x, my - y);
    if (distance < Math.max(half, 12 * view.ratio) && distance < nearest) {
      best = mark;
      nearest = distance;
    }
  }
  if (best) show(best.number);
}

async function load(info, index) {
  const figure = document.getElementById(`view-${index}`);
  const view = { info, figure, canvas: figure.querySelector("canvas"), parts: [], heats: [], k: 1,
    ox: 0, oy: 0, ratio: 1, width: info.top, level: info.top / 2 };
  for (const part of info.parts) {
    view.parts.push(makePart(await picture16(part.id, part.rows, part.cols), part));
  }
  for (const heat of info.heats) view.heats.push(makeHeat(await picture8(heat.id), heat));
  return view;
}

async function start() {
  if (typeof DecompressionStream === "undefined") {
    document.getElementById("note").textContent =
      "This browser is too old to unpack the pictures; the tables hold the whole reading.";
    return;
  }
  for (let i = 0; i < data.views.length; i++) views.push(await load(data.views[i], i));
  views.forEach(pointer);
  if (views.length === 1) {
    document.body.classList.add("single");
    activateOnly(0);
  }
  for (const view of views) render(view);
  resize();
  document.addEventListener("keydown", keyed);
  window.addEventListener("resize", resize);
  const buttons = {
    "toggle-overlay": () => { state.overlay = !state.overlay; redraw(false); },
    "toggle-all": () => { state.all = !state.all; redraw(false); },
    "toggle-heat": () => { state.heat = !state.heat; redraw(false); },
    "toggle-invert": () => { state.invert = !state.invert; redraw(true); },
    reset, maximise, "show-help": toggleHelp,
  };
  for (const [id, act] of Object.entries(buttons)) document.getElementById(id).addEventListener("click", act);
  for (const row of document.querySelectorAll("[data-finding] button")) {
    row.addEventListener("click", () => show(Number(row.closest("[data-finding]").dataset.finding)));
  }
  document.body.dataset.ready = "yes";
}

start();
