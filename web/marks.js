// How everything on the map looks: one shape and one colour for each kind, so that neither is needed to tell them apart.

/** In the words of the page, and what each means. */
export const LABELS = {
    idle: ["Free", "Available, and seen lately: can be asked"],
    offered: ["Asked", "Has an offer to answer"],
    en_route: ["On the way", "Accepted, and travels to the customer"],
    booked: ["On a booking", "Accepted, at the door, or at work"],
    stale: ["Not seen lately", "Available, but the last fix is too old to be asked"],
    off_duty: ["Off duty", "Not available"],
    barred: ["Not admitted", "Not verified, or not active"],
    waiting: ["Waiting", "Nobody has accepted yet"],
    under_way: ["Under way", "Accepted, to begin within the hour, or begun"],
};

/** Size of each, of that of who is free. */
const SIZE = { idle: 1, offered: 1.15, en_route: 1.2, booked: 1.05, stale: 0.95, off_duty: 0.6, barred: 0.75 };

/** The colours of the style sheet, which follow the system's light and dark. */
export function colours() {
    const style = getComputedStyle(document.documentElement);
    const names = ["paper", "line", "halo", "ink", "ink-2", "ink-3", "focus", ...Object.keys(LABELS).map((kind) => kind.replace("_", "-"))];
    return Object.fromEntries(names.map((name) => [name.replace("-", "_"), style.getPropertyValue(`--${name}`).trim()]));
}

function circle(context, r) {
    context.beginPath();
    context.arc(0, 0, r, 0, 2 * Math.PI);
}

/** Draws one mark around (0, 0); `r` is the radius of who is free. */
export function mark(context, kind, r, colour, isOld = false) {
    const size = r * (SIZE[kind] ?? 1);
    const line = Math.max(1.25, r * 0.34);
    context.lineJoin = context.lineCap = "round";
    context.fillStyle = context.strokeStyle = colour[kind];
    context.lineWidth = line;
    const outlined = (draw) => {
        // A rim of the paper keeps neighbours apart.
        context.save();
        context.strokeStyle = colour.paper;
        context.lineWidth = line * 0.9 + 1;
        draw();
        context.stroke();
        context.restore();
        draw();
        if (isOld) {
            context.save();
            context.fillStyle = colour.paper;
            context.fill();
            context.restore();
            context.lineWidth = line * 0.8;
            context.stroke();
        } else {
            context.fill();
        }
    };
    switch (kind) {
        case "offered":
            outlined(() => circle(context, size * 0.82));
            context.lineWidth = line * 0.7;
            circle(context, size * 1.45);
            context.stroke();
            break;
        case "en_route":
            outlined(() => {
                context.beginPath();
                context.moveTo(0, -size * 1.3);
                context.lineTo(size, size * 0.95);
                context.lineTo(0, size * 0.45);
                context.lineTo(-size, size * 0.95);
                context.closePath();
            });
            break;
        case "booked":
            outlined(() => {
                context.beginPath();
                context.roundRect(-size * 0.9, -size * 0.9, size * 1.8, size * 1.8, size * 0.5);
            });
            break;
        case "stale":
            circle(context, size * 0.85);
            context.lineWidth = line * 0.8;
            context.setLineDash([line, line]);
            context.stroke();
            context.setLineDash([]);
            break;
        case "barred":
            context.lineWidth = line * 0.8;
            context.beginPath();
            context.moveTo(-size * 0.8, -size * 0.8);
            context.lineTo(size * 0.8, size * 0.8);
            context.moveTo(size * 0.8, -size * 0.8);
            context.lineTo(-size * 0.8, size * 0.8);
            context.stroke();
            break;
        case "waiting":
            outlined(() => diamond(context, r * 1.35));
            break;
        case "under_way":
            context.lineWidth = line * 0.75;
            diamond(context, r * 1.2);
            context.stroke();
            break;
        default:
            outlined(() => circle(context, size));
    }
}

function diamond(context, r) {
    context.beginPath();
    context.moveTo(0, -r);
    context.lineTo(r, 0);
    context.lineTo(0, r);
    context.lineTo(-r, 0);
    context.closePath();
}

/** A mark as a small picture of its own, for the legend. */
export function icon(kind, colour) {
    const canvas = document.createElement("canvas");
    const ratio = Math.max(devicePixelRatio, 2);
    canvas.width = canvas.height = 22 * ratio;
    canvas.className = "mark";
    canvas.setAttribute("aria-hidden", "true");
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.translate(11, 11);
    if (kind === "en_route") context.rotate(Math.PI / 4);
    mark(context, kind, kind === "off_duty" ? 6 : 5.4, colour);
    return canvas;
}

/** Marks drawn once and copied: ten thousand at 60 frames a second are ten thousand copies. */
export class Sprites {
    constructor() {
        this.clear();
    }

    /** After the colours or the screen have changed. */
    clear() {
        this.colour = colours();
        this.ratio = devicePixelRatio;
        this.known = new Map();
    }

    /** A mark of this radius: its picture, and its half width in px. */
    get(kind, r, isOld) {
        const key = `${kind} ${r} ${isOld}`;
        let sprite = this.known.get(key);
        if (!sprite) {
            const half = Math.ceil(r * 2 + 2);
            const picture = new OffscreenCanvas(Math.ceil(half * 2 * this.ratio), Math.ceil(half * 2 * this.ratio));
            const context = picture.getContext("2d");
            context.scale(this.ratio, this.ratio);
            context.translate(half, half);
            mark(context, kind, r, this.colour, isOld);
            sprite = { picture: picture.transferToImageBitmap(), half };
            this.known.set(key, sprite);
        }
        return sprite;
    }
}
