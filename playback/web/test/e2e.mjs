// Drives the page of a site in Chromium, as a person does. bench/e2e starts the site and
// this program, and does for it what a browser cannot: one JSON a line on standard output
// asks for that, one line on standard input answers. Whatever does not hold is an error.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [base, artifacts, downloads] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const began = Date.now();

const say = (o) => process.stdout.write(`${JSON.stringify({ at: (Date.now() - began) / 1000, ...o })}\n`);

/** ask has the test do something, and waits until that is done. */
async function ask(o) {
  say(o);
  const { value } = await lines.next();
  return JSON.parse(value ?? "null");
}

function hold(what, ok) {
  if (!ok) throw new Error(`not so:  ${what}`);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
  ],
});

/** open makes a page that fails on everything that it should not do. */
async function open(theme, options) {
  const context = await browser.newContext({ timezoneId: "Europe/Berlin", acceptDownloads: true, ...options });
  await context.addInitScript((t) => {
    if (!localStorage.getItem("duet.theme")) localStorage.setItem("duet.theme", t);
  }, theme);
  const page = await context.newPage();
  page.setDefaultTimeout(40_000);
  page.on("pageerror", (e) => say({ broken: `an error in the page: ${e.stack}` }));
  page.on("console", (m) => {
    if (/Content Security Policy|Refused to/.test(m.text())) say({ broken: m.text() });
  });
  page.on("request", (r) => {
    if (!r.url().startsWith(base) && !/^(blob|data):/.test(r.url())) say({ broken: `it loads ${r.url()}` });
  });
  return page;
}

/** plays waits until the video of a camera goes on by so many seconds. */
async function plays(page, selector, by = 0.4) {
  await page.waitForFunction(
    ([s, d]) => {
      const v = document.querySelector(s);
      if (!v || v.readyState < 3) return false;
      v.dataset.from ??= String(v.currentTime);
      const ok = v.currentTime - Number(v.dataset.from) >= d && v.videoWidth > 0;
      if (ok || v.currentTime < Number(v.dataset.from)) delete v.dataset.from;
      return ok;
    },
    [selector, by],
  );
}

async function accessible(page, where) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const r = await window.axe.run(document, { resultTypes: ["violations"] });
    return r.violations
      .filter((v) => v.impact === "serious" || v.impact === "critical")
      .map(
        (v) =>
          `${v.impact} ${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.html.slice(0, 160)} ${n.failureSummary?.split("\n")[1] ?? ""}`).join(" | ")}`,
      );
  });
  hold(`${where} has no serious accessibility fault:\n${found.join("\n")}\n`, found.length === 0);
}

const shot = (page, name) => page.screenshot({ path: join(artifacts, `page-${name}.png`), timeout: 60_000 });
const video = (camera) => `.stage[data-camera="${camera}"] video`;
const iso = (ms) => new Date(ms).toISOString();

/** shown is the capture time that the page says it shows. */
const shown = (page, camera) =>
  page
    .locator(`.stage[data-camera="${camera}"] time`)
    .getAttribute("datetime")
    .then((t) => Date.parse(t));

async function grid(page) {
  await page.goto(`${base}/`);
  for (const n of [1, 2]) await plays(page, `.tile:nth-child(${n}) video`);
  await accessible(page, "the grid of cameras, dark");
  await shot(page, "cameras-dark");
}

/** keyboard walks without a mouse. */
async function keyboard(page) {
  const focused = () =>
    page.evaluate(() => {
      const e = document.activeElement;
      const s = getComputedStyle(e);
      return {
        text: e.getAttribute("aria-label") ?? e.textContent,
        ring: s.outlineStyle !== "none" && Number.parseFloat(s.outlineWidth) >= 2,
      };
    });
  await page.keyboard.press("Tab");
  const first = await focused();
  hold(`Tab begins with the link to the content, not ${first.text}`, first.text.trim() === "To the content");
  let at;
  for (let i = 0; i < 25; i++) {
    await page.keyboard.press("Tab");
    at = await focused();
    hold(`the focus is seen on ${at.text}`, at.ring);
    if (/^gate, live/.test(at.text.trim())) break;
  }
  hold(`Tab comes to the camera, not ${at.text}`, /^gate, live/.test(at.text.trim()));
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/watch\/gate/);
  await plays(page, video("gate"));
  await page.keyboard.press("Space");
  await page.waitForFunction((s) => document.querySelector(s).paused, video("gate"));
  await page.keyboard.press("?");
  await page.locator("dialog.help[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("dialog.help").waitFor({ state: "detached" });
}

/**
 * alike says of how many of the places at which two images differ the video's picture is
 * more like the first: colours that differ by what decoded them do not count.
 */
const alike = (page, selector, first, second) =>
  page.evaluate(
    async ([s, ...urls]) => {
      const pixels = (source) => {
        const c = new OffscreenCanvas(160, 90);
        const g = c.getContext("2d");
        g.drawImage(source, 0, 0, 160, 90);
        return g.getImageData(0, 0, 160, 90).data;
      };
      const [a, b] = await Promise.all(
        urls.map(async (u) => {
          const img = new Image();
          img.src = u;
          await img.decode();
          return pixels(img);
        }),
      );
      const v = pixels(document.querySelector(s));
      let different = 0;
      let first = 0;
      for (let i = 0; i < v.length; i++) {
        if (Math.abs(a[i] - b[i]) < 60) continue;
        different++;
        if (Math.abs(v[i] - a[i]) < Math.abs(v[i] - b[i])) first++;
      }
      return { different, share: first / different };
    },
    [selector, first, second],
  );

/** moments: the picture that is shown is that of the moment that was asked for. */
async function moments(page) {
  const near = Date.now() - 3000;
  await ask({ do: "durable", to: iso(near + 3000) });
  const answer = await fetch(`${base}/v1/cameras/gate/snapshot.jpg?at=${iso(near)}`);
  hold(`there is a snapshot (${answer.status})`, answer.ok);
  const key = Date.parse(answer.headers.get("Duet-Start"));
  await page.keyboard.press("g");
  await page.locator("dialog input").fill(iso(key + 8));
  await page.keyboard.press("Enter");
  await page.waitForFunction(
    ([s, t]) => {
      const v = document.querySelector(s);
      const time = Date.parse(v.parentElement.querySelector("time")?.dateTime);
      return !v.seeking && v.readyState >= 2 && v.parentElement.dataset.status === "paused" && Math.abs(time - t) < 60;
    },
    [video("gate"), key + 8],
  );
  const snapshot = (t) => `/v1/cameras/gate/snapshot.jpg?at=${iso(t)}`;
  const like = await alike(page, video("gate"), snapshot(key + 1), snapshot(key - 1));
  say({
    note: `of ${like.different} places that differ, ${like.share.toFixed(3)} are as at the moment that was asked for`,
  });
  hold("the picture is the one of its moment, not of the key frame before", like.different > 300 && like.share > 0.9);
  // Pictures on and back.
  const from = await shown(page, "gate");
  const steps = async (k, n) => {
    for (let i = 0; i < n; i++) {
      const t = await page.evaluate((s) => document.querySelector(s).currentTime, video("gate"));
      await page.keyboard.press(k);
      await page.waitForFunction(
        ([s, was]) => !document.querySelector(s).seeking && document.querySelector(s).currentTime !== was,
        [video("gate"), t],
      );
    }
  };
  await steps(".", 5);
  await page.waitForTimeout(150);
  const on = (await shown(page, "gate")) - from;
  hold(`5 pictures of 25 a second are 200 ms on, not ${on}`, Math.abs(on - 200) < 60);
  await steps(",", 5);
  // The timeline: scrub on the hours to a place, and the time there is shown.
  await page.getByRole("button", { name: "1m", exact: true }).click();
  const box = await page.locator(".tl-box").boundingBox();
  const head = await page.locator(".tl-head").evaluate((e) => new DOMMatrix(getComputedStyle(e).transform).e);
  const start = await shown(page, "gate");
  await page.mouse.move(box.x + head, box.y + 8);
  await page.mouse.down();
  for (const d of [10, 20, 30]) await page.mouse.move(box.x + head + d, box.y + 8);
  await page.locator(".tl-tip").waitFor();
  await page.mouse.up();
  const want = start + (30 / box.width) * 60_000;
  await page.waitForFunction(
    ([s, t]) => {
      const f = document.querySelector(s);
      return (
        f.dataset.status === "paused" &&
        Math.abs(Date.parse(f.querySelector("time")?.dateTime) - t) < 150 &&
        !f.querySelector("video").seeking
      );
    },
    ['.stage[data-camera="gate"]', want],
  );
  // The wheel zooms about the pointer.
  await page.mouse.move(box.x + box.width / 2, box.y + 50);
  await page.mouse.wheel(0, 300);
  await page.waitForFunction(() => Number(new URL(location.href).searchParams.get("width")) > 70);
}

/** range exports and locks a range that is typed. */
async function range(page, from, to) {
  await page.keyboard.press("i");
  await page.keyboard.press("x");
  await page.goto(`${base}/watch/gate?t=${iso(from)}&from=${iso(from)}&to=${iso(to)}&width=60`);
  const button = page.getByRole("button", { name: "Export MP4" });
  await page.waitForFunction(() =>
    [...document.querySelectorAll("button")].some((b) => /Export MP4/.test(b.textContent) && !b.disabled),
  );
  const [download] = await Promise.all([page.waitForEvent("download"), button.click()]);
  const path = join(downloads, download.suggestedFilename());
  await download.saveAs(path);
  await page.locator(".job.done").waitFor();
  await page.locator(".job").getByRole("button", { name: "Dismiss" }).click();
  await page.keyboard.press("k");
  await page.getByLabel("Reason").fill("case 4711");
  await page.keyboard.press("Enter");
  await page.locator(".toast", { hasText: "Locked gate" }).waitFor();
  await page.locator(".side", { hasText: "case 4711" }).waitFor();
  await ask({ do: "exported", path, from: iso(from), to: iso(to) });
}

/** failure kills a recorder while the page plays. */
async function failure(page) {
  await page.goto(`${base}/watch/gate?t=${iso(Date.now() - 6000)}&width=60`);
  await plays(page, video("gate"), 0.8);
  await page.evaluate((s) => {
    const v = document.querySelector(s);
    const w = { stalled: 0, longest: 0, back: 0, from: v.currentTime };
    window.watched = w;
    let last = v.currentTime;
    let at = performance.now();
    w.timer = setInterval(() => {
      const now = performance.now();
      const dt = now - at;
      at = now;
      if (v.currentTime < last - 0.05) w.back++;
      // A stall is when there is nothing to play. When this machine does not come to play
      // what is there, that is not what is measured.
      if (v.currentTime === last && v.readyState < 3) w.stalled += dt;
      else w.stalled = 0;
      w.longest = Math.max(w.longest, w.stalled);
      last = v.currentTime;
    }, 50);
  }, video("gate"));
  await ask({ do: "kill", node: "r2" });
  await page.locator(".tl-names .silent").waitFor();
  await page.locator(".health.bad").waitFor();
  const t = await page.evaluate((s) => document.querySelector(s).currentTime, video("gate"));
  await page.waitForFunction(([s, was]) => document.querySelector(s).currentTime > was + 3, [video("gate"), t]);
  await shot(page, "recorder-killed");
  await ask({ do: "start", node: "r2" });
  await page.waitForFunction(
    () => document.querySelector(".tl-names .copy") && !document.querySelector(".tl-names .silent"),
  );
  const w = await page.evaluate(() => {
    clearInterval(window.watched.timer);
    return window.watched;
  });
  say({ note: `through a kill of r2: longest stall ${w.longest.toFixed(0)} ms` });
  hold(`no stall is longer than 1 s (${w.longest} ms)`, w.longest <= 1000);
  hold("the video never went back", w.back === 0);
}

/** together plays two cameras at the same moment. */
async function together(page) {
  await page.goto(`${base}/watch/gate+yard?t=${iso(Date.now() - 8000)}&width=120`);
  for (const c of ["gate", "yard"]) await plays(page, video(c));
  await page.waitForFunction(() => {
    const t = [...document.querySelectorAll(".stage time")].map((e) => Date.parse(e.dateTime));
    return t.length === 2 && Math.abs(t[0] - t[1]) < 80;
  });
  await accessible(page, "two cameras, dark");
  await shot(page, "together-dark");
}

/** phone: touch, a small screen, light colours. */
async function phone() {
  const page = await open("light", {
    viewport: { width: 390, height: 844 },
    hasTouch: true,
    isMobile: true,
  });
  const fits = async (where) => {
    const [w, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    hold(`${where} fits a phone (${w} of ${inner} pixels)`, w <= inner);
  };
  await page.goto(`${base}/`);
  await page.locator(".tile").first().waitFor();
  await fits("the grid");
  await page.locator(".tile-link").first().tap();
  await plays(page, video("gate"));
  await fits("a camera");
  // Two fingers on the timeline.
  const box = await page.locator(".tl-box").boundingBox();
  const cdp = await page.context().newCDPSession(page);
  const y = box.y + 60;
  const fingers = (d) => [-1, 1].map((s, id) => ({ x: box.x + box.width / 2 + s * d, y, id }));
  await cdp.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: fingers(30) });
  for (const d of [45, 60, 90, 120])
    await cdp.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: fingers(d) });
  await cdp.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  await page.waitForFunction(() => {
    const w = Number(new URL(location.href).searchParams.get("width"));
    return w > 0 && w < 1500;
  });
  await accessible(page, "a camera on a phone, light");
  await shot(page, "phone-light");
  await page.context().close();
}

try {
  const page = await open("dark", { viewport: { width: 1440, height: 900 } });
  await grid(page);
  say({ step: "the grid plays" });
  await keyboard(page);
  say({ step: "a camera by keyboard" });
  await moments(page);
  say({ step: "moments" });
  const to = Date.now();
  await ask({ do: "durable", to: iso(to) });
  await range(page, to - 5230, to);
  say({ step: "exported and locked" });
  await failure(page);
  say({ step: "a recorder was killed" });
  await together(page);
  await page.goto(`${base}/recorders`);
  await page.locator(".card").first().waitFor();
  await page.keyboard.press("t");
  await accessible(page, "recorders, light");
  await shot(page, "recorders-light");
  await page.goto(`${base}/locks`);
  await page.locator("td", { hasText: "case 4711" }).waitFor();
  await accessible(page, "locks, light");
  await page.context().close();
  say({ step: "places" });
  await phone();
  say({ step: "phone" });
} catch (err) {
  for (const c of browser.contexts())
    for (const p of c.pages())
      await p.screenshot({ path: join(artifacts, "page-failed.png"), timeout: 10_000 }).catch(() => undefined);
  say({ broken: String(err?.stack ?? err) });
} finally {
  await Promise.race([browser.close(), new Promise((r) => setTimeout(r, 5000))]);
  say({ done: true });
  process.exit(0); // the browser ends with it
}
