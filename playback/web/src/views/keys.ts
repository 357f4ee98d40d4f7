import { now } from "../api";
import { begin } from "../export";
import { MOST } from "../place";
import { cameras, go, say } from "../state";
import { DAY, instant, offset } from "../time";
import { zone } from "../state";
import { around, clamp, pan } from "../timeline/view";
import { jumpGap, share, show, speedBy, toggleFull } from "./actions";
import { mark, zoomBy } from "./transport";
import type { Session } from "./watch";

/** busy says whether a key belongs to what has the focus. */
export function busy(e: KeyboardEvent): boolean {
  const t = e.target as HTMLElement;
  if (document.querySelector("dialog[open]")) return true;
  if (e.ctrlKey || e.metaKey) return true;
  return t.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(t.tagName);
}

/** keys makes the keyboard play; it returns how to end that. */
export function keys(session: Session): () => void {
  const { group } = session;
  const nudge = (by: number): void => {
    const wall = group.wall.value;
    if (wall !== undefined) show(session, wall + by);
  };
  const map: Record<string, (e: KeyboardEvent) => void> = {
    " ": () => group.toggle(),
    k: () => (session.locking.value = ranged(session)),
    ",": () => group.step(-1),
    ".": () => group.step(1),
    ArrowLeft: (e) => nudge(e.altKey ? -60_000 : e.shiftKey ? -10_000 : -1000),
    ArrowRight: (e) => nudge(e.altKey ? 60_000 : e.shiftKey ? 10_000 : 1000),
    PageUp: () =>
      (session.view.value = pan(session.view.value, -(session.view.value.end - session.view.value.start) * 0.8)),
    PageDown: () =>
      (session.view.value = clamp(
        pan(session.view.value, (session.view.value.end - session.view.value.start) * 0.8),
        now(),
      )),
    "<": () => speedBy(session, -1),
    ">": () => speedBy(session, 1),
    p: () => jumpGap(session, -1),
    n: () => jumpGap(session, 1),
    End: () => {
      group.goLive();
      session.view.value = clamp(around(now(), session.view.value.end - session.view.value.start, 0.8), now());
    },
    g: () => (session.goTo.value = true),
    m: () => {
      const p = group.player(session.cameras[0]!);
      if (p) p.video.muted = !p.video.muted;
    },
    f: () => toggleFull(session),
    "+": () => zoomBy(session, 0.5),
    "=": () => zoomBy(session, 0.5),
    "-": () => zoomBy(session, 2),
    "0": () => {
      const t = group.wall.value ?? now();
      const local = Math.floor((t + offset(zone.value, t)) / DAY) * DAY;
      session.view.value = { start: instant(zone.value, local), end: instant(zone.value, local + DAY) };
    },
    c: () => {
      const v = session.view.value;
      session.view.value = clamp(around(group.wall.value ?? now(), v.end - v.start), now());
    },
    i: () => mark(session, "from"),
    o: () => mark(session, "to"),
    x: () => (session.selection.value = {}),
    e: () => {
      const s = session.selection.value;
      if (ranged(session)) begin(session.cameras, s.from!, s.to!);
    },
    y: () => void share(),
    s: () => (session.side.value = !session.side.value),
    Escape: () => {
      if (document.fullscreenElement) return;
      if (session.selection.value.from !== undefined || session.selection.value.to !== undefined)
        session.selection.value = {};
      else go({ name: "cameras" });
    },
  };
  const on = (e: KeyboardEvent): void => {
    if (busy(e)) return;
    const t = e.target as HTMLElement;
    if (e.key === " " && (t.tagName === "BUTTON" || t.tagName === "A")) return;
    const digit = /^Digit([1-9])$/.exec(e.code);
    if (digit && e.shiftKey) {
      beside(session, Number(digit[1]));
      e.preventDefault();
      return;
    }
    const f = map[e.key.length === 1 ? e.key.toLowerCase() : e.key];
    if (!f || (e.altKey && !e.key.startsWith("Arrow"))) return;
    e.preventDefault();
    f(e);
  };
  window.addEventListener("keydown", on);
  return () => window.removeEventListener("keydown", on);
}

function ranged(session: Session): boolean {
  const s = session.selection.value;
  if (s.from !== undefined && s.to !== undefined) return true;
  say("Select a range first: I where it begins, O where it ends.");
  return false;
}

/** beside opens the n-th camera beside those that are open, or closes it. */
function beside(session: Session, n: number): void {
  const name = cameras.value?.[n - 1]?.name;
  if (!name) return;
  const open = session.cameras.includes(name) ? session.cameras.filter((c) => c !== name) : [...session.cameras, name];
  if (open.length === 0 || open.length > MOST) return;
  addCamera(session, open);
}

/** addCamera watches other cameras at the same moment. */
export function addCamera(session: Session, list: string[]): void {
  const v = session.view.value;
  const s = session.selection.value;
  go({
    name: "watch",
    cameras: list,
    width: v.end - v.start,
    ...(session.group.live.value || session.group.wall.value === undefined ? {} : { at: session.group.wall.value }),
    ...(s.from === undefined ? {} : { from: s.from }),
    ...(s.to === undefined ? {} : { to: s.to }),
  });
}
