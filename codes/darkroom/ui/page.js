// The page: a photograph, what is drawn over it, and its fill.
//
// What is drawn is a list of strokes, from which the layers are painted anew; undo drops the last one. The server keeps
// nothing: the photograph and the drawing go along with each request, the drawing as PNGs, white on black. Edges are
// white as far as they are sure: the model that predicts them is not sure of all of them, and the one that fills knows.

const MASK = "#e33", EDGE = "#0ff";
const byId = (id) => document.getElementById(id);
const on = (canvas) => canvas.getContext("2d", { willReadFrequently: true });
const layers = { // all of the size that the model sees
  photograph: byId("photograph"),
  mask: byId("mask-layer"),
  predicted: document.createElement("canvas"),
  removed: document.createElement("canvas"), // where edges were erased by hand
  added: document.createElement("canvas"),   // edges drawn by hand
  edges: byId("edge-layer"),                 // the sum of these three
};
const sizes = { mask: 40, unmask: 40, edge: 2, erase: 16 }; // of the brush, remembered for each tool

let photograph = null;  // the file: a Blob
let name = "photograph";
let strokes = [];       // {tool, size, points: [[x, y], ...]}; to clear is one, of one point
let stroke = null;      // the one being drawn
let known = null;       // how many strokes the predicted edges are made from; null: there are none
let busy = false;

// ---- what the server answers

async function post(address, parts) {
  const form = new FormData();
  for (const [field, blob] of Object.entries(parts)) form.append(field, blob, field);
  const answer = await fetch(address, { method: "POST", body: form }).catch(() => {
    throw new Error("the server does not answer: has it been stopped?");
  });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

// Do one thing at a time, say which, and say what went wrong.
async function during(words, work) {
  if (busy) return;
  setBusy(true);
  say(words);
  try {
    say(await work() ?? "");
  } catch (error) {
    say(error.message, true);
  } finally {
    setBusy(false);
  }
}

function say(words, wrong = false) {
  byId("message").textContent = words;
  byId("message").classList.toggle("error", wrong);
}

function setBusy(value) {
  busy = value;
  document.body.setAttribute("aria-busy", busy);
  enable();
}

function enable() {
  byId("file").disabled = busy;
  for (const id of ["edges", "fill"]) byId(id).disabled = busy || !photograph;
  byId("undo").disabled = byId("clear").disabled = busy || !strokes.length;
}

// ---- the photograph

const open = (blob, title) => during("Opening ...", async () => {
  const answer = await post("show", { photograph: blob });
  const [width, height] = answer.headers.get("X-Size").split(" ").map(Number);
  const bitmap = await createImageBitmap(await answer.blob());
  [photograph, name, strokes] = [blob, title.replace(/\.[^.]*$/, ""), []];
  for (const canvas of Object.values(layers)) {
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  }
  on(layers.photograph).drawImage(bitmap, 0, 0);
  byId("drawing").hidden = false;
  byId("result").width = bitmap.width;
  byId("filled").hidden = byId("download").hidden = true;
  forget();
  redraw();
  const size = `${title}: ${width} x ${height}`;
  return bitmap.width === width && bitmap.height === height ? size
    : `${size}. The model sees ${bitmap.width} x ${bitmap.height} (--max-side); the fill is enlarged to fit.`;
});

async function openFirst() {
  const answer = await fetch("first");
  if (answer.status === 200) await open(await answer.blob(), decodeURIComponent(answer.headers.get("X-Name")));
}

// ---- drawing

// A line to the point `number` of a stroke. Without a colour it takes away what it covers.
function draw(canvas, { size, points }, number, colour) {
  const context = on(canvas);
  context.globalCompositeOperation = colour ? "source-over" : "destination-out";
  context.strokeStyle = colour ?? "#000";
  context.lineWidth = size;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.moveTo(...points[Math.max(number - 1, 0)]);
  context.lineTo(...points[number]);
  context.stroke();
}

// Piece by piece, as it was drawn: rims would be others if a stroke were painted at once.
function apply(one, number) {
  switch (one.tool) {
    case "mask": return draw(layers.mask, one, number, MASK);
    case "unmask": return draw(layers.mask, one, number);
    case "edge": return draw(layers.added, one, number, EDGE);
    case "erase":
      draw(layers.added, one, number);
      return draw(layers.removed, one, number, "#000");
    default:
      return wipe("mask", "added", "removed");
  }
}

function wipe(...which) {
  for (const canvas of which.map((layer) => layers[layer])) {
    on(canvas).clearRect(0, 0, canvas.width, canvas.height);
  }
}

// Edges that were predicted for another mask are no use.
function forget() {
  known = null;
  wipe("predicted");
}

function redraw() {
  wipe("mask", "added", "removed");
  for (const one of strokes) one.points.forEach((_, number) => apply(one, number));
  show();
  enable();
}

function show() {
  const how = { predicted: "copy", removed: "destination-out", added: "source-over" };
  for (const [layer, operation] of Object.entries(how)) {
    on(layers.edges).globalCompositeOperation = operation;
    on(layers.edges).drawImage(layers[layer], 0, 0);
  }
}

function position(event) {
  const box = layers.edges.getBoundingClientRect();
  const scale = layers.edges.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

const tool = () => document.querySelector("input[name=tool]:checked").value;

layers.edges.addEventListener("pointerdown", (event) => {
  if (busy || event.button !== 0) return;
  layers.edges.setPointerCapture(event.pointerId);
  stroke = { tool: tool(), size: sizes[tool()], points: [position(event)] };
  if (stroke.tool.endsWith("mask")) forget();
  strokes.push(stroke);
  apply(stroke, 0);
  show();
  enable();
});

layers.edges.addEventListener("pointermove", (event) => {
  if (!stroke) return;
  stroke.points.push(position(event));
  apply(stroke, stroke.points.length - 1);
  show();
});

for (const end of ["pointerup", "pointercancel"]) layers.edges.addEventListener(end, () => { stroke = null; });

// ---- the buttons

// A layer as a PNG: white where it is opaque, black where it is clear.
function png(layer) {
  const { width, height } = layer;
  const image = on(layer).getImageData(0, 0, width, height);
  const { data } = image;
  for (let i = 0; i < data.length; i += 4) {
    data[i] = data[i + 1] = data[i + 2] = data[i + 3];
    data[i + 3] = 255;
  }
  const copy = new OffscreenCanvas(width, height);
  copy.getContext("2d").putImageData(image, 0, 0);
  return copy.convertToBlob({ type: "image/png" });
}

async function predict() {
  const answer = await post("edges", { photograph, mask: await png(layers.mask), edges: await png(layers.added) });
  const bitmap = await createImageBitmap(await answer.blob());
  on(layers.predicted).drawImage(bitmap, 0, 0);
  const image = on(layers.predicted).getImageData(0, 0, bitmap.width, bitmap.height);
  const { data } = image;
  for (let i = 0; i < data.length; i += 4) data.set([0, 255, 255, data[i]], i); // white to cyan, black to nothing
  on(layers.predicted).putImageData(image, 0, 0);
  known = strokes.length;
  show();
}

byId("edges").addEventListener("click", () => during("Looking for edges ...", async () => {
  await predict();
  return "Edges: mend them with “edge” and “erase edge”, then Fill.";
}));

byId("fill").addEventListener("click", () => during("Filling ...", async () => {
  if (known === null) await predict();
  const answer = await post("fill", { photograph, mask: await png(layers.mask), edges: await png(layers.edges) });
  const link = byId("download");
  URL.revokeObjectURL(link.href);
  link.href = byId("result").src = URL.createObjectURL(await answer.blob());
  link.download = `${name}_filled.png`;
  await byId("result").decode();
  byId("filled").hidden = link.hidden = false;
  return "Filled along the edges that are shown.";
}));

function undo() {
  if (busy || stroke) return;
  strokes.pop();
  if (strokes.length < known) forget();
  redraw();
}

byId("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  if (event.key !== "z" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  undo();
});

byId("clear").addEventListener("click", () => {
  strokes.push({ tool: "clear", points: [[0, 0]] });
  forget();
  redraw();
});

byId("overlays").addEventListener("change", (event) => {
  byId("drawing").classList.toggle("hidden", !event.target.checked);
});

function showSize() {
  byId("size").value = byId("pixels").value = sizes[tool()];
}

byId("tools").addEventListener("change", showSize);
byId("size").addEventListener("input", (event) => {
  sizes[tool()] = Number(event.target.value);
  showSize();
});

byId("file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  if (file) open(file, file.name).then(() => { target.value = ""; });
});

for (const [kind, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", over);
    const [file] = kind === "drop" ? event.dataTransfer.files : [];
    if (file) open(file, file.name);
  });
}

enable();
openFirst();
