// What the whole page knows: where it is, what people prefer, and how the site does.

import { computed, effect, signal } from "@preact/signals";
import { api, type Camera, now, type Problem, type ProxyNode, type Recorder } from "./api";
import { type Place, parsePlace, placeURL } from "./place";
import { isZone, systemZone } from "./time";

// Preferences stay in this browser.

function stored<T extends string>(key: string, initial: T, valid: (v: string) => boolean) {
  let value = initial;
  try {
    const v = localStorage.getItem(`duet.${key}`);
    if (v !== null && valid(v)) value = v as T;
  } catch {
    // no storage: nothing is remembered
  }
  const s = signal<T>(value);
  effect(() => {
    try {
      localStorage.setItem(`duet.${key}`, s.value);
    } catch {
      // as above
    }
  });
  return s;
}

export type Theme = "dark" | "light";
export const theme = stored<Theme>("theme", "dark", (v) => v === "dark" || v === "light");
export const zone = stored<string>("zone", systemZone(), isZone);
export const tileSize = stored<"s" | "m" | "l">("tiles", "m", (v) => ["s", "m", "l"].includes(v));
export const by = stored<string>("by", "", () => true);

effect(() => {
  document.documentElement.dataset.theme = theme.value;
  const meta = document.querySelector('meta[name="theme-color"]');
  meta?.setAttribute("content", theme.value === "dark" ? "#0f1216" : "#f2f4f6");
});

// The place is the URL.

export const place = signal<Place>(parsePlace(location));

/** go opens a place, as a step in the browser's history. */
export function go(p: Place): void {
  history.pushState(null, "", placeURL(p));
  place.value = parsePlace(location);
  window.scrollTo(0, 0);
}

/** settle changes what the URL says of the place that one is at. */
export function settle(p: Place): void {
  const u = placeURL(p);
  if (u !== location.pathname + location.search) history.replaceState(null, "", u);
}

window.addEventListener("popstate", () => {
  place.value = parsePlace(location);
});

// The site, asked every 2 s while somebody looks.

export const cameras = signal<Camera[] | undefined>(undefined);
export const recorders = signal<Recorder[]>([]);
export const proxies = signal<ProxyNode[]>([]);
/** Why the site cannot be asked; empty: it can. */
export const trouble = signal("");
/** The time, to the second. */
export const present = signal(now());

const EVERY = 2000;

async function ask(): Promise<void> {
  try {
    const [c, r, p] = await Promise.all([api.cameras(), api.recorders(), api.proxies()]);
    cameras.value = c.cameras;
    recorders.value = r.recorders;
    proxies.value = p.proxies;
    trouble.value = "";
  } catch (err) {
    trouble.value = (err as Problem).message;
  }
}

export function watchSite(): void {
  let timer = 0;
  const loop = async (): Promise<void> => {
    await ask();
    timer = document.hidden ? 0 : window.setTimeout(loop, EVERY);
  };
  void loop();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && timer === 0) void loop();
  });
  window.setInterval(() => {
    if (!document.hidden) present.value = now();
  }, 1000);
}

export interface Alert {
  node: string;
  code: string;
  message: string;
  camera?: string;
  since?: string;
  grave: boolean;
}

/** alerts is all that somebody has to know: nodes that are down, alarms, disks. */
export const alerts = computed<Alert[]>(() => {
  const out: Alert[] = [];
  for (const n of [...recorders.value, ...proxies.value]) {
    if (n.state === "down") {
      out.push({
        node: n.name,
        code: "down",
        message: `does not answer${n.error ? `: ${n.error}` : ""}`,
        since: n.since,
        grave: true,
      });
    }
    for (const a of n.alarms ?? []) {
      out.push({ node: n.name, grave: !/slow|behind|lag/.test(a.code), ...a });
    }
  }
  return out;
});

/** health counts copies. */
export const health = computed(() => {
  let healthy = 0;
  let wanted = 0;
  for (const c of cameras.value ?? []) {
    healthy += Math.min(c.healthyCopies, c.wantedCopies);
    wanted += c.wantedCopies;
  }
  return { healthy, wanted };
});

// Short messages, read out by screen readers.

export interface Toast {
  id: number;
  text: string;
  bad: boolean;
}

export const toasts = signal<Toast[]>([]);
let lastToast = 0;

export function say(text: string, bad = false): void {
  const id = ++lastToast;
  toasts.value = [...toasts.value.filter((t) => t.text !== text), { id, text, bad }];
  window.setTimeout(() => dismiss(id), bad ? 10_000 : 4000);
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((t) => t.id !== id);
}

/** The keys that open a camera. */
export const MOST_KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
