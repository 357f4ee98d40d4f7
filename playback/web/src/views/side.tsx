import { useEffect, useState } from "preact/hooks";
import { type Copy, ms } from "../api";
import { begin, beginArchive, type Size, sizeOf } from "../export";
import { MOST } from "../place";
import { cameras as known, present, recorders, say, zone } from "../state";
import { bytes, clock, duration, full, parse } from "../time";
import { causeText } from "../timeline/model";
import { Icon } from "../ui/icons";
import { IconButton } from "../ui/parts";
import { gapsOf, show } from "./actions";
import { addCamera } from "./keys";
import { LockDialog } from "./lockdialog";
import type { Session } from "./watch";

/** The panel at the side: the range, the copies, what is missing, what is locked. */
export function Side({ session }: { session: Session }) {
  return (
    <aside class="side" aria-label="Details">
      <Range session={session} />
      {session.cameras.map((c) => (
        <Copies key={c} name={c} several={session.cameras.length > 1} />
      ))}
      <Missing session={session} />
      <Locked session={session} />
      <Others session={session} />
      {session.locking.value && <LockDialog session={session} onClose={() => (session.locking.value = false)} />}
    </aside>
  );
}

function Range({ session }: { session: Session }) {
  const { from, to } = session.selection.value;
  if (from === undefined && to === undefined) {
    return (
      <section>
        <h2>Range</h2>
        <p class="dim">
          Mark where it begins and ends with the brackets below the picture (<kbd>I</kbd> <kbd>O</kbd>), or drag on the
          timeline with <kbd>Shift</kbd>: then export or lock it.
        </p>
      </section>
    );
  }
  const whole = from !== undefined && to !== undefined;
  return (
    <section class="range">
      <h2>
        Range {whole && <span class="dim">{duration(to - from)}</span>}
        <span class="grow" />
        <IconButton icon="close" label="No range" keys="X" onClick={() => (session.selection.value = {})} />
      </h2>
      <div class="range-times">
        <TimeField
          label="From"
          value={from}
          near={to ?? from!}
          onChange={(t) => (session.selection.value = { ...session.selection.value, from: t })}
          limit={to}
          before
        />
        <TimeField
          label="To"
          value={to}
          near={from ?? to!}
          onChange={(t) => (session.selection.value = { ...session.selection.value, to: t })}
          limit={from}
        />
      </div>
      {whole && <ExportBox session={session} from={from} to={to} />}
    </section>
  );
}

function TimeField(p: {
  label: string;
  value: number | undefined;
  near: number;
  limit: number | undefined;
  before?: boolean;
  onChange: (t: number) => void;
}) {
  const shown = p.value === undefined ? "" : full(zone.value, p.value, 3);
  const [text, setText] = useState(shown);
  useEffect(() => setText(shown), [shown]);
  const t = text === shown ? p.value : parse(zone.value, text, p.near, present.value);
  const wrong = t === undefined ? text !== "" : p.limit !== undefined && (p.before ? t >= p.limit : t <= p.limit);
  const set = (): void => {
    if (t !== undefined && !wrong && t !== p.value) p.onChange(t);
    else setText(shown);
  };
  return (
    <label>
      {p.label}
      <input
        value={text}
        placeholder="not set"
        aria-invalid={wrong}
        spellcheck={false}
        autocomplete="off"
        onInput={(e) => setText(e.currentTarget.value)}
        onBlur={set}
        onKeyDown={(e) => {
          if (e.key === "Enter") set();
        }}
      />
    </label>
  );
}

function ExportBox({ session, from, to }: { session: Session; from: number; to: number }) {
  const [sizes, setSizes] = useState<(Size | { error: string } | undefined)[]>([]);
  const key = session.cameras.join("+");
  useEffect(() => {
    const stop = new AbortController();
    setSizes([]);
    const timer = window.setTimeout(() => {
      session.cameras.forEach((c, i) => {
        sizeOf(c, from, to, stop.signal).then(
          (s) => setSizes((old) => Object.assign([...old], { [i]: s })),
          (err: Error) => {
            if (!stop.signal.aborted) setSizes((old) => Object.assign([...old], { [i]: { error: err.message } }));
          },
        );
      });
    }, 400);
    return () => {
      window.clearTimeout(timer);
      stop.abort();
    };
  }, [key, from, to]);
  const ready = session.cameras.filter((_, i) => sizes[i] && !("error" in sizes[i]!));
  return (
    <>
      <ul class="sizes">
        {session.cameras.map((c, i) => {
          const s = sizes[i];
          return (
            <li key={c}>
              <b>{c}</b>
              {!s ? (
                <span class="dim">asking…</span>
              ) : "error" in s ? (
                <span class="bad">{s.error}</span>
              ) : (
                <span class="dim">
                  {bytes(s.bytes)}
                  {s.gaps > 0 && <em class="warn"> {s.gaps === 1 ? "1 gap" : `${s.gaps} gaps`}</em>}
                  {s.unknown && <em class="warn"> {s.unknown} did not answer</em>}
                </span>
              )}
            </li>
          );
        })}
      </ul>
      <div class="buttons">
        <button type="button" class="primary" disabled={ready.length === 0} onClick={() => begin(ready, from, to)}>
          <Icon name="down" />
          {session.cameras.length > 1 ? `${session.cameras.length} files` : "Export MP4"}
        </button>
        {session.cameras.length > 1 && (
          <button type="button" disabled={ready.length === 0} onClick={() => beginArchive(ready, from, to)}>
            <Icon name="down" />
            One ZIP
          </button>
        )}
        <button type="button" onClick={() => (session.locking.value = true)}>
          <Icon name="lock" />
          Lock…
        </button>
        <button type="button" onClick={() => show(session, from)} title="Play from where the range begins">
          <Icon name="play" />
        </button>
      </div>
    </>
  );
}

function Copies({ name, several }: { name: string; several: boolean }) {
  const c = known.value?.find((x) => x.name === name);
  if (!c) return null;
  return (
    <section class="copies-box">
      <h2>
        {several ? name : "Copies"}
        <span class={`dim ${c.healthyCopies < c.wantedCopies ? "warn" : ""}`}>
          {c.healthyCopies} of {c.wantedCopies} recording
        </span>
      </h2>
      <ul>
        {c.recorders.map((r) => (
          <CopyRow key={r.recorder} copy={r} />
        ))}
      </ul>
      {!several && c.tracks.length > 0 && <p class="dim tracks">{c.tracks.join(" · ")}</p>}
    </section>
  );
}

function CopyRow({ copy: r }: { copy: Copy }) {
  const node = recorders.value.find((n) => n.name === r.recorder);
  const down = r.state !== "up";
  const tone = down ? "bad" : r.healthy ? "good" : r.standby ? "idle" : "warn";
  return (
    <li>
      <i class={`dot ${tone}`} />
      <b>{r.recorder}</b>
      <span class="dim">{r.role || "has footage"}</span>
      <span class="grow" />
      <span class={down ? "bad" : "dim"}>
        {down
          ? `down${node?.since ? ` for ${duration(Math.max(0, present.value - ms(node.since)))}` : ""}`
          : r.standby
            ? "stands by"
            : r.healthy
              ? `${r.behindSeconds.toFixed(1)} s behind`
              : r.role
                ? "not recording"
                : ""}
      </span>
      <small class="dim">
        {bytes(r.bytes)}
        {r.oldest && ` since ${full(zone.value, ms(r.oldest)).slice(0, 16)}`}
        {r.repair &&
          ` · copying ${bytes(r.repair.lackingBytes)}${r.repair.remainingSeconds ? `, ${duration(r.repair.remainingSeconds * 1000)} left` : ""}${r.repair.stopped ? `: ${r.repair.stopped}` : ""}`}
      </small>
    </li>
  );
}

function Missing({ session }: { session: Session }) {
  for (const d of session.data.values()) d.version.value;
  const all = gapsOf(session).reverse();
  const [more, setMore] = useState(false);
  const several = session.cameras.length > 1;
  return (
    <section>
      <h2>
        Missing <span class="dim">{all.length || "nothing"}</span>
      </h2>
      {all.length > 0 && (
        <ul class="events">
          {all.slice(0, more ? 200 : 8).map((g) => (
            <li key={`${g.camera}${g.start}`}>
              <button type="button" onClick={() => show(session, g.start - 2000)}>
                <i class={`mark ${g.kind}`} />
                <span>
                  {several && <b>{g.camera} </b>}
                  {g.kind === "gap" ? causeText(g.cause ?? "") : `unknown: ${g.recorders?.join(", ")} did not answer`}
                </span>
                <span class="dim">
                  {full(zone.value, g.start)} · {duration(g.end - g.start)}
                </span>
              </button>
            </li>
          ))}
        </ul>
      )}
      {all.length > 8 && (
        <button type="button" class="text" onClick={() => setMore(!more)}>
          {more ? "Fewer" : `All ${all.length}`}
        </button>
      )}
    </section>
  );
}

function Locked({ session }: { session: Session }) {
  const seen = new Map<string, { camera: string; start: number; end: number; reason: string }>();
  for (const [camera, d] of session.data) {
    d.version.value;
    const { detail, overview } = d.best();
    for (const l of [overview, detail]) {
      for (const k of l?.locked ?? []) {
        const before = seen.get(k.lock);
        seen.set(k.lock, {
          camera,
          reason: k.reason,
          start: Math.min(k.start, before?.start ?? k.start),
          end: Math.max(k.end, before?.end ?? k.end),
        });
      }
    }
  }
  if (seen.size === 0) return null;
  return (
    <section>
      <h2>
        Locked <span class="dim">{seen.size}</span>
      </h2>
      <ul class="events">
        {[...seen].map(([id, k]) => (
          <li key={id}>
            <button type="button" onClick={() => show(session, k.start)}>
              <i class="mark locked" />
              <span>
                {session.cameras.length > 1 && <b>{k.camera} </b>}
                {k.reason}
              </span>
              <span class="dim">
                {full(zone.value, k.start)} to {clock(zone.value, k.end)}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Others({ session }: { session: Session }) {
  const list = known.value ?? [];
  if (list.length < 2) return null;
  return (
    <section>
      <h2>Watch together</h2>
      <div class="chips">
        {list.map((c) => {
          const on = session.cameras.includes(c.name);
          return (
            <button
              type="button"
              key={c.name}
              class="chip"
              aria-pressed={on}
              disabled={on ? session.cameras.length === 1 : session.cameras.length >= MOST}
              onClick={() => {
                addCamera(session, on ? session.cameras.filter((x) => x !== c.name) : [...session.cameras, c.name]);
                say(on ? `${c.name} is closed.` : `${c.name} is beside.`);
              }}
            >
              {c.name}
            </button>
          );
        })}
      </div>
    </section>
  );
}
