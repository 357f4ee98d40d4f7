// What buttons and keys do alike.

import { now } from "../api";
import { say } from "../state";
import { duration } from "../time";
import { causeText, events, type Piece } from "../timeline/model";
import { around, clamp } from "../timeline/view";
import type { Session } from "./watch";

export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16];

export function setSpeed(session: Session, speed: number): void {
  session.group.setSpeed(speed);
}

export function speedBy(session: Session, steps: number): void {
  const i = SPEEDS.indexOf(session.group.speed.value);
  const to = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, (i < 0 ? 2 : i) + steps))]!;
  setSpeed(session, to);
  say(`Speed ${to}×`);
}

/** gapsOf are the gaps and unknown stretches of all cameras, as far as they are known, in order. */
export function gapsOf(session: Session): (Piece & { camera: string })[] {
  const out: (Piece & { camera: string })[] = [];
  for (const [camera, d] of session.data) {
    const { detail, overview } = d.best();
    if (overview)
      for (const e of events(overview))
        if (!detail || e.end <= detail.start || e.start >= detail.end) out.push({ ...e, camera });
    if (detail) for (const e of events(detail)) out.push({ ...e, camera });
  }
  return out.sort((a, b) => a.start - b.start);
}

/** jumpGap goes to a little before the next or last gap. */
export function jumpGap(session: Session, by: 1 | -1): void {
  const wall = session.group.wall.value ?? now();
  const lead = 2000;
  const all = gapsOf(session);
  const g = by > 0 ? all.find((x) => x.start - lead > wall + 250) : all.findLast((x) => x.start - lead < wall - 2500);
  if (!g) {
    say(by > 0 ? "There is no gap after this." : "There is no gap before this.");
    return;
  }
  show(session, g.start - lead);
  const what = g.kind === "gap" ? causeText(g.cause ?? "") : `${g.recorders?.join(", ")} did not answer`;
  say(`${g.camera}: ${what}, ${duration(g.end - g.start)}`);
}

/** show plays from a moment, and moves the timeline there. */
export function show(session: Session, t: number): void {
  session.group.seek(t);
  const v = session.view.value;
  if (t < v.start || t > v.end) session.view.value = clamp(around(t, v.end - v.start), now());
}

export async function share(): Promise<void> {
  // The URL says where one is already.
  const address = location.href;
  try {
    await navigator.clipboard.writeText(address);
    say("A link to this moment is copied.");
  } catch {
    const a = document.createElement("textarea"); // without TLS there is no clipboard API
    a.value = address;
    document.body.append(a);
    a.select();
    const ok = document.execCommand("copy");
    a.remove();
    say(
      ok
        ? "A link to this moment is copied."
        : "The address of this page is the link; the browser lets nothing copy it.",
      !ok,
    );
  }
}

export function toggleFull(session: Session): void {
  if (document.fullscreenElement) {
    void document.exitFullscreen();
    return;
  }
  session.root.current?.requestFullscreen?.().catch(() => say("The browser does not give the full screen.", true));
}
