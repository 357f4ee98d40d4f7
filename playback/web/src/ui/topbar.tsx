import { useState } from "preact/hooks";
import { alerts, health, place, present, theme, trouble, zone } from "../state";
import { clock, date, systemZone, zoneOffsetName, zones } from "../time";
import { helpOpen } from "./help";
import { Icon } from "./icons";
import { IconButton, Link } from "./parts";

export function TopBar() {
  const at = place.value.name;
  return (
    <header class="top">
      <Link to={{ name: "cameras" }} class="brand" label="duet, all cameras">
        <svg viewBox="0 0 26 16" aria-hidden="true">
          <rect x="1" y="1.5" width="24" height="5" rx="2.5" class="b1" />
          <rect x="1" y="9.5" width="14" height="5" rx="2.5" class="b2" />
          <rect x="17.5" y="9.5" width="7.5" height="5" rx="2.5" class="b2" />
        </svg>
        <span>duet</span>
      </Link>
      <nav aria-label="Places">
        <Link to={{ name: "cameras" }} current={at === "cameras"}>
          <Icon name="grid" />
          <span>Cameras</span>
        </Link>
        <Link to={{ name: "recorders" }} current={at === "recorders"}>
          <Icon name="server" />
          <span>Recorders</span>
        </Link>
        <Link to={{ name: "locks" }} current={at === "locks"}>
          <Icon name="lock" />
          <span>Locks</span>
        </Link>
      </nav>
      <div class="grow" />
      <Health />
      <div class="now" title={zone.value}>
        <time dateTime={new Date(present.value).toISOString()}>
          <span class="now-date">{date(zone.value, present.value)}</span> {clock(zone.value, present.value)}
        </time>
        <ZonePick />
      </div>
      <IconButton
        icon={theme.value === "dark" ? "sun" : "moon"}
        label={theme.value === "dark" ? "Light colours" : "Dark colours"}
        keys="T"
        onClick={() => (theme.value = theme.value === "dark" ? "light" : "dark")}
      />
      <IconButton icon="help" label="Keys" keys="?" class="help-button" onClick={() => (helpOpen.value = true)} />
    </header>
  );
}

function Health() {
  const h = health.value;
  const grave = alerts.value.filter((a) => a.grave).length;
  const any = alerts.value.length;
  const tone = trouble.value || grave ? "bad" : any || h.healthy < h.wanted ? "warn" : "good";
  const text = trouble.value ? "no answer" : `${h.healthy}/${h.wanted}`;
  const words =
    trouble.value ||
    `${h.healthy} of ${h.wanted} copies are being recorded; ${any === 1 ? "1 alarm" : `${any} alarms`}`;
  return (
    <Link to={{ name: "recorders" }} class={`health ${tone}`} title={words}>
      <i class="dot" />
      <span>
        {text}
        {!trouble.value && (
          <>
            <span class="word"> copies</span>
            <span class="hidden"> are being recorded</span>
          </>
        )}
      </span>
      {any > 0 && (
        <b>
          <Icon name="bell" />
          {any}
          <span class="hidden">{any === 1 ? " alarm" : " alarms"}</span>
        </b>
      )}
    </Link>
  );
}

function ZonePick() {
  const [all] = useState(zones);
  const local = systemZone();
  return (
    <select
      class="zone"
      aria-label="Time zone"
      title="Time zone (U)"
      value={zone.value}
      onChange={(e) => {
        zone.value = e.currentTarget.value;
      }}
    >
      <option value="UTC">UTC</option>
      {local !== "UTC" && (
        <option value={local}>
          {city(local)} (local, {zoneOffsetName(local, present.value)})
        </option>
      )}
      {zone.value !== "UTC" && zone.value !== local && <option value={zone.value}>{city(zone.value)}</option>}
      <optgroup label="Others">
        {all
          .filter((z) => z !== "UTC" && z !== local && z !== zone.value)
          .map((z) => (
            <option key={z} value={z}>
              {z.replaceAll("_", " ")}
            </option>
          ))}
      </optgroup>
    </select>
  );
}

const city = (z: string): string => (z.split("/").at(-1) ?? z).replaceAll("_", " ");
