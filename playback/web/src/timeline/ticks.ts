import { clock, DAY, day, HOUR, hourMinute, instant, MINUTE, offset, SECOND } from "../time";

export interface Tick {
  at: number;
  /** Empty for a minor one. */
  label: string;
  /** A day begins here. */
  day: boolean;
}

// Steps that clocks are read in.
const STEPS = [
  SECOND / 10,
  SECOND / 2,
  SECOND,
  2 * SECOND,
  5 * SECOND,
  10 * SECOND,
  15 * SECOND,
  30 * SECOND,
  MINUTE,
  2 * MINUTE,
  5 * MINUTE,
  10 * MINUTE,
  15 * MINUTE,
  30 * MINUTE,
  HOUR,
  2 * HOUR,
  3 * HOUR,
  6 * HOUR,
  12 * HOUR,
  DAY,
  2 * DAY,
  7 * DAY,
  14 * DAY,
];

/**
 * ticks divides a view into steps that are at least `apart` pixels wide, on round times of
 * the zone's clock, in order.
 */
export function ticks(zone: string, start: number, end: number, width: number, apart = 88): Tick[] {
  const perPixel = (end - start) / Math.max(1, width);
  const major = STEPS.find((s) => s / perPixel >= apart) ?? 28 * DAY;
  const minor = STEPS.findLast((s) => s < major && major % s === 0 && s / perPixel >= 9) ?? major;
  const out: Tick[] = [];
  const from = start + offset(zone, start);
  const to = end + offset(zone, end);
  // Days are counted from a Monday, so that weeks begin with one.
  const origin = minor >= DAY ? 4 * DAY : 0;
  let last = Number.NEGATIVE_INFINITY;
  for (let local = Math.ceil((from - origin) / minor) * minor + origin; local <= to; local += minor) {
    const at = instant(zone, local);
    if (at < start || at > end || at <= last) continue; // an hour that a clock change leaves out or repeats
    last = at;
    const isDay = local % DAY === 0;
    const isMajor = (local - origin) % major === 0 || (isDay && major < DAY);
    let label = "";
    if (isMajor) {
      if (isDay) label = day(zone, at);
      else if (major >= MINUTE) label = hourMinute(zone, at);
      else label = clock(zone, at, major < SECOND ? 1 : 0);
    }
    out.push({ at, label, day: isDay });
  }
  return out;
}
