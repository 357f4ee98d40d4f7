import { cancel, type Job, jobs } from "../export";
import { zone } from "../state";
import { bytes, clock, duration } from "../time";
import { IconButton, Meter } from "./parts";

/** The exports that are under way, wherever in the page one is. */
export function Jobs() {
  if (jobs.value.length === 0) return null;
  return (
    <section class="jobs" aria-label="Exports">
      {jobs.value.map((j) => (
        <Row key={j.id} j={j} />
      ))}
    </section>
  );
}

function Row({ j }: { j: Job }) {
  const running = j.state === "running" || j.state === "waiting";
  const left = j.rate > 0 && j.total > j.got ? ((j.total - j.got) / j.rate) * 1000 : 0;
  const text = {
    waiting: "waiting",
    running: j.total
      ? `${bytes(j.got)} of ${bytes(j.total)}${j.rate ? `, ${bytes(j.rate)}/s` : ""}${left > 1500 ? `, ${duration(Math.round(left / 1000) * 1000)} left` : ""}`
      : "beginning",
    done: `${bytes(j.got)}, done`,
    failed: j.message,
    cancelled: "cancelled",
    handed: j.message,
  }[j.state];
  return (
    <div class={`job ${j.state}`}>
      <div>
        <b>{j.camera}</b>
        <span class="dim">
          {clock(zone.value, j.start)} · {duration(j.end - j.start)}
        </span>
        <span class="grow" />
        <IconButton
          icon="close"
          label={running ? `Cancel the export of ${j.camera}` : "Dismiss"}
          onClick={() => cancel(j.id)}
        />
      </div>
      {j.state !== "handed" && j.state !== "failed" && (
        <Meter
          value={j.got}
          max={j.total || 1}
          label={`Export of ${j.camera}`}
          tone={j.state === "done" ? "good" : "accent"}
        />
      )}
      <small class={j.state === "failed" ? "bad" : "dim"} role="status">
        {text}
        {j.gaps > 0 && <em class="warn"> · {j.gaps === 1 ? "1 gap" : `${j.gaps} gaps`} in it</em>}
        {j.unknown && <em class="warn"> · {j.unknown} did not answer</em>}
      </small>
    </div>
  );
}
