// Times are milliseconds since 1970; this is how they are shown and read, in a zone that
// people choose.

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** systemZone is that of this machine. */
export const systemZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** zones are all that this browser knows, UTC first. */
export function zones(): string[] {
  const all = Intl.supportedValuesOf?.("timeZone") ?? [];
  return ["UTC", ...all.filter((z) => z !== "UTC")];
}

export function isZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: string): Intl.DateTimeFormat {
  let f = formats.get(zone);
  if (!f) {
    f = new Intl.DateTimeFormat("en-US", {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
    });
    formats.set(zone, f);
  }
  return f;
}

// A zone's offset changes on quarters of an hour of UTC only, in all of today's rules.
const QUARTER = 15 * MINUTE;
const offsets = new Map<string, Map<number, number>>();

/** offset of the zone from UTC at that instant, in ms; east is positive. */
export function offset(zone: string, t: number): number {
  if (zone === "UTC") return 0;
  let known = offsets.get(zone);
  if (!known) offsets.set(zone, (known = new Map()));
  const slot = Math.floor(t / QUARTER);
  let o = known.get(slot);
  if (o === undefined) {
    if (known.size > 20_000) known.clear();
    const at = slot * QUARTER;
    const p: Record<string, number> = {};
    for (const { type, value } of format(zone).formatToParts(at)) p[type] = Number(value);
    o = Date.UTC(p.year!, p.month! - 1, p.day, p.hour, p.minute, p.second) - at;
    known.set(slot, o);
  }
  return o;
}

/** civil is the instant at which a clock in the zone shows what a UTC clock shows at `local`. */
export function instant(zone: string, local: number): number {
  let t = local - offset(zone, local);
  const o = offset(zone, t);
  if (local - o !== t) t = local - o;
  return t;
}

const two = (n: number): string => String(n).padStart(2, "0");
const shifted = (zone: string, t: number): Date => new Date(t + offset(zone, t));
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/** clock is the time of day: 13:05:09, with so many digits after the second. */
export function clock(zone: string, t: number, digits = 0): string {
  const d = shifted(zone, t);
  const s = `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`;
  return digits ? `${s}.${String(d.getUTCMilliseconds()).padStart(3, "0").slice(0, digits)}` : s;
}

/** hourMinute is 13:05. */
export const hourMinute = (zone: string, t: number): string => clock(zone, t).slice(0, 5);

/** day is Thu 26 Nov. */
export function day(zone: string, t: number): string {
  const d = shifted(zone, t);
  return `${WEEKDAYS[d.getUTCDay()]} ${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}`;
}

/** date is 2026-11-26. */
export const date = (zone: string, t: number): string => shifted(zone, t).toISOString().slice(0, 10);

/** full is 2026-11-26 13:05:09. */
export const full = (zone: string, t: number, digits = 0): string => `${date(zone, t)} ${clock(zone, t, digits)}`;

/** zoneName is UTC, or Europe/Berlin (UTC+1). */
export function zoneOffsetName(zone: string, t: number): string {
  const o = offset(zone, t);
  if (o === 0) return "UTC";
  const m = Math.abs(o) / MINUTE;
  return `UTC${o < 0 ? "−" : "+"}${Math.floor(m / 60)}${m % 60 ? `:${two(m % 60)}` : ""}`;
}

/**
 * parse reads what people type for a moment: 13:05, 13:05:09.5, 2026-11-26 13:05, an RFC 3339
 * time, "now", or a step like -10m. A time of day alone is the last one before `near`'s day ends.
 */
export function parse(zone: string, text: string, near: number, present: number): number | undefined {
  const s = text.trim();
  if (/^now$/i.test(s)) return present;
  const rel = /^([+-])\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?$/i.exec(s);
  if (rel) {
    const unit = { s: SECOND, m: MINUTE, min: MINUTE, h: HOUR, d: DAY }[(rel[3] ?? "s").toLowerCase()]!;
    return near + (rel[1] === "-" ? -1 : 1) * Number(rel[2]) * unit;
  }
  if (/^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:\d\d)$/i.test(s)) {
    const t = Date.parse(s);
    return Number.isNaN(t) ? undefined : t;
  }
  const m = /^(?:(\d{4})-(\d\d?)-(\d\d?)(?:[T ]+|$))?(?:(\d\d?):(\d\d)(?::(\d\d)(\.\d{1,3})?)?)?$/.exec(s);
  if (!m || (!m[1] && !m[4])) return undefined;
  const [h, min, sec] = [Number(m[4] ?? 0), Number(m[5] ?? 0), Number(m[6] ?? 0)];
  if (h > 23 || min > 59 || sec > 59) return undefined;
  const base = m[1] ? `${m[1]}-${two(Number(m[2]))}-${two(Number(m[3]))}` : date(zone, near);
  const midnight = Date.parse(`${base}T00:00:00Z`);
  if (Number.isNaN(midnight) || new Date(midnight).toISOString().slice(0, 10) !== base) return undefined;
  return instant(zone, midnight + h * HOUR + min * MINUTE + sec * SECOND + Number(m[7] ?? 0) * 1000);
}

/** duration is 1.25 s, 3:05 min, 2 h 10 min, 4 d 3 h. */
export function duration(length: number): string {
  const d = Math.abs(length);
  if (d < MINUTE) return `${Number((d / 1000).toFixed(d < 10_000 ? 2 : 1))} s`;
  const s = Math.round(d / 1000);
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)} min`;
  const m = Math.round(d / MINUTE);
  if (m < 24 * 60) return `${Math.floor(m / 60)} h${m % 60 ? ` ${m % 60} min` : ""}`;
  const h = Math.round(d / HOUR);
  return `${Math.floor(h / 24)} d${h % 24 ? ` ${h % 24} h` : ""}`;
}

/** bytes is 1.2 GB: powers of 1000, as disks are sold. */
export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let i = 0;
  let v = n;
  while (v >= 999.5 && i < units.length - 1) {
    v /= 1000;
    i++;
  }
  return `${i === 0 || v >= 99.5 ? Math.round(v) : Number(v.toFixed(1))} ${units[i]}`;
}
