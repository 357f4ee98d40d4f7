import { useEffect, useRef, useState } from "preact/hooks";
import { now } from "../api";
import { present, say, zone } from "../state";
import { clock, date, duration, full, parse, zoneOffsetName } from "../time";
import { around, clamp, ZOOMS, zoom } from "../timeline/view";
import { Icon } from "../ui/icons";
import { Dialog, IconButton } from "../ui/parts";
import { jumpGap, SPEEDS, setSpeed, share, toggleFull } from "./actions";
import type { Session } from "./watch";

export function Transport({ session }: { session: Session }) {
  const { group, view } = session;
  const live = group.live.value;
  const first = session.cameras[0]!;
  const width = view.value.end - view.value.start;
  return (
    <section class="transport" aria-label="Playing">
      <div class="tgroup">
        <IconButton icon="gapBack" label="Last gap" keys="P" onClick={() => jumpGap(session, -1)} />
        <IconButton icon="stepBack" label="One picture back" keys="," onClick={() => group.step(-1)} />
        <IconButton
          icon={group.playing.value ? "pause" : "play"}
          label={group.playing.value ? "Pause" : "Play"}
          keys="Space"
          class="big"
          onClick={() => group.toggle()}
        />
        <IconButton icon="stepOn" label="One picture on" keys="." onClick={() => group.step(1)} />
        <IconButton icon="gapOn" label="Next gap" keys="N" onClick={() => jumpGap(session, 1)} />
      </div>
      <button
        type="button"
        class={`live-button ${live ? "on" : ""}`}
        aria-pressed={live}
        title="Live (End)"
        onClick={() => {
          group.goLive();
          view.value = clamp(around(now(), width, 0.8), now());
        }}
      >
        <Icon name="live" />
        Live
      </button>
      <label class="speed" title="Speed (< >)">
        <span class="hidden">Speed</span>
        <select
          value={String(group.speed.value)}
          onChange={(e) => setSpeed(session, Number(e.currentTarget.value))}
          disabled={live}
        >
          {SPEEDS.map((s) => (
            <option key={s} value={String(s)}>
              {s}×
            </option>
          ))}
        </select>
      </label>
      <Now session={session} />
      <div class="grow" />
      <div class="seg zooms" role="group" aria-label="Width of the timeline">
        {ZOOMS.map(([label, w]) => (
          <button
            type="button"
            key={label}
            aria-pressed={Math.abs(width / w - 1) < 0.01}
            onClick={() => {
              const at = group.wall.value ?? now();
              view.value = clamp(around(at, w, live ? 0.8 : 0.5), now());
            }}
          >
            {label}
          </button>
        ))}
      </div>
      <div class="tgroup">
        <IconButton icon="minus" label="Zoom out" keys="-" onClick={() => zoomBy(session, 2)} />
        <IconButton icon="plus" label="Zoom in" keys="+" onClick={() => zoomBy(session, 0.5)} />
      </div>
      <div class="tgroup">
        <IconButton icon="inMark" label="The range begins here" keys="I" onClick={() => mark(session, "from")} />
        <IconButton icon="outMark" label="The range ends here" keys="O" onClick={() => mark(session, "to")} />
      </div>
      <div class="tgroup">
        <IconButton
          icon="lanes"
          label="Lanes of the copies"
          pressed={session.open.value}
          onClick={() => (session.open.value = !session.open.value)}
        />
        <Mute session={session} camera={first} />
        <IconButton icon="link" label="Copy a link to this moment" keys="Y" onClick={() => void share()} />
        <IconButton
          icon="panel"
          label="Panel at the side"
          keys="S"
          pressed={session.side.value}
          onClick={() => (session.side.value = !session.side.value)}
        />
        <IconButton icon="full" label="Full screen" keys="F" onClick={() => toggleFull(session)} />
      </div>
      {session.goTo.value && <GoTo session={session} />}
    </section>
  );
}

export function zoomBy(session: Session, factor: number): void {
  const v = session.view.value;
  const wall = session.group.wall.value;
  const about = wall !== undefined && wall >= v.start && wall <= v.end ? wall : (v.start + v.end) / 2;
  session.view.value = clamp(zoom(v, factor, about), now());
}

export function mark(session: Session, which: "from" | "to"): void {
  const wall = session.group.wall.value;
  if (wall === undefined) return;
  const s = { ...session.selection.value, [which]: wall };
  if (s.from !== undefined && s.to !== undefined && s.from >= s.to) delete s[which === "from" ? "to" : "from"];
  session.selection.value = s;
  session.side.value = true;
  say(`The range ${which === "from" ? "begins" : "ends"} at ${full(zone.value, wall, 1)}.`);
}

function Now({ session }: { session: Session }) {
  const wall = session.group.wall.value;
  const live = session.group.live.value;
  return (
    <button type="button" class="moment" title="Go to a time (G)" onClick={() => (session.goTo.value = true)}>
      {wall === undefined ? (
        <span class="dim">no picture</span>
      ) : (
        <>
          <span class="dim">{date(zone.value, wall)}</span> <b>{clock(zone.value, wall, 1)}</b>{" "}
          <span class="dim ago">
            {live ? `${((present.value - wall) / 1000).toFixed(0)} s behind` : zoneOffsetName(zone.value, wall)}
          </span>
        </>
      )}
    </button>
  );
}

function Mute({ session, camera }: { session: Session; camera: string }) {
  session.group.wall.value;
  const p = session.group.player(camera);
  const muted = p?.muted.value ?? true;
  return (
    <IconButton
      icon={muted ? "mute" : "sound"}
      label={muted ? "Sound on" : "Sound off"}
      keys="M"
      onClick={() => {
        if (p) p.video.muted = !p.video.muted;
      }}
    />
  );
}

function GoTo({ session }: { session: Session }) {
  const at = session.group.wall.peek() ?? now();
  const [text, setText] = useState(full(zone.value, at));
  const ref = useRef<HTMLInputElement>(null);
  useEffect(() => ref.current?.select(), []);
  const t = parse(zone.value, text, at, now());
  const close = (): void => {
    session.goTo.value = false;
  };
  return (
    <Dialog title="Go to a time" onClose={close}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          if (t === undefined) return;
          session.group.seek(t);
          const v = session.view.value;
          session.view.value = clamp(around(t, v.end - v.start), now());
          close();
        }}
      >
        <label>
          Time ({zone.value.replaceAll("_", " ")})
          <input
            ref={ref}
            value={text}
            onInput={(e) => setText(e.currentTarget.value)}
            autocomplete="off"
            spellcheck={false}
            aria-describedby="goto-help"
          />
        </label>
        <p class="dim" id="goto-help">
          {t === undefined
            ? "13:05, 13:05:09.5, 2026-11-26 13:05, -10m, +30s, now"
            : t > now()
              ? `${full(zone.value, t)} is still to come`
              : `${full(zone.value, t, 1)}, ${duration(now() - t)} ago`}
        </p>
        <footer>
          <button type="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={t === undefined}>
            Go
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
