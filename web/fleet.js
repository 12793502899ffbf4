// What the map knows: therapists, open bookings, heat. Filled by updates, read by whoever draws.

import { worldX, worldY } from "./view.js";

/** From one place to the next, a little longer than from one update to the next: nobody stops in between. */
const GLIDE_MS = 1_150;
/** Farther than this share of the world (about 2 km) is no way that somebody went in a second. */
const JUMP = 5e-5;

/** What a therapist is to the map, in the order in which they are listed; drawn last to first. */
export const KINDS = ["idle", "offered", "en_route", "booked", "stale", "off_duty", "barred"];

export class Fleet {
    constructor() {
        this.clear();
    }

    clear() {
        this.size = 0;
        this.uuid = [];
        this.name = [];
        this.booking = [];
        this.kind = [];
        this.isOld = [];
        this.room = 0;
        this.#grow(1_024);
        this.byUuid = new Map();
        /** The numbers of those of each kind. */
        this.ofKind = new Map(KINDS.map((kind) => [kind, []]));
        this.bookings = new Map();
        this.withoutPosition = 0;
        this.asOf = 0;
        this.bookingsAsOf = 0;
        this.moreBookings = false;
        this.notReady = [];
        this.staleAfterS = Infinity;
    }

    #grow(room) {
        for (const field of ["x0", "y0", "x1", "y1", "since", "seen"]) {
            const next = new Float64Array(room);
            if (this[field] && this.room > 0) next.set(this[field]);
            this[field] = next;
        }
        this.room = room;
    }

    /** Takes an update of the stream; the first of a stream replaces everything. `now` in ms of performance.now(). */
    take(update, isFirst, now) {
        if (isFirst) this.clear();
        this.lastTaken = now;
        this.asOf = Date.parse(update.as_of);
        this.staleAfterS = update.stale_after_s;
        this.notReady = update.not_ready;
        this.withoutPosition = update.without_position;
        for (const [n, uuid, name] of update.joined) this.#join(n, uuid, name);
        for (const [n, state, stale, booking] of update.states) {
            this.kind[n] = stale && state === "idle" ? "stale" : state;
            this.isOld[n] = stale;
            this.booking[n] = booking;
        }
        for (const [n, latitude, longitude, age] of update.places) {
            this.#move(n, worldX(longitude), worldY(latitude), now, isFirst);
            this.seen[n] = this.asOf - age * 1_000;
        }
        for (const n of update.left) {
            if (this.byUuid.get(this.uuid[n]) === n) this.byUuid.delete(this.uuid[n]);
            this.uuid[n] = null;
            this.kind[n] = null;
        }
        if (update.bookings_as_of) this.bookingsAsOf = Date.parse(update.bookings_as_of);
        this.moreBookings = update.more_bookings;
        for (const booking of update.bookings) {
            booking.x = worldX(booking.longitude);
            booking.y = worldY(booking.latitude);
            booking.createdAt = Date.parse(booking.created_at);
            this.bookings.set(booking.uuid, booking);
        }
        for (const uuid of update.over) this.bookings.delete(uuid);
        this.ofKind = new Map(KINDS.map((kind) => [kind, []]));
        for (let n = 0; n < this.size; n++) if (this.kind[n]) this.ofKind.get(this.kind[n]).push(n);
    }

    #join(n, uuid, name) {
        while (n >= this.room) this.#grow(this.room * 2);
        if (n >= this.size) {
            this.size = n + 1;
            this.since[n] = -Infinity;
        }
        this.uuid[n] = uuid;
        this.name[n] = name;
        this.byUuid.set(uuid, n);
    }

    #move(n, x, y, now, atOnce) {
        const isNew = this.since[n] === -Infinity;
        const fromX = isNew ? x : this.x(n, now);
        const fromY = isNew ? y : this.y(n, now);
        const jumps = atOnce || Math.abs(x - fromX) > JUMP || Math.abs(y - fromY) > JUMP;
        this.x0[n] = jumps ? x : fromX;
        this.y0[n] = jumps ? y : fromY;
        this.x1[n] = x;
        this.y1[n] = y;
        this.since[n] = now;
    }

    /** Where therapist `n` is shown at `now`, in world coordinates. */
    x(n, now) {
        const k = (now - this.since[n]) / GLIDE_MS;
        return k >= 1 ? this.x1[n] : this.x0[n] + (this.x1[n] - this.x0[n]) * k;
    }

    y(n, now) {
        const k = (now - this.since[n]) / GLIDE_MS;
        return k >= 1 ? this.y1[n] : this.y0[n] + (this.y1[n] - this.y0[n]) * k;
    }

    /** Which way he goes, radians clockwise from north: to the booking, since a way of one second is mostly the fix's error. */
    heading(n, now) {
        const booking = this.bookings.get(this.booking[n]);
        return booking ? Math.atan2(booking.x - this.x(n, now), this.y(n, now) - booking.y) : 0;
    }

    /** Whether somebody is still on his way from one shown place to the next. */
    isMoving(now) {
        return now - this.lastTaken < GLIDE_MS;
    }

    /** How many there are of each kind, and how many in all. */
    counts() {
        const counts = Object.fromEntries(KINDS.map((kind) => [kind, this.ofKind.get(kind).length]));
        counts.all = KINDS.reduce((sum, kind) => sum + counts[kind], 0);
        return counts;
    }

    /** Bookings that wait, longest first, and the number of the others. */
    waiting() {
        const waiting = [...this.bookings.values()].filter((booking) => booking.status === "pending");
        return waiting.sort((a, b) => a.createdAt - b.createdAt);
    }
}
