// The stream of updates: reads it, says how fresh it is, and comes back when it ends.

const LATE_MS = 3_500; // an update comes every second
const GIVEN_UP_MS = 10_000; // a stream that is silent for so long is dead, whatever the connection says
const HIDDEN_MS = 5_000; // a tab that is away for longer needs no updates
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;

/**
 * Follows `/v1/ops/live`.
 * `onUpdate(update, isFirst)` gets each update; `onFreshness({kind, ...})` each change of how fresh it is:
 * `connecting`, `live`, `late`, `lost` (with `retryInMs`, `why`) or `paused`.
 */
export function follow({ onUpdate, onFreshness }) {
    let stream = null;
    let heardAt = -Infinity;
    let wait = FIRST_WAIT_MS;
    let retry = 0;
    let hiding = 0;
    let kind = "";

    const tell = (next, more = {}) => {
        if (next === kind && next !== "lost") return;
        kind = next;
        onFreshness({ kind, ...more });
    };

    async function open() {
        clearTimeout(retry);
        stream?.abort();
        const mine = (stream = new AbortController());
        let why = "The connection ended.";
        if (kind !== "lost") tell("connecting");
        heardAt = performance.now();
        try {
            const response = await fetch("/v1/ops/live", { signal: mine.signal, headers: { accept: "text/event-stream" } });
            if (response.status === 401 || response.status === 403) {
                location.reload(); // the page at the door says why
                return;
            }
            if (!response.ok) {
                const after = Number(response.headers.get("retry-after"));
                if (after > 0) wait = Math.max(wait, after * 1_000);
                const problem = await response.json().catch(() => null);
                throw new Error(problem?.message ?? `The service answered ${response.status}.`);
            }
            let isFirst = true;
            for await (const data of events(response.body)) {
                if (stream !== mine) return;
                heardAt = performance.now();
                wait = FIRST_WAIT_MS;
                onUpdate(JSON.parse(data), isFirst);
                isFirst = false;
                tell("live");
            }
        } catch (error) {
            if (stream !== mine) return;
            why = error instanceof TypeError ? "The service cannot be reached." : error.message;
        }
        if (stream === mine) comeBack(why);
    }

    function comeBack(why) {
        stream?.abort();
        stream = null;
        // Not all maps at once after a restart.
        const retryInMs = wait * (0.75 + Math.random() / 2);
        wait = Math.min(wait * 2, LONGEST_WAIT_MS);
        tell("lost", { retryInMs, why });
        retry = setTimeout(open, retryInMs);
    }

    function pause() {
        clearTimeout(retry);
        stream?.abort();
        stream = null;
        tell("paused");
    }

    document.addEventListener("visibilitychange", () => {
        clearTimeout(hiding);
        if (document.hidden) hiding = setTimeout(pause, HIDDEN_MS);
        else if (!stream) open();
    });
    addEventListener("online", () => kind === "lost" && open());
    setInterval(() => {
        if (!stream) return;
        const silent = performance.now() - heardAt;
        if (silent > GIVEN_UP_MS) comeBack("The service is silent.");
        else if (silent > LATE_MS && kind === "live") tell("late");
    }, 500);

    open();
    return { retryNow: () => kind === "lost" && open() };
}

/** The data of each event of a server-sent stream. */
async function* events(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        text += value;
        let end;
        while ((end = text.indexOf("\n\n")) >= 0) {
            const lines = text.slice(0, end).split("\n");
            text = text.slice(end + 2);
            const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
            if (data.length > 0) yield data.join("\n");
        }
    }
}
