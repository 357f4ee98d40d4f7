import { useEffect } from "preact/hooks";
import { type Disk, ms, type ProxyNode, type Recorder } from "../api";
import { alerts, cameras, present, proxies, recorders, trouble, zone } from "../state";
import { bytes, duration, full } from "../time";
import { Icon } from "../ui/icons";
import { Link, Meter } from "../ui/parts";

/** Recorders, proxies, their disks and alarms. */
export function Recorders() {
  useEffect(() => {
    document.title = "Recorders · duet";
  }, []);
  return (
    <main class="page" id="main">
      <div class="bar">
        <h1>Recorders</h1>
        <span class="dim">
          {recorders.value.filter((r) => r.state === "up").length} of {recorders.value.length} up
        </span>
      </div>
      {trouble.value && (
        <p class="note bad" role="alert">
          {trouble.value}
        </p>
      )}
      <Alarms />
      <ul class="cards">
        {recorders.value.map((r) => (
          <RecorderCard key={r.name} r={r} />
        ))}
      </ul>
      <h2 class="section">Copies</h2>
      <CopyTable />
      {proxies.value.length > 0 && <h2 class="section">Proxies</h2>}
      <ul class="cards">
        {proxies.value.map((p) => (
          <ProxyCard key={p.name} p={p} />
        ))}
      </ul>
    </main>
  );
}

function Alarms() {
  const list = alerts.value;
  return (
    <section class="alarms" aria-label="Alarms" aria-live="polite">
      {list.length === 0 ? (
        <p class="note good">
          <Icon name="check" /> No alarms.
        </p>
      ) : (
        <ul>
          {list.map((a) => (
            <li key={`${a.node}${a.code}${a.camera ?? ""}`} class={`note ${a.grave ? "bad" : "warn"}`}>
              <Icon name="bell" />
              <b>{a.node}</b>
              {a.camera && <span>{a.camera}</span>}
              <span>{a.message}</span>
              {a.since && <span class="dim">since {full(zone.value, ms(a.since))}</span>}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Head({ n, role }: { n: Recorder | ProxyNode; role: string }) {
  const since = Math.max(0, present.value - ms(n.since));
  return (
    <header>
      <i class={`dot ${n.state === "up" ? "good" : n.state === "down" ? "bad" : "warn"}`} />
      <h3>{n.name}</h3>
      <span class="dim">{role}</span>
      <span class="grow" />
      <span class={n.state === "up" ? "dim" : "bad"}>
        {n.state === "up" ? "up" : n.state}{" "}
        {n.state === "up" && n.started ? `for ${duration(present.value - ms(n.started))}` : `for ${duration(since)}`}
      </span>
    </header>
  );
}

function RecorderCard({ r }: { r: Recorder }) {
  return (
    <li class={`card ${r.state}`}>
      <Head n={r} role={[r.role, r.zone].filter(Boolean).join(", ")} />
      {r.error && <p class="bad">{r.error}</p>}
      <dl class="facts">
        <div>
          <dt>Cameras</dt>
          <dd>{r.cameras}</dd>
        </div>
        <div>
          <dt>Lag</dt>
          <dd class={r.lagSeconds > 10 ? "warn" : ""}>{r.lagSeconds.toFixed(1)} s</dd>
        </div>
        <div>
          <dt>Footage</dt>
          <dd>{bytes(r.bytes)}</dd>
        </div>
        <div>
          <dt>Lost</dt>
          <dd class={r.offsetsLost ? "warn" : ""}>{r.offsetsLost.toLocaleString("en")}</dd>
        </div>
        <div>
          <dt>Damaged</dt>
          <dd class={r.damagedFragments ? "bad" : ""}>{r.damagedFragments.toLocaleString("en")}</dd>
        </div>
      </dl>
      {r.disks.map((d) => (
        <DiskRow key={d.path} d={d} />
      ))}
      <p class="dim addr">
        {r.address}
        {r.version && ` · ${r.version}`}
      </p>
    </li>
  );
}

function DiskRow({ d }: { d: Disk }) {
  const limit = d.quotaBytes || d.capacityBytes;
  const used = d.quotaBytes ? d.usedBytes : d.capacityBytes - d.freeBytes;
  const share = limit ? used / limit : 0;
  const tone = d.state !== "good" ? (d.state === "slow" ? "warn" : "bad") : share > 0.97 ? "warn" : "accent";
  const text = `${bytes(used)} of ${bytes(limit)}`;
  const scrub =
    d.scrub && !d.scrub.off && !d.scrub.finished && d.scrub.totalBytes > 0
      ? Math.round((100 * d.scrub.doneBytes) / d.scrub.totalBytes)
      : undefined;
  return (
    <div class="disk">
      <div>
        <span class={`state ${d.state === "good" ? "good" : tone}`}>{d.state}</span>
        <code title={d.path}>{`\u200e${d.path}`}</code>
        <span class="grow" />
        <span>{text}</span>
      </div>
      <Meter value={used} max={limit} label={`Disk ${d.path}`} tone={tone} text={text} />
      <small class="dim">
        {bytes(d.freeBytes)} free on the disk
        {d.lockedBytes > 0 && ` · ${bytes(d.lockedBytes)} locked`}
        {scrub !== undefined && ` · re-reading, ${scrub} %`}
        {d.scrub && d.scrub.damaged > 0 && ` · ${d.scrub.damaged} found damaged`}
      </small>
    </div>
  );
}

function ProxyCard({ p }: { p: ProxyNode }) {
  return (
    <li class={`card ${p.state}`}>
      <Head n={p} role="proxy" />
      {p.error && <p class="bad">{p.error}</p>}
      <dl class="facts">
        <div>
          <dt>Live</dt>
          <dd class={p.live < p.cameras ? "warn" : ""}>
            {p.live} of {p.cameras}
          </dd>
        </div>
        <div>
          <dt>Log</dt>
          <dd>{bytes(p.logBytes)}</dd>
        </div>
      </dl>
      <p class="dim addr">
        {p.address}
        {p.version && ` · ${p.version}`}
      </p>
    </li>
  );
}

/** CopyTable is cameras by recorders. */
function CopyTable() {
  const names = recorders.value.map((r) => r.name);
  return (
    <div class="scroll">
      <table class="matrix">
        <thead>
          <tr>
            <th scope="col">Camera</th>
            {names.map((n) => (
              <th scope="col" key={n}>
                {n}
              </th>
            ))}
            <th scope="col">Protected until</th>
          </tr>
        </thead>
        <tbody>
          {(cameras.value ?? []).map((c) => (
            <tr key={c.name}>
              <th scope="row">
                <Link to={{ name: "watch", cameras: [c.name] }}>{c.name}</Link>
              </th>
              {names.map((n) => {
                const r = c.recorders.find((x) => x.recorder === n);
                if (!r) return <td key={n} class="dim" />;
                const tone = r.state !== "up" ? "bad" : r.healthy ? "good" : r.standby || !r.role ? "idle" : "warn";
                const text =
                  r.state !== "up"
                    ? "down"
                    : r.standby
                      ? "stands by"
                      : r.healthy
                        ? `${r.behindSeconds.toFixed(1)} s`
                        : r.role
                          ? "not recording"
                          : "has footage";
                return (
                  <td key={n} class="num">
                    <i class={`dot ${tone}`} /> {text}
                    {r.repair && <span class="dim"> copying {bytes(r.repair.lackingBytes)}</span>}
                  </td>
                );
              })}
              <td class="num dim">{c.protectedUntil ? full(zone.value, ms(c.protectedUntil), 1) : "never"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
