// The live page: asks for the state every other second and writes it down. Whatever came from a user
// goes through textContent. No library, and no request but the one for the state.
"use strict";
(() => {
  const PERIOD_MS = 2000, PATIENCE_MS = 8000;
  const $ = (id) => document.getElementById(id);
  const UNKNOWN = "unknown";
  let seen = null; // when the last state came

  const make = (tag, name, ...inside) => {
    const e = document.createElement(tag);
    if (name) e.className = name;
    for (const x of inside) if (x !== null && x !== undefined) e.append(x);
    return e;
  };
  const small = (text, name) => (text ? make("small", name || "", text) : null);

  // ---- numbers ----

  const known = (x) => typeof x === "number" && Number.isFinite(x);
  const fixed = (x, digits) => x.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const watts = (w) => {
    if (!known(w)) return UNKNOWN;
    if (w >= 10000) return fixed(w / 1000, 2) + " kW";
    return fixed(w, w < 10 ? 1 : 0) + " W";
  };
  const UNITS = [["J", 1], ["kJ", 1e3], ["MJ", 1e6], ["GJ", 1e9], ["TJ", 1e12]];
  const unit = (j) => UNITS.filter(([, size]) => Math.abs(j) >= size).pop() || UNITS[0];
  // As many digits as the interval's width is worth.
  const digits = (e, size) => {
    if (!known(e.low_j) || !known(e.high_j)) return 2;
    const half = (e.high_j - e.low_j) / 2 / size;
    return half > 0 ? Math.min(3, Math.max(0, 1 - Math.floor(Math.log10(half)))) : 2;
  };
  const joules = (e) => {
    if (!e || !known(e.energy_j)) return UNKNOWN;
    const [word, size] = unit(e.energy_j);
    return fixed(e.energy_j / size, digits(e, size)) + " " + word;
  };
  const interval = (e) => {
    if (!e || !known(e.energy_j)) return "";
    const [word, size] = unit(e.energy_j), n = digits(e, size);
    if (!known(e.high_j)) return "at least " + (known(e.low_j) ? fixed(e.low_j / size, n) + " " + word : "0 J");
    return "[" + fixed(e.low_j / size, n) + ", " + fixed(e.high_j / size, n) + "]";
  };
  const hours = (e) => (e && known(e.energy_j) && e.energy_j >= 36000 ? fixed(e.energy_j / 3.6e6, e.energy_j < 3.6e6 ? 3 : 2) + " kWh" : "");
  const span = (s) => {
    if (!known(s)) return UNKNOWN;
    const m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24), two = (x) => String(x).padStart(2, "0");
    if (m < 1) return Math.floor(s) + " s";
    if (h < 1) return m + " min " + two(Math.floor(s % 60)) + " s";
    if (d < 1) return h + " h " + two(m % 60) + " min";
    return d + " d " + two(h % 24) + " h";
  };
  const clock = (s, withSeconds) => new Date(s * 1000).toLocaleTimeString("en-GB",
    withSeconds ? {} : { hour: "2-digit", minute: "2-digit" });
  const day = (s) => new Date(s * 1000).toLocaleDateString("en-CA") + " " + clock(s);
  // The place where a midnight belongs is the server's: 00:00 there may be another hour here.
  const since = (s, now) => (now - s < 86400 ? "since " + clock(s) : "since " + day(s));

  // ---- a plot of two minutes ----

  const SVG = "http://www.w3.org/2000/svg";
  const plot = (d) => {
    const points = d.history_w, last = points.length - 1, there = points.filter(known);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "plot");
    svg.setAttribute("viewBox", "0 0 120 30");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    const top = Math.max(1, known(d.limit_w) ? d.limit_w : 0, ...there);
    svg.setAttribute("aria-label", there.length
      ? "power over the last 2 minutes: " + watts(Math.min(...there)) + " to " + watts(Math.max(...there)) : "no power was read");
    let path = "", open = false;
    points.forEach((w, i) => {
      if (!known(w)) { open = false; return; }
      path += (open ? "L" : "M") + (120 * i / last).toFixed(1) + " " + (29 - 27 * w / top).toFixed(1);
      if (!open && !known(points[i + 1])) path += "h1";
      open = true;
    });
    for (const [name, data] of [["ground", "M0 29.5H120"], ["", path]]) {
      const line = document.createElementNS(SVG, "path");
      if (name) line.setAttribute("class", name);
      line.setAttribute("d", data);
      svg.append(line);
    }
    return svg;
  };

  // ---- tables ----

  const head = (...inside) => {
    const th = make("th", "l", ...inside);
    th.scope = "row";
    th.setAttribute("role", "rowheader");
    return th;
  };
  const cell = (column, name, ...inside) => {
    const td = make("td", name, ...inside);
    td.dataset.column = column;
    td.setAttribute("role", "cell");
    return td;
  };
  const fill = (table, rows) => {
    table.hidden = rows.length === 0;
    table.tBodies[0].replaceChildren(...rows.map((cells) => {
      const tr = make("tr", "", ...cells);
      tr.setAttribute("role", "row");
      return tr;
    }));
  };
  const word = (e) => (e.provenance === "unknown" ? "" : e.provenance);

  const device = (d) => {
    const held = d.throttled.length ? small("held back: " + d.throttled.join(", "), "held") : null;
    const beside = d.counted ? "" : d.part ? "part of another" : "beside the total";
    const missed = d.gap_s >= 1 ? small("not read for " + span(d.gap_s), "held") : null;
    const energy = known(d.today.energy_j)
      ? [joules(d.today), small(interval(d.today) + " " + word(d.today))]
      : [UNKNOWN, small(d.note.replace(/^unknown: /, ""))];
    return [
      head(d.title, small(d.detail), small(beside)),
      cell("Power now", "", watts(d.power_w), held),
      cell("last 2 min", "plotted", plot(d)),
      cell("Energy today", known(d.today.energy_j) ? "" : "w", ...energy, missed),
      cell("Limit", known(d.limit_w) ? "" : "gone", known(d.limit_w) ? watts(d.limit_w) : "–"),
      cell("Temperature", known(d.temp_c) ? "" : "gone", known(d.temp_c) ? fixed(d.temp_c, 0) + " °C" : "–"),
    ];
  };

  const lease = (l) => [
    head(l.device || "a device that is not here"),
    cell("Setting", "l", l.knob + " " + l.value, l.is_covered ? small("a stricter one holds: " + l.effective) : l.effective ? null : small("not set yet"),
      l.is_unrestored ? small("still to be put back: the device refuses", "held") : null),
    cell("Held by", "l w", l.user, small(l.job ? "job " + l.job : l.program + ", process " + l.pid)),
    cell("Until", "l w", known(l.left_s) ? span(l.left_s) + " from now" : l.job ? "the job ends" : "the process ends"),
  ];

  const job = (j) => [
    head(String(j.job), small(j.name)),
    cell("User", "l w", j.user, small([j.account, j.partition].filter(Boolean).join(", "))),
    cell("GPUs", "", String(j.gpus)),
    cell("Cap", known(j.cap_w) ? "" : "gone", known(j.cap_w) ? watts(j.cap_w) : "–"),
    cell("Running for", "", span(j.elapsed_s)),
    cell("Energy so far", "", joules(j.energy), small(interval(j.energy) + " " + word(j.energy))),
  ];

  // ---- the page ----

  const say = (id, text) => {
    $(id).textContent = text;
    $(id).hidden = !text;
  };

  const whole = (e, weakest) => [hours(e), interval(e), word(e) + (weakest && word(e) ? " (by " + weakest + ")" : "")].filter(Boolean).join(" · ");

  const draw = (s) => {
    const counted = s.devices.filter((d) => d.counted);
    $("host").textContent = "on " + s.host;
    document.title = watts(s.power_w) + " · " + s.host + " · Wattune";
    say("unreal", s.unreal === "emulated" ? "EMULATED" + (s.emulation ? " " + s.emulation : "") + ": no real device is measured"
      : s.unreal === "replayed" ? "REPLAYED: a recorded machine, nothing is measured here" : "");
    $("power").textContent = watts(s.power_w);
    $("power-of").textContent = counted.length === 1 ? "of " + counted[0].title : "of " + counted.length + " devices";
    $("today-since").textContent = "Energy today, " + since(s.today_since_s, s.time_s);
    $("today").textContent = joules(s.today);
    $("today-of").textContent = whole(s.today, counted.length > 1 ? s.weakest : "");
    $("total-tile").hidden = s.today_since_s === s.start_s; // the same
    $("total-since").textContent = "Energy " + since(s.start_s, s.time_s);
    $("total").textContent = joules(s.energy);
    $("total-of").textContent = whole(s.energy, "");
    fill($("devices"), s.devices.map(device));

    fill($("leases"), s.leases.map(lease));
    say("leases-none", !s.has_daemon ? "wattuned does not answer, so what it holds is not known: " + s.daemon_why
      : s.leases.length ? "" : s.is_daemon_partial ? "None of this user. What others hold is told to root alone." : "None.");
    say("leases-more", s.leases_unlisted ? "and " + s.leases_unlisted + " more" : "");

    const jobs = s.jobs.slice().sort((a, b) => (b.energy.energy_j || 0) - (a.energy.energy_j || 0));
    fill($("jobs"), jobs.map(job));
    say("jobs-none", s.jobs.length ? "" : !s.has_jobs ? "No accounts of jobs are kept here."
      : s.has_job_facts ? "None runs." : "Slurm has told of none: its plugin is not in use here.");
    say("jobs-more", s.jobs_dropped ? "and " + s.jobs_dropped + " more" : "");

    $("problems-part").hidden = s.problems.length === 0;
    $("problems").replaceChildren(...s.problems.map((p) => {
      const li = make("li", "", make("b", "", p.what), ": " + p.why);
      if (p.fix) li.append(make("small", "", "try: ", make("code", "", p.fix)));
      return li;
    }));
    $("foot").textContent = "Wattune " + s.version + ", " + since(s.start_s, s.time_s) +
      (known(s.sampler_cpu) ? "; reading the sensors takes " + fixed(100 * s.sampler_cpu, 2) + " % of one core" : "") + ".";
    $("values").hidden = false;
    $("status").textContent = clock(s.time_s, true);
  };

  const lost = (why) => {
    document.body.classList.toggle("is-old", Boolean(why));
    say("lost", why ? "No answer" + (seen ? " since " + seen.toLocaleTimeString("en-GB") + "; what is below is of then" : "") + ": " + why : "");
  };

  const ask = async () => {
    const stop = new AbortController(), timer = setTimeout(() => stop.abort(), PATIENCE_MS);
    try {
      const answer = await fetch("/api/state.json", { cache: "no-store", signal: stop.signal });
      if (!answer.ok) throw new Error("HTTP " + answer.status);
      draw(await answer.json());
      seen = new Date();
      lost("");
    } catch (e) {
      lost(e.name === "AbortError" ? "it took too long" : e.message);
    } finally {
      clearTimeout(timer);
    }
  };

  const go = async () => {
    if (!document.hidden || !seen) await ask();
    setTimeout(go, PERIOD_MS);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  go();
})();
