// Details beside the map: a therapist, a booking and why who was asked, the audit. Texts of the world are only ever text.

import { LABELS, icon } from "./marks.js";

/** An element with properties and children; strings become text. */
export function h(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
        if (name in element) element[name] = value;
        else element.setAttribute(name, value);
    }
    element.append(...present(children));
    return element;
}

const present = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/** JSON of a GET route; throws an error with the service's own words. */
export async function ask(path, signal) {
    const response = await fetch(path, { signal, headers: { accept: "application/json" } }).catch((error) => {
        throw error.name === "AbortError" ? error : new Error("The service cannot be reached.");
    });
    const body = await response.json().catch(() => null);
    if (response.status === 401) location.reload();
    if (!response.ok) throw Object.assign(new Error(body?.message ?? `The service answered ${response.status}.`), { status: response.status });
    return body;
}

const clock = new Intl.DateTimeFormat("en-GB", { timeZone: "Asia/Manila", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { timeZone: "Asia/Manila", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
/** The time in Manila. */
export const timeOf = (at) => clock.format(at);
/** How long: `42 s`, `3:05 min`, `2 h 10 min`, `3 d`. */
export function lengthOf(ms) {
    const s = Math.max(0, Math.floor(ms / 1_000));
    if (s < 60) return `${s} s`;
    if (s < 3_600) return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")} min`;
    if (s < 2 * 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
    return `${Math.floor(s / 86_400)} d`;
}
const words = (code) => code.replaceAll("_", " ").replaceAll(".", " ");
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const km = (value) => `${value.toFixed(value < 10 ? 2 : 1)} km`;

export class Panel {
    /** `go(what)` selects, `show(what)` brings into view, `hover(what)` marks on the map, `close()` ends it. */
    constructor(element, fleet, colour, { go, show, hover, close }) {
        Object.assign(this, { element, fleet, colour, go, show, hover, close });
        this.shown = {};
        this.asking = null;
    }

    /** Shows a therapist, a booking, or nothing; done when what is to be said of it is there. */
    async open(what) {
        const same = what.therapist === this.shown.therapist && what.booking === this.shown.booking;
        this.asking?.abort();
        this.shown = what;
        this.live = null;
        this.element.hidden = !what.therapist && !what.booking;
        if (this.element.hidden) return;
        if (!same) {
            this.element.replaceChildren();
            this.element.scrollTop = 0;
        }
        await this.#load();
    }

    /**
     * Tells what the map knows better than the answer of a moment ago; asks again when it is another matter, and after the
     * stream was away.
     */
    refresh(isBack = false) {
        if (this.element.hidden || !this.live) return;
        const key = this.#key();
        if (isBack || key !== this.key) this.#load();
        else this.live();
    }

    #key() {
        const { therapist, booking } = this.shown;
        const n = this.fleet.byUuid.get(therapist);
        if (therapist) return n === undefined ? "" : `${this.fleet.kind[n]} ${this.fleet.booking[n]}`;
        const found = this.fleet.bookings.get(booking);
        return found ? `${found.status} ${found.offered_to} ${found.provider_uuid}` : "";
    }

    async #load() {
        this.asking?.abort();
        const mine = (this.asking = new AbortController());
        this.key = this.#key();
        const { therapist, booking } = this.shown;
        this.element.setAttribute("aria-busy", "true");
        try {
            const answer = therapist
                ? await ask(`/v1/ops/fleet/${therapist}`, mine.signal)
                : await ask(`/v1/ops/bookings/${encodeURIComponent(booking)}/explain`, mine.signal);
            if (this.asking !== mine) return;
            if (therapist) this.#therapist(answer);
            else this.#booking(answer);
        } catch (error) {
            if (error.name === "AbortError") return;
            const text = error.status === 404 ? `There is no ${therapist ? "therapist" : "booking"} ${therapist ?? booking}.` : error.message;
            this.#fill(h("h2", {}, therapist ? "Therapist" : "Booking"), h("p", { className: "bad" }, text));
            this.live = () => {};
        } finally {
            if (this.asking === mine) this.element.removeAttribute("aria-busy");
        }
    }

    #fill(...children) {
        const open = new Set([...this.element.querySelectorAll("details[open]")].map((details) => details.dataset.name));
        const shut = h("button", { type: "button", className: "quiet shut", title: "Close (Esc)", onclick: this.close }, "×");
        shut.setAttribute("aria-label", "Close");
        this.element.replaceChildren(shut, ...present(children));
        for (const details of this.element.querySelectorAll("details")) details.open ||= open.has(details.dataset.name);
    }

    #facts(rows) {
        const facts = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
        return h("dl", {}, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    }

    #title(kind, title, text) {
        return h("h2", {}, icon(kind, this.colour()), h("span", {}, title, h("small", {}, text)));
    }

    #link(what, text) {
        const found = what.therapist ? this.fleet.byUuid.has(what.therapist) : true;
        return h("button", {
            type: "button", className: "link", onclick: () => this.go(what),
            onmouseenter: () => found && this.hover(what), onmouseleave: () => this.hover({}),
            onfocus: () => found && this.hover(what), onblur: () => this.hover({}),
        }, text);
    }

    #nameOf(uuid) {
        const n = this.fleet.byUuid.get(uuid);
        return n === undefined ? `${uuid.slice(0, 8)}…` : this.fleet.name[n];
    }

    #foot(what, uuid, isThere) {
        const copy = h("button", { type: "button", className: "quiet uuid", title: "Copy the uuid" }, uuid);
        copy.onclick = async () => {
            await navigator.clipboard?.writeText(uuid);
            copy.dataset.copied = "yes";
            setTimeout(() => delete copy.dataset.copied, 1_200);
        };
        const show = h("button", { type: "button", onclick: () => this.show(what) }, "Show on the map");
        return h("footer", {}, isThere ? show : null, copy);
    }

    #therapist(is) {
        const kind = is.stale && is.state === "idle" ? "stale" : is.state;
        const age = h("span");
        const booking = is.booking_uuid && this.fleet.bookings.get(is.booking_uuid);
        const rating = is.total_reviews > 0 ? `★ ${is.average_rating.toFixed(2)} of ${is.total_reviews} reviews` : "No reviews yet";
        const until = h("span");
        this.#fill(
            this.#title(kind, is.first_name, LABELS[kind][0]),
            h("p", { className: "muted" }, LABELS[kind][1] + "."),
            this.#facts([
                ["Last fix", is.recorded_at ? age : "None yet"],
                ["App", is.connected ? "Connected" : "Not connected"],
                ["Answers within", is.offered_until ? until : null],
                ["Booking", is.booking_uuid ? this.#link({ booking: is.booking_uuid }, booking?.booking_number ?? is.booking_uuid.slice(0, 8)) : null],
                ["Accepted ahead", is.accepted_bookings > 0 ? String(is.accepted_bookings) : null],
                ["Rating", rating],
                ["Goes as far as", `${is.service_radius_km} km`],
                ["Gender", is.gender ? capital(words(is.gender)) : null],
                ["Languages", is.languages.join(", ")],
                ["Specialises in", is.specializations.join(", ")],
                ["Verified", is.verified ? "Yes" : "No"],
                ["Active", is.active ? "Yes" : "No"],
            ]),
            h("details", { "data-name": "services" },
                h("summary", {}, `Services at home (${is.services.length})`),
                h("table", {}, is.services.map((service) => h("tr", {}, h("td", {}, service.name), h("td", { className: "number" }, `${service.currency} ${service.price}`)))),
            ),
            this.#foot({ therapist: is.provider_uuid }, is.provider_uuid, is.recorded_at !== null),
        );
        this.live = () => {
            const n = this.fleet.byUuid.get(is.provider_uuid);
            const seen = n === undefined ? Date.parse(is.recorded_at) : this.fleet.seen[n];
            const ago = this.fleet.now() - seen;
            age.textContent = ago < 1_500 ? "just now" : `${lengthOf(ago)} ago`;
            age.className = ago > this.fleet.staleAfterS * 1_000 ? "bad" : "";
            until.textContent = lengthOf(Date.parse(is.offered_until) - this.fleet.now());
        };
        this.live();
    }

    #booking(why) {
        const uuid = why.booking_uuid;
        const is = this.fleet.bookings.get(uuid);
        const kind = why.status === "pending" ? "waiting" : "under_way";
        const wait = h("span");
        const reasons = new Map();
        for (const judged of why.therapists) if (!judged.eligible) reasons.set(judged.reason, (reasons.get(judged.reason) ?? 0) + 1);
        const able = why.therapists.filter((judged) => judged.eligible).length;
        const sum = [...reasons].sort((a, b) => b[1] - a[1]).map(([reason, count]) => h("li", {}, h("b", {}, count), words(reason)));
        this.#fill(
            this.#title(kind, is?.booking_number ?? "Booking", capital(words(why.status))),
            this.#facts([
                ["Service", is ? `${is.service}, ${is.type === "in_store" ? "at a store" : "at home"}` : null],
                [why.status === "pending" ? "Has waited" : "Requested", is ? wait : null],
                ["Scheduled for", is?.scheduled_at ? day.format(new Date(is.scheduled_at)) : null],
                ["Therapist", is?.provider_uuid && is.type !== "in_store" ? this.#link({ therapist: is.provider_uuid }, this.#nameOf(is.provider_uuid)) : null],
                ["Is asked", is?.offered_to.length ? is.offered_to.map((one) => this.#link({ therapist: one }, this.#nameOf(one))) : null],
            ]),
            h("h3", {}, `Offers (${why.offers.length})`),
            why.offers.length === 0 ? h("p", { className: "muted" }, "Nobody has been asked.") : this.#offers(why.offers),
            why.therapists.length === 0 ? null : [
                h("h3", {}, `Within ${why.radius_km} km, as of ${timeOf(Date.parse(why.as_of))}`),
                h("ul", { className: "reasons" }, h("li", { className: able ? "good" : "" }, h("b", {}, able), "could take it"), sum),
                this.#judged(why.therapists),
            ],
            why.decisions.length === 0 ? null : h("details", { "data-name": "decisions" },
                h("summary", {}, `What dispatch decided (${why.decisions.length})`),
                h("ol", { className: "decisions" }, why.decisions.map((decision) => this.#decision(decision))),
            ),
            this.#foot({ booking: uuid }, uuid, Boolean(is)),
        );
        this.live = () => {
            if (is) wait.textContent = why.status === "pending" ? lengthOf(this.fleet.now() - is.createdAt) : `${timeOf(is.createdAt)}, ${lengthOf(this.fleet.now() - is.createdAt)} ago`;
        };
        this.live();
    }

    #offers(offers) {
        return h("table", {}, offers.map((offer) => h("tr", {},
            h("td", { className: "muted" }, timeOf(Date.parse(offer.offered_at))),
            h("td", {}, this.#link({ therapist: offer.provider_uuid }, this.#nameOf(offer.provider_uuid))),
            h("td", { className: "number" }, km(offer.distance_km)),
            h("td", { title: offer.decline_reason ?? "" }, h("span", { className: `tag ${offer.status}` }, words(offer.status))),
        )));
    }

    #judged(therapists) {
        const most = 40;
        return h("details", { "data-name": "therapists" },
            h("summary", {}, `The nearest ${Math.min(most, therapists.length)}`),
            h("table", {}, therapists.slice(0, most).map((judged) => h("tr", {},
                h("td", {}, this.#link({ therapist: judged.provider_uuid }, judged.first_name)),
                h("td", { className: "number" }, km(judged.distance_km)),
                h("td", {}, judged.eligible ? h("span", { className: "tag accepted" }, "could take it") : h("span", { className: "muted" }, words(judged.reason))),
                h("td", { className: "muted" }, judged.offered ? "was asked" : judged.not_offered ? words(judged.not_offered) : ""),
            ))),
        );
    }

    /** A line of the log; its particulars as they are, times as times, people as names. */
    #decision({ at, kind, detail }) {
        const say = ([name, value]) => {
            if (Array.isArray(value)) return value.length > 0 ? `${words(name)} ${value.length}` : null;
            if (value === null || value === false || typeof value === "object") return null;
            if (typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value)) return `${words(name)} ${timeOf(Date.parse(value))}`;
            if (name === "radius_m") return `within ${value / 1_000} km`;
            if (value === true) return words(name);
            return `${words(name)} ${typeof value === "string" && value.length === 36 ? this.#nameOf(value) : value}`;
        };
        const text = Object.entries(detail).map(say).filter(Boolean).join(", ");
        return h("li", {}, h("span", { className: "muted" }, timeOf(Date.parse(at))), h("span", {}, h("b", {}, capital(words(kind))), text && ` · ${text}`));
    }
}

/** The audit's answer in a sentence. */
export function audited(drift) {
    const parts = ["missing", "extra", "stale", "different"].filter((name) => drift[name].length > 0).map((name) => `${drift[name].length} ${name}`);
    const good = drift.drift === 0;
    return h("p", { className: good ? "good" : "bad" }, good
        ? `The index equals the database: ${drift.checked} therapists compared at ${timeOf(Date.parse(drift.as_of))}.`
        : `${drift.drift} of ${drift.checked} therapists differed (${parts.join(", ")}) at ${timeOf(Date.parse(drift.as_of))}; they are repaired.`);
}
