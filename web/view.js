// Where the map looks: Web Mercator on a square of side 1, and the hand that moves it.

const SMALLEST_ZOOM = 3;
const LARGEST_ZOOM = 19;
const TILE = 256; // px of the world at zoom 0, as everywhere
const EARTH_M = 2 * Math.PI * 6_371_008.8; // the service's own sphere
const FLIGHT_MS = 450;

export const worldX = (longitude) => longitude / 360 + 0.5;
export const worldY = (latitude) => {
    const sine = Math.sin((Math.max(-85, Math.min(85, latitude)) * Math.PI) / 180);
    return 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
};
export const longitudeOf = (x) => (x - 0.5) * 360;
export const latitudeOf = (y) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;

const clamp = (value, least, most) => Math.max(least, Math.min(most, value));
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

export class View {
    /** `onChange()` is called whenever something else is to be seen. */
    constructor(canvas, onChange) {
        this.canvas = canvas;
        this.onChange = onChange;
        this.x = worldX(121.03);
        this.y = worldY(14.585);
        this.zoom = 11;
        this.width = 1;
        this.height = 1;
        /** What cards cover, px from each edge: people are shown in the rest. */
        this.covered = { left: 0, right: 0, top: 0, bottom: 0 };
        this.wasMoved = false;
        this.flight = null;
        this.#hand();
    }

    get scale() {
        return TILE * 2 ** this.zoom;
    }

    get metresPerPixel() {
        return (EARTH_M * Math.cos((latitudeOf(this.y) * Math.PI) / 180)) / this.scale;
    }

    screenX(x) {
        return (x - this.x) * this.scale + this.width / 2;
    }

    screenY(y) {
        return (y - this.y) * this.scale + this.height / 2;
    }

    resize(width, height) {
        this.width = width;
        this.height = height;
        this.onChange();
    }

    /** Moves by px. */
    pan(dx, dy) {
        this.x -= dx / this.scale;
        this.y = clamp(this.y - dy / this.scale, 0, 1);
        this.onChange();
    }

    /** Zooms so that what is under (px, py) stays there. */
    zoomAt(px, py, by) {
        const zoom = clamp(this.zoom + by, SMALLEST_ZOOM, LARGEST_ZOOM);
        const dx = px - this.width / 2;
        const dy = py - this.height / 2;
        const before = this.scale;
        this.zoom = zoom;
        this.x += dx / before - dx / this.scale;
        this.y = clamp(this.y + dy / before - dy / this.scale, 0, 1);
        this.onChange();
    }

    /** Goes there smoothly, or at once for who wants no motion. */
    fly(to, at = performance.now()) {
        const goal = { x: this.x, y: this.y, zoom: this.zoom, ...to };
        goal.zoom = clamp(goal.zoom, SMALLEST_ZOOM, LARGEST_ZOOM);
        if (isCalm.matches) {
            Object.assign(this, goal);
        } else {
            this.flight = { from: { x: this.x, y: this.y, zoom: this.zoom }, goal, at };
        }
        this.onChange();
    }

    /** Zooms smoothly around the middle of what is not covered. */
    zoomBy(by) {
        const from = this.flight?.goal ?? this;
        const zoom = clamp(Math.round((from.zoom + by) * 2) / 2, SMALLEST_ZOOM, LARGEST_ZOOM);
        const { left, right, top, bottom } = this.covered;
        const share = (1 / 2 ** from.zoom - 1 / 2 ** zoom) / TILE / 2;
        this.fly({ x: from.x + (left - right) * share, y: from.y + (top - bottom) * share, zoom });
    }

    /** So that this place is in the middle of what is not covered. */
    show(x, y, zoom = Math.max(this.zoom, 14)) {
        const { left, right, top, bottom } = this.covered;
        const scale = TILE * 2 ** zoom;
        this.fly({ x: x - (left - right) / 2 / scale, y: y - (top - bottom) / 2 / scale, zoom });
    }

    /** So that all these are seen. */
    fit({ west, east, north, south }, atOnce = false) {
        const { left, right, top, bottom } = this.covered;
        const width = Math.max(80, this.width - left - right - 60);
        const height = Math.max(80, this.height - top - bottom - 60);
        const wide = Math.max(east - west, 1e-6);
        const high = Math.max(south - north, 1e-6);
        const zoom = clamp(Math.log2(Math.min(width / wide, height / high) / TILE), SMALLEST_ZOOM, 15);
        this.show((west + east) / 2, (north + south) / 2, zoom);
        if (atOnce && this.flight) {
            Object.assign(this, this.flight.goal);
            this.flight = null;
        }
    }

    /** Goes on with what is under way; true while it is. */
    step(now) {
        if (this.flight) {
            const { from, goal, at } = this.flight;
            const t = clamp((now - at) / FLIGHT_MS, 0, 1);
            const k = 1 - (1 - t) ** 3;
            this.zoom = from.zoom + (goal.zoom - from.zoom) * k;
            // By what is seen, not by the world: else a zoom would swing.
            const [a, b, c] = [from.zoom, goal.zoom, this.zoom].map((zoom) => 2 ** -zoom);
            const share = Math.abs(a - b) < 1e-12 ? k : (a - c) / (a - b);
            this.x = from.x + (goal.x - from.x) * share;
            this.y = from.y + (goal.y - from.y) * share;
            if (t >= 1) this.flight = null;
            return true;
        }
        if (this.drift) {
            const dt = Math.min(now - this.drift.at, 50);
            this.drift.at = now;
            this.pan(this.drift.vx * dt, this.drift.vy * dt);
            const slower = Math.exp(-dt / 160);
            this.drift.vx *= slower;
            this.drift.vy *= slower;
            if (Math.hypot(this.drift.vx, this.drift.vy) < 0.02) this.drift = null;
            return true;
        }
        return false;
    }

    #hand() {
        const { canvas } = this;
        const down = new Map();
        let trail = [];
        let travelled = 0;
        const stop = () => {
            this.flight = null;
            this.drift = null;
            this.wasMoved = true;
        };
        canvas.addEventListener("pointerdown", (event) => {
            if (event.pointerType === "mouse" && event.button !== 0) return;
            stop();
            canvas.setPointerCapture(event.pointerId);
            if (down.size === 0) travelled = 0;
            down.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
            trail = [];
        });
        canvas.addEventListener("pointermove", (event) => {
            const was = down.get(event.pointerId);
            if (!was) return;
            const is = { x: event.offsetX, y: event.offsetY };
            if (down.size === 1) {
                travelled += Math.hypot(is.x - was.x, is.y - was.y);
                this.pan(is.x - was.x, is.y - was.y);
                trail.push({ dx: is.x - was.x, dy: is.y - was.y, at: event.timeStamp });
                if (trail.length > 6) trail.shift();
            } else {
                travelled = Infinity;
                const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
                const spread = (a) => Math.hypot(a.x - other.x, a.y - other.y) || 1;
                this.pan((is.x - was.x) / 2, (is.y - was.y) / 2);
                this.zoomAt((is.x + other.x) / 2, (is.y + other.y) / 2, Math.log2(spread(is) / spread(was)));
            }
            down.set(event.pointerId, is);
        });
        const up = (event) => {
            if (!down.delete(event.pointerId) || down.size > 0) return;
            canvas.classList.remove("held");
            const recent = trail.filter((step) => event.timeStamp - step.at < 80);
            const ms = recent.length > 1 ? recent.at(-1).at - recent[0].at : 0;
            if (ms > 0 && travelled !== Infinity && !isCalm.matches) {
                const sum = (field) => recent.slice(1).reduce((all, step) => all + step[field], 0) / ms;
                this.drift = { vx: sum("dx"), vy: sum("dy"), at: performance.now() };
                this.onChange();
            }
        };
        canvas.addEventListener("pointerup", up);
        canvas.addEventListener("pointercancel", up);
        /** Whether the last press was a click, not the end of a move. */
        this.wasClick = () => travelled < 6;
        canvas.addEventListener(
            "wheel",
            (event) => {
                event.preventDefault();
                stop();
                const px = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
                this.zoomAt(event.offsetX, event.offsetY, clamp(-px * (event.ctrlKey ? 0.01 : 0.0022), -0.6, 0.6));
            },
            { passive: false },
        );
        canvas.addEventListener("dblclick", (event) => {
            stop();
            const by = event.shiftKey ? -1 : 1;
            const dx = event.offsetX - this.width / 2;
            const dy = event.offsetY - this.height / 2;
            const share = (1 - 2 ** -by) / this.scale;
            this.fly({ x: this.x + dx * share, y: this.y + dy * share, zoom: this.zoom + by });
        });
        canvas.addEventListener("keydown", (event) => {
            const step = event.shiftKey ? 240 : 90;
            const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
            const move = moves[event.key];
            if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
            event.preventDefault();
            this.wasMoved = true;
            const from = this.flight?.goal ?? this;
            this.fly({ x: from.x - move[0] / this.scale, y: from.y - move[1] / this.scale, zoom: from.zoom });
        });
    }
}
