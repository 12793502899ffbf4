// Draws the map: one canvas, everything anew in each frame in which something is different.

import { KINDS } from "./fleet.js";
import { Sprites, mark } from "./marks.js";
import { latitudeOf, longitudeOf, worldX, worldY } from "./view.js";

/** Degrees between two lines of the graticule. */
const STEPS = [45, 30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
const APART_PX = 110;
/** Lengths of the scale bar, metres. */
const LENGTHS = [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5, 6].map((p) => n * 10 ** p)).sort((a, b) => a - b);
const BAR_PX = 110;
/** From this zoom on therapists have names, if so few are in view. */
const NAMES_FROM = 13.5;
const MOST_NAMES = 120;
/** Where two names would lie on each other, the first of these has his. */
const NAMED_FIRST = ["offered", "en_route", "booked", "idle", "stale", "barred", "off_duty"];
/** So many therapists in view are a crowd: marks shrink, and stand on whole pixels, which is quicker. */
const CROWD = 900;
/** Of each frame, for painting therapists; looked at after so many. */
const PAINT_MS = 5;
const PAUSE_EVERY = 100;
/** A ring around a waiting booking grows in so long. */
const PULSE_MS = 2_400;

const FONT = '"Inter", system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

export class Picture {
    constructor(canvas, view, fleet) {
        this.canvas = canvas;
        this.context = canvas.getContext("2d", { alpha: false });
        this.view = view;
        this.fleet = fleet;
        this.sprites = new Sprites();
        this.cities = [];
        /** Kinds that are not shown. */
        this.hidden = new Set();
        /** Cells of `/v1/ops/heat`, with a share of 0 to 1 and its kind. */
        this.heat = { kind: "", cells: [] };
        /** `{therapist: uuid}` or `{booking: uuid}`, or nothing. */
        this.selected = {};
        this.hovered = {};
        /** Therapists in view, when they were last painted. */
        this.shown = 0;
        /** The last whole layer of therapists, and the one that is being painted. */
        this.layers = [0, 1].map(() => {
            const canvas = new OffscreenCanvas(1, 1);
            return { canvas, context: canvas.getContext("2d"), of: null };
        });
        this.painting = null;
    }

    /** After the colours or the screen have changed. */
    restyle() {
        this.sprites.clear();
        this.repaint();
    }

    /** After something else than places has changed. */
    repaint() {
        this.painting = null;
    }

    /** Whether the next frame would be another one by itself. */
    isAlive(now) {
        if (this.painting || this.fleet.isMoving(now)) return true;
        const [{ of }] = this.layers;
        if (of && (of.x !== this.view.x || of.y !== this.view.y || of.scale !== this.view.scale)) return true;
        return !isCalm.matches && !this.hidden.has("waiting") && this.fleet.waiting().length > 0;
    }

    /** Radius of a free therapist's mark, px, in steps of a quarter: each step is a set of sprites. Smaller in a crowd. */
    get radius() {
        const r = 2.6 + (this.view.zoom - 9) * 0.62;
        const crowd = Math.max(0.55, Math.min(1, Math.sqrt(CROWD / (this.shown + 1))));
        return Math.round(Math.max(2, Math.min(7, r) * crowd) * 4) / 4;
    }

    draw(now) {
        const { context, view, sprites } = this;
        const { ratio } = sprites;
        const colour = sprites.colour;
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        context.fillStyle = colour.paper;
        context.fillRect(0, 0, view.width, view.height);
        this.#halos(colour);
        this.#graticule(colour);
        this.#heatCells(colour);
        this.#names(colour);
        this.#links(colour, now);
        this.#bookings(colour, now);
        this.#therapists(now);
        this.#firstNames(colour, now);
        this.#selection(colour, now);
        this.#bar(colour);
    }

    #halos(colour) {
        const { context, view } = this;
        context.fillStyle = colour.halo;
        for (const city of this.cities) {
            const r = (city.spread_km * 1_000) / view.metresPerPixel;
            context.beginPath();
            context.arc(view.screenX(city.x), view.screenY(city.y), r * 1.15, 0, 2 * Math.PI);
            context.fill();
        }
    }

    #graticule(colour) {
        const { context, view } = this;
        const degreePx = view.scale / 360;
        const step = STEPS.findLast((degrees) => degrees * degreePx >= APART_PX) ?? STEPS[0];
        const digits = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
        const west = longitudeOf(view.x - view.width / 2 / view.scale);
        const east = longitudeOf(view.x + view.width / 2 / view.scale);
        const north = latitudeOf(view.y - view.height / 2 / view.scale);
        const south = latitudeOf(view.y + view.height / 2 / view.scale);
        context.strokeStyle = colour.line;
        context.lineWidth = 1;
        context.beginPath();
        const labels = [];
        const crisp = (px) => Math.round(px) + 0.5;
        for (let i = Math.ceil(west / step); i * step <= east; i++) {
            const x = crisp(view.screenX(worldX(i * step)));
            context.moveTo(x, 0);
            context.lineTo(x, view.height);
            const degrees = (((i * step + 180) % 360) + 360) % 360 - 180;
            labels.push([`${Math.abs(degrees).toFixed(digits)}° ${degrees < 0 ? "W" : "E"}`, x, null]);
        }
        for (let i = Math.ceil(Math.max(south, -85) / step); i * step <= Math.min(north, 85); i++) {
            const y = crisp(view.screenY(worldY(i * step)));
            context.moveTo(0, y);
            context.lineTo(view.width, y);
            labels.push([`${Math.abs(i * step).toFixed(digits)}° ${i < 0 ? "S" : "N"}`, null, y]);
        }
        context.stroke();
        context.font = `500 10px ${FONT}`;
        context.fillStyle = colour.ink_3;
        context.textBaseline = "bottom";
        const { right, bottom } = view.covered;
        for (const [text, x, y] of labels) {
            context.textAlign = x === null ? "right" : "center";
            if (x === null) {
                // Above the buttons, and not behind a card.
                const isFree = y > view.covered.top + 16 && y < view.height - bottom - 140;
                if (isFree) context.fillText(text, view.width - right - 10, y - 3);
            } else if (x > (view.covered.barAt ?? 0) + BAR_PX + 60 && x < view.width - right - 130) {
                context.fillText(text, x, view.height - bottom - 6);
            }
        }
    }

    #heatCells(colour) {
        const { context, view } = this;
        if (!this.heat.kind) return;
        context.fillStyle = this.heat.kind === "supply" ? colour.idle : colour.waiting;
        const line = context.fillStyle;
        for (const cell of this.heat.cells) {
            context.beginPath();
            for (const [x, y] of cell.ring) context.lineTo(view.screenX(x), view.screenY(y));
            context.closePath();
            context.globalAlpha = 0.08 + 0.47 * cell.share;
            context.fill();
            context.globalAlpha = 0.25 + 0.3 * cell.share;
            context.strokeStyle = line;
            context.lineWidth = 1;
            context.stroke();
        }
        context.globalAlpha = 1;
        if (view.zoom < 12.2) return;
        context.font = `600 11px ${FONT}`;
        context.fillStyle = colour.ink_2;
        context.textAlign = "center";
        context.textBaseline = "middle";
        for (const cell of this.heat.cells) {
            context.fillText(cell.count, view.screenX(cell.x), view.screenY(cell.y));
        }
    }

    /** Names of cities, the largest first; one that would lie on another is left out. */
    #names(colour) {
        const { context, view } = this;
        const taken = [];
        context.textAlign = "center";
        context.textBaseline = "middle";
        for (const city of this.cities) {
            if (view.zoom < 8.5 || (view.zoom < 10 && city.population < 600_000)) continue;
            const size = Math.min(15, 9.5 + Math.log10(city.population / 60_000) * 2 + Math.max(0, view.zoom - 11) * 0.8);
            const [x, y] = [view.screenX(city.x), view.screenY(city.y)];
            if (x < -80 || y < -20 || x > view.width + 80 || y > view.height + 20) continue;
            context.font = `600 ${size}px ${FONT}`;
            context.letterSpacing = "0.06em";
            const text = city.name.toUpperCase();
            const half = context.measureText(text).width / 2 + 6;
            if (taken.some((box) => Math.abs(box.x - x) < box.half + half && Math.abs(box.y - y) < box.size + size)) continue;
            taken.push({ x, y, half, size: size * 0.8 });
            context.strokeStyle = colour.paper;
            context.lineWidth = 3;
            context.lineJoin = "round";
            context.globalAlpha = 0.7;
            context.strokeText(text, x, y);
            context.globalAlpha = 1;
            context.fillStyle = colour.ink_3;
            context.fillText(text, x, y);
        }
        context.letterSpacing = "0px";
    }

    /** From who is asked, or on his way, to the booking. */
    #links(colour, now) {
        const { context, view, fleet } = this;
        const to = (booking, uuid, kind, dash) => {
            const n = fleet.byUuid.get(uuid);
            if (n === undefined || this.hidden.has(fleet.kind[n])) return;
            context.strokeStyle = colour[kind];
            context.setLineDash(dash);
            context.beginPath();
            context.moveTo(view.screenX(fleet.x(n, now)), view.screenY(fleet.y(n, now)));
            context.lineTo(view.screenX(booking.x), view.screenY(booking.y));
            context.stroke();
        };
        context.lineWidth = 1.5;
        context.globalAlpha = 0.65;
        for (const booking of fleet.bookings.values()) {
            if (booking.status === "pending" && !this.hidden.has("waiting")) {
                for (const uuid of booking.offered_to) to(booking, uuid, "offered", [3, 4]);
            } else if (booking.status === "en_route" && !this.hidden.has("under_way")) {
                to(booking, booking.provider_uuid, "en_route", []);
            }
        }
        context.setLineDash([]);
        context.globalAlpha = 1;
    }

    #bookings(colour, now) {
        const { context, view, fleet } = this;
        const r = Math.max(4, this.radius);
        const pulse = isCalm.matches ? 0.35 : (now % PULSE_MS) / PULSE_MS;
        for (const booking of fleet.bookings.values()) {
            const kind = this.#kindOf(booking);
            if (!kind) continue;
            const [x, y] = [view.screenX(booking.x), view.screenY(booking.y)];
            if (!this.#isInView(x, y)) continue;
            if (kind === "waiting") {
                context.strokeStyle = colour.waiting;
                context.lineWidth = 1.5;
                context.globalAlpha = 0.7 * (1 - pulse);
                context.beginPath();
                context.arc(x, y, r * 1.4 + pulse * 16, 0, 2 * Math.PI);
                context.stroke();
                context.globalAlpha = 1;
            }
            context.translate(x, y);
            mark(context, kind, r, colour);
            context.translate(-x, -y);
        }
    }

    /** As what a booking is drawn; null: not at all. Where the therapist is there already, he stands for it. */
    #kindOf({ status, type, provider_uuid }) {
        const kind = status === "pending" ? "waiting" : "under_way";
        if (this.hidden.has(kind)) return null;
        const isThere = type === "home_service" && (status === "arrived" || status === "in_progress");
        const n = isThere ? this.fleet.byUuid.get(provider_uuid) : undefined;
        return n === undefined || this.hidden.has(this.fleet.kind[n]) ? kind : null;
    }

    #isInView(x, y) {
        return x > -20 && y > -20 && x < this.view.width + 20 && y < this.view.height + 20;
    }

    /**
     * Therapists are painted on a layer of their own, in every frame as many as fit into a few milliseconds. A few hundred
     * are painted anew in each frame; ten thousand every few frames on a slow machine, and meanwhile the last whole layer
     * moves with the map: the hand never waits.
     */
    #therapists(now) {
        const { context, view, sprites } = this;
        const { width, height } = this.canvas;
        for (const layer of this.layers) {
            if (layer.canvas.width !== width || layer.canvas.height !== height) {
                Object.assign(layer.canvas, { width, height });
                this.painting = null;
                layer.of = null;
            }
        }
        this.painting ??= this.#paint(this.layers[1], now);
        const enough = performance.now() + PAINT_MS;
        let done = false;
        do done = this.painting.next().done;
        while (!done && performance.now() < enough);
        if (done) {
            this.painting = null;
            this.layers.reverse();
        }
        const [{ canvas, of }] = this.layers;
        if (!of) return;
        const share = view.scale / of.scale;
        const left = (of.x - view.x) * view.scale + (view.width - of.width * share) / 2;
        const top = (of.y - view.y) * view.scale + (view.height - of.height * share) / 2;
        // On whole pixels when nothing is scaled: copied, not blurred.
        const crisp = (px) => (share === 1 ? Math.round(px * sprites.ratio) / sprites.ratio : px);
        context.drawImage(canvas, crisp(left), crisp(top), of.width * share, of.height * share);
    }

    /** Paints everybody in view on a layer; who matters more lies on top. Pauses now and then. */
    *#paint(layer, now) {
        const { view, fleet, sprites } = this;
        const { context } = layer;
        const { ratio } = sprites;
        const r = this.radius;
        const of = { x: view.x, y: view.y, scale: view.scale, width: view.width, height: view.height };
        const left = of.width / 2 - of.x * of.scale;
        const top = of.height / 2 - of.y * of.scale;
        const isCrowd = this.shown > CROWD;
        let shown = 0;
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        context.clearRect(0, 0, of.width, of.height);
        for (const kind of ["off_duty", "barred", "stale", "idle", "booked", "en_route", "offered"]) {
            if (this.hidden.has(kind)) continue;
            const [fresh, old] = [sprites.get(kind, r, false), sprites.get(kind, r, true)];
            const size = fresh.half * 2;
            // A new list with each update: this one stays whole.
            for (const n of fleet.ofKind.get(kind)) {
                const x = fleet.x(n, now) * of.scale + left;
                const y = fleet.y(n, now) * of.scale + top;
                if (x < -20 || y < -20 || x > of.width + 20 || y > of.height + 20) continue;
                if (++shown % PAUSE_EVERY === 0) yield;
                const { picture, half } = fleet.isOld[n] && kind !== "off_duty" ? old : fresh;
                if (kind === "en_route") {
                    context.translate(x, y);
                    context.rotate(fleet.heading(n, now));
                    context.drawImage(picture, -half, -half, size, size);
                    context.setTransform(ratio, 0, 0, ratio, 0, 0);
                } else if (isCrowd) {
                    const [px, py] = [Math.round((x - half) * ratio) / ratio, Math.round((y - half) * ratio) / ratio];
                    context.drawImage(picture, px, py, size, size);
                } else {
                    context.drawImage(picture, x - half, y - half, size, size);
                }
            }
        }
        layer.of = of;
        this.shown = shown;
    }

    #firstNames(colour, now) {
        const { context, view, fleet } = this;
        if (view.zoom < NAMES_FROM || this.shown > MOST_NAMES) return;
        context.font = `500 11px ${FONT}`;
        context.textAlign = "center";
        context.textBaseline = "top";
        context.lineWidth = 3;
        context.lineJoin = "round";
        const taken = [];
        for (const kind of NAMED_FIRST) {
            if (this.hidden.has(kind)) continue;
            for (const n of fleet.ofKind.get(kind)) {
                const [x, y] = [view.screenX(fleet.x(n, now)), view.screenY(fleet.y(n, now)) + this.radius * 1.5 + 3];
                if (!this.#isInView(x, y)) continue;
                const half = fleet.name[n].length * 3.3 + 3;
                if (taken.some((box) => Math.abs(box.x - x) < box.half + half && Math.abs(box.y - y) < 13)) continue;
                taken.push({ x, y, half });
                context.strokeStyle = colour.paper;
                context.strokeText(fleet.name[n], x, y);
                context.fillStyle = kind === "off_duty" ? colour.ink_3 : colour.ink_2;
                context.fillText(fleet.name[n], x, y);
            }
        }
    }

    /** Where something is on the screen; null if it is nowhere. */
    placeOf({ therapist, booking }, now) {
        const { fleet, view } = this;
        const n = therapist && fleet.byUuid.get(therapist);
        const found = booking && fleet.bookings.get(booking);
        if (n !== undefined && n !== null && therapist) {
            return { x: view.screenX(fleet.x(n, now)), y: view.screenY(fleet.y(n, now)) };
        }
        return found ? { x: view.screenX(found.x), y: view.screenY(found.y) } : null;
    }

    #selection(colour, now) {
        const { context } = this;
        for (const [what, width] of [[this.hovered, 1.5], [this.selected, 2.5]]) {
            const place = this.placeOf(what, now);
            if (!place) continue;
            context.strokeStyle = colour.ink;
            context.lineWidth = width;
            context.beginPath();
            context.arc(place.x, place.y, Math.max(4, this.radius) * 2.1 + 3, 0, 2 * Math.PI);
            context.stroke();
        }
    }

    #bar(colour) {
        const { context, view } = this;
        const length = LENGTHS.findLast((metres) => metres / view.metresPerPixel <= BAR_PX) ?? LENGTHS[0];
        const px = Math.round(length / view.metresPerPixel);
        const y = view.height - view.covered.bottom - 14.5;
        const x = view.covered.barAt ?? 16.5;
        context.strokeStyle = colour.ink_2;
        context.lineWidth = 1.5;
        context.lineJoin = "miter";
        context.beginPath();
        context.moveTo(x, y - 5);
        context.lineTo(x, y);
        context.lineTo(x + px, y);
        context.lineTo(x + px, y - 5);
        context.stroke();
        context.font = `500 11px ${FONT}`;
        context.fillStyle = colour.ink_2;
        context.textAlign = "left";
        context.textBaseline = "bottom";
        context.fillText(length >= 1_000 ? `${length / 1_000} km` : `${length} m`, x + 5, y - 3);
    }

    /** What is under the pointer, within `reach` px: a booking, a therapist, or nothing. */
    at(px, py, reach, now) {
        const { fleet, view } = this;
        let best = {};
        let nearest = reach * reach;
        const look = (x, y, what, handicap) => {
            const d = (x - px) ** 2 + (y - py) ** 2 + handicap;
            if (d < nearest) {
                nearest = d;
                best = what;
            }
        };
        for (const kind of KINDS) {
            if (this.hidden.has(kind)) continue;
            for (const n of fleet.ofKind.get(kind)) {
                const x = view.screenX(fleet.x(n, now));
                if (Math.abs(x - px) < reach) look(x, view.screenY(fleet.y(n, now)), { therapist: fleet.uuid[n] }, 0);
            }
        }
        for (const booking of fleet.bookings.values()) {
            const kind = this.#kindOf(booking);
            if (kind) look(view.screenX(booking.x), view.screenY(booking.y), { booking: booking.uuid }, kind === "waiting" ? 0 : 9);
        }
        return best;
    }
}
