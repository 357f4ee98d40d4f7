// Places in the page, and the URLs that stand for them.

import { iso } from "./api";

export type Place =
  | { name: "cameras" }
  | {
      name: "watch";
      cameras: string[];
      /** Undefined: live. */
      at?: number;
      /** Width of the timeline in ms. */
      width?: number;
      from?: number;
      to?: number;
    }
  | { name: "recorders" }
  | { name: "locks" }
  | { name: "nowhere" };

/** MOST is how many cameras are watched together. */
export const MOST = 9;

export function placeURL(p: Place): string {
  switch (p.name) {
    case "cameras":
      return "/";
    case "watch": {
      const q: string[] = [];
      if (p.at !== undefined) q.push(`t=${iso(p.at)}`);
      if (p.width !== undefined) q.push(`width=${Math.round(p.width / 1000)}`);
      if (p.from !== undefined) q.push(`from=${iso(p.from)}`);
      if (p.to !== undefined) q.push(`to=${iso(p.to)}`);
      return `/watch/${p.cameras.map(encodeURIComponent).join("+")}${q.length ? `?${q.join("&")}` : ""}`;
    }
    case "nowhere":
      return "/nowhere";
    default:
      return `/${p.name}`;
  }
}

export function parsePlace(l: { pathname: string; search: string }): Place {
  const path = l.pathname.replace(/\/+$/, "") || "/";
  if (path === "/") return { name: "cameras" };
  if (path === "/recorders" || path === "/locks") return { name: path.slice(1) as "recorders" | "locks" };
  const m = /^\/watch\/([^/]+)$/.exec(path);
  if (!m) return { name: "nowhere" };
  const cameras: string[] = [];
  for (const part of m[1]!.split("+")) {
    let name = part;
    try {
      name = decodeURIComponent(part);
    } catch {
      // as it stands
    }
    if (name && !cameras.includes(name) && cameras.length < MOST) cameras.push(name);
  }
  const q = new URLSearchParams(l.search);
  const time = (key: string): number | undefined => {
    const t = Date.parse(q.get(key) ?? "");
    return Number.isNaN(t) ? undefined : t;
  };
  const p: Place = { name: "watch", cameras };
  const at = time("t");
  const from = time("from");
  const to = time("to");
  const width = Number(q.get("width"));
  if (at !== undefined) p.at = at;
  if (width >= 5 && width <= 62 * 86_400) p.width = width * 1000;
  if (from !== undefined) p.from = from;
  if (to !== undefined && (from === undefined || to > from)) p.to = to;
  return cameras.length ? p : { name: "nowhere" };
}
