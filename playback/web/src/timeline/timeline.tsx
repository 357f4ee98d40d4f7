import { type Signal, useComputed, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { now } from "../api";
import type { Group } from "../player/group";
import { cameras as known, present, theme, zone } from "../state";
import { clock, duration, full, MINUTE } from "../time";
import { Thumbnail } from "../ui/thumbnail";
import type { TimelineData } from "./data";
import { draw, type Palette, palette, type Row } from "./draw";
import { at, type Lanes, pieceText } from "./model";
import { clamp, follow, pan, pinch, type View, zoom } from "./view";

export interface Selection {
  from?: number;
  to?: number;
}

interface Props {
  cameras: string[];
  data: Map<string, TimelineData>;
  group: Group;
  view: Signal<View>;
  selection: Signal<Selection>;
  /** Lanes of the copies are shown, not only the merged ones. */
  open: boolean;
  onKey?: (e: KeyboardEvent) => void;
}

const RULER = 26;

/** layout places the rows: for each camera the merged lane, and its copies under it. */
export function layout(
  cameras: string[],
  copies: Map<string, string[]>,
  open: boolean,
): { rows: Row[]; height: number } {
  const rows: Row[] = [];
  let top = RULER + 8;
  for (const c of cameras) {
    const single = cameras.length === 1;
    const merged = single ? 30 : 20;
    rows.push({ camera: c, recorder: "", top, height: merged, lane: (l) => l.merged });
    top += merged + 4;
    if (open) {
      for (const r of copies.get(c) ?? []) {
        const height = single ? 15 : 8;
        rows.push({ camera: c, recorder: r, top, height, lane: (l) => l.copies.find((x) => x.recorder === r) });
        top += height + 3;
      }
    }
    top += 9;
  }
  return { rows, height: top + 2 };
}

export function TimelineView(p: Props) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const head = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const hover = useSignal<{ x: number; t: number; row: Row | undefined } | undefined>(undefined);
  const scrub = useSignal<number | undefined>(undefined);
  const size = useSignal({ w: 0, h: 0 });

  const copies = useComputed(() => {
    const m = new Map<string, string[]>();
    for (const name of p.cameras) {
      const d = p.data.get(name);
      d?.version.value;
      const from = known.value?.find((c) => c.name === name)?.recorders.map((r) => r.recorder) ?? [];
      const best = d?.best();
      const more = [best?.detail, best?.overview].flatMap((l) => l?.copies.map((c) => c.recorder) ?? []);
      m.set(name, [...new Set([...from, ...more])]);
    }
    return m;
  });
  const key = JSON.stringify([...copies.value]);
  const { rows, height } = useMemo(() => layout(p.cameras, copies.value, p.open), [p.cameras.join("+"), key, p.open]);
  const live = useRef({ rows, height });
  live.current = { rows, height };

  // Drawing: at most once a frame, and only when something of it has changed.
  useEffect(() => {
    const c = canvas.current!;
    const g = c.getContext("2d")!;
    let colours: Palette = palette(c);
    let asked = 0;
    const paint = (): void => {
      asked = 0;
      const { w } = size.peek();
      const h = live.current.height;
      if (w === 0) return;
      const ratio = window.devicePixelRatio || 1;
      if (c.width !== Math.round(w * ratio) || c.height !== Math.round(h * ratio)) {
        c.width = Math.round(w * ratio);
        c.height = Math.round(h * ratio);
      }
      g.setTransform(ratio, 0, 0, ratio, 0, 0);
      const s = p.selection.peek();
      draw(
        g,
        {
          view: p.view.peek(),
          width: w,
          height: h,
          ruler: RULER,
          zone: zone.peek(),
          now: now(),
          rows: live.current.rows,
          lanes: new Map(
            p.cameras.map((name) => [name, p.data.get(name)?.best() ?? { detail: undefined, overview: undefined }]),
          ),
          selection:
            s.from !== undefined && s.to !== undefined
              ? { start: s.from, end: s.to }
              : s.from !== undefined
                ? { start: s.from, end: s.from }
                : s.to !== undefined
                  ? { start: s.to, end: s.to }
                  : undefined,
        },
        colours,
      );
    };
    const again = (): void => {
      if (!asked) asked = requestAnimationFrame(paint);
    };
    const stops = [
      p.view.subscribe(again),
      p.selection.subscribe(again),
      size.subscribe(again),
      zone.subscribe(again),
      present.subscribe(again),
      theme.subscribe(() =>
        requestAnimationFrame(() => {
          colours = palette(c);
          again();
        }),
      ),
      ...p.cameras.map((name) => p.data.get(name)!.version.subscribe(again)),
    ];
    again();
    return () => {
      for (const s of stops) s();
      cancelAnimationFrame(asked);
    };
  }, [p.cameras.join("+"), key, p.open, p.data]);

  // The playhead moves with each frame, without a drawing.
  useEffect(() => {
    let frame = 0;
    let last: number | undefined;
    const move = (): void => {
      frame = requestAnimationFrame(move);
      const wall = scrub.peek() ?? p.group.wall.peek();
      const el = head.current;
      if (!el) return;
      if (wall === undefined) {
        el.hidden = true;
        return;
      }
      let v = p.view.peek();
      // It is followed as long as it is in sight.
      if (
        last !== undefined &&
        scrub.peek() === undefined &&
        !drag.current &&
        p.group.playing.peek() &&
        last >= v.start &&
        last <= v.end
      ) {
        const moved = follow(v, wall);
        if (moved !== v) p.view.value = v = moved;
      }
      last = wall;
      const x = ((wall - v.start) / (v.end - v.start)) * size.peek().w;
      el.hidden = x < -1 || x > size.peek().w + 1;
      el.style.transform = `translateX(${x.toFixed(1)}px)`;
    };
    frame = requestAnimationFrame(move);
    return () => cancelAnimationFrame(frame);
  }, [p.group, p.view]);

  useEffect(() => {
    const observer = new ResizeObserver(() => {
      size.value = { w: box.current!.clientWidth, h: box.current!.clientHeight };
    });
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);

  // Each window that is shown is asked for.
  useEffect(
    () =>
      p.view.subscribe((v) => {
        for (const d of p.data.values()) d.show(v);
      }),
    [p.data, p.view],
  );

  const drag = useRef<Drag | undefined>(undefined);
  useEffect(() => {
    const el = box.current!;
    const time = (x: number): number => {
      const v = p.view.peek();
      return v.start + (x / size.peek().w) * (v.end - v.start);
    };
    const set = (v: View): void => {
      p.view.value = clamp(v, now());
    };
    const where = (e: MouseEvent): { x: number; y: number } => {
      const r = el.getBoundingClientRect();
      return { x: e.clientX - r.left, y: e.clientY - r.top };
    };
    const rowAt = (y: number): Row | undefined =>
      live.current.rows.find((r) => y >= r.top - 3 && y < r.top + r.height + 2);
    const touches = new Map<number, { x: number; t: number }>();
    const edge = (x: number): "from" | "to" | undefined => {
      const s = p.selection.peek();
      const v = p.view.peek();
      const px = (t: number | undefined): number =>
        t === undefined ? -99 : ((t - v.start) / (v.end - v.start)) * size.peek().w;
      if (Math.abs(px(s.to) - x) <= 6) return "to";
      if (Math.abs(px(s.from) - x) <= 6) return "from";
      return undefined;
    };
    const wheel = (e: WheelEvent): void => {
      e.preventDefault();
      const { x } = where(e);
      const v = p.view.peek();
      const unit = e.deltaMode === 1 ? 16 : e.deltaMode === 2 ? 200 : 1;
      if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
        const by = (e.shiftKey && e.deltaX === 0 ? e.deltaY : e.deltaX) * unit;
        set(pan(v, (by / size.peek().w) * (v.end - v.start)));
      } else
        set(zoom(v, Math.exp(Math.max(-120, Math.min(120, e.deltaY * unit)) * (e.ctrlKey ? 0.01 : 0.0022)), time(x)));
    };
    const down = (e: PointerEvent): void => {
      if (e.button !== 0) return;
      const { x, y } = where(e);
      el.setPointerCapture(e.pointerId);
      if (e.pointerType === "touch") touches.set(e.pointerId, { x, t: time(x) });
      if (touches.size === 2) {
        drag.current = { kind: "pinch" };
        scrub.value = undefined;
        return;
      }
      const t = time(x);
      const near = e.shiftKey ? undefined : edge(x);
      if (e.shiftKey) drag.current = { kind: "select", x, t, moved: false };
      else if (near) drag.current = { kind: near, x, t, moved: false };
      else if (y < RULER + 4) {
        drag.current = { kind: "scrub", x, t, moved: true };
        scrub.value = Math.min(t, now());
      } else drag.current = { kind: "pan", x, t, moved: false };
    };
    const move = (e: PointerEvent): void => {
      const { x, y } = where(e);
      const d = drag.current;
      if (!d) {
        hover.value = e.pointerType === "touch" ? undefined : { x, t: time(x), row: rowAt(y) };
        el.style.cursor = edge(x) ? "ew-resize" : y < RULER + 4 ? "col-resize" : "default";
        return;
      }
      if (d.kind === "pinch") {
        const mine = touches.get(e.pointerId);
        if (!mine) return;
        mine.x = x;
        const [a, b] = [...touches.values()];
        if (a && b) {
          const v = pinch(a.t, a.x, b.t, b.x, size.peek().w);
          if (v) set(v);
        }
        return;
      }
      if (Math.abs(x - d.x) > 4) d.moved = true;
      if (!d.moved) return;
      const t = Math.min(time(x), now());
      switch (d.kind) {
        case "scrub":
          scrub.value = t;
          hover.value = { x, t, row: live.current.rows[0] };
          break;
        case "pan":
          hover.value = undefined;
          el.style.cursor = "grabbing";
          set(pan(p.view.peek(), d.t - time(x)));
          break;
        case "select":
          p.selection.value = { from: Math.min(d.t, t), to: Math.max(d.t, t) };
          hover.value = { x, t, row: live.current.rows[0] };
          break;
        case "from":
        case "to": {
          const s = p.selection.peek();
          const other = d.kind === "from" ? s.to : s.from;
          hover.value = { x, t, row: live.current.rows[0] };
          if (other === undefined) p.selection.value = { [d.kind]: t };
          else p.selection.value = { from: Math.min(t, other), to: Math.max(t, other) };
          if (other !== undefined && d.kind === "from" && t > other) d.kind = "to";
          else if (other !== undefined && d.kind === "to" && t < other) d.kind = "from";
          break;
        }
      }
    };
    const up = (e: PointerEvent): void => {
      touches.delete(e.pointerId);
      const d = drag.current;
      if (!d) return;
      if (d.kind === "pinch") {
        if (touches.size === 0) drag.current = undefined;
        return;
      }
      drag.current = undefined;
      const { x } = where(e);
      el.style.cursor = "default";
      if (e.type === "pointercancel") {
        scrub.value = undefined;
        return;
      }
      if (d.kind === "scrub") {
        const t = scrub.peek();
        scrub.value = undefined;
        hover.value = undefined;
        if (t !== undefined) p.group.seek(t);
      } else if (d.kind === "pan" && !d.moved) p.group.seek(time(x));
    };
    const leave = (): void => {
      if (!drag.current) hover.value = undefined;
    };
    el.addEventListener("wheel", wheel, { passive: false });
    el.addEventListener("pointerdown", down);
    el.addEventListener("pointermove", move);
    el.addEventListener("pointerup", up);
    el.addEventListener("pointercancel", up);
    el.addEventListener("pointerleave", leave);
    return () => {
      el.removeEventListener("wheel", wheel);
      el.removeEventListener("pointerdown", down);
      el.removeEventListener("pointermove", move);
      el.removeEventListener("pointerup", up);
      el.removeEventListener("pointercancel", up);
      el.removeEventListener("pointerleave", leave);
    };
  }, [p.cameras.join("+"), p.group]);

  const h = hover.value;
  useEffect(() => {
    const el = tip.current;
    if (!el || !h) return;
    const half = el.offsetWidth / 2;
    const x = Math.min(Math.max(h.x, half + 4), size.peek().w - half - 4);
    el.style.transform = `translateX(${(x - half).toFixed(0)}px)`;
  }, [h]);

  useEffect(() => {
    canvas.current!.style.height = `${height}px`;
    box.current!.style.height = `${height}px`;
  }, [height]);

  const wall = useComputed(
    () => scrub.value ?? (p.group.wall.value === undefined ? undefined : Math.floor(p.group.wall.value / 1000) * 1000),
  );
  const v = p.view.value;
  return (
    <div class="tl">
      <div class="tl-names" aria-hidden="true">
        <Names rows={rows} data={p.data} height={height} />
      </div>
      <div class="tl-box" ref={box}>
        <canvas ref={canvas} />
        <div
          class="tl-head"
          ref={head}
          hidden
          role="slider"
          tabIndex={0}
          aria-label="Moment that is shown"
          aria-orientation="horizontal"
          aria-valuemin={Math.round(v.start / 1000)}
          aria-valuemax={Math.round(v.end / 1000)}
          aria-valuenow={Math.round((wall.value ?? v.start) / 1000)}
          aria-valuetext={wall.value === undefined ? "no picture" : full(zone.value, wall.value)}
        >
          <i />
        </div>
        {h && (
          <div class="tl-tip" ref={tip} aria-hidden="true">
            {h.t <= present.value && h.row && <Thumbnail camera={h.row.camera} at={h.t} width={v.end - v.start} />}
            <b>{v.end - v.start < 5 * MINUTE ? clock(zone.value, h.t, 1) : full(zone.value, h.t)}</b>
            {h.row && <Says row={h.row} t={h.t} data={p.data} />}
            {(drag.current?.kind === "select" || drag.current?.kind === "from" || drag.current?.kind === "to") &&
              p.selection.value.from !== undefined &&
              p.selection.value.to !== undefined && (
                <span>{duration(p.selection.value.to - p.selection.value.from)} selected</span>
              )}
          </div>
        )}
      </div>
    </div>
  );
}

type Drag =
  | { kind: "pinch" }
  | { kind: "scrub" | "pan" | "select" | "from" | "to"; x: number; t: number; moved: boolean };

function Names({ rows, data, height }: { rows: Row[]; data: Map<string, TimelineData>; height: number }) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    ref.current!.style.height = `${height}px`;
    rows.forEach((r, i) => {
      const el = ref.current!.children[i] as HTMLElement | undefined;
      if (!el) return;
      el.style.top = `${r.top}px`;
      el.style.height = `${r.height}px`;
    });
  });
  return (
    <div ref={ref}>
      {rows.map((r) => {
        const d = data.get(r.camera);
        d?.version.value;
        const lane = r.recorder ? d?.best().detail?.copies.find((c) => c.recorder === r.recorder) : undefined;
        return (
          <div
            key={`${r.camera}/${r.recorder}`}
            class={`${r.recorder ? "copy" : "merged"} ${r.height < 12 ? "tiny" : ""} ${lane?.silent ? "silent" : ""}`}
          >
            {r.recorder || r.camera}
          </div>
        );
      })}
    </div>
  );
}

function Says({ row, t, data }: { row: Row; t: number; data: Map<string, TimelineData> }) {
  const d = data.get(row.camera);
  d?.version.value;
  const { detail, overview } = d?.best() ?? {};
  const l: Lanes | undefined = detail && t >= detail.start && t <= detail.end ? detail : overview;
  const lane = l && row.lane(l);
  const piece = lane && at(lane.pieces, t);
  const lock = row.recorder ? undefined : l?.locked.find((k) => k.start <= t && t < k.end);
  return (
    <>
      {piece ? <span class={`says ${piece.kind}`}>{pieceText(piece, row.recorder)}</span> : null}
      {piece && (piece.kind === "gap" || piece.kind === "unknown" || piece.kind === "missing") && (
        <span>
          {clock(zone.value, piece.start, 1)} to {clock(zone.value, piece.end, 1)}, {duration(piece.end - piece.start)}
        </span>
      )}
      {lock && <span class="says locked">locked: {lock.reason}</span>}
    </>
  );
}
