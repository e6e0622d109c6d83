"use strict";
const at = (id) => document.getElementById(id);
const COLOURS = 8; // of voices, in page.css
const LABELS = { "input-with-noise.wav": "Input with noise", voice: "Voice", rest: "What was taken away" };
let recording = null; // what the server knows of the recording that is chosen: {id, name, duration_s}
let chosen = null; // the file, or {example: true}
let sending = null; // the upload that is on its way
let runs = 0; // so that addresses of a second run differ from those of the first
let busy = false;
let wanted = true; // false: the visitor cancelled
const player = new Player();

class Told extends Error {} // its text is for the visitor
class Gone extends Told {}
class Unseen extends Told {} // what cannot be separated by sight
class Cancelled extends Error {}

function say(text) {
  if (at("status").textContent !== text) at("status").textContent = text;
}

function complain(text) {
  at("error").textContent = text;
}

function setBusy(now) {
  const focus = document.activeElement;
  busy = now;
  at("cancel").hidden = !now;
  for (const control of document.querySelectorAll("#form button:not(#cancel), #form input, #form select"))
    control.disabled = now;
  at("progress").hidden = !now;
  if (now && document.querySelector("#form").contains(focus)) at("cancel").focus();
  if (!now && (focus === at("cancel") || focus === document.body))
    (at("results").hidden ? at("run") : at("results-heading")).focus();
}

function showProgress(share) {
  if (share === null) at("progress").removeAttribute("value");
  else at("progress").value = share;
}

async function ask(method, address, body) {
  let answer;
  try {
    answer = await fetch(address, { method, body: body instanceof File ? body : body && JSON.stringify(body) });
  } catch {
    throw new Told("The server does not answer. Is it still running?");
  }
  return read(answer.status, await answer.text());
}

function read(code, text) {
  let said = {};
  try {
    said = JSON.parse(text || "{}");
  } catch {} // not ours: a proxy's page
  if (code === 404)
    throw new Gone("The server has removed this recording meanwhile. Start again, and it is uploaded again.");
  if (code >= 400) throw new Told(said.error || `The server refused (${code}). Load the page again.`);
  return said;
}

function upload(file) {
  return new Promise((done, failed) => {
    sending = new XMLHttpRequest();
    sending.open("POST", `recordings?name=${encodeURIComponent(file.name)}`);
    sending.upload.onprogress = (event) => {
      showProgress(event.loaded / event.total);
      say(`Uploading: ${Math.floor((10 * event.loaded) / event.total) * 10} %`);
    };
    sending.onload = () => {
      try {
        done(read(sending.status, sending.responseText));
      } catch (error) {
        failed(error);
      }
    };
    sending.onerror = () =>
      failed(new Told("The upload broke off. Is the server still running, and the file still there?"));
    sending.onabort = () => failed(new Cancelled());
    sending.send(file);
  });
}

function forget() {
  if (recording) fetch(`recordings/${recording.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
  recording = null;
  at("results").hidden = true;
  player.clear();
}

function setTask(kind) {
  document.querySelector(`input[name=task][value=${kind}]`).checked = true;
  refresh();
}

function isVideo({ type, name }) {
  const named = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|wmv|3gp)$/i.test(name);
  return type.startsWith("video/") || (named && !type.startsWith("audio/"));
}

function choose(file) {
  forget();
  complain("");
  at("by-ear").hidden = true;
  chosen = null;
  if (file.size > Number(document.body.dataset.maxBytes)) {
    say("");
    complain(
      `${file.name}: larger than ${document.body.dataset.size}, which is the limit here; ` +
        "choose a shorter recording, or save it as MP3 first",
    );
    return;
  }
  chosen = file;
  if (isVideo(file)) setTask("faces");
  else if (task().kind === "faces") setTask("separate");
  say(`Chosen: ${file.name}`);
}

function sampled() {
  return at("sample").files.length > 0 && document.querySelector("input[name=task]:checked").value === "separate";
}

function task() {
  const speakers = at("speakers").value;
  const kind = at("noise").value;
  return {
    kind: document.querySelector("input[name=task]:checked").value,
    speakers: speakers === "auto" ? speakers : Number(speakers),
    target: sampled(),
    model: at("model").value,
    format: at("format").value,
    noise: kind
      ? {
          kind,
          level_db: at("level").valueAsNumber,
          frequency_hz: kind === "tone" ? at("frequency").valueAsNumber : 440,
        }
      : null,
  };
}

async function run() {
  if (busy) return;
  complain("");
  if (!chosen) {
    complain("Choose or record something first, or try an example.");
    at("file").focus();
    return;
  }
  const what = task();
  wanted = true;
  at("by-ear").hidden = true;
  at("results").hidden = true;
  player.clear();
  setBusy(true);
  showProgress(null);
  try {
    if (!recording)
      recording = chosen.example ? await ask("POST", "recordings/example") : await upload(chosen);
    if (!wanted) throw new Cancelled();
    if (what.target) {
      const sample = at("sample").files[0];
      await ask("POST", `recordings/${recording.id}/sample?name=${encodeURIComponent(sample.name)}`, sample);
    }
    await ask("POST", `recordings/${recording.id}/job`, what);
    const job = await follow(what);
    const seen = what.kind === "faces" ? await ask("GET", `recordings/${recording.id}/faces`) : null;
    forgetPeople();
    show(job, what, seen);
    say(`Done in ${Math.max(1, Math.round(job.running_s))} s, by ${job.model}. The results are below.`);
  } catch (error) {
    say(error instanceof Cancelled ? "Cancelled." : "");
    if (error instanceof Gone) recording = null;
    at("by-ear").hidden = !(error instanceof Unseen);
    if (error instanceof Told) complain(error.message);
    else if (!(error instanceof Cancelled)) {
      complain("This page has an error that we did not foresee; please report it.");
      console.error(error);
    }
  }
  setBusy(false);
}

async function follow(what) {
  let stage = "";
  let since = 0; // when the stage began [s]
  let furthest = 0; // a second pass over what has no declared length would go back
  for (;;) {
    const job = await ask("GET", `recordings/${recording.id}/job`);
    if (job.state === "done") return job;
    if (job.state === "failed") throw new (what.kind === "faces" ? Unseen : Told)(job.error);
    if (job.state === "cancelled") throw new Cancelled();
    if (!wanted) await ask("DELETE", `recordings/${recording.id}/job`);
    const now = job.state === "running" && job.total_s ? Math.min(1, job.done_s / job.total_s) : null;
    if (job.stage !== stage) {
      furthest = 0;
      since = job.running_s;
    }
    stage = job.stage;
    furthest = Math.max(furthest, now ?? 0);
    const share = now === null ? null : furthest;
    showProgress(share);
    if (!wanted) say("Cancelling…");
    else if (job.state === "waiting") say(`Waiting: ${job.place} before you`);
    else {
      const told = job.stage[0].toUpperCase() + job.stage.slice(1);
      say(told + (share === null ? "…" : `: ${Math.floor(10 * share) * 10} %${timeLeft(share, job.running_s - since)}`));
    }
    await new Promise((later) => setTimeout(later, 300));
  }
}

function timeLeft(share, soFar) {
  const left = (soFar / share) * (1 - share);
  if (share < 0.05 || left < 10) return "";
  return left < 90
    ? `, about ${Math.round(left / 10) * 10} s left`
    : `, about ${Math.round(left / 60)} min left`;
}

function show(job, what, seen) {
  runs += 1;
  const base = `recordings/${recording.id}`;
  const voices = job.voices.filter((name) => !(name.replace(/\.[^.]*$/, "") in LABELS));
  const rows = [
    {
      id: "input",
      label: what.noise ? "Input with noise" : "Input",
      detail: recording.name,
      colour: "input",
      address: `${base}/input?run=${runs}`,
      peaks: job.peaks.input,
      muted: true, // the results together are the input
    },
  ];
  for (const name of job.files) {
    if (name in LABELS) continue; // the input with noise
    const stem = name.replace(/\.[^.]*$/, "");
    rows.push({
      id: stem,
      label: (seen && stem === "rest" ? "What no face says" : LABELS[stem]) || stem.replace(/^speaker-/, "Speaker ").replace(/^face-/, "Face "),
      detail: job.silent.includes(name) ? "silent" : "",
      colour: stem === "rest" ? stem : `voice-${(Math.max(0, voices.indexOf(name)) % COLOURS) + 1}`,
      address: `${base}/files/${encodeURIComponent(name)}?run=${runs}`,
      download: `${base}/files/${encodeURIComponent(name)}?download`,
      peaks: job.peaks[name],
    });
  }
  at("all").href = `${base}/all.zip`;
  at("notes").replaceChildren(
    ...job.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })),
  );
  at("picture-box").hidden = !job.picture;
  at("picture-box").open = false;
  at("picture").removeAttribute("src");
  if (job.picture) at("picture-link").href = `${base}/files/${job.picture}?run=${runs}`;
  at("results").hidden = false;
  player.show(rows, job.duration_s);
  if (seen) player.film = new Film(player, `${base}/picture?run=${runs}`, base, seen, runs);
  showPeople(rows, job, async (people) => {
    complain("");
    try {
      show(await ask("POST", `${base}/people`, people), what, seen);
      return true;
    } catch (error) {
      if (!(error instanceof Told)) throw error;
      complain(error.message);
      return false;
    }
  });
}

function refresh() {
  const kind = document.querySelector("input[name=task]:checked").value;
  at("run").textContent = kind === "enhance" ? "Enhance" : "Separate";
  at("speakers-field").hidden = kind !== "separate";
  at("sample-field").hidden = kind !== "separate";
  at("model-field").hidden = kind === "faces";
  for (const option of at("model").options) {
    option.disabled = option.hidden = Boolean(option.dataset.task) && option.dataset.task !== kind;
  }
  if (at("model").selectedOptions[0]?.disabled ?? true) at("model").value = "";
  at("frequency-field").hidden = at("noise").value !== "tone";
  at("level-field").hidden = !at("noise").value;
  at("level-text").textContent = `${at("level").value}\u00a0dB`;
}

let recorder = null;
let clock = null;

async function record() {
  if (recorder) {
    recorder.stop();
    return;
  }
  let microphone;
  complain("");
  try {
    microphone = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
  } catch {
    complain("The microphone cannot be used: allow it in the browser, or choose a file.");
    return;
  }
  const pieces = [];
  const began = Date.now();
  recorder = new MediaRecorder(microphone);
  recorder.ondataavailable = (event) => pieces.push(event.data);
  recorder.onstop = () => {
    for (const track of microphone.getTracks()) track.stop();
    clearInterval(clock);
    at("record").textContent = "Record with the microphone";
    at("record").setAttribute("aria-pressed", "false");
    at("file").value = "";
    const kind = recorder.mimeType;
    const suffix = kind.includes("mp4") ? "m4a" : kind.includes("ogg") ? "ogg" : "webm";
    recorder = null;
    choose(new File(pieces, `recording.${suffix}`, { type: kind }));
  };
  recorder.start(1000);
  at("record").textContent = "Stop recording";
  at("record").setAttribute("aria-pressed", "true");
  say("Recording");
  clock = setInterval(() => {
    const seconds = Math.floor((Date.now() - began) / 1000);
    at("record-time").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }, 250);
}

function tryExample(button) {
  setTask(button.dataset.task);
  at("speakers").value = "auto";
  at("model").value = "";
  at("noise").value = button.dataset.noise;
  at("level").value = button.dataset.level;
  at("file").value = "";
  at("sample").value = "";
  refresh();
  forget();
  chosen = { example: true };
  run();
}

at("file").addEventListener("change", () => at("file").files.length && choose(at("file").files[0]));
at("form").addEventListener("change", refresh);
at("level").addEventListener("input", refresh);
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
at("cancel").addEventListener("click", () => {
  wanted = false;
  if (sending && sending.readyState !== XMLHttpRequest.DONE) sending.abort();
});
at("by-ear").addEventListener("click", () => {
  setTask("separate");
  run();
});
at("record").addEventListener("click", record);
for (const button of document.querySelectorAll(".example"))
  button.addEventListener("click", () => tryExample(button));
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && !busy && event.dataTransfer.files.length) {
      at("file").value = "";
      choose(event.dataTransfer.files[0]);
    }
  });
}
at("picture-box").addEventListener("toggle", () => {
  if (at("picture-box").open && !at("picture").src) at("picture").src = at("picture-link").href;
});
window.addEventListener("pagehide", forget);
window.addEventListener("pageshow", (event) => event.persisted && location.reload());
if (!navigator.mediaDevices || !window.MediaRecorder) at("record").hidden = true;
refresh();
