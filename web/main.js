// The live map: brings stream, picture, hand and panel together.

import { Picture } from "./draw.js";
import { follow } from "./feed.js";
import { Fleet, KINDS } from "./fleet.js";
import { LABELS, icon } from "./marks.js";
import { Panel, ask, audited, h, lengthOf, timeOf } from "./panel.js";
import { View, worldX, worldY } from "./view.js";

const HEAT_EVERY_MS = 10_000;
const BOOKINGS_OLD_MS = 5_000;
const MOST_FOUND = 8;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const $ = (id) => document.getElementById(id);
const canvas = $("map");
const narrow = matchMedia("(max-width: 720px)");

const fleet = new Fleet();
let wanted = false;
const redraw = () => {
    if (!wanted) requestAnimationFrame(frame);
    wanted = true;
};
const view = new View(canvas, redraw);
const picture = new Picture(canvas, view, fleet);
const panel = new Panel($("panel"), fleet, () => picture.sprites.colour, {
    go: select,
    show: bringIntoView,
    hover: (what) => { picture.hovered = what; redraw(); },
    close: () => { select({}); canvas.focus(); },
});

// The server's clock, as far as updates tell it: ages are never by this machine's.
let heardAt = 0;
fleet.now = () => fleet.asOf + (performance.now() - heardAt);

function frame(now) {
    wanted = false;
    const goesOn = view.step(now);
    picture.draw(now);
    if (goesOn || picture.isAlive(now)) redraw();
}

/* The screen */

function fitScreen() {
    const { clientWidth: width, clientHeight: height } = document.documentElement;
    canvas.width = Math.round(width * devicePixelRatio);
    canvas.height = Math.round(height * devicePixelRatio);
    picture.restyle();
    cover();
    view.resize(width, height);
}

/** What of the map the cards cover. */
function cover() {
    const side = $("side").getBoundingClientRect();
    const detail = $("panel").hidden ? null : $("panel").getBoundingClientRect();
    const legend = $("legend").getBoundingClientRect();
    view.covered = narrow.matches
        ? { left: 0, right: 0, top: side.bottom, bottom: innerHeight - (detail?.top ?? legend.top), barAt: 16.5 }
        : { left: side.right, right: detail ? innerWidth - detail.left : 0, top: 0, bottom: 0, barAt: side.right + 16.5 };
    document.documentElement.style.setProperty("--below", `${view.covered.bottom}px`);
    document.documentElement.style.setProperty("--beside", `${view.covered.right}px`);
    redraw();
}

new ResizeObserver(fitScreen).observe(document.documentElement);
new ResizeObserver(cover).observe($("side"));
new ResizeObserver(cover).observe($("panel"));
for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)"]) {
    matchMedia(query).addEventListener("change", () => { picture.restyle(); legend(); redraw(); });
}
(function followDensity() {
    // A window that is moved to another screen.
    matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", () => { fitScreen(); followDensity(); }, { once: true });
})();

/* The stream */

let hasFitted = false;
let freshness = { kind: "connecting", at: performance.now() };

const feed = follow({
    onUpdate(update, isFirst) {
        heardAt = performance.now();
        fleet.take(update, isFirst, heardAt);
        // Once, as soon as there is somebody, and not under a hand that has begun to look elsewhere.
        if (!hasFitted && !view.wasMoved && fleet.byUuid.size > 0) {
            if (whenKnown) whenKnown();
            else showEverybody(true);
            hasFitted = true;
        }
        count();
        panel.refresh(isFirst);
        alarm();
        redraw();
    },
    onFreshness(next) {
        freshness = { ...next, at: performance.now() };
        document.body.dataset.freshness = next.kind;
        alarm();
        redraw();
    },
});

/** What must be known before anything on the map is believed. */
function alarm() {
    const { kind, why, retryInMs, at } = freshness;
    const isLive = kind === "live";
    const age = fleet.asOf ? `What is shown is of ${timeOf(fleet.asOf)}, ${lengthOf(fleet.now() - fleet.asOf)} ago.` : "";
    const back = Math.ceil((retryInMs - (performance.now() - at)) / 1_000);
    const bookingsOld = fleet.asOf - fleet.bookingsAsOf > BOOKINGS_OLD_MS;
    // What is told once, and what changes every second: nobody wants the latter read out to him.
    let [text, more] = ["", ""];
    if (kind === "lost") [text, more] = [`Not live. ${why}`, `${age} ${back > 0 ? `Trying again in ${back} s.` : "Trying again …"}`];
    else if (kind === "late") [text, more] = ["Not live.", `No update for ${lengthOf(performance.now() - heardAt)}. ${age}`];
    else if (kind === "paused") [text, more] = ["Paused.", age];
    else if (isLive && fleet.notReady.length > 0) text = `Not the whole picture: ${fleet.notReady.join(", ")}.`;
    else if (isLive && bookingsOld) text = `Bookings are ${fleet.bookingsAsOf ? `of ${timeOf(fleet.bookingsAsOf)}` : "not known"}: the database does not answer.`;
    else if (isLive && fleet.moreBookings) text = "There are more open bookings than the map shows: those that wait longest are shown.";
    const [said, ticking] = $("alarm").children;
    $("alarm").hidden = text === "";
    if (said.textContent !== text) said.textContent = text;
    ticking.textContent = more;
    const names = { connecting: "Connecting", live: "Live", late: "Late", lost: "Not live", paused: "Paused" };
    const [name, time] = [$("status").querySelector("span"), $("status").querySelector("time")];
    if (name.textContent !== names[kind]) name.textContent = names[kind];
    time.textContent = fleet.asOf ? timeOf(fleet.asOf) : "";
    time.title = "In Manila";
}
setInterval(() => { alarm(); panel.refresh(); waitLonger(); }, 1_000);

/* Counts, which are the legend and the filter as well */

const rows = new Map();

function row(kind, parent) {
    const [label, title] = LABELS[kind];
    const number = h("b", {}, "–");
    const note = h("small");
    const button = h("button", { type: "button", title, onclick: () => toggle(kind) }, icon(kind, picture.sprites.colour), h("span", {}, label, note), number);
    parent.append(h("li", {}, button));
    rows.set(kind, { button, number, note });
}

function legend() {
    rows.clear();
    $("people").replaceChildren();
    $("bookings").replaceChildren();
    for (const kind of KINDS) row(kind, $("people"));
    for (const kind of ["waiting", "under_way"]) row(kind, $("bookings"));
    for (const [kind, { button }] of rows) button.setAttribute("aria-pressed", String(!picture.hidden.has(kind)));
    count();
}

function toggle(kind) {
    if (!picture.hidden.delete(kind)) picture.hidden.add(kind);
    rows.get(kind).button.setAttribute("aria-pressed", String(!picture.hidden.has(kind)));
    picture.repaint();
    redraw();
}

function count() {
    if (!fleet.asOf) return;
    const counts = fleet.counts();
    for (const kind of KINDS) rows.get(kind).number.textContent = counts[kind].toLocaleString("en");
    const waiting = fleet.waiting();
    rows.get("waiting").number.textContent = waiting.length.toLocaleString("en");
    rows.get("under_way").number.textContent = (fleet.bookings.size - waiting.length).toLocaleString("en");
    $("everybody").textContent = counts.all.toLocaleString("en");
    $("everybody").title = fleet.withoutPosition > 0 ? `and ${fleet.withoutPosition.toLocaleString("en")} who were never seen anywhere` : "";
    waitLonger();
}

function waitLonger() {
    const longest = fleet.asOf ? fleet.waiting()[0] : null;
    rows.get("waiting").note.textContent = longest ? ` longest ${lengthOf(fleet.now() - longest.createdAt)}` : "";
}

/* What is selected */

/** Brings what the address names into view, once it is known where that is. */
let whenKnown = null;

function select(what) {
    picture.selected = what;
    picture.hovered = {};
    const [name, id] = Object.entries(what)[0] ?? [];
    history.replaceState(null, "", name ? `#${name}=${id}` : location.pathname);
    const opened = panel.open(what);
    cover();
    // The card that opens must not lie on what it is about.
    return opened.then(() => {
        cover();
        const place = picture.selected === what && picture.placeOf(what, performance.now());
        const { left, right, top, bottom } = view.covered;
        const isCovered = place && (place.x < left || place.x > view.width - right || place.y < top || place.y > view.height - bottom);
        if (isCovered) bringIntoView(what, view.zoom);
    });
}

function bringIntoView(what, zoom) {
    const n = fleet.byUuid.get(what.therapist);
    const booking = fleet.bookings.get(what.booking);
    if (n !== undefined) view.show(fleet.x1[n], fleet.y1[n], zoom);
    else if (booking) view.show(booking.x, booking.y, zoom);
}

function fromHash() {
    const [name, id] = location.hash.slice(1).split("=");
    if (["therapist", "booking"].includes(name) && UUID.test(id ?? "")) {
        select({ [name]: id.toLowerCase() });
        whenKnown = () => bringIntoView({ [name]: id.toLowerCase() });
        if (fleet.asOf) whenKnown();
    }
}
addEventListener("hashchange", fromHash);

function showEverybody(atOnce = false) {
    const xs = [];
    const ys = [];
    const add = (x, y) => { xs.push(x); ys.push(y); };
    for (const kind of KINDS) {
        if (picture.hidden.has(kind) || kind === "barred") continue;
        for (const n of fleet.ofKind.get(kind)) add(fleet.x1[n], fleet.y1[n]);
    }
    for (const booking of fleet.bookings.values()) add(booking.x, booking.y);
    if (xs.length === 0) {
        for (const city of picture.cities) add(city.x, city.y);
        if (xs.length === 0) return false;
    }
    xs.sort((a, b) => a - b);
    ys.sort((a, b) => a - b);
    // All but a few who are far off.
    const cut = Math.floor(xs.length * 0.005);
    view.fit({ west: xs[cut], east: xs.at(-1 - cut), north: ys[cut], south: ys.at(-1 - cut) }, atOnce);
    return true;
}

/* The pointer */

const isTouch = (event) => event.pointerType === "touch";

canvas.addEventListener("click", (event) => {
    if (!view.wasClick()) return;
    const what = picture.at(event.offsetX, event.offsetY, isTouch(event) ? 26 : 14, performance.now());
    select(what);
});

const hint = $("hint");
canvas.addEventListener("pointermove", (event) => {
    if (event.buttons || isTouch(event)) { hint.hidden = true; return; }
    const what = picture.at(event.offsetX, event.offsetY, 12, performance.now());
    const text = textOf(what) ?? heatAt(event.offsetX, event.offsetY);
    hint.hidden = !text;
    canvas.classList.toggle("over", Boolean(what.therapist || what.booking));
    if (text) {
        hint.textContent = text;
        const left = Math.min(event.clientX + 14, innerWidth - hint.offsetWidth - 8);
        hint.style.transform = `translate(${left}px, ${Math.min(event.clientY + 16, innerHeight - hint.offsetHeight - 8)}px)`;
    }
    if (what.therapist !== picture.hovered.therapist || what.booking !== picture.hovered.booking) {
        picture.hovered = what;
        redraw();
    }
});
canvas.addEventListener("pointerleave", () => { hint.hidden = true; picture.hovered = {}; redraw(); });

function textOf({ therapist, booking }) {
    const n = fleet.byUuid.get(therapist);
    if (therapist && n !== undefined) return `${fleet.name[n]} · ${LABELS[fleet.kind[n]][0].toLowerCase()}`;
    const found = fleet.bookings.get(booking);
    if (!found) return null;
    const state = found.status === "pending" ? `waiting ${lengthOf(fleet.now() - found.createdAt)}` : found.status.replaceAll("_", " ");
    return `${found.booking_number} · ${found.service} · ${state}`;
}

/* Heat */

let heatTimer = 0;
const resolutionFor = (zoom) => (zoom < 10.6 ? 7 : zoom < 12.6 ? 8 : 9);

async function loadHeat() {
    clearTimeout(heatTimer);
    const kind = document.querySelector("#heat input:checked").value;
    const scale = $("heat-scale");
    if (!kind) {
        picture.heat = { kind: "", cells: [] };
        scale.hidden = true;
        redraw();
        return;
    }
    try {
        const resolution = resolutionFor(view.zoom);
        const answer = await ask(`/v1/ops/heat?resolution=${resolution}`);
        if (document.querySelector("#heat input:checked").value !== kind) return;
        const countOf = ({ supply, pending, last_hour }) => (kind === "supply" ? supply : Math.max(pending, last_hour));
        const cells = answer.features.filter((cell) => countOf(cell.properties) > 0);
        const most = Math.max(1, ...cells.map((cell) => countOf(cell.properties)));
        picture.heat = {
            kind,
            resolution,
            cells: cells.map(({ geometry, properties }) => {
                const ring = geometry.coordinates[0].slice(0, -1).map(([lng, lat]) => [worldX(lng), worldY(lat)]);
                const middle = (axis) => ring.reduce((sum, corner) => sum + corner[axis], 0) / ring.length;
                const n = countOf(properties);
                return { ring, x: middle(0), y: middle(1), count: n, share: Math.sqrt(n / most), properties };
            }),
        };
        const what = kind === "supply" ? "free therapists" : "bookings that wait or were made within the hour";
        scale.textContent = `${cells.length > 0 ? `At most ${most} in a cell:` : "No"} ${what}. As of ${timeOf(Date.parse(answer.as_of))}.`;
        scale.className = "";
    } catch (error) {
        picture.heat = { kind: "", cells: [] };
        scale.textContent = `No heat: ${error.message}`;
        scale.className = "bad";
    }
    scale.hidden = false;
    redraw();
    heatTimer = setTimeout(() => { if (document.hidden) heatTimer = setTimeout(loadHeat, HEAT_EVERY_MS); else loadHeat(); }, HEAT_EVERY_MS);
}
$("heat").addEventListener("change", loadHeat);
setInterval(() => { if (picture.heat.kind && !view.flight && picture.heat.resolution !== resolutionFor(view.zoom)) loadHeat(); }, 700);

function heatAt(px, py) {
    if (!picture.heat.kind) return null;
    const x = (px - view.width / 2) / view.scale + view.x;
    const y = (py - view.height / 2) / view.scale + view.y;
    const inside = ({ ring }) => {
        let odd = false;
        for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
            const [[ax, ay], [bx, by]] = [ring[i], ring[j]];
            if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
        }
        return odd;
    };
    const cell = picture.heat.cells.find(inside);
    if (!cell) return null;
    const { h3, supply, pending, last_hour } = cell.properties;
    return `${supply} free · ${pending} waiting · ${last_hour} in the last hour · ${h3}`;
}

/* Search */

const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const find = $("find");
let found = [];
let marked = -1;

function search() {
    const text = plain(find.value.trim());
    // A few letters are a name; a uuid says so by its length.
    const isStart = (uuid) => text.length >= 6 && uuid.startsWith(text);
    found = [];
    if (text) {
        const others = [...fleet.bookings.values()].filter((booking) => booking.status !== "pending").reverse();
        for (const booking of [...fleet.waiting(), ...others]) {
            if (plain(booking.booking_number).includes(text) || isStart(booking.uuid)) {
                found.push({ what: { booking: booking.uuid }, kind: booking.status === "pending" ? "waiting" : "under_way", name: booking.booking_number, note: booking.service });
            }
            if (found.length >= MOST_FOUND) break;
        }
        for (const kind of KINDS) {
            for (const n of fleet.ofKind.get(kind)) {
                if (found.length >= MOST_FOUND) break;
                if (plain(fleet.name[n]).startsWith(text) || isStart(fleet.uuid[n])) {
                    found.push({ what: { therapist: fleet.uuid[n] }, kind, name: fleet.name[n], note: LABELS[kind][0].toLowerCase() });
                }
            }
        }
        if (UUID.test(text) && found.length === 0) {
            found.push({ what: { booking: text }, kind: "under_way", name: "Booking", note: text });
            found.push({ what: { therapist: text }, kind: "off_duty", name: "Therapist", note: text });
        }
    }
    marked = found.length > 0 ? 0 : -1;
    list(Boolean(text));
}

function list(isOpen) {
    const items = found.map(({ kind, name, note }, i) => h("li", {
        id: `found-${i}`, role: "option", "aria-selected": String(i === marked),
        onpointerdown: (event) => { event.preventDefault(); choose(i); },
    }, icon(kind, picture.sprites.colour), h("span", {}, name), h("small", {}, note)));
    if (isOpen && items.length === 0) items.push(h("li", { className: "muted" }, "Nobody and nothing of this name. A uuid finds what is over, too."));
    $("found").replaceChildren(...items);
    $("found").hidden = !isOpen;
    find.setAttribute("aria-expanded", String(isOpen));
    if (marked >= 0 && isOpen) find.setAttribute("aria-activedescendant", `found-${marked}`);
    else find.removeAttribute("aria-activedescendant");
}

function choose(i) {
    const { what } = found[i];
    find.value = "";
    list(false);
    select(what).then(() => bringIntoView(what));
    $("panel").focus();
}

find.addEventListener("input", search);
find.addEventListener("focus", () => { if (find.value) search(); });
find.addEventListener("blur", () => list(false));
find.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { find.value = ""; list(false); canvas.focus(); event.stopPropagation(); }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    if (found.length > 0) marked = (marked + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
    list(found.length > 0);
});
$("search").addEventListener("submit", (event) => {
    event.preventDefault();
    if (marked >= 0) choose(marked);
});

/* Keys and buttons */

$("zoom-in").onclick = () => view.zoomBy(1);
$("zoom-out").onclick = () => view.zoomBy(-1);
$("fit").onclick = () => showEverybody();
$("alarm").onclick = () => feed.retryNow();
$("more").onclick = () => {
    const isOpen = $("side").classList.toggle("open");
    $("more").setAttribute("aria-expanded", String(isOpen));
};

addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=radio])")) return;
    const keys = {
        "+": () => view.zoomBy(1),
        "=": () => view.zoomBy(1),
        "-": () => view.zoomBy(-1),
        0: () => showEverybody(),
        "/": () => find.focus(),
        Escape: () => select({}),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
});

$("audit").onclick = async () => {
    const button = $("audit");
    button.disabled = true;
    $("audited").replaceChildren(h("p", { className: "muted" }, "Comparing …"));
    try {
        $("audited").replaceChildren(audited(await ask("/v1/ops/consistency")));
    } catch (error) {
        $("audited").replaceChildren(h("p", { className: "bad" }, error.message));
    }
    button.disabled = false;
};

/* Begin */

fitScreen();
legend();
alarm();
fromHash();
const cities = await ask("/ops/cities.json").catch(() => []);
picture.cities = cities
    .map((city) => ({ ...city, x: worldX(city.longitude), y: worldY(city.latitude) }))
    .sort((a, b) => b.population - a.population);
if (!hasFitted && !view.wasMoved) showEverybody(true);
redraw();
